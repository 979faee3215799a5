//! What each of the broker's frames does.

use std::collections::HashMap;
use std::time::Duration;

use onetree_protocol::frame::{
    Delta, ErrorFrame, Goodbye, Mode, RefreshKind, ServerFrame, Sync, Welcome,
};
use onetree_protocol::{Code, Revision};

use super::requests::Next;
use super::subs::Slot;
use super::{Asked, BYE, Effect, Link, Reply, Session, Time, Unread};
use crate::errors::{ConnectError, Refusal};
use crate::event::{Connection, Event, Status, Verdict};
use crate::request::{Done, Found};

impl Session {
    /// Takes a frame of the broker.
    pub fn handle_frame(&mut self, now: Time, frame: ServerFrame) {
        self.heard = now;
        match (&self.link, frame) {
            (Link::Greeting { hello: Some(id), .. }, ServerFrame::Welcome(welcome))
                if welcome.id == *id =>
            {
                self.handle_welcome(now, welcome);
            }
            (Link::Greeting { .. } | Link::Up { .. }, ServerFrame::Bye(goodbye)) => {
                self.handle_goodbye(now, goodbye);
            }
            (Link::Greeting { .. }, ServerFrame::Error(error)) => {
                self.fail(now, ConnectError::Refused(error.into()));
            }
            (Link::Greeting { .. }, _) => {
                let why = "something came before 'welcome'".to_owned();
                self.fail(now, ConnectError::Protocol(why));
            }
            (Link::Up { .. } | Link::Leaving { .. }, frame) => self.handle_live(now, frame),
            (Link::Down { .. } | Link::Opening { .. } | Link::Over, _) => {}
        }
        self.settle_unread(now);
        self.settle_close(now);
    }

    fn handle_welcome(&mut self, now: Time, welcome: Welcome) {
        self.session = Some(welcome.session.clone());
        if !welcome.resumed {
            self.late = 0;
        }
        // Revisions of two histories cannot be compared.
        self.seen = Some(welcome.rev);
        for slot in self.slots.values_mut() {
            slot.state.handle_key(welcome.digest_key);
        }
        let connection = Connection {
            session: welcome.session.clone(),
            resumed: welcome.resumed,
            epoch: welcome.epoch,
            rev: welcome.rev,
            heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
            limits: welcome.limits,
        };
        self.ever = true;
        self.requests.handle_session(welcome.resumed, welcome.epoch, welcome.rev);
        self.tell_all(&Event::Online { resumed: welcome.resumed });
        self.effects.push_back(Effect::Status(Status::Online(connection)));
        let epoch = welcome.epoch;
        self.link = Link::Up { since: now, welcome };
        // Mirrors that were made between `hello` and `welcome`.
        let late = |(_, slot): &(&u32, &Slot)| !slot.subscribed && slot.held.is_none();
        let late: Vec<u32> = self.slots.iter().filter(late).map(|(sub, _)| *sub).collect();
        late.into_iter().for_each(|sub| self.start(sub));
        if let Next::Rename(why) = self.requests.handle_history(epoch, &mut self.effects) {
            self.rename(now, why);
        }
    }

    /// The broker ends the connection once it has answered what it has accepted.
    fn handle_goodbye(&mut self, now: Time, goodbye: Goodbye) {
        let retry_in = goodbye.retry_ms.map(|ms| Duration::from_millis(ms.into()));
        let refusal = Refusal { retry_in, ..Refusal::new(goodbye.code, goodbye.message) };
        let error = ConnectError::Refused(refusal);
        let Link::Up { since, welcome } = &self.link else { return self.fail(now, error) };
        let (since, welcome, until) = (*since, welcome.clone(), now.saturating_add(BYE));
        self.link = Link::Leaving { since, welcome, error, until };
    }

    fn handle_live(&mut self, now: Time, frame: ServerFrame) {
        match frame {
            ServerFrame::Delta(delta) => self.handle_delta(now, delta),
            ServerFrame::Done(f) => {
                self.see(f.rev);
                let done = Done { rev: f.rev, durable: f.durable, paths: f.paths };
                self.handle_reply(now, f.id, Ok(Reply::Done(done)));
            }
            ServerFrame::Found(f) => {
                let found = Found { rev: f.rev, entries: f.entries, more: f.more };
                self.handle_reply(now, f.id, Ok(Reply::Found(found)));
            }
            ServerFrame::Ok(f) => self.handle_reply(now, f.id, Ok(Reply::Ok)),
            ServerFrame::Error(f) => self.handle_error(now, f),
            ServerFrame::Refresh(f) => {
                self.parts.remove(&Some(f.sub));
                // This refresh answers a request from before the mirror had to start from nothing,
                // so the mirror does not want it.
                if f.kind == RefreshKind::Delta && self.is_restarting(f.sub) {
                    return;
                }
                self.on_mirror(now, f.sub, |state| state.handle_refresh(&f));
            }
            ServerFrame::Entries(f) => {
                self.on_mirror(now, f.sub, |state| state.handle_entries(f.changes));
                if let Some(slot) = self.slots.get(&f.sub) {
                    let changes = slot.state.received();
                    self.effects.push_back(Effect::Received { sub: f.sub, changes });
                }
            }
            ServerFrame::Fresh(f) => {
                let (Link::Up { welcome, .. } | Link::Leaving { welcome, .. }) = &self.link else {
                    return;
                };
                let epoch = welcome.epoch;
                self.see(f.rev);
                self.on_mirror(now, f.sub, |state| state.handle_fresh(&f, epoch));
                let once = |slot: &&Slot| slot.options.mode == Mode::Once && slot.state.is_fresh();
                if self.slots.get(&f.sub).filter(once).is_some() {
                    self.end_mirror(f.sub, None);
                }
            }
            ServerFrame::Signal(f) => {
                let wants = |slot: &Slot| slot.options.signals && slot.state.view().sees(&f.path);
                let subs: Vec<u32> =
                    self.slots.iter().filter(|(_, s)| wants(s)).map(|(sub, _)| *sub).collect();
                for sub in subs {
                    let (path, value) = (f.path.clone(), f.value.clone());
                    self.tell(sub, Some(Event::Signal { path, value }));
                }
            }
            ServerFrame::Sync(f) => self.handle_sync(now, f),
            ServerFrame::Welcome(_) => {
                let why = "'welcome' came twice".to_owned();
                self.fail(now, ConnectError::Protocol(why));
            }
            ServerFrame::Bye(_) => {}
        }
    }

