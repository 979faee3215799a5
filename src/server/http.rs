//! The HTTP part: routes, and the upgrade to a WebSocket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use onetree_protocol::{Code, Codec};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::{self, Arrival};
use super::{FIRST_REQUEST_WAIT, RETRY_SECONDS, Server, origin};
use crate::broker::Event;

/// A request's head, bytes, at most: eight times what browsers send.
const HEAD_BYTES: usize = 16 * 1024;

/// Health is green only when the owner of the tree answers within this.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer may take that is under way at shutdown: that of health is the slowest.
const LAST_ANSWER: Duration = Duration::from_secs(2);

const ABOUT: &str = "Onetree: a publish-subscribe broker that keeps one true tree of topics.\n\
    \n\
    /v1/sync   WebSocket, subprotocols onetree.v1.json and onetree.v1.msgpack\n\
    /healthz   200 while the tree takes writes\n";

type Reply = Response<Full<Bytes>>;

/// One socket, from its first byte until it is closed or upgraded.
pub(super) async fn serve(
    server: Arc<Server>,
    socket: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let local = socket.local_addr().unwrap_or(server.addr);
    let asked = AtomicBool::new(false);
    let timeout = Duration::from_millis(server.config.hello_timeout_ms);
    let Some(turn) = turn(&server, &socket).await else { return };
    let turn = std::sync::Mutex::new(turn);
    let permit = std::sync::Mutex::new(Some(permit));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        drop(turn.lock().ok().and_then(|mut turn| turn.take()));
        let permit = &permit;
        let server = server.clone();
        async move {
            let place = Place { server, peer, local };
            Ok::<Reply, Infallible>(route(place, request, permit).await)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = &mut served => result,
        () = server.stop.cancelled() => {
            // Who has not asked anything yet might take as long as it liked.
            if !asked.load(Ordering::Relaxed) {
                return;
            }
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_ANSWER, served).await {
                Ok(result) => result,
                Err(_) => return,
            }
        }
    };
    let Err(error) = result else { return };
    // A connection that has been served may idle and go as it likes.
    if asked.load(Ordering::Relaxed) || error.is_incomplete_message() || error.is_canceled() {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    } else if error.is_timeout() {
        let code = Code::HelloTimeout.as_str();
        tracing::info!(code, %peer, "connection closed: it said nothing");
    } else {
        tracing::info!(code = "http-400", %peer, %error, "connection closed: that is not HTTP");
    }
}

/// Waits until the socket has something to say, and then for its turn to be read. None: the server
/// stops. Who says nothing is left to the timeout of the reader.
async fn turn(server: &Server, socket: &TcpStream) -> Option<Option<OwnedSemaphorePermit>> {
    let timeout = Duration::from_millis(server.config.hello_timeout_ms);
    tokio::select! {
        _ = tokio::time::timeout(timeout, socket.readable()) => {}
        () = server.stop.cancelled() => return None,
    }
    let first = server.first_requests.clone().acquire_owned();
    let turn = tokio::time::timeout(FIRST_REQUEST_WAIT, first).await;
    Some(turn.ok().and_then(Result::ok))
}

/// Where a request came in.
struct Place {
    server: Arc<Server>,
    peer: SocketAddr,
    local: SocketAddr,
}

type Permit = std::sync::Mutex<Option<OwnedSemaphorePermit>>;

async fn route(place: Place, request: Request<Incoming>, permit: &Permit) -> Reply {
    let peer = place.peer;
    let known = matches!(request.uri().path(), "/" | "/healthz" | "/v1/sync");
    if known && request.method() != Method::GET {
        let message = "only GET is understood here";
        let mut reply = refuse(peer, request.headers(), StatusCode::METHOD_NOT_ALLOWED, message);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return reply;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, ABOUT),
        "/healthz" => health(&place.server).await,
        "/v1/sync" => upgrade(place, request, permit),
        _ => {
            let message = "there is nothing here; / tells what is";
            refuse(peer, request.headers(), StatusCode::NOT_FOUND, message)
        }
    }
}

