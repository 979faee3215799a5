//! The messages of `serve` on standard error while it runs. Nothing waits for a reader of them.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem::take;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

/// The most bytes that wait until they are read: some thousand lines.
const WAITING_BYTES: usize = 1 << 20;

/// How long the end of the program waits until the last lines are read: a reader needs a moment for
/// that.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long to wait before writing again to a stream that takes nothing now and does not block.
const PAUSE: Duration = Duration::from_millis(10);

static LOG: OnceLock<&Log> = OnceLock::new();

/// Starts writing the broker's log to standard error.
///
/// # Errors
/// When no thread can be started for it.
pub(crate) fn start(level: LevelFilter) -> io::Result<()> {
    let log: &Log = Box::leak(Box::default());
    let thread = thread::Builder::new().name("log".to_owned());
    thread.spawn(|| log.write_to(io::stderr()))?;
    // Do this last: messages to a log that nobody writes out would be lost.
    let log = *LOG.get_or_init(|| log);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(move || log)
        .init();
    Ok(())
}

/// Prints `words` on standard error; if there is a log, in order with its lines.
pub(crate) fn say(words: &str) {
    let line = format!("{words}\n");
    // Ignore an error, for example because the terminal is closed: nobody is left to be told.
    let _ = match LOG.get() {
        Some(log) => (&mut &**log).write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
}

/// Returns when all messages have been read, or when nobody seems to read them.
pub(crate) fn end() {
    if let Some(log) = LOG.get() {
        let _ = log.changed.wait_timeout_while(log.lock(), LAST_LINES, |waiting| waiting.is_any());
    }
}

/// Lines on their way to a reader. A thread of its own writes them: if the reader stops, as a
/// terminal does after Ctrl-S, only that thread stops with it, and no task that logs something.
#[derive(Default)]
struct Log {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many lines behind these were left out because there was no room.
    left_out: u64,
    /// Whether lines are being written.
    writing: bool,
}

impl Waiting {
    fn is_any(&self) -> bool {
        self.writing || !self.lines.is_empty() || self.left_out > 0
    }

    /// Takes a line, or leaves it out. After a line was left out, all lines are left out until that
    /// is reported.
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
        // How many lines could not be written. That is reported in front of the next lines: so the
        // end of the program does not wait for a stream that cannot be written, and the report is
        // not tried again and again.
        let mut lost = 0;
        let mut within_line = false;
        let mut waiting = self.lock();
        loop {
            if !waiting.is_any() {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (lines, left_out) = (take(&mut waiting.lines), take(&mut waiting.left_out));
            waiting.writing = true;
            drop(waiting);
            let mut text = if within_line { b"\n".to_vec() } else { Vec::new() };
            text.extend(told("they could not be written", lost));
            let first = text.len();
            text.extend(&lines);
            text.extend(told("nobody read them", left_out));
            match write_all(&mut to, &text) {
                Ok(()) => (lost, within_line) = (0, false),
                Err(written) => {
                    // A report that was not written completely is written again.
                    let kept = if written < first { lost } else { 0 };
                    let begun = written.saturating_sub(first).min(lines.len());
                    lost = kept + count(&lines[begun..]) + left_out;
                    within_line = text[..written].last().map_or(within_line, |byte| *byte != b'\n');
                }
            }
            waiting = self.lock();
            waiting.writing = false;
            self.changed.notify_all();
        }
    }
}

/// Returns the report that lines were left out, if any were.
fn told(why: &str, lines: u64) -> Vec<u8> {
    let told = format!("{lines} lines were left out here: {why}\n");
    if lines > 0 { told.into_bytes() } else { Vec::new() }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes everything, even to a stream that does not block, such as a pipe that is `O_NONBLOCK`
/// because of the process at its other end. An error says how much was written.
fn write_all(to: &mut impl Write, text: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while written < text.len() {
        match to.write(&text[written..]) {
            Ok(0) => return Err(written),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(written),
        }
    }
    Ok(())
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

    /// Takes what is written when the test lets it.
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
        // The first line is being written: everything after it waits.
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

    /// A pipe whose other end has made it non-blocking.
    #[test]
    fn a_reader_that_is_slow_has_all_of_it_and_what_is_lost_is_told() {
        /// Takes a few bytes, refuses the next ones, and breaks once.
        struct Slow {
            turn: usize,
            read: Sender<Vec<u8>>,
        }

        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.turn += 1;
                match self.turn {
                    BREAKS => Err(io::ErrorKind::BrokenPipe.into()),
                    turn if turn % 2 == 0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => {
                        let taken = bytes.len().min(7);
                        self.read.send(bytes[..taken].to_vec()).unwrap();
                        Ok(taken)
                    }
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        const BREAKS: usize = 10;
        let log: &Log = Box::leak(Box::default());
        let (read, reads) = channel();
        for line in ["first line\n", "second line\n"] {
            assert_eq!((&*log).write(line.as_bytes()).unwrap(), line.len());
        }
        thread::spawn(|| log.write_to(Slow { turn: 0, read }));
        let mut said = Vec::new();
        let mut until = |end: &str| {
            while !said.ends_with(end.as_bytes()) {
                said.extend(reads.recv_timeout(Duration::from_secs(5)).unwrap());
            }
            String::from_utf8(said.clone()).unwrap()
        };
        assert_eq!(until("second line\n"), "first line\nsecond line\n");
        // The ninth turn is for these lines: two of them are lost with it, which is reported before
        // the next line.
        assert_eq!((&*log).write(b"third\nfourth line\nfifth\n").unwrap(), 24);
        while log.lock().is_any() {
            thread::yield_now();
        }
        assert_eq!((&*log).write(b"last\n").unwrap(), 5);
        let said = until("last\n");
        let (_, said) = said.split_once("second line\n").unwrap();
        assert_eq!(said, "third\nf\n2 lines were left out here: they could not be written\nlast\n");
    }
}
