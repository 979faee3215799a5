//! A broker, its connections and their clients, deterministic: one small step at a time, in any
//! order that the real tasks could take their steps.
//!
//! The simulation keeps the order that the broker keeps: a commit is published, then handed to the
//! outboxes, commit by commit and connection by connection, then settled. A connection first
//! handles an overflow, then sends its heartbeat, then live deltas, then takes one step of its
//! feed. Others may get their turn between any two of these.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use onetree_core::{Author, Commit, Effect, FeedLimits, Request, Settings};
use onetree_core::{Snapshot, State, Step, Time};
use onetree_protocol::frame::{Mode, Reason, RefreshKind, ServerFrame, Sub};
use onetree_protocol::{Epoch, Name, Revision, View};

use super::knobs::{Knobs, Stats};
use super::line::{Line, Turn};
use super::mirror::{Copy, Mirror, Outcome, World};
use super::truth::History;
use super::{Rng, requests, rev};

/// The broker never has more to do at once than this.
const CHORES: usize = 10_000;

/// After this many heartbeats every damage has been found.
const MOST_BEATS: usize = 5_000;

pub(crate) struct Sim {
    pub(crate) rng: Rng,
    pub(crate) knobs: Knobs,
    pub(crate) now: Time,
    pub(crate) state: State,
    pub(crate) history: History,
    pub(crate) published: Snapshot,
    pub(crate) settled: Snapshot,
    pub(crate) links: Vec<Link>,
    pub(crate) stats: Stats,
    /// Commits that still have to be handed to a connection.
    fans: VecDeque<(Arc<Commit>, usize)>,
    /// Everything that is stored: what a restart replays.
    stored: Vec<Arc<Commit>>,
    settings: Settings,
    sessions: Vec<Name>,
    /// `ONETREE_TRACE` prints each commit and each frame: for one case that fails.
    trace: bool,
    next_sub: u32,
}

/// A client and its connection.
pub(crate) struct Link {
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) line: Option<Line>,
    /// In how many turns in a hundred the client reads.
    pub(crate) pace: usize,
    /// What was saved to disk: data and cookie.
    saved: BTreeMap<u32, Copy>,
}

impl Sim {
    pub(crate) fn new(mut rng: Rng, knobs: Knobs) -> Sim {
        let settings = knobs.settings.clone();
        let state = State::new(settings.clone());
        let snapshot = state.snapshot();
        let mut sim = Sim {
            rng: Rng::new(rng.next()),
            now: Time(1_000),
            history: History::new(),
            published: snapshot.clone(),
            settled: snapshot,
            links: Vec::new(),
            stats: Stats::default(),
            fans: VecDeque::new(),
            stored: Vec::new(),
            sessions: Vec::new(),
            trace: std::env::var_os("ONETREE_TRACE").is_some(),
            next_sub: 0,
            state,
            settings,
            knobs,
        };
        for _ in 0..sim.knobs.links {
            let (mirrors, saved) = Default::default();
            sim.links.push(Link { mirrors, line: None, pace: 100, saved });
        }
        sim
    }

