//! `spec/transcripts`: the broker's part of each is played to the pure session, in both codecs.
//!
//! What the transcript's client sends, the session is made to say, and has to say it alike but for
//! the numbers it chooses. After each frame every mirror is compared with a naive one. What no
//! client of ours can be made to say (wrong frames, a second `hello`…) ends the playing of that
//! connection; how much is played is counted, so that it cannot fade away.

use std::collections::BTreeMap;

use onetree_client::mirror::State;
use onetree_client::protocol::frame::{
    ClientFrame, Delta, ErrorFrame, Fresh, Mode, Refresh, ServerFrame, Sub,
};
use onetree_client::protocol::{DigestKey, Fingerprint};
use onetree_client::session::{Effect, Reply, Session, SubOptions, Time};
use onetree_client::{
    Act, Change, Code, Codec, ConnectError, Cookie, Digest, Done, Entry, Error, Event, Found,
    LogKey, Options, Path, Reason, RefreshKind, Refusal, Revision, Snapshot, View,
};
use serde_json::{Value as Json, json};

type Tree = BTreeMap<Path, Entry>;

const NOW: Time = Time::ZERO;
/// As `said` has it.
const KEY: DigestKey = DigestKey(0xdddd_dddd_dddd_dddd_dddd_dddd_dddd_dddd);

#[test]
fn the_brokers_part_of_every_transcript_is_played_in_both_codecs() {
    let (mut played, mut all) = (BTreeMap::new(), 0);
    for (name, transcript) in transcripts() {
        for codec in Codec::ALL {
            let play = Play::new(codec).run(&name, &transcript);
            played.insert(format!("{name} ({codec:?})"), play);
            all += steps(&transcript).map(|step| frames(step).len()).sum::<usize>();
        }
    }
    let total: usize = played.values().sum();
    let long = played.values().filter(|count| **count > 5).count();
    println!("{played:#?}");
    println!("{total} of {all} frames; more than 5 in {long} of {} playings", played.len());
    assert!(played.len() >= 2 * 28, "{} playings", played.len());
    assert!(total > 800 && total * 100 >= all * 85, "{total} of {all} frames");
    assert!(long > 40, "more than 5 frames in {long} playings");
}

fn steps(transcript: &Json) -> impl Iterator<Item = &Json> {
    transcript["steps"].as_array().unwrap().iter()
}

/// What is said in a step. Where any order will do, the one that stands there is one of them.
fn frames(step: &Json) -> &[Json] {
    match step.get("send").or_else(|| step.get("expect")) {
        Some(Json::Array(frames)) if step.get("expect").is_some() => frames,
        Some(frame) => std::slice::from_ref(frame),
        None => &[],
    }
}

/// Every transcript, by the name of its file.
fn transcripts() -> BTreeMap<String, Json> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/transcripts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let read = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        (file.file_name().unwrap().display().to_string(), serde_json::from_str(&text).unwrap())
    };
    files.map(read).collect()
}

/// One transcript, and what its connections have in common.
struct Play {
    codec: Codec,
    names: Names,
    known: Known,
    /// Without those whose playing has ended.
    players: BTreeMap<u64, Player>,
}

impl Play {
    fn new(codec: Codec) -> Play {
        let (names, known) = (Names::default(), Known::default());
        Play { codec, names, known, players: BTreeMap::new() }
    }

    /// How many frames were played.
    fn run(mut self, name: &str, transcript: &Json) -> usize {
        let mut played = 0;
        for (number, step) in steps(transcript).enumerate() {
            let _at = At(format!("{name} ({:?}), step {}: {step}", self.codec, number + 1));
            played += self.step(step);
        }
        for (on, player) in &self.players {
            let _at = At(format!("{name} ({:?}), the end of connection {on}", self.codec));
            assert!(player.asked.is_empty(), "no answer came to {:?}", player.asked);
        }
        played
    }

