//! Requests: what waits to be sent, what waits for its answer, and the numbers that make a retried
//! write take effect once.
//!
//! A write gets its `seq` when it is sent for the first time, in the order in which the writes were
//! asked for, and keeps it over reconnects. The broker takes `last + 1` only. A write that was
//! refused before it reached the tree uses no number up, so those sent behind it come back as
//! `seq-gap`, none of them executed: then nothing new is sent until all that is on its way has been
//! answered ("settling"), and those that came back are numbered anew, in their order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{ClientFrame, ErrorFrame};
use onetree_protocol::limits::Limits;
use onetree_protocol::{Code, Codec, Epoch, MediaType, Revision, Value, json};

use super::{Effect, Reply, Time};
use crate::errors::{ConnectError, Error, Refusal, Sent};
use crate::request::{is_ephemeral, is_write, number, of_history, once_sent, values};

/// So often may one write be numbered anew while none is answered before it is given up: once is
/// what a refused neighbour costs, twice what a broker costs that has forgotten us meanwhile.
const RENUMBERED: u8 = 3;

#[derive(Debug)]
pub(super) struct Requests {
    timeout: Time,
    all: HashMap<u64, Request>,
    /// What is to be sent, by ticket: the order in which it was asked for.
    queue: BTreeSet<u64>,
    deadlines: VecDeque<(Time, u64)>,
    /// The broker's history, by its last `welcome`.
    history: Option<Epoch>,
    next_seq: u64,
    /// The highest `seq` that the broker is known to have used up.
    floor: u64,
    /// What was seen when number 1 was given.
    began: Option<Revision>,
    /// The present when the session of now began: what it owns is above this.
    session: Revision,
    settling: bool,
    /// Whether a write was answered since numbers were settled last.
    progress: bool,
    rename: bool,
    /// Whether the numbers given under this name were of another history than the broker's.
    foreign: bool,
}

#[derive(Debug)]
struct Request {
    frame: ClientFrame,
    /// The history that it is about, if it is about one.
    of: Option<Epoch>,
    seq: Option<u64>,
    /// How often it was sent under this number.
    sent: u32,
    /// Whether its answer is out of the application's hands: it had it, or a timeout.
    replied: bool,
    in_flight: bool,
    renumbered: u8,
}

impl Request {
    /// Whether the broker may have it, and may do it.
    fn was_sent(&self) -> Sent {
        let never = self.seq.is_none() && self.sent == 0;
        if never { Sent::Never } else { once_sent(&self.frame) }
    }
}

/// What the session has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Come back under another client name, for this reason.
    Rename(&'static str),
}

