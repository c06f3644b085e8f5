//! Connecting to an upstream: its addresses, one after the other, not too patiently.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::names::Names;

/// A host that cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot find the address of {host}")]
    Dns { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{host} is at {address}, which is not reached for callers")]
    Forbidden { host: String, address: IpAddr },
    #[error("{host} is at {address}, where this proxy itself accepts")]
    Ourselves { host: String, address: SocketAddr },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
}

/// The next address is tried beside an unanswered one after this time (RFC 8305 section 5).
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Addresses tried for one connection.
const MAX_ADDRESSES: usize = 8;

/// Connects to `host`, where `names` finds it. The caller sets the time limit.
///
/// # Errors
/// When no address is found, or none answers; the first address's reason is told.
pub async fn tcp(host: &str, port: u16, names: &Names) -> Result<TcpStream, DialError> {
    let addresses = addresses(host, port, names).await?;
    let mut waiting = FuturesUnordered::new();
    let mut failure = None;
    let mut rest = addresses.into_iter();
    loop {
        let next = rest.next();
        let exhausted = next.is_none();
        if let Some(address) = next {
            waiting.push(connect(address));
        }
        let patience = tokio::time::sleep(NEXT_AFTER);
        tokio::select! {
            Some(attempt) = waiting.next() => match attempt.and_then(|stream| away(stream, host, names)) {
                Ok(stream) => return Ok(stream),
                Err(error) => { failure.get_or_insert(error); }
            },
            () = patience, if !exhausted => {}
            else => {}
        }
        if exhausted && waiting.is_empty() {
            return Err(failure.unwrap_or_else(|| DialError::NoAddress { host: host.into() }));
        }
    }
}

/// A connection that leads to somebody else, and that callers may have. This machine has addresses
/// that look like anybody's: one that it reaches itself at is at both ends.
fn away(
    connected: (TcpStream, SocketAddr),
    host: &str,
    names: &Names,
) -> Result<TcpStream, DialError> {
    let stream = not_to_us(connected, host, names)?;
    let Some(destinations) = names.destinations() else {
        return Ok(stream);
    };
    let ends = stream
        .local_addr()
        .and_then(|own| Ok((own, stream.peer_addr()?)));
    match ends {
        Ok((own, there)) if own.ip() == there.ip() && !destinations.names(there.ip()) => {
            let (host, address) = (host.to_owned(), there.ip());
            Err(DialError::Forbidden { host, address })
        }
        _ => Ok(stream),
    }
}

fn not_to_us(
    (stream, address): (TcpStream, SocketAddr),
    host: &str,
    names: &Names,
) -> Result<TcpStream, DialError> {
    let ours = names.ours();
    let ends_here = || {
        stream
            .local_addr()
            .is_ok_and(|own| ours.accept(own, address))
    };
    if ours.may_be(address) && ends_here() {
        let host = host.to_owned();
        return Err(DialError::Ourselves { host, address });
    }
    Ok(stream)
}

/// Lets the kernel notice that the other end is gone without a word: a tunnel has no message of its
/// own to wait for.
pub fn keep_alive(stream: &TcpStream) {
    let often = Duration::from_secs(30);
    let settings = TcpKeepalive::new()
        .with_time(often * 2)
        .with_interval(often);
    // a connection that cannot be watched is still good
    let _ = SockRef::from(stream).set_tcp_keepalive(&settings);
}

/// Connects to an address. The caller sets the time limit.
///
/// # Errors
/// When nobody answers there.
pub async fn address(address: SocketAddr) -> Result<TcpStream, DialError> {
    connect(address).await.map(|(stream, _)| stream)
}

async fn connect(address: SocketAddr) -> Result<(TcpStream, SocketAddr), DialError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| DialError::Connect { address, source })?;
    // a proxy's writes are whole messages; waiting to join them only adds delay
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// IPv6 and IPv4 in turn (RFC 8305 section 4), so that one broken family costs one delay.
async fn addresses(host: &str, port: u16, names: &Names) -> Result<Vec<SocketAddr>, DialError> {
    let found = names
        .addresses(host, port)
        .await
        .map_err(|source| DialError::Dns {
            host: host.into(),
            source,
        })?;
    let mut found = found;
    if let (Some(destinations), Some(first)) = (names.destinations(), found.first().copied()) {
        found.retain(|address| destinations.permits(address.ip()));
        if found.is_empty() {
            let (host, address) = (host.to_owned(), first.ip());
            return Err(DialError::Forbidden { host, address });
        }
    }
    let (v6, v4): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut all = Vec::new();
    while all.len() < MAX_ADDRESSES {
        let before = all.len();
        all.extend(v6.next());
        all.extend(v4.next());
        if all.len() == before {
            break;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_address_serves_when_the_first_refuses() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .unwrap();
            gone.local_addr().unwrap()
        };
        let stream = tcp("unused", 0, &Names::new(&[closed, open], &[]))
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let refused = tcp("unused", 0, &Names::new(&[closed], &[]))
            .await
            .unwrap_err();
        assert!(matches!(refused, DialError::Connect { address, .. } if address == closed));
    }
}