    fn step(&mut self, step: &Json) -> usize {
        if let Some(connect) = step["connect"].as_u64() {
            self.players.insert(connect, Player::new(self.codec));
            return 0;
        }
        let on = step["cut"].as_u64().or(step["on"].as_u64()).unwrap_or(1);
        let Some(player) = self.players.get_mut(&on) else { return 0 };
        if let Some(fields) = step.get("send") {
            let fields = self.names.fill(fields, "");
            let frame = if step.get("msgpack").is_none() { player.ours(&fields) } else { None };
            let Some(frame) = frame else {
                self.players.remove(&on);
                return 0;
            };
            player.send(&frame, &self.known);
            return 1;
        }
        for fields in frames(step) {
            player.take(fields, &mut self.names);
            player.mirrors.values().for_each(|mirror| self.known.learn(mirror));
        }
        if step.get("cut").is_some() {
            player.lose(ConnectError::Lost("cut".to_owned()));
        } else if let Some(close) = step["close"].as_u64()
            && let Some(code) = Code::from_close(u16::try_from(close).unwrap())
        {
            player.lose(ConnectError::Refused(refusal(ErrorFrame::new(None, code, "closed"))));
        }
        frames(step).len()
    }
}

/// Says where it was when a test fails.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// What stands for the placeholders of a transcript.
#[derive(Default)]
struct Names {
    chosen: BTreeMap<String, Json>,
    digests: BTreeMap<String, Digest>,
}

impl Names {
    /// With something for each placeholder. None for digests, which are made when it is known what
    /// of: see [`Names::digest`].
    fn fill(&mut self, value: &Json, field: &str) -> Json {
        match value {
            Json::Object(fields) => {
                let digest =
                    |(field, value): &(&String, &Json)| *field == "digest" && is_placeholder(value);
                let fields = fields.iter().filter(|field| !digest(field));
                fields.map(|(field, value)| (field.clone(), self.fill(value, field))).collect()
            }
            Json::Array(all) => all.iter().map(|one| self.fill(one, field)).collect(),
            Json::String(name) if is_placeholder(value) => self.choose(name, field),
            _ => value.clone(),
        }
    }

    fn choose(&mut self, name: &str, field: &str) -> Json {
        let number = self.chosen.len();
        let made = match field {
            "epoch" => return json!("e".repeat(32)),
            "digest_key" => return json!("d".repeat(32)),
            "heartbeat_ms" => return json!(1000),
            "durable" => return json!(false),
            "message" => return json!("so it is"),
            "retry_ms" => return json!(100),
            "limits" => {
                return json!({
                    "frame_bytes": 1 << 20, "value_bytes": 1 << 16,
                    "subscriptions": 9, "in_flight": 99,
                });
            }
            // Of one subscription in `sync`.
            _ if field.parse::<u32>().is_ok() => return Json::Null,
            "rev" => json!(1000 + number),
            "session" => json!(format!("s{number}")),
            "view" => json!(format!("{number:016x}")),
            _ => panic!("nothing is known to stand for {field}"),
        };
        self.chosen.entry(name.to_owned()).or_insert(made).clone()
    }

    /// For a placeholder, the digest of `tree`; it is the same wherever a name is.
    fn digest(&mut self, field: &Json, tree: &Tree) -> Option<Digest> {
        let name = field.as_str().filter(|_| is_placeholder(field))?;
        let mut digest = Digest::default();
        tree.iter().for_each(|(path, entry)| digest.insert(KEY.hash(path, entry.rev)));
        if name != "$any" {
            let named = *self.digests.entry(name.to_owned()).or_insert(digest);
            assert_eq!(named, digest, "{name}");
        }
        Some(digest)
    }
}

fn is_placeholder(value: &Json) -> bool {
    value.as_str().is_some_and(|text| text.starts_with('$'))
}

/// What mirrors were, for cookies that come back.
#[derive(Default)]
struct Known(BTreeMap<(u64, Revision), (View, Tree)>);

impl Known {
    fn learn(&mut self, mirror: &Mirror) {
        if let (true, Some(Fingerprint(view))) = (mirror.fresh, mirror.fingerprint) {
            self.0.insert((view, mirror.rev), (mirror.view.clone(), mirror.tree.clone()));
        }
    }

