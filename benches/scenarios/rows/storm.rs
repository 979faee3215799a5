//! The broker restarts, and all clients come back at once.

use std::time::{Duration, Instant};

use onetree_protocol::frame::{RefreshKind, Welcome};
use onetree_protocol::{Act, Codec, Cookie, Digest, Path, Revision, ServerFrame};

use super::super::args::Args;
use super::super::dialect::onetree::{self, Op};
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::load::client::Client;
use super::super::process::{Directory, Server, free_address};
use super::super::scenario::Scenario;
use super::super::target::{Target, broker};
use super::tree;

const MIRRORS: usize = 10_000;

/// Each client follows one room of ten entries; ten clients follow each room.
const ENTRIES: usize = 10_000;

/// How many entries change after the mirrors have last read.
const CHANGED: usize = 1000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "storm".to_owned(),
        long: true,
        fits: |target| target.codec().is_some(),
        measure: Box::new(measure),
        goals: vec![
            Goal::most("back_s", 3.0),
            Goal::most("full", 0.0),
            Goal::most("different", 0.0),
            Goal::most("memory_ratio", 2.0),
        ],
    }]
}

/// The content of a mirror.
struct Mirror {
    entries: Vec<(Path, Revision)>,
    cookie: Cookie,
}

fn measure(args: &Args, target: Target) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let count = args.count(MIRRORS, &mut figures);
    let codec = target.codec().expect("it is the broker");
    let directory = Directory::new("storm");
    let data = directory.0.to_string_lossy().into_owned();
    let address = free_address();
    let command = broker(&["--data", &data], &address.to_string(), &[]);
    let mut server = Server::announced(&command)?;
    let mut writer = tree::grow(address, codec, ENTRIES)?;
    let mut generator = Generator::new();
    open(&mut generator, count, &server, codec, |_| None)?;
    let mut mirrors = Vec::new();
    for number in 0..count {
        let seen = generator.connections[number].watch.take().unwrap_or_default();
        let mut mirror = Mirror { entries: Vec::new(), cookie: nothing() };
        take(&mut mirror, codec, &seen)?;
        mirrors.push(mirror);
    }
    generator.until(Duration::from_secs(1), |_| false);
    let steady = server.usage().resident;
    // The mirrors do not see this, because nothing reads their connections.
    writer.write((0..CHANGED).map(|n| tree::put(n * ENTRIES / CHANGED, 1)).collect())?;
    server.kill();
    drop(generator);

    let begin = Instant::now();
    let server = Server::announced(&command)?;
    figures.put("back_s", 0.0);
    figures.put("listening_s", begin.elapsed().as_secs_f64());
    let mut generator = Generator::new();
    // All at once.
    generator.opening = count;
    open(&mut generator, count, &server, codec, |number| Some(mirrors[number].cookie))?;
    figures.values[0].1 = begin.elapsed().as_secs_f64();
    let peak = server.usage().peak;
    let (mut full, mut different) = (0, 0);
    for (number, mirror) in mirrors.iter_mut().enumerate() {
        let seen = generator.connections[number].watch.take().unwrap_or_default();
        let (kind, same) = take(mirror, codec, &seen)?;
        full += u32::from(kind != RefreshKind::Delta);
        different += u32::from(!same);
    }
    generator.healthy()?;
    // The mirrors of a room must have what a client that begins from nothing gets.
    let (whole, changed) = check(&server, codec, &mirrors)?;
    figures.put("full", f64::from(full));
    figures.put("different", f64::from(different + whole));
    figures.put("changed_seen", changed as f64);
    figures.put("memory_ratio", peak as f64 / steady as f64);
    figures.put("steady_mb", steady as f64 / 1e6);
    figures.put("peak_mb", peak as f64 / 1e6);
    Ok(figures)
}

fn nothing() -> Cookie {
    use onetree_protocol::{Epoch, Fingerprint};
    Cookie { epoch: Epoch(0), rev: Revision::ZERO, view: Fingerprint(0) }
}

