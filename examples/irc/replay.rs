//! The run: its participants, and its results.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use onetree::store::MemoryStore;
use onetree::{Broker, Config, Running};
use onetree_client::protocol::json;
use onetree_client::{Act, LogKey, Revision};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::conversations::Conversation;
use super::killed::{self, Killed};
use super::mirrors::{Finished, Follower};
use super::program;
use super::proxy::{Faults, Proxy};
use super::random::Random;
use super::writers;

/// How many writers write at once; the others wait for their turn.
const WRITERS: usize = 8;

/// A run.
pub(crate) struct Replay {
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) seed: u64,
    /// The command line program.
    pub(crate) program: PathBuf,
    /// How many entries each log keeps; `None`: all of them.
    pub(crate) keep: Option<u64>,
}

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) verdicts: Vec<Verdict>,
    /// Lines that were written, and how long that took.
    pub(crate) lines: usize,
    pub(crate) writing: Duration,
    /// How often the writers were cut off.
    pub(crate) cuts: u64,
    /// What is wrong with the broker's own tree, if anything.
    pub(crate) wrong: Option<String>,
}

/// The result of one mirror.
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    /// Whether it is what `export` prints, byte for byte, and saw everything once.
    pub(crate) right: bool,
    /// What went wrong for it, and how it recovered.
    pub(crate) story: String,
    /// How often something went wrong for it.
    pub(crate) troubles: u64,
}

impl Replay {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<Outcome, String> {
        let keep = self
            .keep
            .map(|keep| format!("[[retention]]\npattern = \"irc/*/log\"\nkeep = {keep}\n"));
        let config = Config::from_str(
            "replay",
            &format!("heartbeat_ms = 500\n{}", keep.unwrap_or_default()),
        );
        let mut config = config.map_err(|error| error.to_string())?;
        config.listen.set_port(0);
        let broker = Broker::start(config, MemoryStore::new()).await.map_err(|e| e.to_string())?;
        let outcome = self.against(&broker).await;
        broker.shutdown().await;
        outcome
    }

    async fn against(self, broker: &Running) -> Result<Outcome, String> {
        let Replay { conversations, seed, program, keep } = self;
        let mut random = Random::new(seed);
        let said = Arc::new(conversations);
        let directory = Directory::new(seed)?;
        let cut = Faults { cut: Some(20..500), ..Faults::default() };
        let stall = Faults { stall: Some(1000..3000), ..Faults::default() };
        let pen = proxy(broker, cut.clone(), &mut random).await?;
        let cutting = proxy(broker, cut, &mut random).await?;
        let stalling = proxy(broker, stall, &mut random).await?;

        let stays = Follower::start(&broker.url(), said.clone()).await?;
        let is_cut = Follower::start(&cutting.url(), said.clone()).await?;
        let stops = Follower::start(&stalling.url(), said.clone()).await?;
        let (done, written) = watch::channel(false);
        let killed = tokio::spawn(killed::run(
            program.clone(),
            broker.url(),
            directory.0.clone(),
            random.split(),
            written,
        ));

        let began = Instant::now();
        let writing = write(said.clone(), pen.url());
        let late = async {
            // While the writers are writing, however fast the machine is.
            sleep(Duration::from_millis(random.within(200..600))).await;
            Follower::start(&broker.url(), said.clone()).await
        };
        let (last, late) = tokio::join!(writing, late);
        let (last, late, writing) = (last?, late?, began.elapsed());
        // If everything was written very fast, the mirror has not come back yet.
        is_cut.resumes().await?;
        [&pen, &cutting, &stalling].into_iter().for_each(Proxy::calm);
        let _ = done.send(true);

        // Retention goes on for a moment after the last line.
        let last = settled(broker, last).await?;
        let killed = killed.await.map_err(|error| error.to_string())?;
        let export = program::output(&program, &broker.url(), &["export", "/irc"]).await?;
        let judge = Judge { export: &export, gaps: keep.is_some() };
        let verdicts = vec![
            judge.follower("stays connected", stays.finish(last).await, 0),
            judge.cut(is_cut.finish(last).await, cutting.cuts()),
            judge.follower("stops reading", stops.finish(last).await, stalling.stalls()),
            judge.late(late.finish(last).await),
            judge.killed(killed),
        ];
        let wrong = match keep {
            None => unlike(&export, &said),
            Some(keep) => beyond(&export, keep),
        };
        let lines = said.iter().map(Conversation::len).sum();
        Ok(Outcome { verdicts, lines, writing, cuts: pen.cuts(), wrong })
    }
}

async fn proxy(broker: &Running, faults: Faults, random: &mut Random) -> Result<Proxy, String> {
    Proxy::start(broker.addr(), faults, random.split()).await.map_err(|error| error.to_string())
}

/// Writes everything. Returns the revision of the last line.
async fn write(said: Arc<Vec<Conversation>>, url: String) -> Result<Revision, String> {
    let mut last = Revision::ZERO;
    let mut writing = JoinSet::new();
    let mut waiting = said.iter().cloned();
    loop {
        while writing.len() < WRITERS
            && let Some(conversation) = waiting.next()
        {
            writing.spawn(writers::write(url.clone(), conversation));
        }
        match writing.join_next().await {
            Some(written) => last = last.max(written.map_err(|error| error.to_string())??),
            None => return Ok(last),
        }
    }
}

/// Returns the revision at which the tree has come to rest, at or after `rev`.
async fn settled(broker: &Running, rev: Revision) -> Result<Revision, String> {
    let client = writers::client(&broker.url()).await?;
    let mut last = rev;
    loop {
        sleep(Duration::from_millis(500)).await;
        let root = onetree_client::Path::parse("/").map_err(|error| error.to_string())?;
        let now = client.get_many(vec![root]).await.map_err(|error| error.to_string())?.rev;
        if now == last {
            client.close().await;
            return Ok(last);
        }
        last = now;
    }
}

