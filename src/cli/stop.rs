//! Ctrl-C and SIGTERM: the ways to end a command that does not end by itself.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;

/// Listens for both from the moment it is made: before that, they kill.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Stop, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::fault(format!("cannot listen for signals: {error}")))
        };
        Ok(Stop {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Returns when either has come. Nothing is lost when this is dropped before.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// As [`Stop::asked`], at the latest after `patience`.
    pub(crate) async fn asked_within(&mut self, patience: Duration) {
        // Either way that is the end.
        let _ = tokio::time::timeout(patience, self.asked()).await;
    }
}
