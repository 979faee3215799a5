//! WebSocket messages from a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// What is read from the socket at once, bytes. Kept for each connection, so an idle one costs
/// this: the library's own default is 128 KiB.
const READ_BUFFER_BYTES: usize = 4096;

/// Reads messages. It never writes: answers to pings and closes are up to its owner.
pub(super) struct Reader(WebSocketStream<ReadOnly>);

impl Reader {
    /// `read` is what was read already; a message above `frame_bytes` is an error.
    pub(super) async fn new(half: OwnedReadHalf, read: Vec<u8>, frame_bytes: usize) -> Reader {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(frame_bytes))
            .max_frame_size(Some(frame_bytes));
        // Not the library's own way of being given what was read already: after that its buffer grows by
        // one message at a time, and each costs a system call.
        let half = ReadOnly { read: io::Cursor::new(read), half };
        Reader(WebSocketStream::from_raw_socket(half, Role::Server, Some(config)).await)
    }

    /// The next message; `None` at the end. Can be dropped without losing one.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        self.0.next().await
    }

    /// The next message when it is there already.
    pub(super) fn next_now(&mut self) -> Option<Option<Result<Message, Error>>> {
        self.0.next().now_or_never()
    }

    /// Reads and forgets, until the end or `most` bytes: a socket that is closed with something
    /// unread resets the connection, and what was said last does not arrive.
    pub(super) async fn discard(&mut self, most: usize) {
        let half = &mut self.0.get_mut().half;
        let mut left = most;
        let mut buffer = [0; 1024];
        while left > 0 {
            match half.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    }
}

/// The half that reads, and a place for the library's automatic replies to vanish: the connection
/// has one writer.
struct ReadOnly {
    /// What was read before there was a WebSocket: it comes first.
    read: io::Cursor<Vec<u8>>,
    half: OwnedReadHalf,
}

impl AsyncRead for ReadOnly {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.read.get_ref().len() as u64 - self.read.position();
        if rest > 0 {
            return Pin::new(&mut self.read).poll_read(context, buffer);
        }
        Pin::new(&mut self.half).poll_read(context, buffer)
    }
}

impl AsyncWrite for ReadOnly {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
