//! The rules of a session, as pure code: commands, frames and the time go in; frames and effects
//! come out.
//!
//! A session decides when to connect, what to send, what an answer means, and what to do if there
//! is none. It has no socket and no clock: [`crate::Client`] drives it with tokio, and a simulation
//! can drive it with anything.
//!
//! # Layout
//!
//! - [`Session`]: the life of the connection, and what is sent on it
//! - `frames`: what each of the broker's frames does
//! - `requests`: requests, their numbers and their retries; `subs`: the subscription of each
//!   mirror; `verify`: comparing a mirror with the broker's digest
//! - what a frame does to the copy of a mirror is in [`crate::mirror`]

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
use onetree_protocol::{Action, Change, Code, Epoch, Name, Revision};
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

/// The time since the session was made.
pub type Time = Duration;

/// How long after the broker's heartbeat a silent connection is taken for dead.
const GRACE: Time = Duration::from_secs(10);
/// A connection that lasted this long was good: the next wait is short again.
const GOOD: Time = Duration::from_secs(10);
/// About how many bytes of subscriptions go into `hello`; the others follow it. This is a quarter
/// of the smallest frame limit that any broker has.
const HELLO_BYTES: usize = 256 << 10;
/// How long an orderly end may take, whether the broker or the client ends the connection.
const BYE: Time = Duration::from_secs(5);

/// What a [`Session`] asks its driver to do.
#[derive(Debug)]
pub enum Effect {
    /// Open a connection, then call [`Session::handle_open`] or [`Session::handle_closed`].
    Connect,
    /// Close the connection. The session needs no report about that.
    Disconnect,
    /// Give a request its answer.
    Reply {
        /// The ticket of the request.
        ticket: u64,
        /// The answer.
        result: Result<Reply, Error>,
    },
    /// Forget a request. Comes once for each request, after its [`Effect::Reply`].
    Release {
        /// The ticket of the request.
        ticket: u64,
    },
    /// A mirror has an event, or moved to another revision.
    Mirror {
        /// The subscription number of the mirror.
        sub: u32,
        /// The event; `None`: only the revision moved.
        event: Option<Event>,
        /// What the mirror shows now.
        snapshot: Snapshot,
        /// Whether the mirror is fresh.
        fresh: bool,
    },
    /// A part of a mirror's refresh came.
    Received {
        /// The subscription number of the mirror.
        sub: u32,
        /// How many changes have come in the refresh so far.
        changes: u64,
    },
    /// The state of the connection has changed to this.
    Status(Status),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of a write.
    Done(Done),
    /// Of a read.
    Found(Found),
    /// Of a signal or a token.
    Ok,
    /// Of a verification.
    Verdict(Verdict),
}

/// The client's side of the protocol, across its connections.
pub struct Session {
    options: Options,
    random: StdRng,
    backoff: Backoff,
    name: Name,
    session: Option<Name>,
    /// How many `hello`s that name this session have no answer. Each may still arrive, and take the
    /// session.
    late: u32,
    seen: Option<Revision>,
    link: Link,
    /// Why the client has ended by itself.
    why: Option<Arc<ConnectError>>,
    /// Whether there ever was a connection.
    ever: bool,
    /// Whether the broker refused the token since the last connection that was good.
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
    /// The parts of deltas that are not complete yet. `None` is a delta for all mirrors.
    parts: HashMap<Option<u32>, Vec<Change>>,
    checks: VecDeque<Check>,
    sync_wanted: bool,
    effects: VecDeque<Effect>,
}

/// The state of the connection. It begins as opening. When the WebSocket is there it is greeting,
/// at `welcome` up, and at the broker's `bye` leaving. When the connection is lost it is down, and
/// after the wait opening again. From any state it can become over.
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
    /// The client sends nothing more, but the answers to what the broker accepted still come.
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
    until: Time,
}

/// Frames that the broker could not read. It cannot say which they are, because it could not read
/// their ids.
#[derive(Clone, Copy, Debug)]
struct Unread {
    count: usize,
    /// When the answers to all other requests must have come.
    until: Time,
}

/// What a reply answers.
#[derive(Debug)]
enum Asked {
    Request(u64),
    Sub(u32),
    Resync(u32),
    Unsub,
    Sync,
    Bye,
}

/// What the client sends about the connection itself. It goes before requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Sub(u32),
    Unsub(u32),
    Resync(u32),
}

impl fmt::Debug for Session {
    /// Leaves out the session's name and the requests, which may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("name", &self.name)
            .field("mirrors", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session that wants to connect at once. All its randomness comes from `seed`: the waits and
    /// the client's name, which no other client may have. A label that is not allowed is left out.
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
            late: 0,
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

    /// Returns the client's name, as `hello` says it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns whether the client has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.link, Link::Over)
    }

    /// Returns whether [`Session::poll_effect`] has something.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Returns the next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    // Commands of the application.

    /// Requests something: a write, a read, a signal or a token. The session sets the `id` and
    /// `seq` of the frame. There will be exactly one [`Effect::Reply`] for the request. `of` is the
    /// history of the revisions that the frame names; `None` means the present one. The frame is
    /// sent in no other history.
    pub fn request(&mut self, now: Time, ticket: u64, frame: ClientFrame, of: Option<Epoch>) {
        if self.is_over() || self.closing.is_some() {
            let error = Error::Closed { why: self.why.clone(), sent: Some(Sent::Never) };
            self.effects.push_back(Effect::Reply { ticket, result: Err(error) });
            self.effects.push_back(Effect::Release { ticket });
            return;
        }
        self.requests.add(now, ticket, frame, of, &mut self.effects);
    }

