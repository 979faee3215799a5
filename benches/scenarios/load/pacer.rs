//! A publisher with a given rate, on a thread of its own, so that neither it nor the loop of the
//! generator delays the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::dialect::websocket::Header;
use super::super::dialect::{Rule, STAMP_BYTES, Step, Template, Until, websocket};
use super::super::process::Server;
use super::super::target::Target;
use super::count::{Received, Tally};

/// How long a reply may take before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(30);

/// A publisher with a given rate.
pub(crate) struct Pacer {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<Result<Sent, String>>,
}

/// What was sent. Its connection stays open as long as this value exists: closing it with unread
/// replies would discard what the server has not read yet.
pub(crate) struct Sent {
    pub(crate) messages: u64,
    _stream: TcpStream,
}

impl Pacer {
    /// Starts a publisher to the target's first topic. Payloads count their time from `start`.
    pub(crate) fn start(
        server: &Server,
        target: Target,
        template: Template,
        rate: u32,
        start: Instant,
    ) -> Result<Pacer, String> {
        let ending = Arc::new(AtomicBool::new(false));
        let stream = open(server.address, target.publisher(0))
            .map_err(|error| format!("publisher: {error}"))?;
        let in_flight = target.in_flight().filter(|_| template.is_answered());
        let work = Work {
            stream,
            template,
            interval: Duration::from_secs(1) / rate,
            start,
            rule: target.rule(0, STAMP_BYTES + 2),
            in_flight,
            received: Received::default(),
            tally: Tally::new(start),
            buffer: vec![0; 64 << 10],
            kept: 0,
        };
        let over = ending.clone();
        let thread = std::thread::spawn(move || work.run(&over));
        Ok(Pacer { ending, thread })
    }

    /// Ends the publisher when everything that it sent has its reply, if there are replies.
    pub(crate) fn end(self) -> Result<Sent, String> {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the publisher panicked".to_owned())?
    }
}

struct Work {
    stream: TcpStream,
    template: Template,
    interval: Duration,
    start: Instant,
    rule: Rule,
    /// How many messages may wait for their replies, if there are replies.
    in_flight: Option<u64>,
    received: Received,
    tally: Tally,
    buffer: Vec<u8>,
    /// How many bytes of the buffer are the beginning of a frame.
    kept: usize,
}

impl Work {
    fn run(mut self, ending: &AtomicBool) -> Result<Sent, String> {
        let mut due = Instant::now();
        let mut number = 0;
        let mut out = Vec::new();
        while !ending.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < due {
                std::thread::sleep(due - now);
            }
            // Send everything that is due and may be sent. The latency of a late message counts
            // from when it was due.
            out.clear();
            let now = Instant::now();
            while due <= now && self.may_send(number) {
                number += 1;
                let at = u64::try_from((due - self.start).as_nanos()).unwrap_or(u64::MAX);
                self.template.write(number, at, &mut out);
                due += self.interval;
            }
            let written =
                self.stream.set_nonblocking(false).and_then(|()| self.stream.write_all(&out));
            written.map_err(|error| format!("publisher: {error}"))?;
            self.replies(!self.may_send(number))?;
        }
        while self.in_flight.is_some() && self.received.replies < number {
            self.replies(true)?;
        }
        Ok(Sent { messages: number, _stream: self.stream })
    }

    fn may_send(&self, number: u64) -> bool {
        self.in_flight.is_none_or(|most| number - self.received.replies.min(number) < most)
    }

    /// Reads what has arrived, or waits until something arrives.
    fn replies(&mut self, wait: bool) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("publisher: {error}");
        self.stream.set_nonblocking(!wait).map_err(failed)?;
        loop {
            match self.stream.read(&mut self.buffer[self.kept..]) {
                Ok(0) => return Err("publisher: closed".to_owned()),
                Ok(n) => {
                    let all = &self.buffer[..self.kept + n];
                    let done = self.received.walk(self.rule, all, &mut self.tally, &mut None);
                    let end = self.kept + n;
                    self.buffer.copy_within(done..end, 0);
                    self.kept = end - done;
                    if let Some(error) = self.tally.errors.first() {
                        return Err(format!("publisher: {error}"));
                    }
                    self.pong().map_err(failed)?;
                    if wait {
                        return Ok(());
                    }
                }
                Err(error) if !wait && error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Answers pings: the server closes a silent connection.
    fn pong(&mut self) -> std::io::Result<()> {
        let mut out = Vec::new();
        for ping in self.received.pings.drain(..) {
            websocket::message(websocket::PONG, &ping, &mut out);
        }
        if out.is_empty() {
            return Ok(());
        }
        self.stream.set_nonblocking(false)?;
        self.stream.write_all(&out)?;
        self.stream.set_nonblocking(true)
    }
}

/// Opens a blocking connection.
fn open(address: SocketAddr, steps: Vec<Step>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    for step in steps {
        stream.write_all(&step.say)?;
        let mut got = Vec::new();
        let mut byte = [0; 1];
        let arrived = |got: &[u8]| match step.until {
            Until::Bytes(needle) => got.ends_with(needle),
            // The first frame is the welcome, and a publisher waits for nothing else. Wait for the
            // whole frame: what is counted later begins where it ends.
            Until::Frames(..) => {
                Header::parse(got).is_some_and(|frame| got.len() == frame.bytes + frame.payload)
            }
        };
        while !arrived(&got) {
            stream.read_exact(&mut byte)?;
            got.push(byte[0]);
        }
    }
    Ok(stream)
}
