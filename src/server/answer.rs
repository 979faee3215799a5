//! HTTP answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::place::Place;

pub(super) type Reply = Response<Full<Bytes>>;

/// Returns an answer that tells the client what is wrong, and logs the refusal.
pub(super) fn refuse(place: &Place, headers: &HeaderMap, status: StatusCode, why: &str) -> Reply {
    if place.is_news(status, why) {
        let (peer, code) = (place.peer, format!("http-{}", status.as_u16()));
        let agent = value(headers, header::USER_AGENT).map_or_else(|| "-".to_owned(), echoed);
        tracing::info!(code, %peer, agent, why, "request refused");
    }
    text(status, &format!("{why}\n"))
}

/// Returns the value of a header if it is there and is text.
pub(super) fn value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns what a client said without control characters and cut to 80 characters, so that it fits
/// into a log line or an answer.
pub(super) fn echoed(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// Returns an answer of plain text.
pub(super) fn text(status: StatusCode, body: &str) -> Reply {
    let mut reply = of("text/plain; charset=utf-8", Bytes::from(body.to_owned()));
    *reply.status_mut() = status;
    reply
}

/// Returns an answer of JSON that must not be cached.
pub(super) fn json(body: &impl Serialize) -> Reply {
    json_while(body, ())
}

/// Like [`json`], and keeps `held` until the socket has taken the whole body or is gone.
pub(super) fn json_while(body: &impl Serialize, held: impl Send + 'static) -> Reply {
    let Ok(body) = serde_json::to_vec(body) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "that cannot be said in JSON\n");
    };
    let mut reply = of("application/json", Bytes::from_owner(Held { body, _held: held }));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Returns an answer with a body of this media type. The headers forbid browsers to guess another
/// type, and forbid pages of other origins to read the body.
pub(super) fn of(kind: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::from(body));
    for (name, value) in [
        ("content-type", kind),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// A body, and a value that is dropped together with it.
struct Held<T> {
    body: Vec<u8>,
    _held: T,
}

impl<T> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
