//! One who publishes at a given rate, on a thread of its own: the loop of the generator must not
//! be late for it, nor it for the loop.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::dialect::{Step, Template, Until};

/// One who publishes at a given rate.
pub(crate) struct Pacer {
    ending: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), String>>,
}

impl Pacer {
    /// Starts it; payloads count their time from `start`.
    pub(crate) fn start(
        address: SocketAddr,
        steps: Vec<Step>,
        template: Template,
        rate: u32,
        start: Instant,
    ) -> Result<Pacer, String> {
        let ending = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let stream = open(address, steps).map_err(|error| format!("publisher: {error}"))?;
        let work = Work { stream, template, interval: Duration::from_secs(1) / rate, start };
        let thread = std::thread::spawn({
            let (ending, sent) = (ending.clone(), sent.clone());
            move || work.run(&ending, &sent).map_err(|error| format!("publisher: {error}"))
        });
        Ok(Pacer { ending, sent, thread })
    }

    /// Ends it; how many messages it sent.
    pub(crate) fn end(self) -> Result<u64, String> {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the publisher panicked".to_owned())??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

struct Work {
    stream: TcpStream,
    template: Template,
    interval: Duration,
    start: Instant,
}

impl Work {
    fn run(mut self, ending: &AtomicBool, sent: &AtomicU64) -> std::io::Result<()> {
        let mut due = Instant::now();
        let mut number = 0;
        let mut out = Vec::new();
        let mut replies = vec![0; 64 << 10];
        while !ending.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now < due {
                std::thread::sleep(due - now);
            }
            // All that is due; a late one counts its latency from when it was due.
            out.clear();
            let now = Instant::now();
            while due <= now {
                number += 1;
                let at = u64::try_from((due - self.start).as_nanos()).unwrap_or(u64::MAX);
                self.template.write(number, at, &mut out);
                due += self.interval;
            }
            self.stream.set_nonblocking(false)?;
            self.stream.write_all(&out)?;
            sent.store(number, Ordering::Relaxed);
            // Nobody looks at the answers, but they must not pile up.
            self.stream.set_nonblocking(true)?;
            loop {
                match self.stream.read(&mut replies) {
                    Ok(0) => return Err(ErrorKind::ConnectionAborted.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// A connection that waits for what comes.
fn open(address: SocketAddr, steps: Vec<Step>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    for step in steps {
        stream.write_all(&step.say)?;
        let mut got = Vec::new();
        let mut byte = [0; 1];
        let arrived = |got: &[u8]| match step.until {
            Until::Bytes(needle) => got.ends_with(needle),
            // The first frame is the welcome, and a publisher waits for nothing else: 64 bytes of
            // it are enough to know that it is there.
            Until::Frames(..) => got.len() >= 64,
        };
        while !arrived(&got) {
            stream.read_exact(&mut byte)?;
            got.push(byte[0]);
        }
    }
    Ok(stream)
}
