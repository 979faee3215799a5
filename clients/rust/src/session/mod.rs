//! The session's rules, pure: commands, frames and the time in; frames and effects out.
//!
//! It decides when to connect, what to say, what an answer means and what to do when there is
//! none. It has no socket and no clock: [`crate::Client`] drives it with tokio, and a simulation
//! can drive it with anything.
//!
//! # Layout
//!
//! - [`Session`]: the connection's life, and what is said on it
//! - `frames`: what each of the broker's frames does
//! - `requests`: what is asked, numbered, retried; `subs`: a mirror's place on the connection;
//!   `verify`: who compares one with the tree
//! - what a frame does to a copy is in [`crate::mirror`]

mod frames;
mod requests;
mod subs;
mod verify;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onetree_protocol::frame::{Bye, ClientFrame, Hello, Resync, SyncRequest, Unsub, Welcome};
use onetree_protocol::limits::NAME_BYTES;
use onetree_protocol::{Action, Change, Epoch, Name, Revision};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::backoff::Backoff;
use crate::errors::{ConnectError, Error, Sent};
use crate::event::{Event, Status, Verdict};
use crate::mirror::Snapshot;
use crate::options::{Options, Reconnect};
use crate::request::{Done, Found};
use requests::Requests;
use subs::Slot;
pub use subs::SubOptions;
use verify::Check;

/// The time that has passed since the session was made.
pub type Time = Duration;

/// What comes on top of the broker's heartbeat before a silent connection is taken for dead.
const GRACE: Time = Duration::from_secs(10);
/// A connection that lasted this long was good: the next wait is short again.
const GOOD: Time = Duration::from_secs(10);
/// Subscriptions go into `hello` up to about this size, bytes, the others behind it: a quarter of
/// the smallest frame that any broker takes.
const HELLO_BYTES: usize = 256 << 10;
/// How long an orderly end may take, the broker's or ours.
const BYE: Time = Duration::from_secs(5);

/// What a [`Session`] wants done.
#[derive(Debug)]
pub enum Effect {
    /// Open a connection, then call [`Session::handle_open`] or [`Session::handle_closed`].
    Connect,
    /// Close the connection; nothing is to be told about it.
    Disconnect,
    /// A request's answer.
    Reply {
        /// Which request.
        ticket: u64,
        /// The answer.
        result: Result<Reply, Error>,
    },
    /// A request is forgotten: comes once for each, behind its [`Effect::Reply`].
    Release {
        /// Which request.
        ticket: u64,
    },
    /// A mirror went on.
    Mirror {
        /// Which.
        sub: u32,
        /// What happened; `None`: only its revision moved.
        event: Option<Event>,
        /// The mirror now.
        snapshot: Snapshot,
        /// Whether it is fresh.
        fresh: bool,
    },
    /// A piece of a mirror's refresh came.
    Received {
        /// Which mirror.
        sub: u32,
        /// How many changes have come of the refresh so far.
        changes: u64,
    },
    /// How the client stands now.
    Status(Status),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A write.
    Done(Done),
    /// A read.
    Found(Found),
    /// A signal, a token.
    Ok,
    /// A verification.
    Verdict(Verdict),
}

/// A client's side of the protocol.
pub struct Session {
    options: Options,
    random: StdRng,
    backoff: Backoff,
    name: Name,
    session: Option<Name>,
    seen: Option<Revision>,
    link: Link,
    /// Why it has ended by itself.
    why: Option<Arc<ConnectError>>,
    /// Whether there ever was a connection.
    ever: bool,
    /// Whether the token was refused since the last connection that was good.
    refused: bool,
    heard: Time,
    renamed: Option<Time>,
    unread: Option<Unread>,
    closing: Option<Closing>,
    last_id: u32,
    asked: HashMap<u32, Asked>,
    control: VecDeque<Control>,
    requests: Requests,
    slots: BTreeMap<u32, Slot>,
    /// The parts of deltas that are not whole yet, of all mirrors and of one.
    parts: HashMap<Option<u32>, Vec<Change>>,
    checks: VecDeque<Check>,
    sync_wanted: bool,
    effects: VecDeque<Effect>,
}