    /// Random steps.
    pub(crate) fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let link = self.rng.below(self.links.len());
            match self.rng.below(100) {
                at if at < self.knobs.writes => self.broker(),
                0..40 => self.serve(link),
                40..70 => {
                    if self.rng.chance(self.links[link].pace) {
                        self.read(link);
                    }
                }
                70..85 => self.fan(),
                85..90 => self.now = self.now.plus(self.rng.below(20) as u64),
                90..92 => self.beat(link),
                _ => self.misfortune(link),
            }
        }
    }

    // --- the broker

    /// A batch of writes, or what the broker commits by itself.
    fn broker(&mut self) {
        self.fan_all();
        for _ in 0..1 + self.rng.below(3) {
            let rev = self.state.rev();
            let request = requests::any_request(&mut self.rng, self.history.now(), rev);
            self.apply(&request);
        }
        self.housekeep();
        self.publish();
    }

    /// Commits one request by itself, publishes it, and leaves it to the steps to hand it out.
    pub(crate) fn write(&mut self, request: &Request) {
        self.fan_all();
        self.apply(request);
        self.publish();
    }

    fn apply(&mut self, request: &Request) {
        if self.sessions.is_empty() || self.rng.chance(10) {
            let fresh = Name::parse(&format!("s{}", self.rng.next())).unwrap();
            let wanted = self.sessions.last().cloned().filter(|_| self.rng.chance(50));
            let opened = self.state.open_session(self.now, wanted.as_ref(), fresh).unwrap();
            self.sessions.push(opened.name);
        }
        let session = self.sessions.last().cloned();
        let author = Author { client: None, session: session.clone(), since: None };
        let outcome = self.state.write(self.now, &author, request);
        self.store(outcome.commit);
        if self.rng.chance(5) {
            self.state.detach_session(self.now, &session.unwrap());
        }
    }

    /// What the broker does by itself when its time has come.
    pub(crate) fn tidy(&mut self) {
        self.fan_all();
        self.housekeep();
        self.publish();
    }

    fn housekeep(&mut self) {
        for round in 0.. {
            assert!(round < CHORES, "what is due is due again, over and over");
            let Some(commit) = self.state.housekeep(self.now) else { return };
            let compacts = |e: &Effect| matches!(e, Effect::Compact { .. });
            self.stats.compactions += u64::from(commit.effects.iter().any(compacts));
            self.store(Some(commit));
        }
    }

    fn store(&mut self, commit: Option<Arc<Commit>>) {
        let Some(commit) = commit else { return };
        self.history.add(&commit);
        if self.trace {
            eprintln!("{commit:?}");
        }
        self.stats.commits += 1;
        self.fans.extend((0..self.links.len()).map(|link| (commit.clone(), link)));
        self.stored.push(commit);
    }

    fn publish(&mut self) {
        self.published = self.state.snapshot();
        if self.fans.is_empty() {
            self.settled = self.published.clone();
        }
    }

    /// Hands one commit to one outbox.
    fn fan(&mut self) {
        let Some((commit, link)) = self.fans.pop_front() else { return };
        let split = self.rng.chance(20);
        if let Some(line) = &mut self.links[link].line
            && line.told(&commit, split, self.knobs.outbox_bytes)
        {
            self.stats.overflows += 1;
        }
        if self.fans.is_empty() {
            self.settled = self.published.clone();
        }
    }

    pub(crate) fn fan_all(&mut self) {
        while !self.fans.is_empty() {
            self.fan();
        }
    }

    /// The broker starts again from its store: sometimes with all that it had, sometimes from an
    /// old backup, and then history is another one.
    pub(crate) fn restart(&mut self, from_backup: bool) {
        (0..self.links.len()).for_each(|link| self.cut(link));
        self.fans.clear();
        self.settings.digest_key.0 += 1;
        let lost = if from_backup { self.rng.below(1 + self.stored.len()) } else { 0 };
        self.stored.truncate(self.stored.len() - lost);
        if from_backup {
            self.settings.epoch = Epoch(self.settings.epoch.0 + 1);
        }
        let mut state = State::new(self.settings.clone());
        self.stored.iter().for_each(|commit| state.replay(commit));
        if from_backup {
            self.stats.restores += 1;
            // A new epoch starts far above all that the old one can have reached.
            let above = rev(self.state.rev().get() + (1 << 40));
            let first = Commit { rev: above, time: self.now, effects: vec![], origin: None };
            let first = Arc::new(first);
            self.history.go_back(state.rev(), &first);
            state.replay(&first);
            self.stored.push(first);
        } else {
            assert_eq!(state.rev(), self.state.rev(), "a restart loses nothing");
            assert_eq!(state.snapshot().horizon(), self.state.snapshot().horizon());
        }
        state.await_owners(self.now);
        self.sessions.clear();
        self.state = state;
        self.published = self.state.snapshot();
        self.settled = self.published.clone();
    }

    // --- connections

    /// The client of `link` subscribes to one more view.
    pub(crate) fn subscribe(&mut self, link: usize, mirror: Mirror) {
        self.connect(link);
        let position = self.links[link].mirrors.len();
        self.links[link].mirrors.push(mirror);
        self.ask(link, position);
    }

    /// A mirror with a number of its own.
    pub(crate) fn mirror(&mut self, view: View, every_ms: u32) -> Mirror {
        self.next_sub += 1;
        Mirror::new(self.next_sub, view, every_ms)
    }

    pub(crate) fn cut(&mut self, link: usize) {
        if let Some(line) = self.links[link].line.take() {
            // What the broker takes out of its index then.
            let mut registered: Vec<u32> = line.feed.registered().map(|one| one.sub).collect();
            registered.sort_unstable();
            assert!(registered.iter().eq(line.interests.keys()), "{registered:?}");
        }
        self.links[link].mirrors.iter_mut().for_each(Mirror::wait);
    }

    /// Connects, if it is not, with all subscriptions and their cookies.
    pub(crate) fn connect(&mut self, link: usize) {
        if self.links[link].line.is_some() {
            return;
        }
        let limits = FeedLimits {
            subscriptions: 100,
            view_bytes: 100_000,
            pattern_segments: 1_000,
            frame_bytes: self.knobs.frame_bytes,
            digest_scan: self.knobs.digest_scan,
            digests: 1000,
            turn_slots: self.knobs.turn_slots,
        };
        self.links[link].line = Some(Line::new(limits, self.settings.epoch));
        for mirror in 0..self.links[link].mirrors.len() {
            self.ask(link, mirror);
        }
    }

    fn ask(&mut self, link: usize, mirror: usize) {
        let Link { mirrors, line: Some(line), .. } = &mut self.links[link] else { return };
        let mirror = &mut mirrors[mirror];
        let now = &self.published;
        let sub = Sub {
            id: 0,
            sub: mirror.sub,
            view: mirror.view.clone(),
            cookie: mirror.copy.cookie,
            mode: if mirror.once { Mode::Once } else { Mode::Stay },
            signals: self.rng.chance(20),
            every_ms: mirror.every_ms,
            copy: mirror.copy.cookie.is_some(),
        };
        let full = |why| (RefreshKind::Full, why);
        mirror.way = Some(match &sub.cookie {
            None => full(Reason::NoCookie),
            Some(cookie) if cookie.epoch != now.epoch() => full(Reason::Epoch),
            Some(cookie) if cookie.view != mirror.view.fingerprint() => full(Reason::View),
            Some(cookie) if cookie.rev > now.rev() => full(Reason::Future),
            Some(cookie) if cookie.rev < now.horizon() => full(Reason::Horizon),
            Some(_) => (RefreshKind::Delta, Reason::Cookie),
        });
        line.feed.subscribe(&sub, now).unwrap();
    }

    pub(crate) fn beat(&mut self, link: usize) {
        if let Some(line) = &mut self.links[link].line {
            line.heartbeat = true;
        }
    }

    /// One turn of a connection, when there is room for what comes of it.
    pub(crate) fn serve(&mut self, link: usize) {
        let Sim { links, published, settled, rng, knobs, now, stats, .. } = self;
        let Some(line) = &mut links[link].line else { return };
        if line.wire.len() >= knobs.wire_frames {
            return;
        }
        let hold = rng.chance(knobs.holds);
        line.turn = match std::mem::replace(&mut line.turn, Turn::Overflow) {
            Turn::Overflow => {
                if std::mem::take(&mut line.outbox.overflowed) {
                    line.feed.handle_overflow();
                }
                Turn::Heartbeat
            }
            Turn::Heartbeat if std::mem::take(&mut line.heartbeat) => Turn::Sync(settled.clone()),
            Turn::Heartbeat => Turn::Live,
            Turn::Sync(settled) => {
                if line.feed.takes_live() {
                    while line.send_live(settled.rev(), published.rev()) {}
                    if !line.outbox.overflowed {
                        let sync = line.feed.heartbeat(&settled);
                        // Now and then the client has asked, and wants more than that.
                        if rng.chance(30) {
                            line.feed.count(&settled, &sync);
                        }
                        line.wire.push_back((ServerFrame::Sync(sync), published.rev()));
                    }
                }
                Turn::Live
            }
            Turn::Live => {
                if line.feed.takes_live() {
                    for _ in 0..1 + rng.below(3) {
                        line.send_live(Revision::MAX, published.rev());
                    }
                }
                Turn::Step
            }
            Turn::Step => {
                let sent = published.rev();
                match line.feed.poll(*now, || published.clone(), hold) {
                    Some(Step::Frame(frame)) => line.wire.push_back((frame, sent)),
                    Some(Step::Counted(sync)) => {
                        stats.counted += u64::from(hold);
                        line.wire.push_back((ServerFrame::Sync(sync), sent));
                    }
                    Some(Step::Register(interest)) => {
                        line.interests.insert(interest.sub, interest);
                    }
                    Some(Step::Unregister(gone)) => drop(line.interests.remove(&gone.sub)),
                    Some(Step::Pause) => assert!(line.feed.is_catching_up(), "for nothing"),
                    None => assert!(!line.feed.is_catching_up(), "there is something to do"),
                }
                Turn::Overflow
            }
        };
    }

    // --- clients

    /// The client reads one frame, and every mirror is checked.
    pub(crate) fn read(&mut self, link: usize) {
        let Sim { links, history, settings, stats, trace, .. } = self;
        let Link { mirrors, line: Some(line), .. } = &mut links[link] else { return };
        let Some((frame, sent)) = line.wire.pop_front() else { return };
        if *trace {
            eprintln!("to {link}, made at {sent}: {frame:?}");
        }
        let world = World { history, epoch: line.epoch, key: settings.digest_key };
        let named = |mirrors: &mut Vec<Mirror>, sub: u32, act: &mut dyn FnMut(&mut Mirror)| {
            mirrors.iter_mut().filter(|mirror| mirror.sub == sub).for_each(act);
        };
        let mut damaged = Vec::new();
        let mut note = |sub: u32, outcome: Outcome, count: &mut u64| {
            *count += u64::from(matches!(outcome, Outcome::Moved | Outcome::Damaged));
            if outcome == Outcome::Damaged {
                damaged.push(sub);
            }
        };
        match &frame {
            ServerFrame::Refresh(f) => {
                *stats.ways.entry(f.why.as_str()).or_default() += 1;
                named(mirrors, f.sub, &mut |m| m.refresh(f, sent));
            }
            ServerFrame::Entries(f) => named(mirrors, f.sub, &mut |m| m.entries(f)),
            ServerFrame::Fresh(f) => named(mirrors, f.sub, &mut |m| {
                note(f.sub, m.fresh(f, &world), &mut stats.fresh);
            }),
            ServerFrame::Delta(f) => match f.sub {
                Some(sub) => named(mirrors, sub, &mut |m| {
                    stats.parts += u64::from(f.part);
                    note(sub, m.folded(f, &world), &mut stats.folded);
                }),
                None => {
                    line.parts.extend(f.changes.iter().cloned());
                    if !f.part {
                        let changes = std::mem::take(&mut line.parts);
                        for mirror in mirrors.iter_mut() {
                            let outcome = mirror.live(f.rev, &changes, &world);
                            note(mirror.sub, outcome, &mut stats.live);
                        }
                    }
                }
            },
            ServerFrame::Sync(f) => {
                for (sub, digest) in &f.digests {
                    named(mirrors, *sub, &mut |m| {
                        note(*sub, m.sync(f.rev, *digest, &world), &mut stats.syncs);
                    });
                }
            }
            other => panic!("a feed does not say {other:?}"),
        }
        mirrors.retain(|mirror| !(mirror.once && mirror.is_fresh()));
        stats.damaged += damaged.len() as u64;
        for sub in damaged {
            self.resync(link, sub);
        }
    }

    /// The client asks to start again from nothing.
    pub(crate) fn resync(&mut self, link: usize, sub: u32) {
        let Link { mirrors, line: Some(line), .. } = &mut self.links[link] else { return };
        let Some(mirror) = mirrors.iter_mut().find(|mirror| mirror.sub == sub) else { return };
        match line.feed.resync(sub) {
            // It is over, and its last frame is on its way.
            Err(gone) => assert!(mirror.once, "{gone}"),
            Ok(()) => mirror.way = None,
        }
    }

    fn unsubscribe(&mut self, link: usize, place: usize) {
        let Link { mirrors, line, saved, .. } = &mut self.links[link];
        let mirror = mirrors.remove(place);
        self.stats.gaps += mirror.gaps;
        saved.remove(&mirror.sub);
        let Some(line) = line else { return };
        match line.feed.unsubscribe(mirror.sub) {
            Err(gone) => assert!(mirror.once, "{gone}"),
            Ok(gone) => assert_eq!(gone.is_some(), line.interests.remove(&mirror.sub).is_some()),
        }
    }

    fn misfortune(&mut self, link: usize) {
        let one_in_thousand = |rng: &mut Rng, count: usize| rng.below(80) < count;
        let mirrors = self.links[link].mirrors.len();
        let some = if mirrors > 0 { self.rng.below(mirrors) } else { 0 };
        match self.rng.below(10) {
            0 if one_in_thousand(&mut self.rng, self.knobs.cuts) => self.cut(link),
            1 => self.connect(link),
            2 if mirrors < self.knobs.subscriptions => {
                let view = requests::any_view(&mut self.rng, self.history.now());
                let every_ms = if self.rng.chance(25) { 1 + self.rng.below(100) as u32 } else { 0 };
                let mut mirror = self.mirror(view, every_ms);
                mirror.once = self.rng.chance(10);
                self.subscribe(link, mirror);
            }
            3 if mirrors > 0 && self.rng.chance(10) => self.unsubscribe(link, some),
            4 => self.links[link].pace = *self.rng.pick(&[0, 5, 50, 100]),
            5 => {
                let Link { mirrors, saved, .. } = &mut self.links[link];
                *saved = mirrors.iter().map(|m| (m.sub, m.copy.clone())).collect();
            }
            6 if one_in_thousand(&mut self.rng, self.knobs.cuts) => {
                // The client's machine dies, and comes back with its saved copies.
                self.cut(link);
                let Link { mirrors, saved, .. } = &mut self.links[link];
                for mirror in mirrors {
                    mirror.copy = saved.get(&mirror.sub).cloned().unwrap_or_default();
                }
                self.connect(link);
            }
            7 if mirrors > 0 && one_in_thousand(&mut self.rng, self.knobs.damages) => {
                self.damage(link, some);
            }
            8 if mirrors > 0 && self.rng.chance(5) => {
                let sub = self.links[link].mirrors[some].sub;
                self.resync(link, sub);
            }
            9 if self.rng.chance(4) => {
                let from_backup = self.rng.below(10) < self.knobs.restores;
                self.restart(from_backup);
            }
            _ => {}
        }
    }

    /// Damages a client's copy, which no frame has changed.
    pub(crate) fn damage(&mut self, link: usize, mirror: usize) {
        let mirror = &mut self.links[link].mirrors[mirror];
        if mirror.view.tail.is_some() || !mirror.is_fresh() || mirror.copy.entries.is_empty() {
            return;
        }
        mirror.copy.damaged = true;
        let entries = &mut mirror.copy.entries;
        let at = entries.keys().nth(self.rng.below(entries.len())).unwrap().clone();
        let (rev_there, value) = entries.remove(&at).unwrap();
        // An entry that was damaged before may be at revision 0 already: then it is removed.
        if self.rng.chance(50)
            && let Some(older) = rev_there.get().checked_sub(1)
        {
            entries.insert(at, (rev(older), value));
        }
    }

    /// Sends everything that there is for the client of `link`, and lets the client read it.
    pub(crate) fn deliver(&mut self, link: usize) {
        self.fan_all();
        while self.links[link].line.as_ref().is_some_and(|line| !line.is_idle()) {
            self.serve(link);
            self.read(link);
        }
    }

    /// Lets a client subscribe to `view` and read all of it.
    pub(crate) fn watch(&mut self, link: usize, view: View) -> &Mirror {
        let mirror = self.mirror(view, 0);
        self.subscribe(link, mirror);
        self.deliver(link);
        self.links[link].mirrors.last().unwrap()
    }

    /// Connects all clients and lets them read until every mirror is at the present.
    pub(crate) fn converge(&mut self) {
        self.fan_all();
        let mut beats = 0;
        loop {
            let mut moved = false;
            for link in 0..self.links.len() {
                self.connect(link);
                for _ in 0..20 {
                    self.serve(link);
                    self.read(link);
                }
                moved |= self.links[link].line.as_ref().is_some_and(|line| !line.is_idle());
            }
            if moved {
                continue;
            }
            // A large view is counted only once enough heartbeats have saved up for it.
            let copies = self.links.iter().flat_map(|link| &link.mirrors);
            let mut damaged =
                copies.filter(|mirror| mirror.view.tail.is_none() && mirror.copy.damaged);
            if beats >= 3 && (beats == MOST_BEATS || damaged.next().is_none()) {
                break;
            }
            beats += 1;
            self.now = self.now.plus(1_000);
            (0..self.links.len()).for_each(|link| self.beat(link));
        }
        let world = World {
            history: &self.history,
            epoch: self.settings.epoch,
            key: self.settings.digest_key,
        };
        for mirror in self.links.iter().flat_map(|link| &link.mirrors) {
            assert!(mirror.is_fresh(), "{} never became fresh", mirror.sub);
            assert_eq!(mirror.rev(), self.state.rev(), "{:?} is not at the present", mirror.view);
            assert!(!mirror.copy.damaged || mirror.view.tail.is_some(), "damaged for ever");
            mirror.check(mirror.rev(), &world);
            self.stats.gaps += mirror.gaps;
        }
    }
}
