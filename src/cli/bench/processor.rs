//! How much processor time the broker and this program use, where the system reports it (Linux).

use std::fs;
use std::time::{Duration, Instant};

/// A process on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process(u32);

impl Process {
    /// Returns this process.
    pub(super) fn own() -> Process {
        Process(std::process::id())
    }

    /// Returns the process that listens where `url` points, if it is on this machine and we may see
    /// it.
    pub(super) fn at(url: &str) -> Option<Process> {
        let authority = url.split_once("://")?.1.split('/').next()?;
        let (host, port) = authority.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        if !matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
            return None;
        }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let socket = tables.iter().flatten().find_map(|table| listener(table, port))?;
        let socket = format!("socket:[{socket}]");
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let number = process.file_name().to_str()?.parse().ok()?;
            let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
            open.any(|file| {
                fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
            })
            .then_some(Process(number))
        })
    }

    /// Returns the time that the process's living threads have run until now, and the time that
    /// they have waited for a processor.
    fn time(self) -> Option<Time> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let mut time = Time::default();
        for task in tasks.flatten() {
            // A thread may end while we look.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut words = text.split(' ').filter_map(|word| word.parse().ok());
            time.on += Duration::from_nanos(words.next().unwrap_or_default());
            time.waiting += Duration::from_nanos(words.next().unwrap_or_default());
        }
        Some(time)
    }
}

/// Finds the number of the socket that listens on a port, in a table of the system.
fn listener(table: &str, port: u16) -> Option<&str> {
    let local = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let here = words.next()?.ends_with(&local);
        // 0A: it listens. The socket is the tenth word.
        let listens = words.nth(1)? == "0A";
        (here && listens).then(|| words.nth(5))?
    })
}

/// How long the threads of a process ran, and how long they waited for a processor.
#[derive(Clone, Copy, Default)]
struct Time {
    on: Duration,
    waiting: Duration,
}

/// Measures what a process uses from one moment on.
#[derive(Clone, Copy)]
pub(super) struct Watch {
    process: Process,
    before: Time,
    begin: Instant,
}

impl Watch {
    /// Begins to measure.
    pub(super) fn begin(process: Process) -> Option<Watch> {
        Some(Watch { process, before: process.time()?, begin: Instant::now() })
    }

    /// Ends the measurement. Returns the processor time, and how many processors that is.
    pub(super) fn end(self) -> Option<Used> {
        let now = self.process.time()?;
        let all = self.begin.elapsed().as_secs_f64().max(1e-9);
        let time = now.on.saturating_sub(self.before.on);
        let waiting = now.waiting.saturating_sub(self.before.waiting).as_secs_f64() / all;
        Some(Used { time, processors: time.as_secs_f64() / all, waiting })
    }
}

/// What a process used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// The time on all processors together.
    pub(super) time: Duration,
    /// The average number of processors used.
    pub(super) processors: f64,
    /// The average number of processors that it waited for in addition.
    pub(super) waiting: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1CE8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
             1: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12 1\n";
        assert_eq!(listener(table, 7400), Some("12"));
        assert_eq!(listener(table, 40_000), None);
    }

    #[test]
    fn only_what_is_here_is_looked_for() {
        for url in ["ws://192.0.2.1:7400", "ws://127.0.0.1", "127.0.0.1:7400", "ws://[::1]:0"] {
            assert_eq!(Process::at(url), None, "{url}");
        }
        if cfg!(target_os = "linux") {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("ws://{}/v1/sync", listener.local_addr().unwrap());
            assert_eq!(Process::at(&url), Some(Process::own()));
        }
    }
}
