//! The HTTP phase of a socket, and the routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use onetree_protocol::Code;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::answer::{self, Reply, refuse, text};
use super::place::Place;
use super::socket::Socket;
use super::{
    FIRST_REQUEST_TURN, FIRST_REQUEST_WAIT, RETRY_SECONDS, Server, console, origin, sessions,
    stats, upgrade,
};
use crate::broker::Event;

/// The largest head of a request, bytes: eight times what browsers send.
const HEAD_BYTES: usize = 16 * 1024;

/// The broker counts as healthy only when the owner of the tree answers within this time.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer that is in progress at shutdown may take: the health check is the slowest.
const LAST_ANSWER: Duration = Duration::from_secs(2);

const ABOUT: &str = "Onetree: a publish-subscribe broker that keeps one true tree of topics.\n\
    \n\
    /console/      a page to look at the tree and to change it\n\
    /v1/sync       WebSocket, subprotocols onetree.v1.json and onetree.v1.msgpack\n\
    /v1/stats      how it goes, JSON\n\
    /v1/sessions   who is connected and where their mirrors stand, JSON\n\
    /healthz       200 while the tree takes writes\n";

/// Serves one socket, from its first byte until it is closed or upgraded.
pub(super) async fn serve(
    server: Arc<Server>,
    socket: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let local = socket.local_addr().unwrap_or(server.addr);
    let permit = Mutex::new(Some(permit));
    let place = Place { server, peer, local, permit, logged: Mutex::default() };
    let server = &place.server;
    let asked = AtomicBool::new(false);
    let timeout = Duration::from_millis(server.config.hello_timeout_ms);
    tokio::select! {
        spoken = tokio::time::timeout(timeout, socket.readable()) => if spoken.is_err() {
            return said_nothing(peer);
        },
        () = server.stop.cancelled() => return,
    }
    let first = server.first_requests.clone().acquire_owned();
    let turn = tokio::time::timeout(FIRST_REQUEST_WAIT, first).await;
    let turn = Mutex::new(turn.ok().and_then(Result::ok));
    let end_turn = || drop(turn.lock().ok().and_then(|mut turn| turn.take()));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        end_turn();
        let place = &place;
        async move { Ok::<Reply, Infallible>(route(place, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(HEAD_BYTES)
        // A client may end its sending side behind a request, and still wait for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(Socket::new(socket, timeout)), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    let mut turn_ends = std::pin::pin!(tokio::time::sleep(FIRST_REQUEST_TURN));
    let result = loop {
        tokio::select! {
            biased;
            result = &mut served => break result,
            () = server.stop.cancelled() => {
                // A client that has not sent a request yet could take as long as it liked.
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                served.as_mut().graceful_shutdown();
                match tokio::time::timeout(LAST_ANSWER, served).await {
                    Ok(result) => break result,
                    Err(_) => return,
                }
            }
            () = &mut turn_ends, if !turn_ends.is_elapsed() => end_turn(),
        }
    };
    let Err(error) = result else { return };
    // A connection that has been served may idle, and leave as it likes.
    if asked.load(Ordering::Relaxed) || error.is_incomplete_message() || error.is_canceled() {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    } else if error.is_timeout() {
        said_nothing(peer);
    } else {
        tracing::info!(code = "http-400", %peer, %error, "connection closed: that is not HTTP");
    }
}

fn said_nothing(peer: SocketAddr) {
    let code = Code::HelloTimeout.as_str();
    tracing::info!(code, %peer, "connection closed: it said nothing");
}

async fn route(place: &Place, request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    let refuse = |status, why: &str| refuse(place, headers, status, why);
    if let Err(why) = origin::names_one(headers, request.uri()) {
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    let path = request.uri().path();
    let page = path.strip_prefix("/console");
    let known = matches!(path, "/" | "/healthz" | "/v1/sync" | "/v1/stats" | "/v1/sessions");
    // The answer to HEAD is the answer to GET without its body (RFC 9110, 9.3.2).
    let (methods, head) = if path == "/v1/sync" { ("GET", false) } else { ("GET, HEAD", true) };
    let understood = request.method() == Method::GET || head && request.method() == Method::HEAD;
    if (known || page.is_some()) && !understood {
        let message = format!("only {methods} is understood here");
        let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, &message);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        return reply;
    }
    // Information about other clients, and the page that shows it, are only for the broker's own
    // pages.
    let guarded = page.is_some() || matches!(path, "/v1/stats" | "/v1/sessions");
    let origins = &place.server.config.origins;
    if guarded && let Err(why) = origin::admits(request.headers(), place.local, origins) {
        return refuse(StatusCode::FORBIDDEN, &why);
    }
    match path {
        "/" => text(StatusCode::OK, ABOUT),
        "/healthz" => health(&place.server).await,
        "/v1/sync" => upgrade::upgrade(place, request),
        "/v1/stats" => answer::json(&stats::stats(&place.server)),
        "/v1/sessions" => match sessions::Page::parse(request.uri().query()) {
            Ok(page) => match sessions::sessions(&place.server, page).await {
                Some((sessions, permit)) => answer::json_while(&sessions, permit),
                None => {
                    // Other clients have asked the same, and have not read their answers.
                    let message = "as many have asked this as may, and have not read their answers";
                    let mut reply = refuse(StatusCode::SERVICE_UNAVAILABLE, message);
                    reply.headers_mut().insert(header::RETRY_AFTER, RETRY_SECONDS.into());
                    reply
                }
            },
            Err(why) => refuse(StatusCode::BAD_REQUEST, &why),
        },
        _ => match page.and_then(console::file) {
            Some(reply) => reply,
            None => {
                let message = "there is nothing here; / tells what is";
                refuse(StatusCode::NOT_FOUND, message)
            }
        },
    }
}

/// Answers the health check. Healthy must mean that the broker works: the owner has to take an
/// event and answer it. It does not while its store hangs, and never again after it has panicked.
async fn health(server: &Server) -> Reply {
    let (answer, answered) = oneshot::channel();
    let probe = async {
        server.events.send(Event::Probe(answer)).await.ok()?;
        answered.await.ok()
    };
    match tokio::time::timeout(HEALTH_TIMEOUT, probe).await {
        Ok(Some(())) if !server.is_stopping() => {
            match server.shared.store.read_only.load(Ordering::Relaxed) {
                false => text(StatusCode::OK, "ok\n"),
                true => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "read-only: the disk fails; reads and subscriptions go on\n",
                ),
            }
        }
        Ok(Some(())) => text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
        Ok(None) => text(StatusCode::SERVICE_UNAVAILABLE, "the owner of the tree is gone\n"),
        // The probe is queued behind a batch that has been waiting for the disk for at least half
        // of that time.
        Err(_) if server.shared.storing().is_some_and(|waits| waits >= HEALTH_TIMEOUT / 2) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the disk does not answer; reads and subscriptions go on\n",
        ),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the owner of the tree does not answer\n"),
    }
}

/// Returns the answer to a socket for which there is no room even in the HTTP phase.
pub(super) fn too_many() -> String {
    let body = "the broker has as many connections as it allows\n";
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_SECONDS}\r\nconnection: close\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
