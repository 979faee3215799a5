//! The sockets on which a broker listens.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// How many connections the system holds ready for one listener until they are accepted. The system
/// caps this at its own limit, `net.core.somaxconn`, whose default in Linux is the same number.
const BACKLOG: u32 = 4096;

/// How many listeners share the address; the system distributes new connections among them. After a
/// restart of the broker all clients connect at once, and a client that no listener has room for
/// tries again only a second later ([ADR 18](../docs/adr/0018-four-listeners.md)). Outside Linux,
/// sockets that share an address do not divide connections.
const LISTENERS: usize = if cfg!(target_os = "linux") { 4 } else { 1 };

/// The listeners, all at one address.
pub(crate) struct Listening {
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) addr: SocketAddr,
}

/// Listens at `addr`. The caller accepts the connections.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<Listening> {
    // The first listener binds the address exclusively, so that two brokers cannot have the same
    // address. Only after that does it share the address with the other listeners.
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

/// Lets other sockets of the same user bind the address of `socket`, if they ask for it too.
#[cfg(target_os = "linux")]
fn share(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_reuseport(socket, true)?)
}

#[cfg(not(target_os = "linux"))]
fn share<T>(_: &T) -> io::Result<()> {
    Ok(())
}