    /// A copy of then, dated by `cookie`; one of nothing when that is of a strange history.
    fn snapshot(&self, cookie: Cookie) -> Snapshot {
        let nothing = (View::tree(Path::root()), Tree::new());
        let (view, tree) = self.0.get(&(cookie.view.0, cookie.rev)).unwrap_or(&nothing);
        let put = |(path, entry): (&Path, &Entry)| {
            let (path, act) = (path.clone(), Act::Put(entry.value.clone()));
            Change { path, rev: entry.rev, act }
        };
        let mut state = State::new(view.clone(), None);
        let (kind, why) = (RefreshKind::Full, Reason::NoCookie);
        state.handle_refresh(&Refresh { sub: 0, kind, why, from: None });
        state.handle_entries(tree.iter().map(put).collect());
        let Cookie { epoch, rev, view } = cookie;
        state.handle_fresh(&Fresh { sub: 0, rev, view, digest: None }, epoch);
        let snapshot = state.snapshot().clone();
        assert_eq!((snapshot.cookie(), snapshot.len()), (Some(cookie), tree.len()));
        snapshot
    }
}

/// One connection: a session that is made to say what the transcript's client says.
struct Player {
    codec: Codec,
    session: Session,
    greeted: bool,
    /// The session's ids by the transcript's.
    ids: BTreeMap<u32, u32>,
    tickets: u64,
    /// What the session was asked and has no answer to yet, by its id.
    asked: BTreeMap<u32, u64>,
    bye: Option<u32>,
    mirrors: BTreeMap<u32, Mirror>,
    parts: BTreeMap<Option<u32>, Vec<Change>>,
}

impl Player {
    fn new(codec: Codec) -> Player {
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

    /// The frame, when a client of ours can be made to say it.
    fn ours(&self, fields: &Json) -> Option<ClientFrame> {
        let frame = Codec::Json.decode_client(&serde_json::to_vec(fields).unwrap()).ok()?;
        // It has its own numbers, and no copy to offer.
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
            // It always asks for an answer.
            ClientFrame::Signal(signal) => signal.id.is_some(),
            _ => true,
        };
        (own && can).then_some(frame)
    }