impl Requests {
    pub(super) fn new(timeout: Time) -> Requests {
        Requests {
            timeout,
            all: HashMap::new(),
            queue: BTreeSet::new(),
            deadlines: VecDeque::new(),
            history: None,
            next_seq: 1,
            floor: 0,
            began: None,
            session: Revision::ZERO,
            settling: false,
            progress: false,
            rename: false,
            foreign: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One more; `of`: the history that it is about, where that is not the one of now.
    pub(super) fn add(
        &mut self,
        now: Time,
        ticket: u64,
        frame: ClientFrame,
        of: Option<Epoch>,
        effects: &mut VecDeque<Effect>,
    ) {
        let of = of.or(self.history).filter(|_| !of_history(&frame).is_empty());
        let (seq, sent, renumbered) = (None, 0, 0);
        let (replied, in_flight) = (false, false);
        let request = Request { frame, of, seq, sent, replied, in_flight, renumbered };
        self.all.insert(ticket, request);
        self.queue.insert(ticket);
        self.deadlines.push_back((now.saturating_add(self.timeout), ticket));
        self.refuse_foreign(ticket, effects);
    }

    /// `welcome` shows whether the session of before goes on, or another has begun: then that one
    /// is over, and what it owned is gone. Of what was sent to another history nothing is told as
    /// done.
    pub(super) fn handle_session(&mut self, resumed: bool, epoch: Epoch, rev: Revision) {
        if !resumed {
            self.session = rev;
        } else if self.history != Some(epoch) {
            self.session = Revision::ZERO;
        }
    }

    /// `welcome` shows which history the broker has. What is about another one is not written into
    /// this one: something else may be at the same revision. Nor is what was sent to another one,
    /// which may be in this one already, when it was made of that.
    pub(super) fn handle_history(&mut self, epoch: Epoch, effects: &mut VecDeque<Effect>) -> Next {
        if self.history.replace(epoch) == Some(epoch) {
            return Next::Nothing;
        }
        self.foreign |= self.next_seq > 1;
        if self.has_numbered() {
            // This history may know them, and their numbers are not to be given to others.
            (self.settling, self.rename) = (true, true);
        }
        for ticket in self.queue.clone() {
            self.refuse_foreign(ticket, effects);
        }
        self.settle()
    }

    fn refuse_foreign(&mut self, ticket: u64, effects: &mut VecDeque<Effect>) {
        let Some(request) = self.all.get(&ticket) else { return };
        // Nothing was sent to the history of now before this.
        let sent = request.seq.is_some();
        let about = request.of.is_some() && self.history.is_some() && request.of != self.history;
        if !sent && !about {
            return;
        }
        let refusal = if sent {
            let message = "it was sent, and the broker has begun another history without an answer";
            Refusal::new(Code::OutcomeUnknown, message)
        } else {
            let message = "it is about a history that is no longer the broker's";
            Refusal::new(Code::Conflict, message)
        };
        self.finish(ticket, Err(Error::Refused(refusal)), effects);
    }

    /// The token that a request shows, when that is what it does.
    pub(super) fn token(&self, ticket: u64) -> Option<String> {
        match &self.all.get(&ticket)?.frame {
            ClientFrame::Auth(auth) => Some(auth.token.clone()),
            _ => None,
        }
    }

    /// For `hello`, where writes are to be sent again of which none was answered: a revision before
    /// all of them. A broker that has forgotten us since could take the first for a new one.
    pub(super) fn since(&self) -> Option<Revision> {
        self.began.filter(|_| self.floor == 0 && self.has_numbered())
    }

    /// Whether a write was sent that has no answer. O(n).
    fn has_numbered(&self) -> bool {
        self.all.values().any(|request| request.seq.is_some())
    }

    /// The next one to send, as `id`. What can never be sent is refused on the way. `seen`: the
    /// highest revision that is known of.
    pub(super) fn next(
        &mut self,
        id: u32,
        seen: Option<Revision>,
        codec: Codec,
        limits: &Limits,
        effects: &mut VecDeque<Effect>,
    ) -> Option<(u64, Bytes)> {
        while let Some(ticket) = self.first() {
            self.queue.remove(&ticket);
            let Some(request) = self.all.get_mut(&ticket) else { continue };
            let write = is_write(&request.frame);
            let seq = request.seq.or(write.then_some(self.next_seq));
            number(&mut request.frame, id, seq);
            match encode(&request.frame, codec, limits) {
                Ok(bytes) => {
                    if write && request.seq.is_none() {
                        if self.next_seq == 1 {
                            self.began = seen;
                        }
                        self.next_seq += 1;
                    }
                    request.seq = seq;
                    request.sent += 1;
                    request.in_flight = true;
                    return Some((ticket, bytes));
                }
                Err(refusal) => self.finish(ticket, Err(Error::Refused(refusal)), effects),
            }
        }
        None
    }

    /// Who is next. While settling, those that have a number go before a write that has none: it
    /// waits for their answers, and they are to be sent again when the connection was lost
    /// meanwhile.
    fn first(&self) -> Option<u64> {
        let ticket = self.queue.first().copied()?;
        let request = self.all.get(&ticket);
        if !self.settling || request.is_none_or(|r| r.seq.is_some() || !is_write(&r.frame)) {
            return Some(ticket);
        }
        let numbered = |ticket: &&u64| self.all.get(ticket).is_some_and(|r| r.seq.is_some());
        self.queue.iter().find(numbered).copied()
    }

    /// The answer to a request came.
    pub(super) fn answered(
        &mut self,
        ticket: u64,
        answer: Result<Reply, ErrorFrame>,
        effects: &mut VecDeque<Effect>,
    ) -> Next {
        let Some(request) = self.all.get_mut(&ticket) else { return self.settle() };
        request.in_flight = false;
        let error = match (answer, request.seq) {
            (Ok(reply), seq) => {
                self.floor = self.floor.max(seq.unwrap_or(0));
                self.progress |= seq.is_some();
                let gone = matches!(&reply, Reply::Done(done) if done.rev <= self.session);
                let told = if gone && is_ephemeral(&request.frame) {
                    let message = "it happened in a session that is over, and what was ephemeral \
                                   went with it";
                    Err(Error::Refused(Refusal::new(Code::OutcomeUnknown, message)))
                } else {
                    Ok(reply)
                };
                self.finish(ticket, told, effects);
                return self.settle();
            }
            (Err(error), None) => {
                self.finish(ticket, Err(Error::Refused(error.into())), effects);
                return Next::Nothing;
            }
            (Err(error), Some(seq)) => {
                self.refused(ticket, seq, &error);
                error
            }
        };
        if !self.queue.contains(&ticket) {
            self.finish(ticket, Err(Error::Refused(error.into())), effects);
        }
        self.settle()
    }

    /// A write came back with an error; it stays in the queue when it is to be sent again.
    fn refused(&mut self, ticket: u64, seq: u64, error: &ErrorFrame) {
        let Some(request) = self.all.get_mut(&ticket) else { return };
        // What was sent once and is not remembered was never executed; a gap never is.
        let harmless = match error.code {
            Code::SeqGap => true,
            Code::OutcomeUnknown => request.sent == 1,
            code => {
                if code.uses_seq() {
                    self.floor = self.floor.max(seq);
                }
                // Otherwise its number is still free: that is seen at the next write.
                self.progress = true;
                return;
            }
        };
        self.settling = true;
        // It was the next in order and was not taken: the broker does not know our numbers.
        let expected = seq == self.floor + 1;
        let forgotten = error.code == Code::OutcomeUnknown && self.floor > 0;
        self.rename |= expected || forgotten || !harmless;
        if harmless && request.renumbered < RENUMBERED && !request.replied {
            request.renumbered += 1;
            request.seq = None;
            request.sent = 0;
            self.queue.insert(ticket);
        }
    }

    /// When all that was on its way has been answered, numbers go on behind the last one that is
    /// known to be used up.
    fn settle(&mut self) -> Next {
        if !self.settling || self.has_numbered() {
            return Next::Nothing;
        }
        self.settling = false;
        if std::mem::take(&mut self.progress) {
            self.all.values_mut().for_each(|request| request.renumbered = 0);
        }
        self.next_seq = self.floor + 1;
        if std::mem::take(&mut self.rename) {
            (self.floor, self.next_seq) = (0, 1);
            return Next::Rename(match std::mem::take(&mut self.foreign) {
                true => "the broker has begun another history",
                false => "the broker does not know this client's writes",
            });
        }
        Next::Nothing
    }

    /// The connection was lost: what has no answer is sent again, except signals.
    pub(super) fn handle_lost(&mut self, effects: &mut VecDeque<Effect>) {
        let mut lost = Vec::new();
        for (ticket, request) in &mut self.all {
            if !std::mem::take(&mut request.in_flight) {
                continue;
            }
            if matches!(request.frame, ClientFrame::Signal(_)) {
                lost.push(*ticket);
            } else {
                self.queue.insert(*ticket);
            }
        }
        lost.into_iter().for_each(|ticket| self.finish(ticket, Err(Error::Lost), effects));
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Time, effects: &mut VecDeque<Effect>) {
        while let Some((at, ticket)) = self.deadlines.front().copied() {
            let waiting = self.all.get(&ticket).is_some_and(|request| !request.replied);
            if at > now && waiting {
                return;
            }
            self.deadlines.pop_front();
            let Some(request) = self.all.get_mut(&ticket).filter(|_| waiting) else { continue };
            let error = Error::Timeout { after: self.timeout, sent: request.was_sent() };
            if request.seq.is_some() {
                // Its number is taken: until the broker has answered, it is sent again.
                request.replied = true;
                effects.push_back(Effect::Reply { ticket, result: Err(error) });
            } else {
                self.finish(ticket, Err(error), effects);
            }
        }
    }

    /// The client has ended; `why`: by itself.
    pub(super) fn end(&mut self, why: Option<&Arc<ConnectError>>, effects: &mut VecDeque<Effect>) {
        let mut tickets: Vec<u64> = self.all.keys().copied().collect();
        tickets.sort_unstable();
        for ticket in tickets {
            let sent = self.all.get(&ticket).map(Request::was_sent);
            self.finish(ticket, Err(Error::Closed { why: why.cloned(), sent }), effects);
        }
    }

    fn finish(
        &mut self,
        ticket: u64,
        result: Result<Reply, Error>,
        effects: &mut VecDeque<Effect>,
    ) {
        self.queue.remove(&ticket);
        let Some(request) = self.all.remove(&ticket) else { return };
        if !request.replied {
            effects.push_back(Effect::Reply { ticket, result });
        }
        effects.push_back(Effect::Release { ticket });
    }
}

/// A request's bytes, when the broker's limits allow them and its values are what they say.
fn encode(frame: &ClientFrame, codec: Codec, limits: &Limits) -> Result<Bytes, Refusal> {
    let most = limits.value_bytes as usize;
    for (path, Value { media, bytes }) in values(frame) {
        let refuse = |code, message| {
            Err(Refusal { path: Some(path.clone()), ..Refusal::new(code, message) })
        };
        if bytes.len() > most {
            let message = format!("a value has at most {most} bytes, this one has {}", bytes.len());
            return refuse(Code::ValueTooLarge, message);
        }
        // A JSON frame takes its text as it is: a wrong one would break the frame, or forge it.
        if codec == Codec::Json
            && *media == MediaType::Json
            && let Err(error) = json::check(bytes)
        {
            return refuse(Code::BadValue, format!("the value is not JSON: {error}"));
        }
    }
    let bytes = codec.encode_client(frame);
    let most = limits.frame_bytes as usize;
    if bytes.len() > most {
        let message = format!("a frame has at most {most} bytes, this one has {}", bytes.len());
        return Err(Refusal::new(Code::FrameTooLarge, message));
    }
    Ok(bytes)
}
