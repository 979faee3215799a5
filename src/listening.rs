//! Where a broker listens.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system keeps ready for a listener until they are accepted, if it is not
/// told to keep fewer: Linux's own most, `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Listeners at one address, among which the system divides who connects. All clients of a
/// restarted broker come at once, and whom no listener has a place for tries again a second later
/// ([ADR 18](../docs/adr/0018-four-listeners.md)). Elsewhere than in Linux sockets with one address
/// do not divide anything.
const LISTENERS: usize = if cfg!(target_os = "linux") { 4 } else { 1 };

/// Listeners, all at one address.
pub(crate) struct Listening {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) addr: SocketAddr,
}

/// Listens at `addr`. Nothing is accepted yet.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<Listening> {
    // It listens as the only one, so that no two brokers have one address; only then it lets others
    // in, which ask for that: these here.
    let first = socket(addr)?;
    first.bind(addr)?;
    let first = first.listen(BACKLOG)?;
    let addr = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < LISTENERS {
        share(&listeners[0])?;
        let another = socket(addr)?;
        share(&another)?;
        another.bind(addr)?;
        listeners.push(another.listen(BACKLOG)?);
    }
    Ok(Listening { listeners, addr })
}

fn socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

/// Lets sockets of the same user have its address that ask for it as well.
#[cfg(target_os = "linux")]
fn share(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_reuseport(socket, true)?)
}

#[cfg(not(target_os = "linux"))]
fn share<T>(_: &T) -> io::Result<()> {
    Ok(())
}
