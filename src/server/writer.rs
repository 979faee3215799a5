//! WebSocket messages to a socket.
//!
//! Written by hand and not by the library that reads: that one copies every message into a buffer
//! which never shrinks (one message of 64 KiB to all leaves 71 KiB with each connection), and a
//! server's frames are a header of 2 to 10 bytes before the payload (RFC 6455, 5.2: no mask). Here
//! small frames are gathered into one buffer for one system call, large ones are sent from where
//! all connections share them, and the buffer is given back when it is empty.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Weak};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onetree_protocol::Codec;
use tokio::net::tcp::OwnedWriteHalf;

use crate::fanout::{Envelope, Wire};

/// With this much unsent nothing more is produced, bytes: enough for one system call to fill what
/// the kernel takes, little enough to be kept by each slow connection.
pub(super) const WRITE_AHEAD_BYTES: usize = 64 * 1024;

/// From this size on shared messages are not copied: below, a copy is cheaper than another slice in
/// the system call.
const SHARED_BYTES: usize = 2048;

/// Slices of one system call.
const SLICES: usize = 64;

/// A buffer of up to this size is kept when it is empty: what most messages take, and not what a
/// connection begins with, which it would keep for as long as it idles.
const KEPT_BYTES: usize = 256;

/// A close frame's reason, bytes, at most (RFC 6455, 5.5: 125 with the code).
const REASON_BYTES: usize = 123;

/// RFC 6455, 5.2: the last (only) frame of a message, and what it is.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The header of a message that is no very small one, and not above 64 KiB.
const USUAL_HEADER: usize = 4;

/// Makes a message of each frame: what the fan-out shares is so for all.
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

/// What goes before a payload of this length, and how many bytes of it count.
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

/// Gathers frames and writes them when the socket takes them. Who drops it ends this direction of
/// the socket.
pub(super) struct Writer {
    half: Arc<OwnedWriteHalf>,
    opcode: u8,
    /// What goes before `tail`.
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

    /// Where others write to while the connection rests.
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

    /// Queues a close frame; the reason is cut to what fits.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let end =
            (0..=reason.len().min(REASON_BYTES)).rev().find(|end| reason.is_char_boundary(*end));
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.put_u16(code);
        payload.put_slice(&reason.as_bytes()[..end.unwrap_or(0)]);
        self.put(CLOSE, &payload);
    }

    /// Queues a close frame that says nothing.
    pub(super) fn close_silently(&mut self) {
        self.put(CLOSE, &[]);
    }

    /// Queues frames that are messages already, see [`ENVELOPE`].
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

    /// What the socket has not taken yet, bytes.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    /// Whether the socket takes nothing more for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes what the socket takes without waiting. True when it took something after it had been
    /// blocked: then the peer reads.
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
