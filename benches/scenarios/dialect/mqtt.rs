//! MQTT 3.1.1 at quality of service 0, in WebSocket messages.

use super::{Content, Rule, Step, Template, Until, payload, websocket};

fn topic_name(topic: usize) -> String {
    format!("bench/t-{topic:03}")
}

/// Encodes a packet: its first byte, the length of the rest, and the rest.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = rest.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(rest);
    bytes
}

/// Encodes a string with its length.
fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("names are short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn publish(topic: usize, size: usize) -> Vec<u8> {
    packet(0x30, &[string(&topic_name(topic)), payload(size).into_bytes()].concat())
}

pub(crate) fn rule(topic: usize, size: usize) -> Rule {
    let stride = publish(topic, size).len();
    Rule { websocket: true, content: Content::Strides { first: 0x30, stride, lines: false } }
}

pub(crate) fn subscriber(topic: usize) -> Vec<Step> {
    let mut steps = publisher();
    // Packet 1, one filter, quality of service 0.
    let body = [&[0, 1][..], &string(&topic_name(topic)), &[0]].concat();
    steps.push(Step::new(framed(&packet(0x82, &body)), Until::Bytes(&[0x90, 3, 0, 1, 0])));
    steps
}

pub(crate) fn publisher() -> Vec<Step> {
    // MQTT level 4, a clean session, no keep-alive, and a name that the broker chooses.
    let connect = [&string("MQTT")[..], &[4, 2, 0, 0], &string("")].concat();
    vec![
        Step::new(websocket::upgrade("/mqtt", Some("mqtt")), Until::Bytes(b"\r\n\r\n")),
        Step::new(framed(&packet(0x10, &connect)), Until::Bytes(&[0x20, 2, 0, 0])),
    ]
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::message(websocket::BINARY, bytes, &mut out);
    out
}

pub(crate) fn message(topic: usize, size: usize) -> Template {
    Template::new(Some(websocket::BINARY), publish(topic, size), None)
}
