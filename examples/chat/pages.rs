//! The HTTP server of the page: its own files, those of the JavaScript client, and the broker's
//! address.
//!
//! Files are read from the checkout at each request, so a changed page shows after a reload.

use std::convert::Infallible;
use std::path::PathBuf;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

type Reply = Response<Full<Bytes>>;

/// Only what is served here may run, and it may talk to this machine only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' ws://127.0.0.1:* ws://localhost:*; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, broker: String) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // For example, there are no file descriptors: others may be closed meanwhile.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let broker = broker.clone();
                async move { Ok::<Reply, Infallible>(answer(&request, &broker)) }
            });
            // An error means that the browser has ended the connection in its own way.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, broker: &str) -> Reply {
    if request.method() != Method::GET {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is understood here\n");
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return reply;
    }
    match request.uri().path() {
        // The parts of the broker's URL need no escapes.
        "/config.json" => reply("application/json", format!("{{\"broker\":\"{broker}\"}}")),
        path => match file(path) {
            // Small files of this machine: not worth a thread.
            Some((file, media)) => match std::fs::read(&file) {
                Ok(bytes) => reply(media, bytes),
                Err(_) => text(StatusCode::NOT_FOUND, "there is no such file\n"),
            },
            None => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
        },
    }
}

/// Returns the file that a path names, and its media type. A name is segments of plain characters.
/// None of them is empty or begins with a dot, so no path leads out of the two folders.
fn file(path: &str) -> Option<(PathBuf, &'static str)> {
    let (folder, name) = match path.strip_prefix("/onetree/") {
        Some(name) => ("clients/js/src", name),
        None => ("examples/chat/page", path.strip_prefix('/')?),
    };
    let name = if path == "/" { "index.html" } else { name };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let segment =
        |text: &str| !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain);
    if !name.split('/').all(segment) {
        return None;
    }
    let media = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Some((root.join(folder).join(name), media))
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    let mut reply = reply("text/plain; charset=utf-8", body);
    *reply.status_mut() = status;
    reply
}

fn reply(media: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    let set = reply.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        set.insert(name, HeaderValue::from_static(value));
    }
    reply
}
