//! What the broker logs, by the address of the client.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::wire::PATIENCE;

/// A line of the log: its fields as text.
pub(crate) type Line = BTreeMap<&'static str, String>;

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Keep;

impl<S: tracing::Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("onetree")
            && *event.metadata().level() < tracing::Level::DEBUG
        {
            let mut line = Fields(Line::new());
            event.record(&mut line);
            LINES.lock().unwrap().push(line.0);
        }
    }
}

struct Fields(Line);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

/// Keeps the log from now on. All tests of the binary share it; each looks for its own clients.
pub(crate) fn keep() {
    static KEEP: Once = Once::new();
    KEEP.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Keep);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// A client as the log names it. Its port may have been another client's before, so lines before it
/// came do not count. It must still be open when the log is read, because its port may be reused
/// after that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    addr: SocketAddr,
    since: usize,
}

impl Peer {
    /// Makes the peer for a client that is about to connect from this address.
    pub(crate) fn new(addr: SocketAddr) -> Peer {
        Peer { addr, since: LINES.lock().unwrap().len() }
    }

    fn lines(self) -> Vec<Line> {
        let lines = LINES.lock().unwrap();
        let own = |line: &&Line| line.get("peer") == Some(&self.addr.to_string());
        lines[self.since..].iter().filter(own).cloned().collect()
    }
}

/// Returns how many lines contain this text.
pub(crate) fn with(text: &str) -> usize {
    let lines = LINES.lock().unwrap();
    lines.iter().filter(|line| line.values().any(|value| value.contains(text))).count()
}

/// Asserts that the log has lines with exactly these codes about a client, in this order, once they
/// are there and nothing has followed for a moment.
pub(crate) async fn only(peer: Peer, codes: &[&str]) -> Vec<Line> {
    let deadline = Instant::now() + PATIENCE;
    while peer.lines().len() < codes.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let lines = peer.lines();
    let logged: Vec<&str> = lines.iter().map(|line| line["code"].as_str()).collect();
    assert_eq!(logged, codes, "{lines:#?}");
    lines
}
