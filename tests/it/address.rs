//! An address of one test's own, for a broker that ends and begins again.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address that, on Linux, is given to nobody else as long as this socket lives, and at which
/// nothing listens before a broker does that is told to. What the system has given to a broker that
/// ends may be another's at once: that of another test, or of the very client that looks for it
/// there.
pub(crate) fn address_of_our_own() -> (Option<TcpSocket>, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    // As the broker's: two of that kind may be there as long as one of them does not listen.
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    // Elsewhere it would be in the broker's way.
    (cfg!(target_os = "linux").then_some(socket), addr)
}