/// Opens all mirrors; each keeps the frames that it receives.
fn open(
    generator: &mut Generator,
    count: usize,
    server: &Server,
    codec: Codec,
    cookie: impl Fn(usize) -> Option<Cookie>,
) -> Result<(), String> {
    generator.watching = true;
    let rule = onetree::rule(codec);
    generator.open(count, server.address, rule, |number| {
        let room = tree::room(number % (ENTRIES / 10));
        onetree::subscriber(codec, vec![onetree::sub(1, room, cookie(number), false)])
    })?;
    Ok(())
}

/// Applies its frames to a mirror. Returns which way it was refreshed, and whether it now matches
/// what the broker says.
fn take(
    mirror: &mut Mirror,
    codec: Codec,
    seen: &[(Op, Vec<u8>)],
) -> Result<(RefreshKind, bool), String> {
    let mut welcome: Option<Welcome> = None;
    let mut kind = RefreshKind::Full;
    let mut same = false;
    for (_, frame) in seen {
        match codec.decode_server(frame).map_err(|error| format!("{error:?}"))? {
            ServerFrame::Welcome(frame) => welcome = Some(frame),
            ServerFrame::Refresh(refresh) => {
                kind = refresh.kind;
                if kind == RefreshKind::Full {
                    mirror.entries.clear();
                }
            }
            ServerFrame::Entries(entries) => {
                for change in entries.changes {
                    mirror.entries.retain(|(path, _)| *path != change.path);
                    if let Act::Put(_) = change.act {
                        mirror.entries.push((change.path, change.rev));
                    }
                }
            }
            ServerFrame::Fresh(fresh) => {
                let welcome = welcome.as_ref().ok_or("fresh before welcome")?;
                let mut digest = Digest::default();
                for (path, rev) in &mirror.entries {
                    digest.insert(welcome.digest_key.hash(path, *rev));
                }
                same = fresh.digest == Some(digest);
                mirror.cookie = Cookie { epoch: welcome.epoch, rev: fresh.rev, view: fresh.view };
            }
            _ => {}
        }
    }
    Ok((kind, same))
}

/// Returns how many mirrors differ from what a client that begins from nothing gets, and how many
/// of the changed entries they have.
fn check(server: &Server, codec: Codec, mirrors: &[Mirror]) -> Result<(u32, usize), String> {
    let mut client = Client::connect(server.address, codec)?;
    let base = Path::parse("/tree").expect("it is a path");
    client.hello(vec![onetree::sub(1, base, None, false)])?;
    let mut seen = Vec::new();
    loop {
        let (op, frame) = client.next()?;
        seen.push((op, frame.to_vec()));
        if op == Op::Fresh {
            break;
        }
    }
    let mut tree = Mirror { entries: Vec::new(), cookie: nothing() };
    let mut of_room: std::collections::HashMap<String, Vec<(Path, Revision)>> = Default::default();
    // Without duplicates: the tree is large, and comes from nothing.
    for (op, frame) in &seen {
        if *op != Op::Entries {
            continue;
        }
        let frame = codec.decode_server(frame).map_err(|error| format!("{error:?}"))?;
        let ServerFrame::Entries(entries) = frame else { continue };
        tree.entries.extend(entries.changes.into_iter().map(|change| (change.path, change.rev)));
    }
    let newest = tree.entries.iter().map(|(_, rev)| *rev).max();
    for (path, rev) in tree.entries {
        let room = path.as_str().rsplit_once('/').map_or("", |(room, _)| room).to_owned();
        of_room.entry(room).or_default().push((path, rev));
    }
    let (mut different, mut changed) = (0, 0);
    for (number, mirror) in mirrors.iter().enumerate() {
        let mut own = mirror.entries.clone();
        own.sort();
        changed += own.iter().filter(|(_, rev)| Some(*rev) == newest).count();
        let room = tree::room(number % (ENTRIES / 10));
        different += u32::from(of_room.get(room.as_str()) != Some(&own));
    }
    Ok((different, changed))
}
