//! How long a start takes.

use std::sync::Arc;
use std::time::Instant;

use onetree::store::files::{self, Disk};
use onetree::{Broker, Config, Hooks};
use onetree_client::{Client, MirrorOptions, Options};
use onetree_core::{Author, State, Time};
use onetree_protocol::{Epoch, Path, View};

use crate::content::{put, settings};
use crate::directory::Directory;

pub(crate) fn run(trial: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    start(&runtime, if trial { 1_000 } else { 1_000_000 });
}

fn config() -> Config {
    let mut config = Config::default();
    config.listen.set_port(0);
    config
}

/// Measures a start with this many entries, until the first subscriber is served.
fn start(runtime: &tokio::runtime::Runtime, entries: usize) {
    let directory = Directory::new();
    let disk = Disk::new(directory.0.clone()).unwrap();
    let mut state = State::new(settings());
    for n in 0..entries {
        state.write(Time(1), &Author::default(), &put(n));
    }
    let bytes = files::save(&disk, Epoch(1), &settings(), &state.checkpoint(), false).unwrap();
    drop(state);
    let took = runtime.block_on(async {
        let began = Instant::now();
        let broker = Broker::start_from(config(), Arc::new(disk), Hooks::default()).await.unwrap();
        let started = began.elapsed();
        let client = Client::connect(Options::new(broker.url())).await.unwrap();
        let view = View::tree(Path::parse("/site-07/room-003").unwrap());
        let mirror = client.mirror(view, MirrorOptions::new());
        mirror.fresh().await.unwrap();
        assert!(!mirror.snapshot().is_empty());
        let served = began.elapsed();
        broker.shutdown().await;
        (started, served)
    });
    println!(
        "\na start with {entries} entries ({} MB): {:.2} s, and its first subscriber is served after {:.2} s",
        bytes / 1_000_000,
        took.0.as_secs_f64(),
        took.1.as_secs_f64()
    );
}
