//! An address of a test's own, for a broker that ends and starts again.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Returns an address that, on Linux, is given to nobody else as long as the socket lives. Nothing
/// listens there until a broker does that is told to. Without this, the port of a broker that ends
/// could be reused at once: by another test, or by the client itself that tries to reconnect to it.
pub(crate) fn address_of_our_own() -> (Option<TcpSocket>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // Like the broker's socket: two such sockets may share an address as long as one of them does
    // not listen.
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    // On other systems the socket would be in the broker's way.
    (cfg!(target_os = "linux").then_some(socket), addr)
}
