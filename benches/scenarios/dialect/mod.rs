//! The protocols of the servers: how a connection opens, what a message looks like, and what counts
//! as one.

pub(crate) mod floor;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod onetree;
pub(crate) mod redis;
pub(crate) mod websocket;

use onetree_protocol::Codec;

/// The mark in each payload, in front of the time of sending and the number, which have 16 hex
/// digits each. It has four bytes because a revision in MessagePack can contain any two (0x4054 is
/// `@T`), but none contains these four.
pub(crate) const MARK: &[u8] = b"@T::";

/// The mark, the time, `#` and the number.
pub(crate) const STAMP_BYTES: usize = MARK.len() + 16 + 1 + 16;

/// One exchange while a connection opens.
pub(crate) struct Step {
    pub(crate) say: Vec<u8>,
    pub(crate) until: Until,
}

impl Step {
    pub(crate) fn new(say: impl Into<Vec<u8>>, until: Until) -> Step {
        Step { say: say.into(), until }
    }
}

/// What a step waits for.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// These bytes; they and everything before them are consumed.
    Bytes(&'static [u8]),
    /// This many frames of this kind from a Onetree broker.
    Frames(onetree::Op, u32),
}

/// What counts as one message on an open connection.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    /// Whether WebSocket headers precede the content.
    pub(crate) websocket: bool,
    pub(crate) content: Content,
}

/// What a connection carries.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// Frames of a Onetree broker, one in each WebSocket message.
    Onetree(Codec),
    /// Each WebSocket message is one message.
    Whole,
    /// A stream of messages of equal length that begin with `first`; anything else is a line, or in
    /// MQTT two bytes.
    Strides { first: u8, stride: usize, lines: bool },
}

/// A message that is sent again and again. Only the time, the number and the identifier change.
#[derive(Clone)]
pub(crate) struct Template {
    /// The opcode of the WebSocket message, if it is one.
    opcode: Option<u8>,
    bytes: Vec<u8>,
    stamp_at: usize,
    id_at: Option<(usize, Codec)>,
}

/// The least identifier: all have ten digits, and five bytes in MessagePack.
const LEAST_ID: u32 = 1_000_000_000;

impl Template {
    /// Makes a template of bytes that contain a payload and, if there is a codec, the identifier
    /// [`LEAST_ID`].
    fn new(opcode: Option<u8>, bytes: Vec<u8>, id: Option<Codec>) -> Template {
        let place = |needle: &[u8]| bytes.windows(needle.len()).position(|part| part == needle);
        let id_at = id.map(|codec| match codec {
            Codec::Json => (place(LEAST_ID.to_string().as_bytes()).unwrap(), codec),
            Codec::MsgPack => (place(&LEAST_ID.to_be_bytes()).unwrap(), codec),
        });
        Template { opcode, stamp_at: place(MARK).unwrap() + MARK.len(), id_at, bytes }
    }

    /// Whether a Onetree broker answers the message: signals are sent without an identifier.
    pub(crate) fn is_answered(&self) -> bool {
        self.id_at.is_some()
    }

    /// Returns about how many bytes it takes in a connection's output.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + 14
    }

    /// Writes the message with this number, sent `at` nanoseconds after the start.
    pub(crate) fn write(&mut self, number: u64, at: u64, out: &mut Vec<u8>) {
        let stamp = &mut self.bytes[self.stamp_at..];
        hex(at, &mut stamp[..16]);
        hex(number, &mut stamp[17..33]);
        if let Some((place, codec)) = self.id_at {
            // The identifiers of requests that wait at the same time differ, because there are
            // never a billion.
            let id = LEAST_ID + (number % 1_000_000_000) as u32;
            match codec {
                Codec::MsgPack => self.bytes[place..place + 4].copy_from_slice(&id.to_be_bytes()),
                Codec::Json => decimal(id, &mut self.bytes[place..place + 10]),
            }
        }
        match self.opcode {
            Some(opcode) => websocket::message(opcode, &self.bytes, out),
            None => out.extend_from_slice(&self.bytes),
        }
    }
}

fn hex(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn decimal(mut number: u32, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Returns a payload of `size` bytes: a JSON string, the same for all servers.
pub(crate) fn payload(size: usize) -> String {
    let filler = size.checked_sub(STAMP_BYTES + 2).expect("a payload has room for its stamp");
    let mark = String::from_utf8_lossy(MARK);
    format!("\"{mark}{:016x}#{:016x}{}\"", 0, 0, "x".repeat(filler))
}

/// Finds the payload in `bytes`. Returns its time and number, and where its mark is. `guess` is
/// where to look first.
pub(crate) fn stamp(bytes: &[u8], guess: usize) -> Option<(u64, u64, usize)> {
    let at = if bytes.get(guess..).is_some_and(|rest| rest.starts_with(MARK)) {
        guess
    } else {
        bytes.windows(MARK.len()).position(|part| part == MARK)?
    };
    let text = std::str::from_utf8(bytes.get(at + MARK.len()..at + STAMP_BYTES)?).ok()?;
    let (time, number) = text.split_once('#')?;
    Some((u64::from_str_radix(time, 16).ok()?, u64::from_str_radix(number, 16).ok()?, at))
}

/// Returns how many payloads begin in `bytes`.
pub(crate) fn marks(bytes: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == MARK[0]) {
        rest = &rest[at + 1..];
        count += u64::from(rest.starts_with(&MARK[1..]));
    }
    count
}
