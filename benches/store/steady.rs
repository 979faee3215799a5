//! Clients that run at their own pace, each on a thread of its own: none of them waits for another
//! inside this process.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use onetree_client::{Client, Event, MirrorOptions, Options, Write};
use onetree_protocol::{Act, MediaType, Path, Value, View};

/// The most writes in flight of one client.
const IN_FLIGHT: usize = 1_000;

/// A task that runs until it is told to end.
pub(crate) struct Steady<T> {
    ending: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Steady<T> {
    fn start<F: Future<Output = T>>(
        url: &str,
        run: impl FnOnce(Client, Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Steady<T> {
        let ending = Arc::new(AtomicBool::new(false));
        let (ends, url) = (ending.clone(), url.to_owned());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = Client::connect(Options::new(url)).await.unwrap();
                run(client, ends).await
            })
        });
        Steady { ending, thread }
    }

    /// Ends the task.
    pub(crate) fn end(self) -> T {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Requests one entry at this interval, one request at a time. Returns how long each took from the
/// moment when it was due: a request that is late because the one before it was slow counts as slow
/// too.
pub(crate) fn getter(url: &str, path: Path, every: Duration) -> Steady<Vec<Duration>> {
    Steady::start(url, async move |client, ending| {
        let mut latencies = Vec::new();
        let mut due = Instant::now();
        while !ending.load(Ordering::Relaxed) {
            // The runtime's own timer has a resolution of a millisecond, which is as long as what
            // is measured.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            client.get(path.clone()).await.unwrap();
            latencies.push(due.elapsed());
            due += every;
        }
        client.close().await;
        latencies
    })
}

/// Puts one entry at this interval, one write at a time. The value contains the moment when the
/// write was due.
pub(crate) fn prober(url: &str, path: Path, every: Duration, start: Instant) -> Steady<()> {
    Steady::start(url, async move |client, ending| {
        let mut due = Instant::now();
        while !ending.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            client.put(path.clone(), stamped(due - start)).await.unwrap();
            due += every;
        }
        client.close().await;
    })
}

/// Writes this many times per second, or as fast as the answers allow if there is no rate. Returns
/// how many writes that were.
pub(crate) fn writer(
    url: &str,
    rate: Option<usize>,
    mut write: impl FnMut(usize) -> Write + Send + 'static,
) -> Steady<usize> {
    Steady::start(url, async move |client, ending| {
        let (mut waiting, mut written) = (VecDeque::new(), 0);
        let begun = Instant::now();
        while !ending.load(Ordering::Relaxed) {
            let due = rate
                .map_or(usize::MAX, |rate| (begun.elapsed().as_secs_f64() * rate as f64) as usize);
            if written >= due {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            waiting.push_back(client.enqueue(write(written)).await.unwrap());
            written += 1;
            if waiting.len() >= IN_FLIGHT
                && let Some(first) = waiting.pop_front()
            {
                first.await.unwrap();
            }
        }
        for pending in waiting {
            pending.await.unwrap();
        }
        client.close().await;
        written
    })
}

/// Follows what is under `top`. Returns when each delta came, and when the write in it was due.
pub(crate) fn follower(url: &str, top: Path, start: Instant) -> Steady<Vec<(Duration, Duration)>> {
    Steady::start(url, async move |client, ending| {
        let mirror = client.mirror(View::tree(top), MirrorOptions::new());
        mirror.fresh().await.unwrap();
        let (mut changes, mut came) = (mirror.changes(), Vec::new());
        while !ending.load(Ordering::Relaxed) {
            // Wake up now and then to check whether to end.
            let next = tokio::time::timeout(Duration::from_millis(200), changes.next()).await;
            let Ok(Some(Event::Delta { changes, .. })) = next else { continue };
            let now = start.elapsed();
            for change in &*changes {
                let Act::Put(Some(value)) = &change.act else { continue };
                let stamp = value.bytes.first_chunk().copied().map(u64::from_le_bytes);
                came.extend(stamp.map(|stamp| (now, Duration::from_nanos(stamp))));
            }
        }
        client.close().await;
        came
    })
}

/// Makes a value that contains when it was due.
pub(crate) fn stamped(due: Duration) -> Value {
    let mut bytes = (due.as_nanos() as u64).to_le_bytes().to_vec();
    bytes.resize(crate::content::VALUE_BYTES, 0);
    Value { media: MediaType::Octets, bytes: bytes.into() }
}