/// The connection. Starts opening; opening -> greeting when the WebSocket is there; greeting -> up
/// at `welcome`; up -> leaving at the broker's `bye`; any -> down when it is lost, down -> opening
/// when the wait is over; any -> over.
#[derive(Debug)]
enum Link {
    Down {
        until: Time,
    },
    Opening {
        until: Time,
    },
    Greeting {
        hello: Option<u32>,
        until: Time,
    },
    Up {
        since: Time,
        welcome: Welcome,
    },
    /// Nothing more is said, but the answers to what was accepted still come.
    Leaving {
        since: Time,
        welcome: Welcome,
        error: ConnectError,
        until: Time,
    },
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    bye: bool,
    said: bool,
    asked: Time,
    until: Time,
}

/// Frames that the broker could not read: without their ids, it cannot say which.
#[derive(Clone, Copy, Debug)]
struct Unread {
    count: usize,
    /// Until when all others are to be answered.
    until: Time,
}

/// What a reply will be to.
#[derive(Debug)]
enum Asked {
    Request(u64),
    Sub(u32),
    Resync(u32),
    Unsub,
    Sync,
    Bye,
}

/// What is said about the connection itself; it goes before requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Sub(u32),
    Unsub(u32),
    Resync(u32),
}

impl fmt::Debug for Session {
    /// Without the session's name, nor what is asked, which may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("name", &self.name)
            .field("mirrors", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session that wants to connect at once. `seed` is all of its randomness: the client's name,
    /// which must be nobody else's, and the waits. A label that cannot be is left out.
    pub fn new(options: Options, seed: [u8; 32]) -> Session {
        let mut random = StdRng::from_seed(seed);
        let (base, cap) = (options.backoff_base, options.backoff_cap);
        let backoff = Backoff::new(base, cap, random.random());
        let name = new_name(&options, &mut random);
        let requests = Requests::new(options.request_timeout);
        let link = Link::Opening { until: options.connect_timeout };
        Session {
            options,
            random,
            backoff,
            name,
            session: None,
            seen: None,
            link,
            why: None,
            ever: false,
            refused: false,
            heard: Time::ZERO,
            renamed: None,
            unread: None,
            closing: None,
            last_id: 0,
            asked: HashMap::new(),
            control: VecDeque::new(),
            requests,
            slots: BTreeMap::new(),
            parts: HashMap::new(),
            checks: VecDeque::new(),
            sync_wanted: false,
            effects: VecDeque::from([Effect::Connect]),
        }
    }

    /// Who the client is, as `hello` says it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.link, Link::Over)
    }

    /// Whether [`Session::poll_effect`] has something.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    // What the application wants.

    /// Asks something: a write, a read, a signal, a token. Its `id` and `seq` are set here. There
    /// will be one [`Effect::Reply`] for it. `of`: the history of the revisions that it
    /// names, `None`: that of now; it is written into no other one.
    pub fn request(&mut self, now: Time, ticket: u64, frame: ClientFrame, of: Option<Epoch>) {
        if self.is_over() || self.closing.is_some() {
            let error = Error::Closed { why: self.why.clone(), sent: Some(Sent::Never) };
            self.effects.push_back(Effect::Reply { ticket, result: Err(error) });
            self.effects.push_back(Effect::Release { ticket });
            return;
        }
        self.requests.add(now, ticket, frame, of, &mut self.effects);
    }

    /// Asks the broker to bring all mirrors to the present that can be.
    pub fn want_sync(&mut self) {
        self.sync_wanted = matches!(self.link, Link::Up { .. });
    }

