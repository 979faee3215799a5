//! A network that fails on request: a TCP proxy that cuts, stalls, delays, limits the bandwidth,
//! and does not tell the broker that a client has gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The most bytes of one read.
const PIECE_BYTES: usize = 16 * 1024;
/// Small, so that the broker soon notices that nobody reads.
const SOCKET_BYTES: u32 = 16 * 1024;
/// How long the broker's side of a connection outlives the client's when the broker is not told.
const LEFT: Duration = Duration::from_secs(20);

/// Returns how many unread bytes the system holds for the broker's end of a socket, at most;
/// usually 4 MiB.
pub(crate) fn kept_unread() -> usize {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most = said.split_whitespace().next_back().and_then(|most| most.parse().ok());
    most.unwrap_or(0).max(4 << 20)
}

/// The present state of the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Nothing passes, in either direction.
    pub(crate) stalled: bool,
    /// Nothing passes to the broker: requests do not arrive.
    pub(crate) mute: bool,
    /// Nothing passes to the client: answers do not arrive.
    pub(crate) deaf: bool,
    /// The delay of each piece, in each direction.
    pub(crate) delay: Duration,
    /// The most bytes per second to the client.
    pub(crate) bytes_per_second: Option<u64>,
    /// No connection is accepted.
    pub(crate) closed: bool,
}

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// For both sides at once, by a reset.
    Reset,
    /// For the client only: the broker is not told.
    Left,
}

pub(crate) struct Network {
    addr: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    cuts: Arc<watch::Sender<(u64, Cut)>>,
    connections: Arc<AtomicU64>,
    listening: JoinHandle<()>,
}

impl Network {
    /// Starts a network in front of `broker`.
    pub(crate) async fn start(broker: SocketAddr) -> io::Result<Network> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let cuts = Arc::new(watch::Sender::new((0, Cut::Reset)));
        let connections = Arc::new(AtomicU64::new(0));
        let (sky, end, count) = (weather.clone(), cuts.clone(), connections.clone());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if sky.borrow().closed {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(client, broker, sky.subscribe(), end.subscribe()));
            }
        });
        Ok(Network { addr, weather, cuts, connections, listening })
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Changes the state of the network.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.weather.send_modify(change);
    }

    /// Ends all connections.
    pub(crate) fn cut(&self, how: Cut) {
        self.cuts.send_modify(|(count, cut)| (*count, *cut) = (*count + 1, how));
    }

    /// Returns how many connections there were.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut(Cut::Reset);
    }
}

/// Serves one connection. Its end, for whatever reason, is no error.
async fn connection(
    client: TcpStream,
    to: SocketAddr,
    weather: watch::Receiver<Weather>,
    mut cuts: watch::Receiver<(u64, Cut)>,
) {
    let Ok(broker) = connect(to).await else { return };
    // Pass each piece on as it comes.
    let _ = client.set_nodelay(true);
    let _ = broker.set_nodelay(true);
    // End with a reset and not orderly: what was not read yet is lost.
    let _ = client.set_zero_linger();
    let _ = broker.set_zero_linger();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let left = tokio::select! {
        () = copy(&mut from_client, &mut to_broker, weather.clone(), true) => false,
        () = copy(&mut from_broker, &mut to_client, weather, false) => false,
        ended = cuts.changed() => ended.is_ok() && cuts.borrow().1 == Cut::Left,
    };
    drop((from_client, to_client));
    if left {
        // The broker goes on sending to nobody.
        let mut piece = vec![0; PIECE_BYTES];
        let talking = async { while let Ok(1..) = from_broker.read(&mut piece).await {} };
        // The result does not matter.
        let _ = tokio::time::timeout(LEFT, talking).await;
    }
}

/// Copies bytes until either side ends; `up`: to the broker.
async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    up: bool,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let stopped = |now: &Weather| now.stalled || (if up { now.mute } else { now.deaf });
        if weather.wait_for(|now| !stopped(now)).await.is_err() {
            return;
        }
        let (delay, rate) = {
            let now = weather.borrow();
            (now.delay, now.bytes_per_second.filter(|_| !up))
        };
        // At most what passes in a tenth of a second.
        let most = rate.map_or(PIECE_BYTES, |rate| (rate / 10).clamp(1, 16_384) as usize);
        let Ok(n @ 1..) = from.read(&mut piece[..most]).await else { return };
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_micros(n as u64 * 1_000_000 / rate.max(1))).await;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // If the network has begun to stall meanwhile, hold this piece too.
        if weather.wait_for(|now| !stopped(now)).await.is_err() {
            return;
        }
        if to.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.connect(to).await
}
