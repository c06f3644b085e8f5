//! Where a connection was going before the kernel turned it to us.
//!
//! Address translation (nftables and iptables `REDIRECT`) leaves the destination in the table of
//! connections; TPROXY leaves it on the socket. A connection that was made to us is told from one
//! that was redirected, because passing it on would bring it back to us without end.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::SockRef;
use tokio::net::TcpStream;

/// Where the caller meant to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// There, when the kernel turned the connection to us.
    Redirected(SocketAddr),
    /// To us.
    Ourselves,
}

/// The destination that address translation replaced (`SO_ORIGINAL_DST`, `IP6T_SO_ORIGINAL_DST`) of
/// a connection to the listener at `port`.
///
/// # Errors
/// When the connection is gone, or the system is not Linux.
pub fn translated(stream: &TcpStream, port: u16) -> io::Result<Destination> {
    let ours = stream.local_addr()?;
    let found = match original(stream, ours) {
        Ok(found) => found,
        // the table has no such connection, or the namespace has no table: nothing was translated
        Err(error) if error.raw_os_error() == Some(NO_ENTRY) => return Ok(Destination::Ourselves),
        Err(error) => return Err(error),
    };
    Ok(told(found, ours, port))
}

/// The destination that TPROXY left on the socket, of a connection to the listener at `port`.
///
/// # Errors
/// When the connection is gone.
pub fn intercepted(stream: &TcpStream, port: u16) -> io::Result<Destination> {
    let destination = canonical(stream.local_addr()?);
    // a port of ours reached directly; TPROXY leaves every other as it was
    Ok(
        if destination.port() == port && is_of_this_machine(destination.ip()) {
            Destination::Ourselves
        } else {
            Destination::Redirected(destination)
        },
    )
}

/// `ENOENT`, which no constant of the standard library has.
const NO_ENTRY: i32 = 2;

#[cfg(target_os = "linux")]
fn original(stream: &TcpStream, ours: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    let found = if canonical(ours).is_ipv6() {
        socket.original_dst_v6()?
    } else {
        socket.original_dst_v4()?
    };
    found
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

#[cfg(not(target_os = "linux"))]
fn original(_: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

fn told(found: SocketAddr, ours: SocketAddr, port: u16) -> Destination {
    let (found, ours) = (canonical(found), canonical(ours));
    let same = found.ip() == ours.ip() && found.port() == ours.port();
    // another address of this machine, at the listener's port, is the listener again
    if same || (found.port() == port && is_of_this_machine(found.ip())) {
        Destination::Ourselves
    } else {
        Destination::Redirected(found)
    }
}

/// An IPv4 address as one, however the socket says it.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => address,
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// Whether an interface has it: to no other can a socket be bound.
fn is_of_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_comes_back_to_us_is_told_from_what_was_redirected() {
        use Destination::{Ourselves, Redirected};
        let rows = [
            // found, our end, what it is
            ("192.0.2.1:443", "127.0.0.1:15001", None),
            ("[2001:db8::1]:443", "[::1]:15001", None),
            // remote, and by chance the same port
            ("192.0.2.1:15001", "127.0.0.1:15001", None),
            // loopback, another port
            ("127.0.0.1:443", "127.0.0.1:15001", None),
            ("127.0.0.1:15001", "127.0.0.1:15001", Some(Ourselves)),
            ("[::1]:15001", "[::1]:15001", Some(Ourselves)),
            (
                "[::ffff:127.0.0.1]:15001",
                "127.0.0.1:15001",
                Some(Ourselves),
            ),
            // another of our addresses
            ("127.0.0.2:15001", "127.0.0.1:15001", Some(Ourselves)),
            ("0.0.0.0:15001", "127.0.0.1:15001", Some(Ourselves)),
        ];
        for (found, ours, expected) in rows {
            let found: SocketAddr = found.parse().unwrap();
            let expected = expected.unwrap_or(Redirected(found));
            assert_eq!(
                told(found, ours.parse().unwrap(), 15001),
                expected,
                "{found}"
            );
        }
    }

    #[tokio::test]
    async fn a_connection_that_nobody_redirected_is_ours() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (caller, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_caller, accepted) = (caller.unwrap(), accepted.unwrap().0);
        for of in [translated, intercepted] {
            let found = of(&accepted, address.port()).unwrap();
            assert_eq!(found, Destination::Ourselves);
        }
    }
}
