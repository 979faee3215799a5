//! The WebSocket: takes bytes and gives bytes.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use onetree_protocol::{Code, Codec};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::errors::{ConnectError, Refusal};
use crate::options::shown;
use crate::session::Session;

/// The path of the protocol, for a URL that has none.
const PATH: &str = "/v1/sync";
/// How long the orderly end of a WebSocket may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many characters of an HTTP server's text are kept at most.
const SAID: usize = 200;

/// The address of a broker.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    uri: Uri,
    /// Host and port.
    address: String,
}

impl Target {
    /// Reads `ws://host[:port][/path]`.
    pub(crate) fn parse(url: &str) -> Result<Target, ConnectError> {
        let wrong = |why: &str| ConnectError::Url { url: shown(url), why: why.to_owned() };
        let uri: Uri = url.trim().parse().map_err(|_| wrong("not a URL: ws://host:port is one"))?;
        match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => {}
            Some("wss") => return Err(wrong("TLS is not there yet: only ws:// is")),
            _ => return Err(wrong("the URL of a broker begins with ws://")),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let named = uri.authority().is_some_and(|all| all.as_str().len() > host.len());
        if named && uri.port_u16().is_none() {
            return Err(wrong("the port is not a number up to 65535"));
        }
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let path = match uri.path() {
            "" | "/" => PATH,
            _ => uri.path_and_query().map_or(PATH, |path| path.as_str()),
        };
        let whole = format!("ws://{}{path}", uri.authority().map_or("", |a| a.as_str()));
        let uri = whole.parse().map_err(|_| wrong("not a URL"))?;
        Ok(Target { uri, address })
    }

    fn request(&self, codec: Codec) -> Result<Request, WsError> {
        let mut request = self.uri.clone().into_client_request()?;
        let offer = HeaderValue::from_static(codec.subprotocol());
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offer);
        Ok(request)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    socket: WebSocketStream<TcpStream>,
    codec: Codec,
    /// Whether something may not have reached the socket yet.
    unflushed: bool,
}

/// How a [`Link::turn`] ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// A message of the protocol.
    Message(Bytes),
    /// A sign of life, such as a ping.
    Alive,
    /// The session has something to do.
    Effects,
    /// The connection is gone.
    Closed(ConnectError),
}

impl Link {
    /// Connects within `timeout`.
    pub(crate) async fn connect(
        target: Target,
        codec: Codec,
        timeout: Duration,
    ) -> Result<Link, ConnectError> {
        let address = target.address.clone();
        let opened = tokio::time::timeout(timeout, Link::open(target, codec)).await;
        opened.unwrap_or_else(|_| {
            let message = format!("no answer within {timeout:.1?}");
            Err(ConnectError::Unreachable { address, kind: std::io::ErrorKind::TimedOut, message })
        })
    }