    /// The session says the same, and nothing else.
    fn send(&mut self, frame: &ClientFrame, known: &Known) {
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
                self.session.request(NOW, self.tickets, frame.clone());
            }
        }
        let message = self.session.poll_transmit().expect("the session says something");
        let said = self.codec.decode_client(&message).unwrap();
        let (mut mine, mut theirs) = (fields(&said), fields(frame));
        self.same_but_numbers(&mut mine, &mut theirs);
        if let (ClientFrame::Hello(said), ClientFrame::Hello(hello)) = (&said, frame) {
            // Who it is and what it saw, a session knows itself; this one was just born.
            for of in ["client", "session", "agent", "seen", "subs"] {
                mine.as_object_mut().unwrap().remove(of);
                theirs.as_object_mut().unwrap().remove(of);
            }
            assert_eq!(said.subs.len(), hello.subs.len());
            for sub in &hello.subs {
                let said = said.subs.iter().find(|said| said.sub == sub.sub).unwrap();
                let [mut mine, mut theirs] =
                    [said, sub].map(|sub| fields(&ClientFrame::Sub(sub.clone())));
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

    /// Takes the numbers out of what the session says and of what the transcript says.
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

    /// The broker says something.
    fn take(&mut self, expected: &Json, names: &mut Names) {
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

    /// What the mirrors have to be behind it.
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

    /// What the application has to be told when `frame` answers what it asked.
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

    fn lose(&mut self, error: ConnectError) {
        self.mirrors.values_mut().for_each(Mirror::lose);
        self.session.handle_closed(NOW, error);
        self.settle(&[]);
    }

    /// What the session tells is what the broker said: these replies, and the mirrors.
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

/// The fields of a frame, as they stand in JSON.
fn fields(frame: &ClientFrame) -> Json {
    serde_json::from_slice(&Codec::Json.encode_client(frame)).unwrap()
}

fn refusal(error: ErrorFrame) -> Refusal {
    Refusal {
        code: error.code,
        message: error.message,
        path: error.path,
        rev: error.rev,
        retry_in: error.retry_ms.map(|ms| Time::from_millis(ms.into())),
    }
}

/// A mirror as the frames make it, and as the session shows it.
struct Mirror {
    view: View,
    options: SubOptions,
    tree: Tree,
    rev: Revision,
    fresh: bool,
    fingerprint: Option<Fingerprint>,
    staged: Option<Tree>,
    /// How many signals it has to be told of.
    signals: usize,
    shown: Snapshot,
    shown_fresh: bool,
    /// What the events make of it.
    told: Tree,
    ended: bool,
    signalled: usize,
}

impl Mirror {
    fn new(view: View, options: SubOptions, shown: Snapshot) -> Mirror {
        let tree = tree(&shown);
        Mirror {
            view,
            options,
            rev: shown.rev(),
            fresh: false,
            fingerprint: None,
            staged: None,
            signals: 0,
            shown,
            shown_fresh: false,
            told: tree.clone(),
            tree,
            ended: false,
            signalled: 0,
        }
    }

    fn refresh(&mut self, kind: RefreshKind) {
        let full = kind == RefreshKind::Full;
        self.staged = Some(if full { Tree::new() } else { self.tree.clone() });
        self.fresh = false;
    }

    fn fresh(&mut self, fresh: &Fresh) {
        self.tree = self.staged.take().unwrap();
        (self.rev, self.fresh, self.fingerprint) = (fresh.rev, true, Some(fresh.view));
    }

    fn delta(&mut self, rev: Revision, changes: &[Change]) {
        if !self.fresh || self.ended || rev <= self.rev {
            return;
        }
        for change in changes.iter().filter(|change| change.rev > self.rev) {
            apply(&mut self.tree, change, &self.view);
        }
        self.rev = rev;
    }

    fn sync(&mut self, rev: Revision) {
        if self.fresh && !self.ended {
            self.rev = self.rev.max(rev);
        }
    }

    /// Nothing is known to be true of it any more.
    fn lose(&mut self) {
        if !self.ended {
            (self.fresh, self.staged) = (false, None);
        }
    }

    fn told(&mut self, event: Option<Event>, shown: Snapshot, fresh: bool) {
        assert!(!self.ended, "{event:?} behind the last event");
        (self.shown, self.shown_fresh) = (shown, fresh);
        match event {
            Some(Event::Fresh { changes, .. } | Event::Delta { changes, .. }) => {
                changes.iter().for_each(|change| apply(&mut self.told, change, &self.view));
            }
            Some(Event::Signal { .. }) => self.signalled += 1,
            Some(Event::Ended { .. }) => self.ended = true,
            Some(
                event @ (Event::Broken { .. } | Event::Corrupt { .. } | Event::Circling { .. }),
            ) => panic!("{event:?}"),
            _ => {}
        }
    }

    fn check(&self, sub: u32) {
        assert_eq!(tree(&self.shown), self.tree, "what mirror {sub} shows");
        assert_eq!(self.told, self.tree, "what the events make of mirror {sub}");
        let shown = (self.shown.rev(), self.shown_fresh, self.signalled);
        assert_eq!(shown, (self.rev, self.fresh, self.signals), "mirror {sub}");
        let once = self.options.mode == Mode::Once && self.fresh;
        assert!(self.ended || !once, "mirror {sub} is fresh, and was to be so once");
    }
}

fn tree(snapshot: &Snapshot) -> Tree {
    snapshot.iter().map(|(path, entry)| (path.clone(), entry.clone())).collect()
}

/// What a change does, as the protocol says it, without a thought about speed.
fn apply(tree: &mut Tree, change: &Change, view: &View) {
    match &change.act {
        Act::Put(value) if view.sees(&change.path) => {
            let value = value.clone().filter(|_| view.values);
            tree.insert(change.path.clone(), Entry { rev: change.rev, value });
        }
        Act::Put(_) => {}
        Act::Delete => drop(tree.remove(&change.path)),
        Act::Drop => tree.retain(|path, _| !change.path.contains(path)),
        Act::Trim { to, .. } => tree.retain(|path, _| {
            let child = change.path.below(path).and_then(|mut below| below.next());
            child.and_then(LogKey::parse).is_none_or(|key| key > *to)
        }),
    }
}
