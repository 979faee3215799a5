//! Reads WebSocket messages from a socket.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use super::frames::{Frames, Message};

/// The bytes of one read from the socket: about twenty small requests.
const READ_BYTES: usize = 4 * 1024;

/// The most bytes of one read. Each read that fills its room doubles the room of the next, up to
/// this, so that a client that sends much costs few system calls.
const MOST_READ_BYTES: usize = 32 * 1024;

/// What a read from a socket yields; `None` at the end.
pub(super) type Read = Option<Result<Message, Error>>;

/// Reads messages. It never writes: its owner answers pings and closes.
///
/// A connection that receives nothing has no buffer: the buffer exists from when the socket has
/// data until all of it is taken.
pub(super) struct Reader {
    half: OwnedReadHalf,
    frames: Frames,
    buffer: BytesMut,
    /// The bytes of the last message.
    payload: Vec<u8>,
    /// How many bytes the next read has room for.
    room: usize,
    /// When bytes last arrived, even if they were only a part of a message.
    heard: Instant,
}

impl Reader {
    /// Makes a reader. `read` holds the bytes that were read already. A message larger than
    /// `frame_bytes` is an error.
    pub(super) fn new(half: OwnedReadHalf, read: Bytes, frame_bytes: usize) -> Reader {
        Reader {
            half,
            frames: Frames::new(frame_bytes),
            buffer: BytesMut::from(read),
            payload: Vec::new(),
            room: READ_BYTES,
            heard: Instant::now(),
        }
    }

    /// Returns when bytes last arrived, even if they were only a part of a message; at first, when
    /// the reader was made.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Returns the next message; `None` at the end. The future can be dropped without losing a
    /// message. The bytes of the message are in the payload until the next message is asked for.
    pub(super) async fn next(&mut self) -> Read {
        loop {
            match self.frames.take(&mut self.buffer, &mut self.payload) {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            match poll_fn(|context| self.poll_read(context)).await {
                Ok(0) => {
                    let error = ProtocolError::ResetWithoutClosingHandshake;
                    return Some(Err(Error::Protocol(error)));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(Error::Io(error))),
            }
        }
    }

    /// Returns the next message if it has arrived already.
    pub(super) fn next_now(&mut self) -> Option<Read> {
        self.next().now_or_never()
    }

    /// Lends the bytes of the last message. The caller gives them back at once.
    pub(super) fn lend_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    pub(super) fn take_back(&mut self, payload: Vec<u8>) {
        self.payload = payload;
    }

    /// Reads what has arrived, or frees the buffer. It first asks whether anything has arrived, so
    /// that a connection that wakes up for another reason does not allocate a buffer.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut polled = Poll::Pending;
        if self.half.as_ref().poll_read_ready(context).is_ready() {
            self.buffer.reserve(self.room);
            let before = self.buffer.len();
            polled = pin!(self.half.read_buf(&mut self.buffer)).poll(context);
            if self.buffer.len() > before {
                self.heard = Instant::now();
            }
            if self.buffer.len() - before >= self.room {
                self.room = MOST_READ_BYTES.min(2 * self.room);
            }
        }
        if polled.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.payload = Vec::new();
            self.room = READ_BYTES;
        }
        polled
    }

    /// Reads and discards until the end, or until `most` bytes. Closing a socket with unread data
    /// resets the connection, and the last bytes written would not arrive.
    pub(super) async fn discard(&mut self, most: usize) {
        let mut left = most;
        let mut buffer = [0; 1024];
        while left > 0 {
            match self.half.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    }
}