    /// Ends the client: with `bye` the session ends at once, without it after its grace. What was
    /// asked before is done first, when there is a connection.
    pub fn close(&mut self, now: Time, bye: bool) {
        if !matches!(self.link, Link::Up { .. } | Link::Leaving { .. }) {
            return self.finish(None);
        }
        let until = now.saturating_add(self.options.request_timeout.max(BYE));
        self.closing.get_or_insert(Closing { bye, said: false, asked: now, until });
        self.settle_close();
    }

    // What the connection does.

    /// The token that `hello` shows from now on.
    pub fn set_token(&mut self, token: String) {
        self.options.token = Some(token);
    }

    /// The connection is open.
    pub fn handle_open(&mut self, now: Time) {
        let Link::Opening { until } = self.link else { return };
        self.heard = now;
        self.link = Link::Greeting { hello: None, until };
    }

    /// Something came, whatever it was: the connection is alive.
    pub fn handle_heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// The connection is closed, or could not be opened.
    pub fn handle_closed(&mut self, now: Time, error: ConnectError) {
        if matches!(self.link, Link::Over | Link::Down { .. }) {
            return;
        }
        if self.closing.is_some() {
            return self.finish(None);
        }
        self.settle_good(now);
        let error = match &self.link {
            // What `bye` said is more telling than what comes of it.
            Link::Leaving { error, .. } => error.clone(),
            _ => error,
        };
        let again = match self.options.reconnect {
            Reconnect::Never => false,
            Reconnect::AfterFirst => self.ever,
            Reconnect::Always => true,
        };
        let error = Arc::new(error);
        // Where tokens come from a function, another one may do: asked once more, at once.
        let stale = error.action() == Action::Reauth && self.options.hook.is_some();
        let ask_again =
            stale && !std::mem::replace(&mut self.refused, true) && (again || !self.ever);
        if !ask_again && (!again || error.action() != Action::Retry) {
            return self.finish(Some(error));
        }
        let retry_in = if ask_again { Time::ZERO } else { self.backoff.next(error.retry_in()) };
        self.go_down(now.saturating_add(retry_in));
        let told = Event::Offline { error: error.clone(), retry_in: Some(retry_in) };
        self.tell_all(&told);
        self.effects.push_back(Effect::Status(Status::Offline { error, retry_in }));
    }

