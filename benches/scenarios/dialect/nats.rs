//! NATS, over TCP or in WebSocket messages.

use super::{Content, Rule, Step, Template, Until, payload, websocket};

fn subject(topic: usize) -> String {
    format!("bench.t-{topic:03}")
}

pub(crate) fn rule(in_websocket: bool, topic: usize, size: usize) -> Rule {
    let stride = format!("MSG {} 1 {size}\r\n", subject(topic)).len() + size + 2;
    let content = Content::Strides { first: b'M', stride, lines: true };
    Rule { websocket: in_websocket, content }
}

pub(crate) fn subscriber(in_websocket: bool, topic: usize) -> Vec<Step> {
    opening(in_websocket, &format!("SUB {} 1\r\n", subject(topic)))
}

pub(crate) fn publisher(in_websocket: bool) -> Vec<Step> {
    opening(in_websocket, "")
}

fn opening(in_websocket: bool, more: &str) -> Vec<Step> {
    let connect = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\
                   \"lang\":\"bench\",\"version\":\"0\",\"protocol\":1,\"echo\":false}";
    let say = format!("{connect}\r\n{more}PING\r\n");
    let mut steps = Vec::new();
    let mut bytes = say.into_bytes();
    if in_websocket {
        let upgrade = websocket::upgrade("/", None);
        steps.push(Step::new(upgrade, Until::Bytes(b"\r\n\r\n")));
        let mut framed = Vec::new();
        websocket::message(websocket::BINARY, &bytes, &mut framed);
        bytes = framed;
    }
    steps.push(Step::new(bytes, Until::Bytes(b"PONG\r\n")));
    steps
}

pub(crate) fn message(in_websocket: bool, topic: usize, size: usize) -> Template {
    let bytes = format!("PUB {} {size}\r\n{}\r\n", subject(topic), payload(size)).into_bytes();
    Template::new(in_websocket.then_some(websocket::BINARY), bytes, None)
}