/// Green must mean that it works: the owner has to take an event and answer it. It does not while
/// its store hangs, and never again after it has panicked.
async fn health(server: &Server) -> Reply {
    let (answer, answered) = oneshot::channel();
    let probe = async {
        server.events.send(Event::Probe(answer)).await.ok()?;
        answered.await.ok()
    };
    match tokio::time::timeout(HEALTH_TIMEOUT, probe).await {
        Ok(Some(())) if !server.is_stopping() => {
            // Whoever only reads is served as before: no reason to take it out of service.
            let read_only = server.shared.read_only.load(Ordering::Relaxed);
            text(
                StatusCode::OK,
                if read_only { "ok, but read-only: the disk fails\n" } else { "ok\n" },
            )
        }
        Ok(Some(())) => text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
        Ok(None) => text(StatusCode::SERVICE_UNAVAILABLE, "the owner of the tree is gone\n"),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the owner of the tree does not answer\n"),
    }
}

fn upgrade(place: Place, mut request: Request<Incoming>, permit: &Permit) -> Reply {
    let Place { server, peer, local } = place;
    let headers = request.headers();
    let refuse = |status, message: &str| refuse(peer, headers, status, message);
    if !(has(headers, header::CONNECTION, "upgrade") && has(headers, header::UPGRADE, "websocket"))
        || value(headers, header::SEC_WEBSOCKET_VERSION) != Some("13")
    {
        let mut reply = refuse(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket, version 13");
        reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let version = HeaderValue::from_static("13");
        reply.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return reply;
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refuse(StatusCode::BAD_REQUEST, "sec-websocket-key is missing");
    };
    if let Some(page) = headers.get(header::ORIGIN) {
        let page = page.to_str().unwrap_or("?");
        if !origin::allowed(page, value(headers, header::HOST), local, &server.config.origins) {
            let message = format!(
                "pages of {page} may not connect; add it to 'origins' in the configuration to allow it"
            );
            return refuse(StatusCode::FORBIDDEN, &message);
        }
    }
    let Some(codec) = offered(headers) else {
        let [json, msgpack] = Codec::ALL.map(Codec::subprotocol);
        let message = format!("offer one of the subprotocols {json} and {msgpack}");
        return refuse(StatusCode::BAD_REQUEST, &message);
    };
    let accept = derive_accept_key(key.as_bytes());
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let set = reply.headers_mut();
    set.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    set.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    set.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(codec.subprotocol()));
    match HeaderValue::try_from(accept) {
        Ok(accept) => set.insert(header::SEC_WEBSOCKET_ACCEPT, accept),
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "sec-websocket-key is not one"),
    };
    let agent = value(headers, header::USER_AGENT).map(str::to_owned);
    let socket_permit = permit.lock().ok().and_then(|mut permit| permit.take());
    let tasks = server.tasks.clone();
    let upgraded = hyper::upgrade::on(&mut request);
    tasks.spawn(async move {
        let Ok(upgraded) = upgraded.await else {
            tracing::debug!(%peer, "connection gone before it was upgraded");
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!(%peer, "an upgraded connection is of another kind than the accepted one");
            return;
        };
        let connection_permit = server.connections.clone().try_acquire_owned().ok();
        let arrival = Arrival {
            socket: parts.io.into_inner(),
            read: parts.read_buf,
            peer,
            agent,
            codec,
            full: connection_permit.is_none(),
        };
        connection::serve(server, arrival).await;
        drop((connection_permit, socket_permit));
    });
    reply
}

/// An answer that says what is wrong, to the client and to the log.
fn refuse(peer: SocketAddr, headers: &HeaderMap, status: StatusCode, why: &str) -> Reply {
    let code = format!("http-{}", status.as_u16());
    let agent = value(headers, header::USER_AGENT).unwrap_or("-");
    tracing::info!(code, %peer, agent, why, "request refused");
    text(status, &format!("{why}\n"))
}

/// The first subprotocol of the client's list that is known.
fn offered(headers: &HeaderMap) -> Option<Codec> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offers = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    offers
        .find_map(|offer| Codec::ALL.into_iter().find(|codec| codec.subprotocol() == offer.trim()))
}

/// Whether the list in `name` has `token`.
fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

fn value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn text(status: StatusCode, body: &str) -> Reply {
    let mut reply = Response::new(Full::from(body.to_owned()));
    *reply.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

/// What a socket is told for which not even the HTTP part has room.
pub(super) fn too_many() -> String {
    let body = "the broker has as many connections as it allows\n";
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_SECONDS}\r\nconnection: close\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
