//! One connection of a transcript.

use std::collections::BTreeMap;

use onetree_client::mirror::State;
use onetree_client::protocol::frame::{ClientFrame, Delta, ErrorFrame, ServerFrame, Sub};
use onetree_client::session::{Effect, Reply, Session, SubOptions, Time};
use onetree_client::{Change, Codec, ConnectError, Done, Error, Found, Options, Refusal};
use serde_json::{Value as Json, json};

use crate::known::Known;
use crate::mirror::{Mirror, apply};
use crate::names::Names;

const NOW: Time = Time::ZERO;

/// A session that is made to send what the transcript's client sends.
pub(super) struct Player {
    codec: Codec,
    session: Session,
    greeted: bool,
    /// The session's ids, by the transcript's.
    ids: BTreeMap<u32, u32>,
    tickets: u64,
    /// The session's requests that have no answer yet, by their ids.
    pub(super) asked: BTreeMap<u32, u64>,
    bye: Option<u32>,
    pub(super) mirrors: BTreeMap<u32, Mirror>,
    parts: BTreeMap<Option<u32>, Vec<Change>>,
}

impl Player {
    pub(super) fn new(codec: Codec) -> Player {
        Player {
            codec,
            session: Session::new(Options::new("ws://here").codec(codec), [1; 32]),
            greeted: false,
            ids: BTreeMap::new(),
            tickets: 0,
            asked: BTreeMap::new(),
            bye: None,
            mirrors: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Returns the frame, if our clients can be made to send it.
    pub(super) fn ours(&self, fields: &Json) -> Option<ClientFrame> {
        let frame = Codec::Json.decode_client(&serde_json::to_vec(fields).unwrap()).ok()?;
        // The session chooses its own numbers, and never offers a copy.
        let own = fields.get("seq").is_none() && fields.get("copy").is_none();
        let live = |sub: u32| self.mirrors.get(&sub).is_some_and(|mirror| !mirror.ended);
        let can = match &frame {
            ClientFrame::Hello(hello) => {
                let subs: BTreeMap<u32, &Sub> =
                    hello.subs.iter().map(|sub| (sub.sub, sub)).collect();
                !self.greeted && subs.len() == hello.subs.len()
            }
            _ if !self.greeted => false,
            ClientFrame::Sub(sub) => !live(sub.sub),
            ClientFrame::Unsub(f) => live(f.sub),
            ClientFrame::Resync(f) => live(f.sub),
            // The session always asks for an answer.
            ClientFrame::Signal(signal) => signal.id.is_some(),
            _ => true,
        };
        (own && can).then_some(frame)
    }

    /// Makes the session send the same frame, and nothing else.
    pub(super) fn send(&mut self, frame: &ClientFrame, known: &Known) {
        match frame {
            ClientFrame::Hello(hello) => {
                hello.subs.iter().for_each(|sub| self.mirror(sub, known));
                if let Some(token) = &hello.token {
                    self.session.set_token(token.clone());
                }
                self.session.handle_open(NOW);
                self.greeted = true;
            }
            ClientFrame::Sub(sub) => self.mirror(sub, known),
            ClientFrame::Unsub(f) => {
                self.mirrors.remove(&f.sub);
                self.session.drop_mirror(f.sub);
            }
            ClientFrame::Resync(f) => {
                self.mirrors.get_mut(&f.sub).unwrap().lose();
                self.session.resync(f.sub);
            }
            ClientFrame::Sync(_) => self.session.want_sync(),
            ClientFrame::Bye(_) => self.session.close(NOW, true),
            _ => {
                self.tickets += 1;
                self.session.request(NOW, self.tickets, frame.clone(), None);
            }
        }
        let message = self.session.poll_transmit().expect("the session says something");
        let said = self.codec.decode_client(&message).unwrap();
        let (mut mine, mut theirs) = (fields(&said), fields(frame));
        self.same_but_numbers(&mut mine, &mut theirs);
        if let (ClientFrame::Hello(said), ClientFrame::Hello(hello)) = (&said, frame) {
            // These fields depend on an earlier life of the session, which was only just made.
            for of in ["client", "session", "agent", "seen", "subs"] {
                mine.as_object_mut().unwrap().remove(of);
                theirs.as_object_mut().unwrap().remove(of);
            }
            assert_eq!(said.subs.len(), hello.subs.len());
            for sub in &hello.subs {
                let said = said.subs.iter().find(|said| said.sub == sub.sub).unwrap();
                let [mut mine, mut theirs] =
                    [said, sub].map(|sub| fields(&ClientFrame::Sub(Box::new(sub.clone()))));
                self.same_but_numbers(&mut mine, &mut theirs);
                assert_eq!(mine, theirs);
            }
        }
        assert_eq!(mine, theirs);
        let id = said.id().unwrap();
        match frame {
            ClientFrame::Bye(_) => self.bye = Some(id),
            ClientFrame::Hello(_)
            | ClientFrame::Sub(_)
            | ClientFrame::Unsub(_)
            | ClientFrame::Resync(_)
            | ClientFrame::Sync(_) => {}
            _ => assert_eq!(self.asked.insert(id, self.tickets), None),
        }
        self.settle(&[]);
    }

    /// Removes the numbers from what the session sends and from the transcript.
    fn same_but_numbers(&mut self, mine: &mut Json, theirs: &mut Json) {
        let [mine, theirs] = [mine, theirs].map(|frame| frame.as_object_mut().unwrap());
        let [Some(my_id), Some(their_id)] = [&mut *mine, theirs].map(|frame| frame.remove("id"))
        else {
            panic!("each has an id");
        };
        let [my_id, their_id] = [my_id, their_id].map(|id| u32::try_from(id.as_u64().unwrap()));
        let my_id = my_id.unwrap();
        assert!(self.ids.values().all(|id| *id != my_id), "id {my_id} comes twice");
        self.ids.insert(their_id.unwrap(), my_id);
        mine.remove("seq");
    }

    fn mirror(&mut self, sub: &Sub, known: &Known) {
        let saved = sub.cookie.map(|cookie| known.snapshot(cookie));
        let (mode, signals, every_ms) = (sub.mode, sub.signals, sub.every_ms);
        let options = SubOptions { mode, signals, every_ms };
        let mirror = Mirror::new(sub.view.clone(), options, saved.clone().unwrap_or_default());
        self.mirrors.insert(sub.sub, mirror);
        self.session.mirror(sub.sub, State::new(sub.view.clone(), saved), options);
    }

    /// Gives the session a frame of the broker.
    pub(super) fn take(&mut self, expected: &Json, names: &mut Names) {
        let mut fields = names.fill(expected, "");
        if let Some(id) = fields.get_mut("id") {
            let theirs = u32::try_from(id.as_u64().unwrap()).unwrap();
            *id = json!(self.ids[&theirs]);
        }
        let frame = Codec::Json.decode_server(&serde_json::to_vec(&fields).unwrap()).unwrap();
        let mut frame = self.codec.decode_server(&self.codec.encode_server(&frame)).unwrap();
        self.expect(&frame);
        match &mut frame {
            ServerFrame::Fresh(f) => {
                let made = names.digest(&expected["digest"], &self.mirrors[&f.sub].tree);
                f.digest = made.or(f.digest);
            }
            ServerFrame::Sync(f) => {
                for (sub, digest) in &mut f.digests {
                    let field = &expected["digests"][sub.to_string()];
                    *digest = names.digest(field, &self.mirrors[sub].tree).or(*digest);
                }
            }
            _ => {}
        }
        let replies = self.reply(&frame);
        self.session.handle_frame(NOW, frame);
        self.settle(&replies);
    }

    /// Notes what the mirrors must be after it.
    fn expect(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Refresh(f) => self.mirrors.get_mut(&f.sub).unwrap().refresh(f.kind),
            ServerFrame::Entries(f) => {
                let Mirror { staged, view, .. } = self.mirrors.get_mut(&f.sub).unwrap();
                let staged = staged.as_mut().unwrap();
                f.changes.iter().for_each(|change| apply(staged, change, view));
            }
            ServerFrame::Fresh(f) => self.mirrors.get_mut(&f.sub).unwrap().fresh(f),
            ServerFrame::Delta(delta) => self.delta(delta),
            ServerFrame::Sync(f) => {
                for (sub, _) in &f.digests {
                    self.mirrors.get_mut(sub).unwrap().sync(f.rev);
                }
            }
            ServerFrame::Signal(f) => {
                for mirror in self.mirrors.values_mut() {
                    let wants = mirror.options.signals && mirror.view.sees(&f.path);
                    mirror.signals += usize::from(wants && !mirror.ended);
                }
            }
            ServerFrame::Bye(_) => self.mirrors.values_mut().for_each(Mirror::lose),
            ServerFrame::Ok(f) if self.bye == Some(f.id) => {
                self.mirrors.values_mut().for_each(Mirror::lose);
            }
            ServerFrame::Ok(_)
            | ServerFrame::Welcome(_)
            | ServerFrame::Error(_)
            | ServerFrame::Done(_)
            | ServerFrame::Found(_) => {}
        }
    }

    fn delta(&mut self, delta: &Delta) {
        let changes = self.parts.entry(delta.sub).or_default();
        changes.extend(delta.changes.iter().cloned());
        if delta.part {
            return;
        }
        let changes = self.parts.remove(&delta.sub).unwrap();
        for (sub, mirror) in &mut self.mirrors {
            let own = delta.sub.map_or(mirror.options.every_ms == 0, |only| only == *sub);
            if own {
                mirror.delta(delta.rev, &changes);
            }
        }
    }

    /// Returns what the application must get when `frame` answers a request.
    fn reply(&mut self, frame: &ServerFrame) -> Vec<(u64, Result<Reply, Refusal>)> {
        let (id, result) = match frame.clone() {
            ServerFrame::Ok(f) => (Some(f.id), Ok(Reply::Ok)),
            ServerFrame::Done(f) => {
                let done = Done { rev: f.rev, durable: f.durable, paths: f.paths };
                (Some(f.id), Ok(Reply::Done(done)))
            }
            ServerFrame::Found(f) => {
                let found = Found { rev: f.rev, entries: f.entries, more: f.more };
                (Some(f.id), Ok(Reply::Found(found)))
            }
            ServerFrame::Error(f) => (f.id, Err(refusal(f))),
            _ => return Vec::new(),
        };
        let ticket = id.and_then(|id| self.asked.remove(&id));
        ticket.map(|ticket| (ticket, result)).into_iter().collect()
    }

    pub(super) fn lose(&mut self, error: ConnectError) {
        self.mirrors.values_mut().for_each(Mirror::lose);
        self.session.handle_closed(NOW, error);
        self.settle(&[]);
    }

    /// Checks that the session reports what the broker sent: these replies, and the mirrors.
    fn settle(&mut self, wanted: &[(u64, Result<Reply, Refusal>)]) {
        let mut replies = Vec::new();
        while let Some(effect) = self.session.poll_effect() {
            match effect {
                Effect::Reply { ticket, result } => {
                    let result = result.map_err(|error| match error {
                        Error::Refused(refusal) => refusal,
                        other => panic!("{other:?}"),
                    });
                    replies.push((ticket, result));
                }
                Effect::Mirror { sub, event, snapshot, fresh } => {
                    let mirror = self.mirrors.get_mut(&sub).unwrap();
                    mirror.told(event, snapshot, fresh);
                }
                _ => {}
            }
        }
        assert_eq!(replies, wanted);
        self.mirrors.iter().for_each(|(sub, mirror)| mirror.check(*sub));
        let more = self.session.poll_transmit();
        assert_eq!(more, None, "the session says more than the transcript's client");
    }
}

/// Returns the fields of a frame, as in JSON.
fn fields(frame: &ClientFrame) -> Json {
    serde_json::from_slice(&Codec::Json.encode_client(frame)).unwrap()
}

pub(super) fn refusal(error: ErrorFrame) -> Refusal {
    Refusal {
        code: error.code,
        message: error.message,
        path: error.path,
        rev: error.rev,
        retry_in: error.retry_ms.map(|ms| Time::from_millis(ms.into())),
    }
}
