//! Requests: what waits to be sent, what waits for its answer, and the numbers with which a write
//! that is sent again takes effect once.
//!
//! A write gets its `seq` when it is sent for the first time, in the order in which the writes were
//! requested. It keeps the `seq` over reconnects. The broker takes `last + 1` only. A write that
//! was refused before it reached the tree uses up no number. So the writes sent after it come back
//! as `seq-gap`, and none of them was executed. Then no new write is sent until all writes that are
//! on their way have been answered ("settling"). Those that came back get new numbers, in their
//! order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use onetree_protocol::frame::{ClientFrame, ErrorFrame};
use onetree_protocol::limits::Limits;
use onetree_protocol::{Code, Codec, Epoch, MediaType, Revision, Value, json};

use super::{Effect, Reply, Time};
use crate::errors::{ConnectError, Error, Refusal, Sent};
use crate::request::{is_ephemeral, is_write, number, of_history, once_sent, values};

/// How often one write may get a new number while no write is answered. Then it is given up. A
/// refused write before it costs one, a broker that has meanwhile forgotten this client costs two.
const RENUMBERED: u8 = 3;

#[derive(Debug)]
pub(super) struct Requests {
    timeout: Time,
    all: HashMap<u64, Request>,
    /// The tickets of the requests to be sent. Their order is that of the requests.
    queue: BTreeSet<u64>,
    deadlines: VecDeque<(Time, u64)>,
    /// The broker's history, from its last `welcome`.
    history: Option<Epoch>,
    next_seq: u64,
    /// The highest `seq` that the broker is known to have used up.
    floor: u64,
    /// The highest revision that was known when number 1 was given.
    began: Option<Revision>,
    /// The present revision when the current session began: what the session owns is above it.
    session: Revision,
    settling: bool,
    /// Whether a write was answered since numbers were last settled.
    progress: bool,
    rename: bool,
    /// Whether some numbers under this client name were given in another history than the broker's
    /// present one.
    foreign: bool,
}

#[derive(Debug)]
struct Request {
    frame: ClientFrame,
    /// The history that the request is about, if it is about one.
    of: Option<Epoch>,
    seq: Option<u64>,
    /// How often the request was sent under this number.
    sent: u32,
    /// Whether the application has its answer already, or a timeout.
    replied: bool,
    in_flight: bool,
    renumbered: u8,
}

impl Request {
    /// Returns whether the broker may have the request, and may carry it out.
    fn was_sent(&self) -> Sent {
        let never = self.seq.is_none() && self.sent == 0;
        if never { Sent::Never } else { once_sent(&self.frame) }
    }
}

/// What the session must do next.
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

    /// Adds a request. `of` is the history that it is about; `None` means the present one.
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

    /// Takes from `welcome` whether the session of before goes on. If another has begun, the former
    /// one is over, and its ephemeral entries are gone.
    pub(super) fn handle_session(&mut self, resumed: bool, epoch: Epoch, rev: Revision) {
        if !resumed {
            self.session = rev;
        } else if self.history != Some(epoch) {
            self.session = Revision::ZERO;
        }
    }

    /// Takes from `welcome` which history the broker has. A write that is about another history is
    /// not sent in this one, because something else may be at the same revision. A write that was
    /// sent in another history is not sent again either: it may be in this history already, if this
    /// one was made from the other.
    pub(super) fn handle_history(&mut self, epoch: Epoch, effects: &mut VecDeque<Effect>) -> Next {
        if self.history.replace(epoch) == Some(epoch) {
            return Next::Nothing;
        }
        self.foreign |= self.next_seq > 1;
        if self.has_numbered() {
            // This history may know the numbers, so they must not be given to other writes.
            (self.settling, self.rename) = (true, true);
        }
        for ticket in self.queue.clone() {
            self.refuse_foreign(ticket, effects);
        }
        self.settle()
    }

    fn refuse_foreign(&mut self, ticket: u64, effects: &mut VecDeque<Effect>) {
        let Some(request) = self.all.get(&ticket) else { return };
        // Nothing was sent in the present history yet, so a number is of another one.
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

    /// Returns the token of a request, if the request is an `auth`.
    pub(super) fn token(&self, ticket: u64) -> Option<String> {
        match &self.all.get(&ticket)?.frame {
            ClientFrame::Auth(auth) => Some(auth.token.clone()),
            _ => None,
        }
    }

    /// Returns `since` for `hello`: a revision before all writes that were sent, if no write under
    /// this name was answered. Otherwise a broker that has forgotten the name meanwhile could take
    /// the first of them for a new write.
    pub(super) fn since(&self) -> Option<Revision> {
        self.began.filter(|_| self.floor == 0 && self.has_numbered())
    }

    /// Returns whether a write was sent and has no answer. O(n).
    fn has_numbered(&self) -> bool {
        self.all.values().any(|request| request.seq.is_some())
    }

    /// Returns the next request to send, with the number `id`. Refuses requests that can never be
    /// sent. `seen` is the highest revision that is known.
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

    /// Returns the next ticket. While settling, a write without a number waits for the answers to
    /// those that have one. These go first: if the connection was lost meanwhile, they must be sent
    /// again.
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

    /// A write came back with an error. It is put into the queue if it is to be sent again.
    fn refused(&mut self, ticket: u64, seq: u64, error: &ErrorFrame) {
        let Some(request) = self.all.get_mut(&ticket) else { return };
        // `outcome-unknown` for a write that was sent only once means that it was not executed.
        // `seq-gap` always means that.
        let harmless = match error.code {
            Code::SeqGap => true,
            Code::OutcomeUnknown => request.sent == 1,
            code => {
                if code.uses_seq() {
                    self.floor = self.floor.max(seq);
                }
                // Otherwise its number is still free, which shows at the next write.
                self.progress = true;
                return;
            }
        };
        self.settling = true;
        // The write was the next in order and was not taken, so the broker does not know this
        // client's numbers.
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

    /// Once everything that was on its way has been answered, numbers continue after the last one
    /// that is known to be used up.
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

    /// The connection was lost. What has no answer is sent again, except signals.
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
                // The number is taken, so the write is sent again until the broker has answered.
                request.replied = true;
                effects.push_back(Effect::Reply { ticket, result: Err(error) });
            } else {
                self.finish(ticket, Err(error), effects);
            }
        }
    }

    /// The client has ended. `why` is given if it ended by itself.
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

/// Returns the bytes of a request, if they are within the broker's limits and its JSON values are
/// valid.
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
        // A JSON frame takes the text of a value as it is. An invalid text would break the frame,
        // or forge another.
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