    async fn open(target: Target, codec: Codec) -> Result<Link, ConnectError> {
        let address = &target.address;
        let unreachable = |error: &std::io::Error| ConnectError::Unreachable {
            address: address.clone(),
            kind: error.kind(),
            message: error.to_string(),
        };
        let request = target.request(codec).map_err(|error| ConnectError::Url {
            url: shown(&target.uri.to_string()),
            why: error.to_string(),
        })?;
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        // Requests are small, and the application waits for each.
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        // The broker's `frame_bytes` is known only from `welcome`, and a client that refused a
        // frame which the broker may send would come back for that frame for ever. So the bound is
        // the largest that any broker can set; it only guards against an impossible length. For the
        // length in a frame's header the library reserves only addresses; it uses memory only as
        // the frame arrives. The bound cannot be changed once the socket is connected.
        let most = usize::try_from(u32::MAX).ok();
        let config = WebSocketConfig::default().max_frame_size(most).max_message_size(most);
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(Link { socket, codec, unflushed: false }),
            Err(WsError::Http(response)) => Err(http(address, &response)),
            Err(WsError::Io(error)) => Err(ConnectError::Lost(error.to_string())),
            Err(WsError::Protocol(ProtocolError::HandshakeIncomplete)) => {
                Err(ConnectError::Lost("it was closed during the handshake".to_owned()))
            }
            // A proxy may answer so while the broker is away. The library does not tell the status.
            Err(WsError::Protocol(ProtocolError::WrongHttpVersion)) => {
                Err(unreachable(&std::io::Error::other("it answers in HTTP/1.0")))
            }
            Err(error) => {
                let why = error.to_string();
                Err(ConnectError::NotABroker { address: address.clone(), why })
            }
        }
    }

    /// Sends what the session has to send, as far as the socket takes it, until something comes.
    /// Nothing is lost if the future is dropped before it is done.
    pub(crate) async fn turn(&mut self, session: &mut Session) -> Turn {
        poll_fn(|context| self.poll_turn(session, context)).await
    }

    fn poll_turn(&mut self, session: &mut Session, context: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(Err(error)) = self.poll_send(session, context) {
            // If the broker has said why it ended the connection, that is more useful than the
            // socket's error.
            return match self.poll_receive(context) {
                Poll::Ready(Turn::Message(bytes)) => Poll::Ready(Turn::Message(bytes)),
                Poll::Ready(Turn::Closed(closed)) => Poll::Ready(Turn::Closed(closed)),
                _ => Poll::Ready(Turn::Closed(lost(&error))),
            };
        }
        if session.has_effects() {
            return Poll::Ready(Turn::Effects);
        }
        self.poll_receive(context)
    }

    fn poll_send(
        &mut self,
        session: &mut Session,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), WsError>> {
        loop {
            // Pending if the socket takes no more: what comes after that stays in the session.
            ready!(self.socket.poll_ready_unpin(context))?;
            let Some(bytes) = session.poll_transmit() else { break };
            let message = match self.codec {
                Codec::MsgPack => Message::Binary(bytes),
                Codec::Json => match bytes.try_into() {
                    Ok(text) => Message::Text(text),
                    Err(_) => unreachable!("the JSON codec writes UTF-8"),
                },
            };
            self.socket.start_send_unpin(message)?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(self.socket.poll_flush_unpin(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        let closed = match ready!(self.socket.poll_next_unpin(context)) {
            Some(Ok(Message::Binary(bytes))) if self.codec == Codec::MsgPack => {
                return Poll::Ready(Turn::Message(bytes));
            }
            Some(Ok(Message::Text(text))) if self.codec == Codec::Json => {
                return Poll::Ready(Turn::Message(text.into()));
            }
            Some(Ok(Message::Binary(_) | Message::Text(_))) => {
                ConnectError::Protocol("a message of the other codec".to_owned())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // The library has queued the answer to a ping. It goes out with the next flush.
                self.unflushed = true;
                return Poll::Ready(Turn::Alive);
            }
            Some(Ok(Message::Close(frame))) => closed(frame),
            Some(Err(error)) => lost(&error),
            None => lost(&WsError::ConnectionClosed),
        };
        Poll::Ready(Turn::Closed(closed))
    }

    /// Ends the connection in order.
    pub(crate) async fn close(mut self) {
        // The connection is over, whether this succeeds or not.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.close(None)).await;
    }
}

/// Returns what a close frame says: a code of the protocol, and how long to wait.
fn closed(frame: Option<CloseFrame>) -> ConnectError {
    let Some(CloseFrame { code, reason }) = frame else {
        return ConnectError::Lost("the broker closed it and did not say why".to_owned());
    };
    let number = u16::from(code);
    let Some(code) = Code::from_close(number) else {
        return ConnectError::Lost(format!("the broker closed it with {number} {reason}"));
    };
    let retry_ms = reason.split("retry_ms=").nth(1).map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap_or_default()
    });
    let retry_in = retry_ms.and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let message = if reason.is_empty() { code.meaning() } else { reason.as_str() };
    ConnectError::Refused(Refusal { retry_in, ..Refusal::new(code, message) })
}

fn lost(error: &WsError) -> ConnectError {
    match error {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ConnectError::Lost("the broker is gone".to_owned())
        }
        WsError::Protocol(error) => ConnectError::Protocol(error.to_string()),
        error => ConnectError::Lost(error.to_string()),
    }
}

/// Returns the error for an HTTP answer other than "101 Switching Protocols".
fn http(address: &str, response: &Response) -> ConnectError {
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    let message = text.lines().next().unwrap_or_default().trim().chars().take(SAID).collect();
    let after = response.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    ConnectError::Http {
        address: address.to_owned(),
        status: response.status().as_u16(),
        message,
        retry_in: seconds.map(Duration::from_secs),
    }
}