    fn handle_delta(&mut self, now: Time, delta: Delta) {
        let Delta { rev, since, sub, part, mut changes } = delta;
        if part {
            self.parts.entry(sub).or_default().append(&mut changes);
            return;
        }
        if let Some(mut before) = self.parts.remove(&sub) {
            before.append(&mut changes);
            changes = before;
        }
        self.see(rev);
        let subs: Vec<u32> = match sub {
            Some(sub) => vec![sub],
            None => {
                let each =
                    |(sub, slot): (&u32, &Slot)| (slot.options.every_ms == 0).then_some(*sub);
                self.slots.iter().filter_map(each).collect()
            }
        };
        for sub in subs {
            self.on_mirror(now, sub, |state| state.handle_delta(since, rev, &changes));
        }
    }

    fn handle_sync(&mut self, now: Time, sync: Sync) {
        self.see(sync.rev);
        let mut outcomes: HashMap<u32, Verdict> = HashMap::new();
        for (sub, digest) in sync.digests {
            let rev = sync.rev;
            let verdict = self.on_mirror(now, sub, |state| state.handle_sync(rev, digest));
            outcomes.insert(sub, verdict);
        }
        let Some(id) = sync.id else { return };
        self.asked.remove(&id);
        self.end_checks(|check| {
            let verdict = outcomes.get(&check.sub).copied().unwrap_or(Verdict::Unknown);
            (check.sync == Some(id)).then_some(Ok(verdict))
        });
    }

    fn handle_error(&mut self, now: Time, error: ErrorFrame) {
        match (error.id, error.sub) {
            (Some(id), _) if self.asked.contains_key(&id) => self.handle_reply(now, id, Err(error)),
            (None, Some(sub)) => self.handle_sub_error(now, sub, error),
            (None, None) if error.code == Code::BadFrame && !self.asked.is_empty() => {
                self.handle_unread(now);
            }
            // The error is about no request of this client, or about the connection. If the
            // connection ends, the close code says why.
            _ => {}
        }
    }

    /// The broker could not read one of the client's frames. The client sends nothing more until it
    /// is known which one: it is the one left when all others have been answered.
    fn handle_unread(&mut self, now: Time) {
        let until = now.saturating_add(self.options.request_timeout);
        self.unread.get_or_insert(Unread { count: 0, until }).count += 1;
    }

    fn settle_unread(&mut self, now: Time) {
        if self.unread.is_none_or(|unread| self.asked.len() > unread.count) {
            return;
        }
        self.unread = None;
        for id in self.asked.keys().copied().collect::<Vec<_>>() {
            let message = "the broker cannot read this";
            self.handle_reply(now, id, Err(ErrorFrame::new(Some(id), Code::BadFrame, message)));
        }
    }

    fn handle_reply(&mut self, now: Time, id: u32, answer: Result<Reply, ErrorFrame>) {
        match (self.asked.remove(&id), answer) {
            (Some(Asked::Request(ticket)), answer) => {
                if answer.is_ok()
                    && let Some(token) = self.requests.token(ticket)
                {
                    self.set_token(token);
                }
                let next = self.requests.answered(ticket, answer, &mut self.effects);
                if let Next::Rename(why) = next {
                    self.rename(now, why);
                }
            }
            (Some(Asked::Sub(sub)), Err(error)) => {
                if let Some(slot) = self.slots.get_mut(&sub) {
                    slot.subscribed = error.code == Code::SubInUse;
                }
                self.handle_sub_error(now, sub, error);
            }
            (Some(Asked::Resync(sub)), Err(error)) => {
                if let Some(slot) = self.slots.get_mut(&sub) {
                    slot.subscribed = error.code != Code::NoSuchSub;
                }
                self.handle_sub_error(now, sub, error);
            }
            (Some(Asked::Sync), Err(_)) => {
                self.end_checks(|check| (check.sync == Some(id)).then_some(Ok(Verdict::Unknown)));
            }
            (Some(Asked::Bye), _) => self.finish(None),
            // A reply that nobody waits for any more.
            (Some(Asked::Unsub | Asked::Sub(_) | Asked::Resync(_) | Asked::Sync) | None, _) => {}
        }
    }

    fn see(&mut self, rev: Revision) {
        self.seen = self.seen.max(Some(rev));
    }
}
