//! The floors, and any other server that passes each WebSocket message on unchanged: `/pub/N`,
//! `/sub/N`.

use super::{Content, Rule, Step, Template, Until, payload, websocket};

pub(crate) const RULE: Rule = Rule { websocket: true, content: Content::Whole };

/// Opens a connection that receives what is sent to the topic.
pub(crate) fn subscriber(topic: usize) -> Vec<Step> {
    vec![open(&format!("/sub/{topic}"))]
}

/// Opens a connection that sends to the topic.
pub(crate) fn publisher(topic: usize) -> Vec<Step> {
    vec![open(&format!("/pub/{topic}"))]
}

fn open(path: &str) -> Step {
    Step::new(websocket::upgrade(path, None), Until::Bytes(b"\r\n\r\n"))
}

pub(crate) fn message(size: usize) -> Template {
    Template::new(Some(websocket::BINARY), payload(size).into_bytes(), None)
}