/// What each mirror is compared with.
struct Judge<'a> {
    export: &'a [u8],
    /// Whether retention may have been faster than a mirror.
    gaps: bool,
}

impl Judge<'_> {
    fn follower(
        &self,
        name: &'static str,
        finished: Result<Finished, String>,
        troubles: u64,
    ) -> Verdict {
        let Finished { lines, checked, seen } = match finished {
            Ok(finished) => finished,
            Err(error) => return Verdict { name, right: false, story: error, troubles },
        };
        let same = lines == self.export;
        let told = checked.skipped == 0 || (self.gaps && checked.gaps > 0);
        let right = same && checked.twice == 0 && told && checked.first.is_none();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut story = format!(
            "{} lines in their turn, {} skipped, {} twice; {} deltas, resumed {}, from nothing {}",
            checked.in_turn,
            checked.skipped,
            checked.twice,
            count(&seen.deltas),
            count(&seen.resumed),
            count(&seen.full),
        );
        if self.gaps {
            story.push_str(&format!("; told of {} gaps", checked.gaps));
        }
        if let Some(first) = checked.first {
            story.push_str(&format!("; {first}"));
        }
        Verdict { name, right, story, troubles }
    }

    /// A mirror that comes late has not seen what retention took before.
    fn late(&self, finished: Result<Finished, String>) -> Verdict {
        let late = finished.map(|mut finished| {
            if self.gaps {
                finished.checked.gaps += 1;
            }
            finished
        });
        self.follower("comes late", late, 1)
    }

    /// A mirror that was cut off must come back from its cookie.
    fn cut(&self, finished: Result<Finished, String>, cuts: u64) -> Verdict {
        let back = |finished: &Finished| finished.seen.resumed.load(Ordering::Relaxed) > 0;
        let came_back = finished.as_ref().is_ok_and(back);
        let verdict = self.follower("is cut off", finished, cuts);
        Verdict { right: verdict.right && came_back, ..verdict }
    }

    fn killed(&self, killed: Result<Killed, String>) -> Verdict {
        let name = "is killed";
        match killed {
            Ok(Killed { lines, kills, resumed }) => Verdict {
                name,
                right: lines == self.export && resumed > 0,
                story: format!("went on from its file {resumed} times (there was none at first)"),
                troubles: kills,
            },
            Err(error) => Verdict { name, right: false, story: error, troubles: 0 },
        }
    }
}

/// Returns how an export differs from what was said.
fn unlike(export: &[u8], said: &[Conversation]) -> Option<String> {
    let mut logs: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    for line in String::from_utf8_lossy(export).lines() {
        let entry = match json::parse_change_line(line) {
            Ok(entry) => entry,
            Err(error) => return Some(format!("export printed {line:?}: {error}")),
        };
        let (Some(log), Act::Put(Some(value))) = (entry.path.parent_str(), &entry.act) else {
            return Some(format!("export printed {line:?}"));
        };
        logs.entry(log.to_owned()).or_default().push(value.bytes.to_vec());
    }
    for conversation in said {
        let name = format!("/irc/{}/log", conversation.name);
        match logs.remove(&name) {
            Some(lines) if lines == conversation.lines => {}
            Some(lines) => {
                let pairs = lines.iter().zip(&conversation.lines);
                let same = pairs.take_while(|(a, b)| a == b).count();
                return Some(format!(
                    "{name} has {} lines of {}, and line {} differs",
                    lines.len(),
                    conversation.len(),
                    same + 1
                ));
            }
            None => return Some(format!("{name} is not there")),
        }
    }
    logs.into_keys().next().map(|log| format!("{log} was never written"))
}

/// Returns a log that is longer than retention allows: an eighth above its bound.
fn beyond(export: &[u8], keep: u64) -> Option<String> {
    let mut logs: HashMap<String, u64> = HashMap::new();
    for line in String::from_utf8_lossy(export).lines() {
        let path = json::parse_change_line(line).ok()?.path;
        if let (Some(log), Some(_)) = (path.parent_str(), LogKey::of(&path)) {
            *logs.entry(log.to_owned()).or_default() += 1;
        }
    }
    let (log, entries) = logs.into_iter().find(|(_, entries)| *entries > keep + keep / 8)?;
    Some(format!("{log} has {entries} entries, and keeps {keep}"))
}

/// A directory of this run, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(seed: u64) -> Result<Directory, String> {
        let name = format!("onetree-irc-{}-{seed}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Outcome {
    /// Returns whether every mirror is right, and the tree, too.
    pub(crate) fn is_right(&self) -> bool {
        self.wrong.is_none() && self.verdicts.iter().all(|verdict| verdict.right)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the mirror that  troubles  right  how it went")?;
        for Verdict { name, right, story, troubles } in &self.verdicts {
            let right = if *right { "yes" } else { "NO" };
            writeln!(f, "{name:<15}  {troubles:>8}  {right:<5}  {story}")?;
        }
        let seconds = self.writing.as_secs_f64();
        writeln!(
            f,
            "\n{} lines written in {seconds:.1} s, {:.0} a second, over connections that were cut {} times",
            self.lines,
            self.lines as f64 / seconds,
            self.cuts
        )?;
        match &self.wrong {
            None => write!(f, "the tree holds every line as it was written, byte for byte"),
            Some(wrong) => write!(f, "THE TREE IS WRONG: {wrong}"),
        }
    }
}
