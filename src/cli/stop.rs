//! Ctrl-C, SIGTERM, and SIGHUP, where the terminal is closed: the ways to end a command that does
//! not end by itself.

use std::fs;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::exit::Failure;

/// What comes sooner after a signal is the same request: who closes a terminal sends two, as do
/// `timeout` and a systemd that is told to (`SendSIGHUP`).
const AGAIN: Duration = Duration::from_secs(1);

/// Listens for all of them from the moment it is made: before that, they kill.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// Not of who is to outlive the terminal.
    hangup: Option<Signal>,
    /// When the last one came that counted.
    last: Option<Instant>,
}

impl Stop {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Stop, Failure> {
        Ok(Stop {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: if hears_hangup() { Some(listen(SignalKind::hangup())?) } else { None },
            last: None,
        })
    }

    /// Returns when one has come; at once behind another it counts as that one. Nothing is lost
    /// when this is dropped before.
    pub(crate) async fn asked(&mut self) {
        loop {
            self.signal().await;
            if self.last.is_none_or(|last| last.elapsed() >= AGAIN) {
                self.last = Some(Instant::now());
                return;
            }
        }
    }

    async fn signal(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { Some(self.hangup.as_mut()?.recv().await) } => {}
        }
    }

    /// As [`Stop::asked`], at the latest after `patience`.
    pub(crate) async fn asked_within(&mut self, patience: Duration) {
        // Either way that is the end.
        let _ = tokio::time::timeout(patience, self.asked()).await;
    }
}

/// From now on a file that becomes longer than files may (`ulimit -f`, `LimitFSIZE`) is an error to
/// who writes it. Until then the system kills.
pub(crate) fn outlive_long_files() -> Result<(), Failure> {
    // It is heard for as long as the process lives; nobody has to listen.
    listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::fault(format!("cannot listen for signals: {error}")))
}

/// Whether nobody has said that we outlive the terminal, as nohup does: who listens would no
/// longer. Where the system does not tell (it is Linux that does), it is left as it was, and kills
/// or does not.
fn hears_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of the first signal.
    let hangup = 1 << (SignalKind::hangup().as_raw_value() - 1);
    ignored.is_some_and(|ignored| ignored & hangup == 0)
}
