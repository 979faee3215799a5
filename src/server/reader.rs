//! WebSocket messages from a socket.

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

/// What is read from the socket at once, bytes: some twenty small requests.
const READ_BYTES: usize = 4 * 1024;

/// The same where as much as was read was there: each read that is full doubles it up to this, so
/// that a client which sends much costs few system calls.
const MOST_READ_BYTES: usize = 32 * 1024;

/// What came from a socket; `None` at its end.
pub(super) type Read = Option<Result<Message, Error>>;

/// Reads messages. It never writes: answers to pings and closes are up to its owner.
///
/// A connection on which nothing comes has no buffer: there is one from the moment that the socket
/// has something until all of it is taken.
pub(super) struct Reader {
    half: OwnedReadHalf,
    frames: Frames,
    buffer: BytesMut,
    /// The bytes of the last message.
    payload: Vec<u8>,
    /// What the next read has room for, bytes.
    room: usize,
    /// When something last came, if only a part of a message.
    heard: Instant,
}

impl Reader {
    /// `read` is what was read already; a message above `frame_bytes` is an error.
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

    /// When something last came, if only a part of a message; at first, when this was made.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The next message; `None` at the end. Can be dropped without losing one. Its bytes are the
    /// payload until the next one is asked for.
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

    /// The next message when it is there already.
    pub(super) fn next_now(&mut self) -> Option<Read> {
        self.next().now_or_never()
    }

    /// Lends the bytes of the message that came, to whoever gives them back at once.
    pub(super) fn lend_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    pub(super) fn take_back(&mut self, payload: Vec<u8>) {
        self.payload = payload;
    }

    /// Reads what is there, or gives the buffer back: it is asked first whether there is something,
    /// so that a connection which is woken for another reason does not make one.
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

    /// Reads and forgets, until the end or `most` bytes: a socket that is closed with something
    /// unread resets the connection, and what was said last does not arrive.
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
