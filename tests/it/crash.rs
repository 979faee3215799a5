//! The real program, killed again and again while clients write and mirrors follow.
//!
//! ONETREE_KILLS makes it longer; ONETREE_SEED repeats the random choices of a run (when the kills
//! come, and what is written; not the speed of the machine).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onetree_client::protocol::{Epoch, json};
use onetree_client::{
    Act, Append, Change, Client, Delete, Done, Event, Mirror, MirrorOptions, Options, Path,
    Pending, Put, Reconnect, RefreshKind, Revision, Snapshot, Status, Value, View,
};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::address::address_of_our_own;
use crate::irc::proxy::{Faults, Proxy};
use crate::irc::random::Random;
use crate::world::{PATIENCE, path, seed};

/// How often it is killed, unless ONETREE_KILLS sets it.
const KILLS: u32 = 16;

const WRITERS: u32 = 4;

/// The network of half of the writers: answers are delayed, and are lost.
const SLOW: Faults = Faults { cut: Some(50..400), stall: Some(20..200) };

/// Mirrors whose clients stay through all kills.
const STAYING: usize = 2;

/// The most writes of one client in flight at once.
const IN_FLIGHT: usize = 16;

/// So small that files are begun, and trees saved, many times in each life.
const SETTINGS: [&str; 3] = ["log_file_bytes=32768", "save_after_bytes=32768", "heartbeat_ms=200"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_through_every_kill_and_nothing_happens_twice() {
    let kills = std::env::var("ONETREE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = Random::new(seed());
    let began = Instant::now();
    let mut program = Program::start();
    program.listening().await;
    let epochs = Epochs::default();

    let mut following: Vec<Following> = (0..STAYING)
        .map(|_| Following::start(&program.url(), Snapshot::default(), &epochs))
        .collect();
    let mut restarted = Following::start(&program.url(), Snapshot::default(), &epochs);
    let (stop, stopped) = watch::channel(false);
    let mut writing = JoinSet::new();
    let slow = Proxy::start(program.addr, SLOW, random.split()).await.unwrap();
    for number in 0..WRITERS {
        // Half of them learn the result of a write late. The kill comes in between, and they send
        // the write again to a broker that has it already.
        let url = if number.is_multiple_of(2) { slow.url() } else { program.url() };
        let client = client(&url, &epochs);
        let (random, log) = (random.split(), path(&format!("/log/{number}")));
        let writer = Writer { client, number, random, log, kept: BTreeMap::new(), acknowledged: 0 };
        writing.spawn(writer.run(stopped.clone()));
    }

    let mut looked = Looked::default();
    for _ in 0..kills {
        // Also while it still reads its files, or while mirrors are being brought to the present.
        let moment = random.within(0..12);
        let early = moment < 2;
        if !early {
            program.listening().await;
        }
        // On a slow machine, too, some of the kills must find mirrors that are complete.
        if moment >= 7 {
            for mirror in following.iter().chain([&restarted]) {
                mirror.fresh().await;
            }
        }
        sleep(Duration::from_millis(random.within(if early { 0..40 } else { 30..500 }))).await;
        program.kill();
        // One mirror belongs to a client that ends as well, and continues from what it has saved.
        let (shown, seen) = restarted.end().await;
        looked.add(seen);
        restarted = Following::start(&program.url(), shown, &epochs);
        program.spawn();
    }
    program.listening().await;
    sleep(Duration::from_millis(200)).await;
    slow.calm();
    stop.send_replace(true);
    let written = timeout(PATIENCE, writing.join_all()).await.expect("the writers hang");

    let acknowledged: u64 = written.iter().map(|writer| writer.acknowledged).sum();
    let last = written.iter().map(|writer| writer.last).max().unwrap();
    let expected: BTreeMap<Path, String> =
        written.into_iter().flat_map(|writer| writer.kept).collect();
    let exported = program.export();
    let lost = expected.values().filter(|line| !exported.contains(*line)).count();
    let expected: Vec<&String> = expected.values().collect();
    let mut found: Vec<&String> = exported.iter().collect();
    found.sort_unstable_by_key(|line| json::parse_change_line(line).unwrap().path);

    following.push(restarted);
    let mirrors = following.len();
    for mirror in following {
        let reached = timeout(PATIENCE, mirror.mirror.at(last)).await;
        reached.expect("a mirror does not come to the present").unwrap();
        let (shown, seen) = mirror.end().await;
        let shown: Vec<String> = shown.entries().map(|entry| json::change_line(&entry)).collect();
        assert!(shown.iter().eq(found.iter().copied()), "a mirror is not what export prints");
        looked.add(seen);
    }
    println!(
        "{kills} kills in {:.1} s: {acknowledged} writes acknowledged, {lost} lost; {} entries; \
         {mirrors} mirrors compared, resumed {} times by what changed and {} times otherwise, {} \
         digests compared; at {last} the last tree is of {} and the last log from {}; {} batches torn",
        began.elapsed().as_secs_f32(),
        found.len(),
        looked.deltas,
        looked.others,
        looked.verified,
        program.highest("tree-"),
        program.highest("log-"),
        program.said("had cut the last batch"),
    );
    assert_eq!(lost, 0, "acknowledged writes are gone");
    assert!(expected == found, "there is more than what was acknowledged, or it is not in order");
    assert_eq!(looked.wrong, Vec::<String>::new());
    assert_eq!(epochs.0.lock().unwrap().len(), 1, "the history is another one");
    assert_eq!(program.said("ERROR"), 0, "{}", program.log());
    assert!(acknowledged > u64::from(kills) && looked.deltas > kills / 2, "it has tested nothing");
    assert!(program.highest("tree-") > 0, "no tree was ever saved");
}

/// The program with its directory; both are removed at the end.
struct Program {
    directory: PathBuf,
    addr: SocketAddr,
    /// Reserves the address while the broker is away.
    _ours: Option<TcpSocket>,
    child: Child,
    /// Completes when it listens.
    ready: Option<JoinHandle<String>>,
}

impl Program {
    fn start() -> Program {
        let (_ours, addr) = address_of_our_own();
        let name = format!("onetree-crash-{}-{}", std::process::id(), addr.port());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let child = command(&directory, addr).spawn().unwrap();
        let mut program = Program { directory, addr, _ours, child, ready: None };
        program.watch();
        program
    }

    fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Starts it again, on the same directory and address.
    fn spawn(&mut self) {
        self.child = command(&self.directory, self.addr).spawn().unwrap();
        self.watch();
    }

    fn watch(&mut self) {
        let stdout = self.child.stdout.take().unwrap();
        self.ready = Some(spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        }));
    }

    /// Waits until it listens.
    async fn listening(&mut self) {
        let Some(ready) = self.ready.take() else { return };
        let line = timeout(PATIENCE, ready).await.expect("it does not start").unwrap();
        assert!(line.starts_with("listening on"), "it does not start: {}", self.log());
    }

    /// Kills it with SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it had ended by itself: {}", self.log());
    }

    /// Returns the lines of `export`.
    fn export(&self) -> HashSet<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
        let output = command.args(["export", "/", "--url", &self.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: HashSet<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), text.lines().count(), "an entry is there twice");
        lines
    }

    /// Returns the highest revision in the names of files of this kind: the beginning of the last
    /// log, or the last saved tree.
    fn highest(&self, kind: &str) -> u64 {
        let names = fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter_map(|name| {
            let name = name.into_string().unwrap();
            let digits = name.strip_prefix(kind)?.strip_suffix(".onetree")?.to_owned();
            Some(u64::from_str_radix(&digits, 16).unwrap())
        });
        names.max().unwrap_or(0)
    }

    /// Returns everything that it has printed on standard error.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("stderr.txt")).unwrap()
    }

    /// Returns how many lines contain this text.
    fn said(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // This fails if the program has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Returns the command of the broker, without our environment variables that it reads.
fn command(directory: &std::path::Path, addr: SocketAddr) -> Command {
    let said = File::options().create(true).append(true).open(directory.join("stderr.txt"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
    command.arg("serve").arg("--data").arg(directory);
    command.args(["--listen", &addr.to_string()]);
    for setting in SETTINGS {
        command.args(["--set", setting]);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ONETREE_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said.unwrap());
    command
}

/// Every history that a client was told of.
#[derive(Clone, Default)]
struct Epochs(Arc<Mutex<HashSet<Epoch>>>);

impl Epochs {
    fn watch(&self, client: &Client) {
        let (mut statuses, epochs) = (client.statuses(), self.0.clone());
        tokio::spawn(async move {
            while let Some(status) = statuses.next().await {
                if let Status::Online(connection) = status {
                    epochs.lock().unwrap().insert(connection.epoch);
                }
            }
        });
    }
}

/// Makes a client that reconnects quickly, and never gives up.
fn client(url: &str, epochs: &Epochs) -> Client {
    let options = Options::new(url)
        .reconnect(Reconnect::Always)
        .request_timeout(PATIENCE)
        .backoff(Duration::from_millis(5), Duration::from_millis(50));
    let client = Client::start(options).unwrap();
    epochs.watch(&client);
    client
}

/// A writer: it appends numbers to its own log, and puts and deletes its own entries.
struct Writer {
    client: Client,
    number: u32,
    random: Random,
    log: Path,
    /// The entries according to the acknowledged writes, as `export` prints them.
    kept: BTreeMap<Path, String>,
    acknowledged: u64,
}

/// What a writer was told.
struct Written {
    kept: BTreeMap<Path, String>,
    acknowledged: u64,
    last: Revision,
}

/// A write in flight.
enum Sent {
    Append(Value),
    Put(Path, Value),
    Delete(Path),
}

impl Writer {
    async fn run(mut self, stopped: watch::Receiver<bool>) -> Written {
        let mut waiting: VecDeque<(Sent, Pending<Done>)> = VecDeque::new();
        let (mut appended, mut last) = (0_u64, Revision::ZERO);
        for n in 0_u64.. {
            if *stopped.borrow() {
                break;
            }
            let sent = self.some(n, &mut appended);
            let write = match &sent {
                Sent::Append(value) => Append::new(self.log.clone(), value.clone()).into(),
                Sent::Put(path, value) => Put::new(path.clone(), value.clone()).into(),
                Sent::Delete(path) => onetree_client::Write::from(Delete::new(path.clone())),
            };
            waiting.push_back((sent, self.client.enqueue(write).await.unwrap()));
            if waiting.len() >= IN_FLIGHT {
                let (sent, pending) = waiting.pop_front().unwrap();
                last = last.max(self.answered(sent, pending).await);
            }
            if self.random.within(0..IN_FLIGHT as u64) == 0 {
                sleep(Duration::from_millis(self.random.within(0..6))).await;
            }
        }
        for (sent, pending) in waiting {
            last = last.max(self.answered(sent, pending).await);
        }
        let logged = self.kept.keys().filter(|path| self.log.contains(path)).count();
        assert_eq!(logged as u64, appended, "each append has a path of its own");
        self.client.close().await;
        Written { kept: self.kept, acknowledged: self.acknowledged, last }
    }

    fn some(&mut self, n: u64, appended: &mut u64) -> Sent {
        let entry = path(&format!("/entry/{}/{}", self.number, self.random.within(0..20)));
        match self.random.within(0..10) {
            0 => Sent::Delete(entry),
            1..7 => Sent::Put(entry, Value::text(&format!("{n}"))),
            _ => {
                *appended += 1;
                Sent::Append(Value::text(&format!("{appended}")))
            }
        }
    }

    async fn answered(&mut self, sent: Sent, pending: Pending<Done>) -> Revision {
        let done = pending.await.unwrap_or_else(|error| panic!("writer {}: {error}", self.number));
        assert!(done.durable);
        self.acknowledged += 1;
        let mut keep = |path: Path, value| {
            let put = Change { path: path.clone(), rev: done.rev, act: Act::Put(Some(value)) };
            self.kept.insert(path, json::change_line(&put));
        };
        match sent {
            Sent::Append(value) => {
                let path = done.paths[0].clone();
                // The order of the keys is that of the numbers.
                keep(path.clone(), value);
                let last =
                    self.kept.range(self.log.clone()..).rfind(|(key, _)| self.log.contains(key));
                assert_eq!(last.map(|(key, _)| key), Some(&path), "the log is not in order");
            }
            Sent::Put(path, value) => keep(path, value),
            Sent::Delete(path) => {
                self.kept.remove(&path);
            }
        }
        done.rev
    }
}

/// A mirror of everything.
struct Following {
    client: Client,
    mirror: Mirror,
    looking: JoinHandle<(Snapshot, Looked)>,
}

/// What happened to mirrors.
#[derive(Default)]
struct Looked {
    /// How they were brought to the present again.
    deltas: u32,
    others: u32,
    verified: u32,
    /// What should never happen.
    wrong: Vec<String>,
}

impl Looked {
    fn add(&mut self, other: Looked) {
        self.deltas += other.deltas;
        self.others += other.others;
        self.verified += other.verified;
        self.wrong.extend(other.wrong);
    }
}

impl Following {
    /// Starts from `saved` if it is not empty.
    fn start(url: &str, saved: Snapshot, epochs: &Epochs) -> Following {
        let client = client(url, epochs);
        let options = match saved.cookie() {
            Some(cookie) => MirrorOptions::new().from_cookie(cookie, saved.entries()),
            None => MirrorOptions::new(),
        };
        let mirror = client.mirror(View::tree(path("/")), options);
        let looking = tokio::spawn(look(mirror.changes(), saved));
        Following { client, mirror, looking }
    }

    /// Waits until it is at the present again.
    async fn fresh(&self) {
        let fresh = timeout(PATIENCE, self.mirror.fresh()).await;
        fresh.expect("a mirror does not come back").unwrap();
    }

    /// Ends it. Returns its content with the cookie.
    async fn end(self) -> (Snapshot, Looked) {
        self.client.close().await;
        self.looking.await.unwrap()
    }
}

async fn look(mut changes: onetree_client::Changes, saved: Snapshot) -> (Snapshot, Looked) {
    let mut looked = Looked::default();
    let mut has_cookie = saved.cookie().is_some();
    while let Some(event) = changes.next().await {
        match event {
            Event::Refreshing { kind: RefreshKind::Delta, .. } => looked.deltas += 1,
            Event::Refreshing { kind, why } => {
                looked.others += 1;
                if has_cookie {
                    looked.wrong.push(format!("a mirror with a cookie gets {kind:?}: {why:?}"));
                }
            }
            Event::Fresh { .. } => has_cookie = true,
            Event::Synced { verified, .. } => looked.verified += u32::from(verified),
            Event::Corrupt { .. } | Event::Broken { .. } | Event::Circling { .. } => {
                looked.wrong.push(format!("{event:?}"));
            }
            _ => {}
        }
    }
    (changes.snapshot(), looked)
}
