//! A blocking client of the broker, for what is set up before something is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use onetree_protocol::frame::{Do, Hello, Sub, Txn};
use onetree_protocol::{ClientFrame, Codec, ServerFrame};

use super::super::dialect::onetree::{Op, frame};
use super::super::dialect::websocket::{Header, PING, upgrade};

/// The size of one read, bytes.
const READ_BYTES: usize = 256 << 10;

/// A blocking client.
pub(crate) struct Client {
    stream: TcpStream,
    codec: Codec,
    buffer: Vec<u8>,
    /// The part of the buffer that has arrived and was not looked at.
    begin: usize,
    end: usize,
    /// Bytes from the socket since the upgrade.
    pub(crate) bytes: usize,
}

impl Client {
    /// Connects and upgrades. Sends nothing yet.
    pub(crate) fn connect(address: SocketAddr, codec: Codec) -> Result<Client, String> {
        let open = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            stream.write_all(&upgrade("/v1/sync", Some(codec.subprotocol())))?;
            let mut head = Vec::new();
            let mut byte = [0; 1];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            Ok(stream)
        };
        let stream = open().map_err(|error: std::io::Error| format!("client: {error}"))?;
        let buffer = vec![0; READ_BYTES];
        Ok(Client { stream, codec, buffer, begin: 0, end: 0, bytes: 0 })
    }

    /// Sends `hello` with these subscriptions.
    pub(crate) fn hello(&mut self, subs: Vec<Sub>) -> Result<(), String> {
        self.send(&ClientFrame::Hello(Box::new(Hello { id: 1, subs, ..Hello::default() })))
    }

    pub(crate) fn send(&mut self, say: &ClientFrame) -> Result<(), String> {
        self.stream.write_all(&frame(self.codec, say)).map_err(|error| format!("client: {error}"))
    }

    /// Returns the next frame, not decoded.
    pub(crate) fn next(&mut self) -> Result<(Op, &[u8]), String> {
        loop {
            if let Some(header) = Header::parse(&self.buffer[self.begin..self.end]) {
                let begin = self.begin + header.bytes;
                let end = begin + header.payload;
                if end <= self.end {
                    self.begin = end;
                    if header.opcode == PING {
                        continue;
                    }
                    let frame = &self.buffer[begin..end];
                    return Ok((Op::of(self.codec, frame), frame));
                }
            }
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            if self.end * 2 > self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(n) if n > 0 => {
                    self.end += n;
                    self.bytes += n;
                }
                Ok(_) => return Err("client: closed".to_owned()),
                Err(error) => return Err(format!("client: {error}")),
            }
        }
    }

    /// Returns the next frame of this kind, and skips all others.
    pub(crate) fn wait(&mut self, op: Op) -> Result<ServerFrame, String> {
        let codec = self.codec;
        loop {
            let (got, frame) = self.next()?;
            if got == op || got == Op::Error {
                let frame = codec.decode_server(frame).map_err(|error| format!("{error:?}"))?;
                return if got == op { Ok(frame) } else { Err(format!("{frame:?}")) };
            }
        }
    }

    /// Commits changes, a thousand in each commit.
    pub(crate) fn write(&mut self, changes: Vec<Do>) -> Result<(), String> {
        for changes in changes.chunks(1000) {
            let txn = Txn { id: 2, changes: changes.to_vec(), ..Txn::default() };
            self.send(&ClientFrame::Txn(txn))?;
            self.wait(Op::Reply)?;
        }
        Ok(())
    }
}
