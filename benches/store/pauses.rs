//! The longest silence of a subscriber that follows 1,000 writes per second, while the broker does
//! its housekeeping: on a tree of a million entries it saves trees, begins and removes files, trims
//! logs, compacts tombstones, and lets entries expire.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path as FilePath;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use onetree::store::files::{self, Disk};
use onetree_client::{Append, Delete, Put, Write};
use onetree_core::{Author, Request, State, Time};
use onetree_protocol::frame::Do;
use onetree_protocol::{Epoch, MediaType, Path, Value};

use crate::content::{path, settings, value};
use crate::directory::Directory;
use crate::figures::{at, middle};
use crate::program::Program;
use crate::steady::{Steady, follower, stamped, writer};

/// Deliveries per second.
const RATE: usize = 1_000;

/// How often each chore is watched.
const ROUNDS: usize = 3;

/// A longer pause can be felt, milliseconds.
const FELT: f64 = 20.0;

/// How much there is of everything.
#[derive(Clone, Copy)]
struct Size {
    entries: usize,
    /// Entries of the log that is trimmed.
    keep: usize,
    tombstones: usize,
    expiring: usize,
    long: Duration,
}

/// What the broker is made to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chore {
    Nothing,
    Saving,
    Trimming,
    Compacting,
    Expiring,
}

/// A chore, its name on the command line, and its description.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    chore: Chore,
    pub(crate) word: &'static str,
    what: &'static str,
}

pub(crate) const CHORES: [Named; 5] = [
    Named { chore: Chore::Nothing, word: "nothing", what: "nothing else" },
    Named {
        chore: Chore::Saving,
        word: "saving",
        what: "trees saved, files begun and removed: 32 MB/s into the log",
    },
    Named { chore: Chore::Trimming, word: "trimming", what: "a log trimmed: 20,000 appends/s" },
    Named {
        chore: Chore::Compacting,
        word: "compacting",
        what: "tombstones compacted: 10,000 deletes/s",
    },
    Named { chore: Chore::Expiring, word: "expiring", what: "entries expire, all at once" },
];

pub(crate) fn run(Named { chore, what, .. }: Named, trial: bool) {
    let size = if trial {
        let long = Duration::from_millis(300);
        Size { entries: 1_000, keep: 100, tombstones: 100, expiring: 100, long }
    } else {
        let long = Duration::from_secs(6);
        Size { entries: 1_000_000, keep: 100_000, tombstones: 1_000_000, expiring: 200_000, long }
    };
    let rounds = if trial { 1 } else { ROUNDS };
    let directory = Directory::new();
    let mut state = seeded(State::new(settings()), chore, size);
    let watched: Vec<Watched> =
        (0..rounds).map(|_| watch(&mut state, &directory.0, chore, size)).collect();
    let of = |figure: fn(&Watched) -> f64| middle(watched.iter().map(figure).collect());
    println!(
        "\nthe longest silence of one who follows {RATE} writes a second, beside {} entries; {what}\nmedian of {rounds} rounds of {:?}: the longest {:.1} ms, then {:.1} and {:.1}; {:.0} above {FELT} ms; p99 of deliveries {:.2} ms; {:.0} trees saved; {:.0} writes/s beside",
        size.entries,
        size.long,
        of(|watched| watched.gaps[0]),
        of(|watched| watched.gaps[1]),
        of(|watched| watched.gaps[2]),
        of(|watched| watched.felt),
        of(|watched| watched.p99),
        of(|watched| watched.saves),
        of(|watched| watched.beside),
    );
}

struct Watched {
    /// The longest gaps, the longest first, milliseconds.
    gaps: [f64; 3],
    felt: f64,
    p99: f64,
    saves: f64,
    /// What the client beside wrote, per second.
    beside: f64,
}

