//! Ctrl-C, SIGTERM, and SIGHUP, which comes when the terminal is closed: the ways to end a command
//! that does not end by itself.

use std::fs;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::exit::Failure;

/// A signal that comes sooner than this after another is the same request: closing a terminal sends
/// two, and so do `timeout` and a systemd with `SendSIGHUP`.
const AGAIN: Duration = Duration::from_secs(1);

/// Listens for all of these signals from the moment it is made. Before that, they kill the process.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if the process is to outlive the terminal.
    hangup: Option<Signal>,
    /// When the last signal that counted came.
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

    /// Completes when a signal has come. A signal that comes shortly after another counts as the
    /// same. No signal is lost when this future is dropped.
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

    /// Like [`Stop::asked`], but completes after `patience` at the latest.
    pub(crate) async fn asked_within(&mut self, patience: Duration) {
        // Both results mean the end.
        let _ = tokio::time::timeout(patience, self.asked()).await;
    }
}

/// From now on, a write that makes a file longer than the limit (`ulimit -f`, `LimitFSIZE`) fails
/// with an error. Before this the system kills the process.
pub(crate) fn outlive_long_files() -> Result<(), Failure> {
    // The signal stays handled for as long as the process lives; nobody has to listen.
    listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::fault(format!("cannot listen for signals: {error}")))
}

/// Whether to listen for SIGHUP: not if the process was started to outlive the terminal, as nohup
/// does, because listening would end that. Where the system does not report this (Linux does),
/// SIGHUP is left as it was, whether it kills or not.
fn hears_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit stands for signal 1.
    let hangup = 1 << (SignalKind::hangup().as_raw_value() - 1);
    ignored.is_some_and(|ignored| ignored & hangup == 0)
}
