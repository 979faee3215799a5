//! What the broker logs, by the address of the client.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

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

/// Keeps the log from now on. The tests of a binary share it; each looks for its own addresses.
pub(crate) fn keep() {
    static KEEP: Once = Once::new();
    KEEP.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Keep);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// The lines about a client, as soon as there is one, and what has come until a moment later.
pub(crate) async fn of(peer: SocketAddr) -> Vec<Line> {
    let about = || -> Vec<Line> {
        let lines = LINES.lock().unwrap();
        lines.iter().filter(|line| line.get("peer") == Some(&peer.to_string())).cloned().collect()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while about().is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    about()
}

/// Asserts that the log has exactly one line about a client, with this code.
#[track_caller]
pub(crate) fn once(lines: &[Line], code: &str) {
    assert_eq!(lines.len(), 1, "logged once: {lines:?}");
    assert_eq!(lines[0]["code"], code, "{lines:?}");
}