    /// Asks the broker for a `sync`, which brings all fresh mirrors to the present.
    pub fn want_sync(&mut self) {
        self.sync_wanted = matches!(self.link, Link::Up { .. });
    }

    /// Ends the client. With `bye` the session ends at once, without it after its grace. If there
    /// is a connection, earlier requests are done first.
    pub fn close(&mut self, now: Time, bye: bool) {
        if !matches!(self.link, Link::Up { .. } | Link::Leaving { .. }) {
            return self.finish(None);
        }
        let until = now.saturating_add(self.options.request_timeout.max(BYE));
        self.closing.get_or_insert(Closing { bye, said: false, until });
        self.settle_close(now);
    }

    // Reports about the connection.

    /// Sets the token for later `hello`s.
    pub fn set_token(&mut self, token: String) {
        self.options.token = Some(token);
    }

    /// The connection is open.
    pub fn handle_open(&mut self, now: Time) {
        let Link::Opening { until } = self.link else { return };
        self.heard = now;
        self.link = Link::Greeting { hello: None, until };
    }

    /// Something was received, whatever it was: the connection is alive.
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
            // What `bye` said is more useful than the error that follows from it.
            Link::Leaving { error, .. } => error.clone(),
            _ => error,
        };
        let error = self.settle_late(error);
        let again = match self.options.reconnect {
            Reconnect::Never => false,
            Reconnect::AfterFirst => self.ever,
            Reconnect::Always => true,
        };
        let error = Arc::new(error);
        // If tokens come from a function, it may give a better one: it is called once more, at
        // once.
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

    /// The time of [`Session::next_timeout`] has come. Calling this at other times does no harm.
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
        self.settle_close(now);
    }

    /// Returns when to call [`Session::handle_timeout`] next.
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

    /// Returns the next message to send, if there is one and the broker's limits allow it now.
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

    /// Returns the `hello`, with as many subscriptions as fit into one frame. The others follow it.
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
            // Waiting for a revision alone (`at`) needs no digest of a large view.
            let all = self.checks.iter().any(|check| check.sync.is_none());
            self.checks.iter_mut().for_each(|check| _ = check.sync.get_or_insert(id));
            return Some(ClientFrame::Sync(SyncRequest { id, all }));
        }
        None
    }

    /// Returns `bye` once everything else is done.
    fn next_bye(&mut self) -> Option<ClientFrame> {
        let closing = self.closing.as_mut()?;
        if !closing.bye || closing.said || !self.requests.is_empty() {
            return None;
        }
        closing.said = true;
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

    /// The connection ends. If it was good, earlier failures no longer count.
    fn settle_good(&mut self, now: Time) {
        if let Link::Up { since, .. } | Link::Leaving { since, .. } = self.link
            && now.saturating_sub(since) >= GOOD
        {
            self.backoff.reset();
            self.refused = false;
        }
    }

    /// Counts the `hello`s without an answer. As long as there are any, the session was perhaps
    /// taken by one of them: then the connection is lost, and the client goes on.
    fn settle_late(&mut self, error: ConnectError) -> ConnectError {
        let greeted = matches!(self.link, Link::Greeting { hello: Some(_), .. });
        let answered = matches!(error, ConnectError::Refused(_));
        if greeted && !answered && self.session.is_some() {
            self.late = self.late.saturating_add(1);
        }
        if error.code() != Some(Code::SessionTaken) || self.late == 0 {
            return error;
        }
        self.late -= 1;
        let why = "another connection has the session now, perhaps an earlier one of this client";
        ConnectError::Lost(why.to_owned())
    }

    /// Comes back under another client name: at once, unless the client did so shortly before.
    fn rename(&mut self, now: Time, why: &str) {
        self.settle_good(now);
        self.name = new_name(&self.options, &mut self.random);
        let again = self.renamed.is_some_and(|at| now.saturating_sub(at) < GOOD);
        let retry_in = if again { self.backoff.next(None) } else { Time::ZERO };
        self.renamed = Some(now);
        self.effects.push_back(Effect::Disconnect);
        self.go_down(now.saturating_add(retry_in));
        // `Lost`, and not the code of a write: each write that this is about has its answer
        // already, or is sent again.
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

    /// Ends a client that is closing once its requests are done; one that says `bye` waits for the
    /// answer first. To be called after [`Session::poll_transmit`], too: it may have refused the
    /// last request.
    pub(crate) fn settle_close(&mut self, now: Time) {
        let Some(closing) = self.closing.as_mut().filter(|_| self.requests.is_empty()) else {
            return;
        };
        if closing.bye {
            closing.until = closing.until.min(now.saturating_add(BYE));
        } else {
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

/// Returns whether a client's name can begin with `text`: a `-` and 128 bits in hexadecimal must
/// fit after it.
pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= NAME_BYTES - 33 && Name::parse(text).is_some()
}

/// A name that no other client has: the label, if it is allowed, and 128 random bits.
fn new_name(options: &Options, random: &mut StdRng) -> Name {
    let bits = random.random::<u128>();
    let labelled =
        options.label.as_ref().and_then(|label| Name::parse(&format!("{label}-{bits:032x}")));
    match labelled.or_else(|| Name::parse(&format!("{bits:032x}"))) {
        Some(name) => name,
        None => unreachable!("32 hex digits are a name"),
    }
}
