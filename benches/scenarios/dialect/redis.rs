//! Redis publish and subscribe, over TCP.

use super::{Content, Rule, Step, Template, Until, payload};

fn channel(topic: usize) -> String {
    format!("bench.t-{topic:03}")
}

/// Encodes an array of bulk strings.
fn array(parts: &[&str]) -> String {
    let mut text = format!("*{}\r\n", parts.len());
    for part in parts {
        text += &format!("${}\r\n{part}\r\n", part.len());
    }
    text
}

pub(crate) fn rule(topic: usize, size: usize) -> Rule {
    let stride = array(&["message", &channel(topic), &payload(size)]).len();
    Rule { websocket: false, content: Content::Strides { first: b'*', stride, lines: true } }
}

pub(crate) fn subscriber(topic: usize) -> Vec<Step> {
    let say = array(&["SUBSCRIBE", &channel(topic)]);
    vec![Step::new(say, Until::Bytes(b":1\r\n"))]
}

pub(crate) fn publisher() -> Vec<Step> {
    vec![Step::new(array(&["PING"]), Until::Bytes(b"PONG\r\n"))]
}

pub(crate) fn message(topic: usize, size: usize) -> Template {
    let text = array(&["PUBLISH", &channel(topic), &payload(size)]);
    Template::new(None, text.into_bytes(), None)
}
