//! What `serve` says on standard error while it runs, which nobody has to read.

use std::io::{self, IsTerminal, Write};
use std::mem::take;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::exit::Failure;

/// What may wait until it is read, bytes: some thousand lines.
const WAITING_BYTES: usize = 1 << 20;

/// How long an end waits until its last lines are read. Who reads them at all needs a moment for that.
const LAST_LINES: Duration = Duration::from_secs(1);

static LOG: OnceLock<&Log> = OnceLock::new();

/// Lets the broker's log out on standard error.
pub(crate) fn start(level: LevelFilter) -> Result<(), Failure> {
    let log: &Log = Box::leak(Box::default());
    let thread = thread::Builder::new().name("log".to_owned());
    thread
        .spawn(|| log.write_to(io::stderr()))
        .map_err(|error| Failure::fault(format!("cannot start a thread for the log: {error}")))?;
    // Only now: what is said to a log that nobody writes is lost.
    let log = *LOG.get_or_init(|| log);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || log)
        .init();
    Ok(())
}

/// Says this on standard error; where there is a log, in its turn.
pub(crate) fn say(words: &str) {
    let line = format!("{words}\n");
    // Nobody is left to tell when it cannot be written, as where the terminal is closed.
    let _ = match LOG.get() {
        Some(log) => (&mut &**log).write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
}

/// Returns when all that was said has been read, or nobody seems to read it.
pub(crate) fn end() {
    if let Some(log) = LOG.get() {
        let _ = log.changed.wait_timeout_while(log.lock(), LAST_LINES, |waiting| waiting.is_any());
    }
}

/// Lines on their way to a reader. A thread of its own writes them: where the reader stops, as a terminal
/// does after Ctrl-S, that thread stops with it, and nobody who has something to say.
#[derive(Default)]
struct Log {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Those behind these for which there was no room.
    left_out: u64,
    /// Whether some are being written.
    writing: bool,
}

impl Waiting {
    fn is_any(&self) -> bool {
        self.writing || !self.lines.is_empty() || self.left_out > 0
    }

    /// Takes a line, or leaves it out; what comes behind such a one waits until that is told.
    fn add(&mut self, line: &[u8]) {
        match self.left_out == 0 && self.lines.len() + line.len() <= WAITING_BYTES {
            true => self.lines.extend_from_slice(line),
            false => self.left_out += 1,
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what there is, for ever.
    fn write_to(&self, mut to: impl Write) {
        let mut waiting = self.lock();
        loop {
            if !waiting.is_any() {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (mut lines, left_out) = (take(&mut waiting.lines), take(&mut waiting.left_out));
            waiting.writing = true;
            drop(waiting);
            if left_out > 0 {
                let told = format!("{left_out} lines were left out here: nobody read them\n");
                lines.extend_from_slice(told.as_bytes());
            }
            // As in `say`.
            let _ = to.write_all(&lines);
            waiting = self.lock();
            waiting.writing = false;
            self.changed.notify_all();
        }
    }
}

/// Each write is a line.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lock().add(line);
        self.changed.notify_all();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

    use super::*;

    /// It takes what is written when it is let.
    struct Reader {
        turns: SyncSender<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.send(()).unwrap();
            self.read.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_left_out_is_told_where_it_was() {
        let log: &Log = Box::leak(Box::default());
        let (turns, let_it) = sync_channel(0);
        let (read, reads) = channel();
        thread::spawn(|| log.write_to(Reader { turns, read }));
        let next = || {
            let_it.recv().unwrap();
            String::from_utf8(reads.recv().unwrap()).unwrap()
        };
        let say = |line: &str| assert_eq!((&*log).write(line.as_bytes()).unwrap(), line.len());
        say("first\n");
        // It is being written: what comes now waits.
        let taken = || {
            let waiting = log.lock();
            waiting.writing && waiting.lines.is_empty()
        };
        while !taken() {
            thread::yield_now();
        }
        let large = format!("{}\n", "x".repeat(WAITING_BYTES / 2));
        for line in ["second\n", &large, &large, "small\n"] {
            say(line);
        }
        assert_eq!(next(), "first\n");
        let told = next();
        assert!(told.starts_with("second\nxxx"), "{}", &told[..20]);
        let end = "x\n2 lines were left out here: nobody read them\n";
        assert!(told.ends_with(end) && told.len() == 7 + large.len() + end.len() - 2);
        say("third\n");
        assert_eq!(next(), "third\n");
    }
}
