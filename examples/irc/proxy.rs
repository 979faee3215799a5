//! A network that fails: a TCP proxy that cuts connections without a close, stops reading for
//! seconds, and passes bytes on in pieces of any size.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::random::Random;

/// What goes wrong, with times in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// A connection is cut this long after it was made.
    pub(crate) cut: Option<Range<u64>>,
    /// Nothing is read from the broker for this long, again and again.
    pub(crate) stall: Option<Range<u64>>,
}

/// How long the proxy reads between two stalls, in milliseconds.
const READING: Range<u64> = 20..200;

/// How much is read at once at most.
const PIECE_BYTES: u64 = 16 * 1024;

/// Small, so that the broker soon notices that nobody reads.
const SOCKET_BYTES: u32 = 16 * 1024;

/// A proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    faults: Faults,
    failing: watch::Sender<bool>,
    cuts: AtomicU64,
    stalls: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of `broker`.
    pub(crate) async fn start(
        broker: SocketAddr,
        faults: Faults,
        random: Random,
    ) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (failing, _) = watch::channel(true);
        let (cuts, stalls) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { faults, failing, cuts, stalls });
        let listening = tokio::spawn(listen(listener, broker, shared.clone(), random));
        Ok(Proxy { addr, shared, listening })
    }

    /// Returns the address for clients.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// From now on nothing fails.
    pub(crate) fn calm(&self) {
        self.shared.failing.send_replace(false);
    }

    /// Returns how many connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Returns how often it stopped reading.
    pub(crate) fn stalls(&self) -> u64 {
        self.shared.stalls.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    listener: TcpListener,
    broker: SocketAddr,
    shared: Arc<Shared>,
    mut random: Random,
) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connection(client, broker, shared.clone(), random.split()));
    }
}

/// Serves one connection. It does not matter how it ends.
async fn connection(client: TcpStream, to: SocketAddr, shared: Arc<Shared>, mut random: Random) {
    let Ok(broker) = connect(to).await else { return };
    let abrupt = random.bits() & 1 == 0;
    let cut = shared.faults.cut.clone().map(|range| random.within(range));
    if abrupt && cut.is_some() {
        // A reset instead of an orderly end: what was not read yet is lost.
        let _ = client.set_zero_linger();
        let _ = broker.set_zero_linger();
    }
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let mut failing = shared.failing.subscribe();
    tokio::select! {
        () = copy(from_client, to_broker, random.split(), None) => {}
        () = copy(from_broker, to_client, random.split(), Some(&shared)) => {}
        () = after(cut, &mut failing) => drop(shared.cuts.fetch_add(1, Ordering::Relaxed)),
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.connect(to).await
}

/// Returns after this many milliseconds; never if it is `None`, or if nothing fails any more.
async fn after(millis: Option<u64>, failing: &mut watch::Receiver<bool>) {
    let calm = failing.wait_for(|failing| !failing);
    match millis {
        Some(millis) => tokio::select! {
            () = sleep(Duration::from_millis(millis)) => return,
            _ = calm => {}
        },
        None => drop(calm.await),
    }
    std::future::pending().await
}

/// Passes bytes on until either side ends. With `stalls`, it stops now and then.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut random: Random,
    stalls: Option<&Shared>,
) {
    let mut piece = vec![0; PIECE_BYTES as usize];
    let stall = stalls.and_then(|shared| Some((shared, shared.faults.stall.clone()?)));
    let mut next_stall = tokio::time::Instant::now();
    loop {
        if let Some((shared, range)) = &stall
            && *shared.failing.borrow()
            && tokio::time::Instant::now() >= next_stall
        {
            shared.stalls.fetch_add(1, Ordering::Relaxed);
            let mut failing = shared.failing.subscribe();
            tokio::select! {
                () = sleep(Duration::from_millis(random.within(range.clone()))) => {}
                _ = failing.wait_for(|failing| !failing) => {}
            }
            next_stall =
                tokio::time::Instant::now() + Duration::from_millis(random.within(READING));
        }
        let most = random.within(1..PIECE_BYTES) as usize;
        match from.read(&mut piece[..most]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if to.write_all(&piece[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
