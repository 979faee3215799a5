//! Floor A: one thread. Frames are encoded by hand once, their bytes are shared, and everything
//! that one read has brought is written to each subscriber in one write.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

use super::super::dialect::websocket::{self, Header};
use super::{Request, Role};

const LISTENER: Token = Token(usize::MAX);

/// The size of one read from a publisher.
const READ_BYTES: usize = 64 << 10;

struct Peer {
    stream: TcpStream,
    role: Option<Role>,
    /// Chunks that its socket has not taken, and how much of the first it has.
    waiting: VecDeque<Bytes>,
    written: usize,
    /// The beginning of a frame or a request.
    rest: Vec<u8>,
}

struct Floor {
    peers: HashMap<usize, Peer>,
    topics: Vec<Vec<usize>>,
    buffer: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn run() -> std::io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = listen()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);
    let mut floor =
        Floor { peers: HashMap::new(), topics: Vec::new(), buffer: vec![0; READ_BYTES] };
    let mut events = Events::with_capacity(1024);
    let mut next = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener, poll.registry(), &mut next)?;
                continue;
            }
            let Token(number) = event.token();
            if event.is_writable()
                && let Some(peer) = floor.peers.get_mut(&number)
            {
                peer.flush();
            }
            if event.is_readable() {
                floor.read(number);
            }
        }
    }
}

/// Makes a listener with room for all clients that connect at once.
pub(super) fn listen() -> std::io::Result<TcpListener> {
    TcpListener::bind(([127, 0, 0, 1], 0).into())
}

impl Floor {
    fn accept(
        &mut self,
        listener: &TcpListener,
        registry: &Registry,
        next: &mut usize,
    ) -> std::io::Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(*next), interest)?;
            let peer =
                Peer { stream, role: None, waiting: VecDeque::new(), written: 0, rest: Vec::new() };
            self.peers.insert(*next, peer);
            *next += 1;
        }
        Ok(())
    }

    fn read(&mut self, number: usize) {
        loop {
            let Some(peer) = self.peers.get_mut(&number) else { return };
            let kept = peer.rest.len();
            if self.buffer.len() < 2 * kept {
                self.buffer.resize(4 * kept, 0);
            }
            self.buffer[..kept].copy_from_slice(&peer.rest);
            let n = match peer.stream.read(&mut self.buffer[kept..]) {
                Ok(n) if n > 0 => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    self.leave(number);
                    return;
                }
            };
            peer.rest.clear();
            let (chunk, done) = peer.take(&mut self.buffer[..kept + n]);
            peer.rest.extend_from_slice(&self.buffer[done..kept + n]);
            match peer.role {
                Some(Role::Subscriber(topic)) => self.join(topic, number),
                Some(Role::Publisher(topic)) if !chunk.is_empty() => {
                    let chunk = Bytes::from(chunk);
                    for subscriber in self.topics.get(topic).into_iter().flatten() {
                        if let Some(peer) = self.peers.get_mut(subscriber) {
                            peer.send(&chunk);
                        }
                    }
                }
                _ => {}
            }
            if kept + n < self.buffer.len() {
                return;
            }
        }
    }

    /// Adds a subscriber, once; what it sends later is ignored.
    fn join(&mut self, topic: usize, number: usize) {
        if self.topics.len() <= topic {
            self.topics.resize(topic + 1, Vec::new());
        }
        if !self.topics[topic].contains(&number) {
            self.topics[topic].push(number);
        }
    }

    fn leave(&mut self, number: usize) {
        self.peers.remove(&number);
        self.topics.iter_mut().for_each(|topic| topic.retain(|member| *member != number));
    }
}

impl Peer {
    /// Takes what has arrived. Returns what is to be sent on, and how many bytes were consumed.
    fn take(&mut self, bytes: &mut [u8]) -> (Vec<u8>, usize) {
        let mut done = 0;
        if self.role.is_none() {
            let Some(request) = Request::parse(bytes) else { return (Vec::new(), 0) };
            self.role = Some(request.role);
            done = request.bytes;
            self.send(&Bytes::from(request.answer));
        }
        let mut chunk = Vec::with_capacity(bytes.len());
        while let Some(header) = Header::parse(&bytes[done..]) {
            let begin = done + header.bytes;
            let Some(payload) = bytes.get_mut(begin..begin + header.payload) else { break };
            websocket::mask(header.mask.unwrap_or_default(), payload);
            Header::write(header.opcode, payload.len(), None, &mut chunk);
            chunk.extend_from_slice(payload);
            done = begin + header.payload;
        }
        (chunk, done)
    }

    fn send(&mut self, chunk: &Bytes) {
        self.waiting.push_back(chunk.clone());
        if self.waiting.len() == 1 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        while let Some(chunk) = self.waiting.front() {
            match self.stream.write(&chunk[self.written..]) {
                Ok(n) => self.written += n,
                // A peer that is gone is noticed when it is read.
                Err(_) => return,
            }
            if self.written == chunk.len() {
                self.waiting.pop_front();
                self.written = 0;
            }
        }
        self.waiting.shrink_to(0);
    }
}
