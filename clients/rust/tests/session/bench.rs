//! A session on a test bench: the test plays its other side.

use std::sync::Arc;
use std::time::Duration;

use onetree_client::mirror::State;
use onetree_client::protocol::Epoch;
use onetree_client::protocol::frame::{
    Append, ClientFrame, Done, ErrorFrame, Fresh, Hello, Refresh, ServerFrame,
};
use onetree_client::protocol::limits::Limits;
use onetree_client::session::{Effect, Reply, Session, SubOptions, Time};
use onetree_client::{
    Code, Codec, ConnectError, Digest, Error, Event, Options, Path, Reason, RefreshKind, Status,
    Value, View,
};

use crate::broker::{self, path, rev};

pub(crate) const SECOND: Time = Duration::from_secs(1);

/// A session, the time, and the results of its requests and mirrors.
pub(crate) struct Bench {
    pub(crate) session: Session,
    codec: Codec,
    pub(crate) now: Time,
    pub(crate) tickets: u64,
    pub(crate) replies: Vec<(u64, Result<Reply, Error>)>,
    pub(crate) released: Vec<u64>,
    pub(crate) events: Vec<(u32, Event)>,
    /// Whether the mirror that was last reported on is fresh.
    pub(crate) fresh: bool,
    pub(crate) connects: usize,
    pub(crate) disconnects: usize,
    pub(crate) ended: Option<Option<ConnectError>>,
    /// Why the client was last offline.
    pub(crate) offline: Option<Arc<ConnectError>>,
    pub(crate) in_flight: u32,
    /// The broker's history.
    pub(crate) epoch: Epoch,
    /// The broker's revision at the next `welcome`.
    pub(crate) rev: u64,
    /// Whether the session is over by then.
    pub(crate) over: bool,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::with(Options::new("ws://here"))
    }

    pub(crate) fn with(options: Options) -> Bench {
        Bench::speaking(Codec::MsgPack, options)
    }

    pub(crate) fn speaking(codec: Codec, options: Options) -> Bench {
        let options = options.codec(codec);
        let mut bench = Bench {
            session: Session::new(options, [1; 32]),
            codec,
            now: Time::ZERO,
            tickets: 0,
            replies: Vec::new(),
            released: Vec::new(),
            events: Vec::new(),
            fresh: false,
            connects: 0,
            disconnects: 0,
            ended: None,
            offline: None,
            in_flight: 8,
            epoch: Epoch(1),
            rev: 1,
            over: false,
        };
        bench.effects();
        bench
    }

    /// A session that is up.
    pub(crate) fn up() -> Bench {
        let mut bench = Bench::new();
        bench.open();
        bench
    }

    pub(crate) fn effects(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Connect => self.connects += 1,
                Effect::Disconnect => self.disconnects += 1,
                Effect::Reply { ticket, result } => self.replies.push((ticket, result)),
                Effect::Release { ticket } => self.released.push(ticket),
                Effect::Mirror { sub, event, fresh, .. } => {
                    self.fresh = fresh;
                    self.events.extend(event.map(|event| (sub, event)));
                }
                Effect::Status(Status::Ended { error }) => {
                    self.ended = Some(error.map(|error| ConnectError::clone(&error)));
                }
                Effect::Status(Status::Offline { error, .. }) => self.offline = Some(error),
                Effect::Status(_) | Effect::Received { .. } => {}
            }
        }
    }

    pub(crate) fn sent(&mut self) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        while let Some(bytes) = self.session.poll_transmit() {
            frames.push(self.codec.decode_client(&bytes).unwrap());
        }
        self.effects();
        frames
    }

    pub(crate) fn say(&mut self, frame: ServerFrame) {
        self.session.handle_frame(self.now, frame);
        self.effects();
    }

    /// Opens the connection, up to `welcome`.
    pub(crate) fn open(&mut self) -> Hello {
        let hello = self.greet();
        self.welcome(&hello);
        hello
    }

    /// Opens the connection, up to `hello`.
    pub(crate) fn greet(&mut self) -> Hello {
        self.session.handle_open(self.now);
        let sent = self.sent();
        let [ClientFrame::Hello(hello)] = &sent[..] else { panic!("{sent:?}") };
        (**hello).clone()
    }

    pub(crate) fn welcome(&mut self, hello: &Hello) {
        let (value_bytes, in_flight) = (1000, self.in_flight);
        let limits = Limits { frame_bytes: 4000, value_bytes, subscriptions: 8, in_flight };
        let mut frame = broker::welcome(hello, limits);
        if let ServerFrame::Welcome(welcome) = &mut frame {
            (welcome.epoch, welcome.rev) = (self.epoch, rev(self.rev));
            welcome.resumed &= !self.over;
        }
        self.say(frame);
    }

    pub(crate) fn lose(&mut self) {
        self.session.handle_closed(self.now, ConnectError::Lost("test".to_owned()));
        self.effects();
    }

    /// Waits until the session connects again, and lets it.
    pub(crate) fn come_back(&mut self) -> Hello {
        self.wait_to_connect();
        self.open()
    }

    pub(crate) fn wait_to_connect(&mut self) {
        let before = self.connects;
        while self.connects == before {
            self.now = self.session.next_timeout().unwrap().max(self.now);
            self.session.handle_timeout(self.now);
            self.effects();
        }
    }

    pub(crate) fn wait(&mut self, time: Time) {
        self.now += time;
        self.session.handle_timeout(self.now);
        self.effects();
    }

    pub(crate) fn append(&mut self, text: &str) -> u64 {
        let (path, value) = (path("/log"), Value::text(text));
        let append = Append { id: 0, seq: None, path, value, ttl_ms: None, ephemeral: false };
        self.request(ClientFrame::Append(append))
    }

    pub(crate) fn request(&mut self, frame: ClientFrame) -> u64 {
        self.request_of(frame, None)
    }

    pub(crate) fn request_of(&mut self, frame: ClientFrame, of: Option<Epoch>) -> u64 {
        self.tickets += 1;
        self.session.request(self.now, self.tickets, frame, of);
        self.effects();
        self.tickets
    }

    pub(crate) fn done(&mut self, id: u32) {
        let done = Done { id, rev: rev(9), durable: true, paths: Vec::new() };
        self.say(ServerFrame::Done(done));
    }

    pub(crate) fn refuse(&mut self, id: u32, code: Code) {
        self.say(ServerFrame::Error(ErrorFrame::new(Some(id), code, "no")));
    }

    pub(crate) fn outcome(&self, ticket: u64) -> Option<Result<(), Option<Code>>> {
        let mut all = self.replies.iter().filter(|(of, _)| *of == ticket);
        let one = all.next().map(|(_, r)| r.as_ref().map(|_| ()).map_err(Error::code));
        assert!(all.next().is_none(), "two replies to {ticket}");
        one
    }

    /// Starts mirror 1 of everything and makes it fresh at `at`, empty.
    pub(crate) fn mirror(&mut self, at: u64) {
        let state = State::new(View::tree(Path::root()), None);
        self.session.mirror(1, state, SubOptions::default());
        let sent = self.sent();
        assert!(matches!(&sent[..], [ClientFrame::Sub(sub)] if sub.sub == 1), "{sent:?}");
        self.refresh(at);
    }

    pub(crate) fn refresh(&mut self, at: u64) {
        let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
        self.say(ServerFrame::Refresh(Refresh { sub: 1, kind, why, from: None }));
        self.fresh(at, Digest::default());
    }

    pub(crate) fn fresh(&mut self, at: u64, digest: Digest) {
        let view = View::tree(Path::root()).fingerprint();
        let fresh = Fresh { sub: 1, rev: rev(at), view, digest: Some(digest) };
        self.say(ServerFrame::Fresh(fresh));
    }

    pub(crate) fn last_event(&self) -> String {
        self.events.last().map_or(String::new(), |(_, event)| format!("{event:?}"))
    }
}
