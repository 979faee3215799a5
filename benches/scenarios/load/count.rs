//! Counts messages without decoding them: headers are walked, and a sample is looked at.

use std::time::Instant;

use hdrhistogram::Histogram;
use onetree_protocol::Codec;

use super::super::dialect::onetree::Op;
use super::super::dialect::websocket::{BINARY, Header, PING, TEXT};
use super::super::dialect::{Content, Rule, marks, stamp};

/// The longest latency that is recorded: a minute.
const LONGEST_US: u64 = 60_000_000;

/// Frames up to this length are counted by their length, once a frame of that length has been
/// looked at.
const KNOWN_BYTES: usize = 128 << 10;

/// What all connections of a generator share.
pub(crate) struct Tally {
    start: Instant,
    /// One more than the number of payloads in a frame of each length; 0: not known yet.
    known: Box<[u8; KNOWN_BYTES]>,
    /// Where the last sample had its mark.
    guess: usize,
    /// One message in this many is looked at, for its latency.
    pub(crate) every: u32,
    /// Whether latencies count.
    pub(crate) recording: bool,
    pub(crate) latency_us: Histogram<u64>,
    /// Errors that a broker answered with.
    pub(crate) errors: Vec<String>,
}

impl Tally {
    pub(crate) fn new(start: Instant) -> Tally {
        Tally {
            start,
            known: Box::new([0; KNOWN_BYTES]),
            guess: 0,
            every: 1,
            recording: false,
            latency_us: histogram(),
            errors: Vec::new(),
        }
    }

    /// Returns the nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Looks at a message that is due to be a sample.
    #[cold]
    #[inline(never)]
    fn sample(&mut self, message: &[u8]) {
        let Some((time, _, at)) = stamp(message, self.guess) else { return };
        self.guess = at;
        if self.recording {
            let us = self.now().saturating_sub(time) / 1000;
            self.latency_us.saturating_record(us);
        }
    }

    /// Returns how many payloads are in a frame.
    #[inline]
    fn payloads(&mut self, frame: &[u8]) -> u64 {
        match self.known.get(frame.len()) {
            Some(&known @ 1..) => u64::from(known - 1),
            _ => self.look(frame),
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self, frame: &[u8]) -> u64 {
        let count = marks(frame);
        if let (Some(known), Ok(count @ ..254)) =
            (self.known.get_mut(frame.len()), u8::try_from(count))
        {
            *known = count + 1;
        }
        count
    }
}

/// Makes a histogram of microseconds up to a minute, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constants")
}

/// What one connection has received.
#[derive(Default)]
pub(crate) struct Received {
    /// Payloads.
    pub(crate) messages: u64,
    /// Answers to what it sent.
    pub(crate) replies: u64,
    /// Refreshes that ended.
    pub(crate) fresh: u64,
    /// Bytes from the socket.
    pub(crate) bytes: u64,
    /// How many messages there are until the next sample.
    countdown: u32,
    /// How many bytes of a message of fixed length are still to come.
    skip: usize,
    /// Whether a line is being skipped.
    line: bool,
    /// Payloads of pings that must be answered.
    pub(crate) pings: Vec<Vec<u8>>,
}

/// Where a walk keeps whole frames of a Onetree broker that are not of the frequent kinds, if they
/// are wanted.
pub(crate) type Watch = Option<Vec<(Op, Vec<u8>)>>;

impl Received {
    /// Counts what is complete in `bytes`. Returns how many bytes were consumed.
    pub(crate) fn walk(
        &mut self,
        rule: Rule,
        bytes: &[u8],
        tally: &mut Tally,
        watch: &mut Watch,
    ) -> usize {
        if !rule.websocket {
            self.stride(rule.content, bytes, tally);
            return bytes.len();
        }
        let mut at = 0;
        while let Some(header) = Header::parse(&bytes[at..]) {
            let begin = at + header.bytes;
            let Some(payload) = bytes.get(begin..begin + header.payload) else { break };
            at = begin + header.payload;
            match rule.content {
                Content::Onetree(codec) if matches!(header.opcode, TEXT | BINARY) => {
                    self.frame(codec, payload, tally, watch);
                }
                Content::Whole if matches!(header.opcode, TEXT | BINARY) => {
                    self.messages += 1;
                    self.look(payload, tally);
                }
                // Pieces of a stream may also come as continuation frames.
                Content::Strides { .. } if header.opcode <= BINARY => {
                    self.stride(rule.content, payload, tally);
                }
                _ if header.opcode == PING => self.pings.push(payload.to_vec()),
                _ => {}
            }
        }
        at
    }

    #[inline]
    fn look(&mut self, message: &[u8], tally: &mut Tally) {
        if self.countdown == 0 {
            self.countdown = tally.every;
            tally.sample(message);
        }
        self.countdown -= 1;
    }

    #[inline]
    fn frame(&mut self, codec: Codec, frame: &[u8], tally: &mut Tally, watch: &mut Watch) {
        let op = Op::of(codec, frame);
        match op {
            Op::Delta | Op::Signal => {
                self.messages += tally.payloads(frame);
                self.look(frame, tally);
            }
            Op::Reply => self.replies += 1,
            Op::Fresh => self.fresh += 1,
            Op::Error => {
                self.replies += 1;
                let frame = codec.decode_server(frame);
                tally.errors.push(format!("{frame:?}"));
            }
            _ => {}
        }
        if let Some(seen) = watch
            && op != Op::Reply
        {
            seen.push((op, frame.to_vec()));
        }
    }

    /// Counts messages of equal length. Only lines, or two bytes, may be between them.
    fn stride(&mut self, content: Content, bytes: &[u8], tally: &mut Tally) {
        let Content::Strides { first, stride, lines } = content else { return };
        let mut rest = bytes;
        loop {
            if self.line {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
                self.line = false;
                rest = &rest[end + 1..];
            }
            if self.skip > 0 {
                let taken = self.skip.min(rest.len());
                self.skip -= taken;
                rest = &rest[taken..];
                if self.skip > 0 {
                    return;
                }
            }
            let Some(&byte) = rest.first() else { return };
            if byte == first {
                self.messages += 1;
                if let Some(message) = rest.get(..stride) {
                    self.look(message, tally);
                    rest = &rest[stride..];
                } else {
                    self.skip = stride;
                }
            } else if lines {
                self.line = true;
            } else {
                self.skip = 2;
            }
        }
    }
}
