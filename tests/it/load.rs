//! The load of the benchmarks beside a test, if `ONETREE_UNDER_LOAD` is set: other clients of the
//! same broker, in processes of their own, as fast as possible.

use std::process::{Child, Command, Stdio};

use onetree::Running;

use crate::http::{told, until};

/// The load, which ends when this is dropped. `None` if no load was requested.
pub(crate) struct Load(Option<Child>);

impl Load {
    /// Signals to a hundred subscribers, as fast as they are acknowledged. They leave nothing in
    /// the tree.
    pub(crate) async fn signals(broker: &Running) -> Load {
        let many = ["--with", "signal", "--publishers", "2", "--subscribers", "100"];
        Load::bench(broker, &many, 100_000).await
    }

    /// Commits beside those of the test, and ten subscribers that follow them.
    pub(crate) async fn puts(broker: &Running) -> Load {
        let some = ["--with", "put", "--publishers", "4", "--subscribers", "10", "--rate", "500"];
        Load::bench(broker, &some, 1_000).await
    }

    /// Returns the load when it has made this many deliveries.
    async fn bench(broker: &Running, what: &[&str], deliveries: u64) -> Load {
        if std::env::var_os("ONETREE_UNDER_LOAD").is_none() {
            return Load(None);
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_onetree"));
        command.args(["bench", "--url", &broker.url(), "--duration", "10m"]).args(what);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let count = |stats: &serde_json::Value| stats["deliveries"].as_u64().unwrap();
        let before = count(&told(broker.addr(), "/v1/stats").await);
        let load = Load(Some(command.spawn().unwrap()));
        until(broker.addr(), "/v1/stats", |stats| count(stats) - before >= deliveries).await;
        load
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It ends by itself when its broker is gone: then the test did not wait for it.
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() || std::thread::panicking(), "there was no load: {ended:?}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
