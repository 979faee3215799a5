//! The upgrade from HTTP to a WebSocket.

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use onetree_protocol::Codec;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer::{Reply, echoed, refuse, value};
use super::connection::{self, Arrival};
use super::origin;
use super::place::Place;
use super::socket::Socket;

/// How many origins that may not connect are logged.
const FOREIGN_TOLD: usize = 8;

/// Answers a request to upgrade to a WebSocket. If it may connect, a separate task serves the
/// connection from then on.
pub(super) fn upgrade(place: &Place, mut request: Request<Incoming>) -> Reply {
    let (server, peer) = (place.server.clone(), place.peer);
    let headers = request.headers();
    let refuse = |status, message: &str| refuse(place, headers, status, message);
    if !(has(headers, header::CONNECTION, "upgrade") && has(headers, header::UPGRADE, "websocket"))
        || value(headers, header::SEC_WEBSOCKET_VERSION) != Some("13")
        // Older versions cannot upgrade (RFC 9110, 7.8).
        || request.version() < Version::HTTP_11
    {
        let message = "this is a WebSocket, version 13, and needs HTTP/1.1";
        let mut reply = refuse(StatusCode::UPGRADE_REQUIRED, message);
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
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
        if !origin::allowed(page, value(headers, header::HOST), place.local, &server.config.origins)
        {
            let message = origin::refused(page);
            // Log this as a warning, but once for each origin: a browser tells its page only that
            // there is no connection.
            if server.foreign_told.lock().is_ok_and(|mut told| is_news(&mut told, &message)) {
                tracing::warn!("{message}");
            }
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
    let agent = value(headers, header::USER_AGENT).map(echoed);
    let socket_permit = place.permit.lock().ok().and_then(|mut permit| permit.take());
    let upgraded = hyper::upgrade::on(&mut request);
    let tasks = server.tasks.clone();
    let connections = server.connections.clone();
    let arriving = async move {
        let Ok(upgraded) = upgraded.await else {
            tracing::debug!(%peer, "connection gone before it was upgraded");
            return None;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Socket>>() else {
            tracing::error!(%peer, "an upgraded connection is of another kind than the accepted one");
            return None;
        };
        Some(Arrival {
            socket: parts.io.into_inner().into_inner(),
            read: parts.read_buf,
            peer,
            agent,
            codec,
            place: connections.try_acquire_owned().ok(),
            socket_place: socket_permit,
        })
    };
    tasks.spawn(connection::serve(server, Box::pin(arriving)));
    reply
}

/// Whether this message was not logged yet. Only a limited number is logged, because a client may
/// claim any origin.
fn is_news(told: &mut Vec<String>, message: &str) -> bool {
    let news = told.len() < FOREIGN_TOLD && !told.iter().any(|before| before == message);
    if news {
        told.push(message.to_owned());
    }
    news
}

/// Returns the first subprotocol of the client's list that is known.
fn offered(headers: &HeaderMap) -> Option<Codec> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offers = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    offers
        .find_map(|offer| Codec::ALL.into_iter().find(|codec| codec.subprotocol() == offer.trim()))
}

/// Whether the list in the header `name` contains `token`.
fn has(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}
