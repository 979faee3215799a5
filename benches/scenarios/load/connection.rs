//! One connection of the load generator.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::super::dialect::onetree::Op;
use super::super::dialect::websocket::{self, Header};
use super::super::dialect::{Content, Rule, Step, Until};
use super::count::{Received, Tally, Watch};

/// One connection of the load generator.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) rule: Rule,
    /// The steps that are left before the connection is open.
    steps: VecDeque<Step>,
    /// How many frames of the present step have come.
    frames: u32,
    pub(crate) out: Vec<u8>,
    written: usize,
    /// The beginning of a frame that has not come completely.
    rest: Vec<u8>,
    pub(crate) received: Received,
    /// Whether its latencies count.
    pub(crate) timed: bool,
    /// Whether it does not read.
    pub(crate) stalled: bool,
    /// The frames that it received, if they are wanted.
    pub(crate) watch: Watch,
    /// Why it has ended.
    pub(crate) ended: Option<String>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, rule: Rule, steps: Vec<Step>) -> Connection {
        let mut connection = Connection {
            stream,
            rule,
            steps: steps.into(),
            frames: 0,
            out: Vec::new(),
            written: 0,
            rest: Vec::new(),
            received: Received::default(),
            timed: true,
            stalled: false,
            watch: None,
            ended: None,
        };
        connection.say();
        connection
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.steps.is_empty()
    }

    fn say(&mut self) {
        if let Some(step) = self.steps.front_mut() {
            self.out.append(&mut step.say);
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        while self.written < self.out.len() && self.ended.is_none() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if is_later(&error) => return,
                Err(error) => self.ended = Some(error.to_string()),
            }
        }
        self.out.clear();
        self.written = 0;
        // There are many idle connections.
        if self.out.capacity() > 1 << 20 || self.steps.is_empty() && self.received.messages == 0 {
            self.out.shrink_to(0);
        }
    }

    /// Whether everything was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Reads everything that has arrived.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, tally: &mut Tally) {
        while !self.stalled && self.ended.is_none() {
            let kept = self.rest.len();
            if kept * 2 > buffer.len() {
                buffer.resize(kept * 4, 0);
            }
            buffer[..kept].copy_from_slice(&self.rest);
            self.rest.clear();
            match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => self.ended = Some("closed".to_owned()),
                Ok(n) => {
                    self.received.bytes += n as u64;
                    let whole = kept + n < buffer.len();
                    let all = &buffer[..kept + n];
                    let done = self.take(all, tally);
                    self.rest.extend_from_slice(&all[done..]);
                    // A short read has emptied the socket (epoll(7)), which saves one call.
                    if whole {
                        return;
                    }
                }
                Err(error) => {
                    self.rest.extend_from_slice(&buffer[..kept]);
                    if !is_later(&error) {
                        self.ended = Some(error.to_string());
                    }
                    return;
                }
            }
        }
    }

    /// Takes what has arrived. Returns how much of it was consumed.
    fn take(&mut self, bytes: &[u8], tally: &mut Tally) -> usize {
        let mut done = 0;
        while let Some(step) = self.steps.front() {
            match step.until {
                Until::Bytes(needle) => {
                    let rest = &bytes[done..];
                    let Some(at) = rest.windows(needle.len()).position(|part| part == needle)
                    else {
                        if rest.starts_with(b"HTTP/1.1 ") && !rest.starts_with(b"HTTP/1.1 101") {
                            self.ended = Some(String::from_utf8_lossy(rest).into_owned());
                        }
                        return done;
                    };
                    done += at + needle.len();
                }
                Until::Frames(op, count) => {
                    done += self.opening(op, count, &bytes[done..], tally);
                    if self.frames < count {
                        return done;
                    }
                    self.frames = 0;
                }
            }
            self.steps.pop_front();
            self.say();
            self.flush();
        }
        let recording = tally.recording;
        tally.recording &= self.timed;
        done += self.received.walk(self.rule, &bytes[done..], tally, &mut self.watch);
        tally.recording = recording;
        if !self.received.pings.is_empty() {
            for ping in std::mem::take(&mut self.received.pings) {
                websocket::message(websocket::PONG, &ping, &mut self.out);
            }
            self.flush();
        }
        done
    }

    /// Takes frames until the last one that is waited for.
    fn opening(&mut self, op: Op, count: u32, bytes: &[u8], tally: &mut Tally) -> usize {
        let Content::Onetree(codec) = self.rule.content else { return bytes.len() };
        let mut at = 0;
        while self.frames < count
            && let Some(header) = Header::parse(&bytes[at..])
        {
            let end = at + header.bytes + header.payload;
            let Some(frame) = bytes.get(at..end) else { break };
            at = end;
            self.frames += u32::from(Op::of(codec, &frame[header.bytes..]) == op);
            // Count and watch these frames like any others.
            self.received.walk(self.rule, frame, tally, &mut self.watch);
            // These replies answer the opening, not what is sent later.
            self.received.replies = 0;
        }
        at
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}