    /// The time of [`Session::next_timeout`] has come; calling it at other times does no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.requests.handle_timeout(now, &mut self.effects);
        self.expire_checks(now);
        if self.closing.is_some_and(|closing| closing.until <= now) {
            return self.finish(None);
        }
        if let Link::Down { until } = self.link
            && until <= now
        {
            self.link = Link::Opening { until: now.saturating_add(self.options.connect_timeout) };
            self.effects.push_back(Effect::Connect);
        }
        if self.dead_at().is_some_and(|at| at <= now) {
            self.fail(now, ConnectError::Silent(now.saturating_sub(self.heard)));
        }
        if self.unread.is_some_and(|unread| unread.until <= now) {
            let why = "it cannot read a frame, and does not answer the others".to_owned();
            self.fail(now, ConnectError::Protocol(why));
        }
        let due = |slot: &Slot| slot.held.is_some_and(|until| until <= now);
        let due: Vec<u32> =
            self.slots.iter().filter(|(_, slot)| due(slot)).map(|(sub, _)| *sub).collect();
        for sub in due {
            if let Some(slot) = self.slots.get_mut(&sub) {
                slot.held = None;
            }
            self.start(sub);
        }
        self.settle_close();
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        let down = match self.link {
            Link::Down { until } => Some(until),
            _ => None,
        };
        let held = self.slots.values().filter_map(|slot| slot.held).min();
        let closing = self.closing.map(|closing| closing.until);
        let unread = self.unread.map(|unread| unread.until);
        let check = self.checks.front().map(|check| check.until);
        let requests = self.requests.next_timeout();
        let all = [down, self.dead_at(), held, closing, unread, check, requests];
        all.into_iter().flatten().min()
    }

    fn dead_at(&self) -> Option<Time> {
        match &self.link {
            Link::Greeting { until, .. } | Link::Leaving { until, .. } => Some(*until),
            Link::Up { welcome, .. } => {
                Some(self.heard + Duration::from_millis(welcome.heartbeat_ms.into()) + GRACE)
            }
            Link::Down { .. } | Link::Opening { .. } | Link::Over => None,
        }
    }

    /// The next message to send, when there is one and the broker's limits allow it now.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let codec = self.options.codec;
        match &self.link {
            Link::Greeting { hello: None, .. } => {
                let hello = self.hello();
                Some(codec.encode_client(&ClientFrame::Hello(hello.into())))
            }
            Link::Up { welcome, .. } => {
                let limits = welcome.limits;
                if self.unread.is_some() || self.asked.len() >= limits.in_flight as usize {
                    return None;
                }
                if let Some(frame) = self.next_control() {
                    return Some(codec.encode_client(&frame));
                }
                let id = self.next_id();
                let seen = self.seen;
                let next = self.requests.next(id, seen, codec, &limits, &mut self.effects);
                if let Some((ticket, bytes)) = next {
                    self.asked.insert(id, Asked::Request(ticket));
                    return Some(bytes);
                }
                self.next_bye().map(|frame| codec.encode_client(&frame))
            }
            _ => None,
        }
    }

    /// Who we are, with as many subscriptions as go into one frame; the others follow.
    fn hello(&mut self) -> Hello {
        let id = self.next_id();
        self.control.clear();
        let mut subs = Vec::new();
        let mut bytes = 0;
        for sub in self.slots.keys().copied().collect::<Vec<_>>() {
            let sub_id = self.next_id();
            let Some(slot) = self.slots.get_mut(&sub).filter(|slot| slot.held.is_none()) else {
                continue;
            };
            let view = slot.state.view();
            let patterns = view.patterns.iter().map(|pattern| pattern.as_str().len() + 8);
            bytes += 256 + view.base.as_str().len() + patterns.sum::<usize>();
            if bytes > HELLO_BYTES {
                self.control.push_back(Control::Sub(sub));
                continue;
            }
            slot.subscribed = true;
            subs.push(slot.frame(sub_id, sub));
            self.asked.insert(sub_id, Asked::Sub(sub));
        }
        if let Link::Greeting { hello, .. } = &mut self.link {
            *hello = Some(id);
        }
        Hello {
            id,
            client: Some(self.name.clone()),
            session: self.session.clone(),
            token: self.options.token.clone(),
            agent: Some(self.options.agent.clone()),
            seen: self.seen,
            subs,
            since: self.requests.since(),
        }
    }

    fn next_control(&mut self) -> Option<ClientFrame> {
        while let Some(control) = self.control.pop_front() {
            let id = self.next_id();
            let (asked, frame) = match control {
                Control::Unsub(sub) => (Asked::Unsub, ClientFrame::Unsub(Unsub { id, sub })),
                Control::Sub(sub) => {
                    let Some(slot) = self.slots.get_mut(&sub) else { continue };
                    slot.subscribed = true;
                    (Asked::Sub(sub), ClientFrame::Sub(slot.frame(id, sub).into()))
                }
                Control::Resync(sub) if self.slots.contains_key(&sub) => {
                    (Asked::Resync(sub), ClientFrame::Resync(Resync { id, sub }))
                }
                Control::Resync(_) => continue,
            };
            self.asked.insert(id, asked);
            return Some(frame);
        }
        if std::mem::take(&mut self.sync_wanted) {
            let id = self.next_id();
            self.asked.insert(id, Asked::Sync);
            // Who only waits for a revision waits for nothing that takes long.
            let all = self.checks.iter().any(|check| check.sync.is_none());
            self.checks.iter_mut().for_each(|check| _ = check.sync.get_or_insert(id));
            return Some(ClientFrame::Sync(SyncRequest { id, all }));
        }
        None
    }

    /// `bye`, when everything else is done.
    fn next_bye(&mut self) -> Option<ClientFrame> {
        let closing = self.closing.as_mut()?;
        if !closing.bye || closing.said || !self.requests.is_empty() {
            return None;
        }
        closing.said = true;
        // It was the application's wish, or an answer, that it has waited for last.
        closing.until = closing.until.min(self.heard.max(closing.asked) + BYE);
        let id = self.next_id();
        self.asked.insert(id, Asked::Bye);
        Some(ClientFrame::Bye(Bye { id }))
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if !self.asked.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Drops the connection.
    fn fail(&mut self, now: Time, error: ConnectError) {
        self.effects.push_back(Effect::Disconnect);
        self.handle_closed(now, error);
    }

    /// The connection ends: when it was good, what went wrong before it counts no more.
    fn settle_good(&mut self, now: Time) {
        if let Link::Up { since, .. } | Link::Leaving { since, .. } = self.link
            && now.saturating_sub(since) >= GOOD
        {
            self.backoff.reset();
            self.refused = false;
        }
    }

    /// Comes back under another name, at once if that was not so just now.
    fn rename(&mut self, now: Time, why: &str) {
        self.settle_good(now);
        self.name = new_name(&self.options, &mut self.random);
        let again = self.renamed.is_some_and(|at| now.saturating_sub(at) < GOOD);
        let retry_in = if again { self.backoff.next(None) } else { Time::ZERO };
        self.renamed = Some(now);
        self.effects.push_back(Effect::Disconnect);
        self.go_down(now.saturating_add(retry_in));
        // Not the code of a write: each of those that it was about has its answer, or is sent
        // again.
        let message = format!("{why}, so this client comes back under another name");
        let error = Arc::new(ConnectError::Lost(message));
        self.tell_all(&Event::Offline { error: error.clone(), retry_in: Some(retry_in) });
        self.effects.push_back(Effect::Status(Status::Offline { error, retry_in }));
    }

    /// There is no connection any more.
    fn go_down(&mut self, until: Time) {
        self.link = Link::Down { until };
        self.parts.clear();
        self.control.clear();
        (self.sync_wanted, self.unread) = (false, None);
        self.requests.handle_lost(&mut self.effects);
        self.asked.clear();
        self.end_checks(|_| Some(Ok(Verdict::Unknown)));
        for slot in self.slots.values_mut() {
            slot.subscribed = false;
            slot.state.handle_lost();
        }
    }

    fn settle_close(&mut self) {
        let Some(closing) = self.closing else { return };
        if !closing.bye && self.requests.is_empty() {
            self.finish(None);
        }
    }

    fn finish(&mut self, error: Option<Arc<ConnectError>>) {
        if self.is_over() {
            return;
        }
        if !matches!(self.link, Link::Down { .. }) {
            self.effects.push_back(Effect::Disconnect);
        }
        self.go_down(Time::MAX);
        (self.link, self.why) = (Link::Over, error.clone());
        self.requests.end(error.as_ref(), &mut self.effects);
        let closed = Error::Closed { why: error.clone(), sent: None };
        for sub in self.slots.keys().copied().collect::<Vec<_>>() {
            let why = error.is_some().then(|| closed.clone());
            self.end_mirror(sub, why);
        }
        self.effects.push_back(Effect::Status(Status::Ended { error }));
    }
}

/// Whether a client's name can begin with this: 128 bits in hex and a `-` are to fit behind it.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= NAME_BYTES - 33 && Name::parse(text).is_some()
}

/// A name that is nobody else's: the label, if it can be one, and 128 random bits.
fn new_name(options: &Options, random: &mut StdRng) -> Name {
    let bits = random.random::<u128>();
    let labelled =
        options.label.as_ref().and_then(|label| Name::parse(&format!("{label}-{bits:032x}")));
    match labelled.or_else(|| Name::parse(&format!("{bits:032x}"))) {
        Some(name) => name,
        None => unreachable!("32 hex digits are a name"),
    }
}
