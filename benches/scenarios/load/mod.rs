//! The load generator: one thread, one loop, sockets that do not block. It shares the machine with
//! what it measures, so it reads much at once, walks headers and decodes only a sample.

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod count;
pub(crate) mod pacer;
pub(crate) mod publisher;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::dialect::{Rule, Step};
use connection::Connection;
use count::Tally;

/// The size of one read, bytes: it fits into the second-level cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How many connections open at once, unless a scenario sets it.
const OPENING: usize = 512;

/// How long opening may take, and how long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// The load generator.
pub(crate) struct Generator {
    poll: Poll,
    events: Events,
    pub(crate) connections: Vec<Connection>,
    buffer: Vec<u8>,
    pub(crate) tally: Tally,
    pub(crate) start: Instant,
    /// How many connections open at once.
    pub(crate) opening: usize,
    /// Whether connections keep the frames that they receive.
    pub(crate) watching: bool,
}

impl Generator {
    pub(crate) fn new() -> Generator {
        let start = Instant::now();
        Generator {
            poll: Poll::new().expect("there is a poll"),
            events: Events::with_capacity(1024),
            connections: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            tally: Tally::new(start),
            start,
            opening: OPENING,
            watching: false,
        }
    }

    /// Opens this many connections. Returns the number of the first.
    pub(crate) fn open(
        &mut self,
        count: usize,
        address: SocketAddr,
        rule: Rule,
        mut steps: impl FnMut(usize) -> Vec<Step>,
    ) -> Result<usize, String> {
        let first = self.connections.len();
        let deadline = Instant::now() + PATIENCE;
        let mut opened = first;
        while opened < first + count {
            let waiting = self.connections.len() - opened;
            let more = self.opening.saturating_sub(waiting);
            for _ in 0..more.min(first + count - self.connections.len()) {
                let number = self.connections.len();
                self.connect(address, rule, steps(number - first))?;
            }
            self.turn(Some(Duration::from_millis(100)));
            // They open roughly in order.
            while self.connections.get(opened).is_some_and(Connection::is_open) {
                opened += 1;
            }
            self.healthy()?;
            if Instant::now() > deadline {
                return Err(format!("{} of {count} connections opened", opened - first));
            }
        }
        Ok(first)
    }

    fn connect(&mut self, to: SocketAddr, rule: Rule, steps: Vec<Step>) -> Result<(), String> {
        let mut stream = TcpStream::connect(to).map_err(|error| format!("connect: {error}"))?;
        // The publisher writes batches; nothing may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let token = Token(self.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interest)
            .map_err(|error| format!("register: {error}"))?;
        let mut connection = Connection::new(stream, rule, steps);
        connection.watch = self.watching.then(Vec::new);
        self.connections.push(connection);
        Ok(())
    }

    /// Returns the first connection that ended, or the first error that came, as an error.
    pub(crate) fn healthy(&self) -> Result<(), String> {
        if let Some(error) = self.tally.errors.first() {
            return Err(format!("{} errors, the first: {error}", self.tally.errors.len()));
        }
        let ended = self.connections.iter().filter_map(|connection| connection.ended.as_ref());
        match ended.clone().next() {
            Some(why) => Err(format!("{} connections ended: {why}", ended.count())),
            None => Ok(()),
        }
    }

    /// Waits for events and handles them.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.poll.poll(&mut self.events, timeout) {
            assert!(error.kind() == std::io::ErrorKind::Interrupted, "poll: {error}");
            return;
        }
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if event.is_writable() {
                connection.flush();
            }
            if event.is_readable() {
                connection.read(&mut self.buffer, &mut self.tally);
            }
        }
    }

    /// Makes a connection read, or stop reading.
    pub(crate) fn stall(&mut self, number: usize, stalled: bool) {
        let connection = &mut self.connections[number];
        connection.stalled = stalled;
        // What arrived meanwhile causes no new event.
        connection.read(&mut self.buffer, &mut self.tally);
    }

    /// Handles events until `done`; returns false when that takes too long.
    pub(crate) fn until(
        &mut self,
        time: Duration,
        mut done: impl FnMut(&Generator) -> bool,
    ) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if done(self) {
                return true;
            }
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            self.turn(Some((deadline - now).min(Duration::from_millis(20))));
        }
    }

    /// Returns the number of messages that all connections have received.
    pub(crate) fn messages(&self) -> u64 {
        self.connections.iter().map(|connection| connection.received.messages).sum()
    }

    /// Discards the latencies so far, and counts from here if `recording`.
    pub(crate) fn record(&mut self, recording: bool) {
        self.tally.recording = recording;
        if recording {
            self.tally.latency_us.reset();
        }
    }
}
