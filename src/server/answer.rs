//! Answers of HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::place::Place;

pub(super) type Reply = Response<Full<Bytes>>;

/// An answer that says what is wrong, to the client and to the log.
pub(super) fn refuse(place: &Place, headers: &HeaderMap, status: StatusCode, why: &str) -> Reply {
    if place.is_news(status, why) {
        let (peer, code) = (place.peer, format!("http-{}", status.as_u16()));
        let agent = value(headers, header::USER_AGENT).map_or_else(|| "-".to_owned(), echoed);
        tracing::info!(code, %peer, agent, why, "request refused");
    }
    text(status, &format!("{why}\n"))
}

/// A header, when it is there and is text.
pub(super) fn value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What a client says, of a length that a log line and an answer bear.
pub(super) fn echoed(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: &str) -> Reply {
    let mut reply = of("text/plain; charset=utf-8", Bytes::from(body.to_owned()));
    *reply.status_mut() = status;
    reply
}

/// JSON that is true only now.
pub(super) fn json(body: &impl Serialize) -> Reply {
    json_while(body, ())
}

/// The same; `held` is held until the socket has taken all of it, or is gone.
pub(super) fn json_while(body: &impl Serialize, held: impl Send + 'static) -> Reply {
    let Ok(body) = serde_json::to_vec(body) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "that cannot be said in JSON\n");
    };
    let mut reply = of("application/json", Bytes::from_owner(Held { body, _held: held }));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A body of this media type. It is what it says, and pages of others do not get to see it.
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

/// A body, and what is held as long as it is there.
struct Held<T> {
    body: Vec<u8>,
    _held: T,
}

impl<T> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
