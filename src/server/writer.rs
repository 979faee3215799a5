//! Writes WebSocket messages to a socket.
//!
//! This is written by hand because the library copies every message into a buffer that never
//! shrinks: one message of 64 KiB to all clients leaves 71 KiB with each connection. A server's
//! frames are simple, a header of 2 to 10 bytes before the payload (RFC 6455, 5.2: no mask). The
//! writer gathers small frames into one buffer for one system call, sends large ones from the
//! memory that all connections share, and frees the buffer when it is empty.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Weak};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onetree_protocol::Codec;
use tokio::net::tcp::OwnedWriteHalf;

use crate::fanout::{Envelope, Wire};

/// When this many bytes are unsent, nothing more is produced. It is enough to fill the kernel's
/// buffer with one system call, and little enough to be kept for each slow connection.
pub(super) const WRITE_AHEAD_BYTES: usize = 64 * 1024;

/// Shared messages of at least this size are not copied. Below this size a copy is cheaper than
/// another slice in the system call.
const SHARED_BYTES: usize = 2048;

/// The most slices in one system call.
const SLICES: usize = 64;

/// An empty buffer of up to this size is kept. Most messages fit into it. The larger buffer that
/// the first messages of a connection need is not kept while the connection idles.
const KEPT_BYTES: usize = 256;

/// The most bytes of a close frame's reason (RFC 6455, 5.5: 125 with the code).
const REASON_BYTES: usize = 123;

/// The first byte of a frame: the last (and only) frame of a message, with its opcode (RFC 6455,
/// 5.2).
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The length of the header of a message that is neither below 126 bytes nor above 64 KiB.
const USUAL_HEADER: usize = 4;

/// Makes a WebSocket message of each frame, so that the messages of the fan-out are the same for
/// all connections.
pub(crate) const ENVELOPE: Envelope = Envelope {
    room: USUAL_HEADER,
    seal: |messages, start, codec| {
        let frame = start + USUAL_HEADER;
        let (header, size) = header(opcode(codec), messages.len() - frame);
        if size == USUAL_HEADER {
            messages[start..frame].copy_from_slice(&header[..size]);
        } else {
            messages.splice(start..frame, header[..size].iter().copied());
        }
    },
};

fn opcode(codec: Codec) -> u8 {
    match codec {
        Codec::Json => TEXT,
        Codec::MsgPack => BINARY,
    }
}

/// Returns the header of a payload of this length, and how many bytes of the array the header has.
fn header(opcode: u8, length: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = opcode;
    match length {
        0..126 => {
            header[1] = length as u8;
            (header, 2)
        }
        126..65_536 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            (header, 10)
        }
    }
}

impl Wire for OwnedWriteHalf {
    fn write_now(&self, messages: &[u8]) -> io::Result<usize> {
        self.try_write(messages)
    }
}

/// Gathers frames and writes them when the socket takes them. Dropping it ends this direction of
/// the socket.
pub(super) struct Writer {
    half: Arc<OwnedWriteHalf>,
    opcode: u8,
    /// The data that is sent before `tail`.
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    queued: usize,
    blocked: bool,
}

impl Writer {
    pub(super) fn new(half: OwnedWriteHalf, codec: Codec) -> Writer {
        let opcode = opcode(codec);
        let (chunks, tail) = Default::default();
        Writer { half: Arc::new(half), opcode, chunks, tail, queued: 0, blocked: false }
    }

    /// Returns the wire that other tasks write to while the connection rests.
    pub(super) fn wire(&self) -> Weak<dyn Wire> {
        let half: Weak<OwnedWriteHalf> = Arc::downgrade(&self.half);
        half
    }

    /// Queues a frame of the protocol.
    pub(super) fn frame(&mut self, payload: &[u8]) {
        self.put(self.opcode, payload);
    }

    pub(super) fn ping(&mut self) {
        self.put(PING, &[]);
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        self.put(PONG, payload);
    }

    /// Queues a close frame. The reason is cut to what fits.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let end =
            (0..=reason.len().min(REASON_BYTES)).rev().find(|end| reason.is_char_boundary(*end));
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.put_u16(code);
        payload.put_slice(&reason.as_bytes()[..end.unwrap_or(0)]);
        self.put(CLOSE, &payload);
    }

    /// Queues a close frame without a code.
    pub(super) fn close_silently(&mut self) {
        self.put(CLOSE, &[]);
    }

    /// Queues frames that are WebSocket messages already, see [`ENVELOPE`].
    pub(super) fn messages(&mut self, messages: &Bytes) {
        self.queued += messages.len();
        if messages.len() < SHARED_BYTES {
            self.tail.put_slice(messages);
        } else {
            if !self.tail.is_empty() {
                self.chunks.push_back(self.tail.split().freeze());
            }
            self.chunks.push_back(messages.clone());
        }
    }

    fn put(&mut self, opcode: u8, payload: &[u8]) {
        let (header, size) = header(opcode, payload.len());
        self.tail.put_slice(&header[..size]);
        self.tail.put_slice(payload);
        self.queued += size + payload.len();
    }

    /// Whether more may be queued now.
    pub(super) fn has_room(&self) -> bool {
        self.queued < WRITE_AHEAD_BYTES
    }

    /// Returns how many bytes the socket has not taken yet.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether the socket takes nothing more at present.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes what the socket takes without waiting. Returns true when the socket took something
    /// after it had been blocked, which shows that the peer reads.
    pub(super) fn flush_now(&mut self) -> io::Result<bool> {
        let was_blocked = std::mem::take(&mut self.blocked);
        let mut taken = false;
        while self.queued > 0 {
            let written = if self.chunks.is_empty() {
                self.half.try_write(&self.tail)
            } else {
                if !self.tail.is_empty() {
                    self.chunks.push_back(self.tail.split().freeze());
                }
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.chunks.len().min(SLICES);
                for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                    *slice = IoSlice::new(chunk);
                }
                self.half.try_write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    taken = true;
                    self.advance(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.queued == 0 && self.tail.capacity() > KEPT_BYTES {
            self.tail = BytesMut::new();
        }
        Ok(was_blocked && taken)
    }

    fn advance(&mut self, mut count: usize) {
        self.queued -= count;
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.len() > count {
                return chunk.advance(count);
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail.advance(count);
    }

    /// Waits until the socket takes something.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.half.writable().await
    }

    /// Writes everything, however long the socket takes.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        loop {
            self.flush_now()?;
            if self.is_empty() {
                return Ok(());
            }
            self.writable().await?;
        }
    }
}