fn watch(state: &mut State, directory: &FilePath, chore: Chore, size: Size) -> Watched {
    for entry in fs::read_dir(directory).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    if chore == Chore::Expiring {
        // After the broker has started and all clients are connected.
        let wait = size.long / 2 + Duration::from_secs(2) * (size.entries > 100_000).into();
        expiring(state, size, wait);
    }
    let disk = Disk::new(directory.to_owned()).unwrap();
    files::save(&disk, Epoch(1), &settings(), &state.checkpoint(), false).unwrap();
    let config = format!(
        "tombstones = {}\n[[retention]]\npattern = \"chat\"\nkeep = {}\n",
        size.tombstones, size.keep
    );
    let program = Program::serve(directory, &config);
    let (url, start) = (&program.url, Instant::now());
    let follows = follower(url, Path::parse("/beat").unwrap(), start);
    thread::sleep(Duration::from_millis(100));
    let beat = writer(url, Some(RATE), move |n| {
        Put::new(numbered("beat", n % 100), stamped(start.elapsed())).into()
    });
    let beside = beside(url, chore);
    let mut trees = BTreeSet::new();
    let begun = Instant::now();
    while begun.elapsed() < size.long {
        trees.extend(saved(directory));
        thread::sleep(Duration::from_millis(20));
    }
    beat.end();
    let took = begun.elapsed();
    let written = beside.map_or(0, Steady::end);
    let came = follows.end();
    let mut gaps: Vec<Duration> = came.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_unstable();
    gaps.reverse();
    let mut latencies: Vec<Duration> = came.iter().map(|(came, due)| *came - *due).collect();
    latencies.sort_unstable();
    let ms = |gap: Option<&Duration>| gap.map_or(f64::NAN, |gap| gap.as_secs_f64() * 1e3);
    Watched {
        gaps: [0, 1, 2].map(|place| ms(gaps.get(place))),
        felt: gaps.iter().filter(|gap| gap.as_secs_f64() * 1e3 > FELT).count() as f64,
        p99: at(&latencies, 0.99),
        saves: trees.len().saturating_sub(1) as f64,
        beside: written as f64 / took.as_secs_f64(),
    }
}

/// Starts the client that causes the broker's chore.
fn beside(url: &str, chore: Chore) -> Option<Steady<usize>> {
    let (rate, write): (usize, fn(usize) -> Write) = match chore {
        Chore::Nothing | Chore::Expiring => return None,
        Chore::Saving => (500, |n| {
            let bytes = vec![n as u8; 64 * 1024];
            let value = Value { media: MediaType::Octets, bytes: bytes.into() };
            Put::new(numbered("large", n % 50), value).into()
        }),
        Chore::Trimming => {
            (20_000, |n| Append::new(Path::parse("/chat").unwrap(), value(n)).into())
        }
        Chore::Compacting => (20_000, |n| match n % 2 {
            0 => Put::new(numbered("short", n / 2), value(n)).into(),
            _ => Delete::new(numbered("short", n / 2)).into(),
        }),
    };
    Some(writer(url, Some(rate), write))
}

fn numbered(top: &str, n: usize) -> Path {
    Path::parse(&format!("/{top}/{n:07}")).unwrap()
}

/// Returns the trees that are saved in a directory now.
fn saved(directory: &FilePath) -> Vec<String> {
    let names = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| entry.ok().and_then(|entry| entry.file_name().into_string().ok()));
    names.filter(|name| name.starts_with("tree-")).collect()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time(since.as_millis() as u64)
}

fn write(state: &mut State, change: Do) {
    let request = Request { changes: vec![change], ..Request::default() };
    state.write(now(), &Author::default(), &request).answer.unwrap();
}

/// Makes a tree in which the chore is soon due.
fn seeded(mut state: State, chore: Chore, size: Size) -> State {
    for n in 0..size.entries {
        write(&mut state, put(path(n), n, None));
    }
    match chore {
        Chore::Nothing | Chore::Saving | Chore::Expiring => {}
        // The log is trimmed when it is an eighth above its bound.
        Chore::Trimming => {
            for n in 0..size.keep + size.keep / 10 {
                let path = Path::parse("/chat").unwrap();
                let append = Do::Append { path, value: value(n), ttl_ms: None, ephemeral: false };
                write(&mut state, append);
            }
        }
        Chore::Compacting => {
            for n in 0..size.tombstones + size.tombstones / 9 {
                let path = numbered("gone", n);
                write(&mut state, put(path.clone(), n, None));
                write(&mut state, Do::Delete { path });
            }
        }
    }
    state
}

/// Adds entries that all expire at one moment.
fn expiring(state: &mut State, size: Size, wait: Duration) {
    let dies = now().plus(wait.as_millis() as u64);
    for n in 0..size.expiring {
        let ttl_ms = dies.0.saturating_sub(now().0).max(1);
        write(state, put(numbered("short", n), n, Some(ttl_ms)));
    }
}

fn put(path: Path, n: usize, ttl_ms: Option<u64>) -> Do {
    Do::Put { path, value: value(n), ttl_ms, ephemeral: false }
}
