//! Sockets: binding them, connecting them, and what is known of who is on the other end.

pub mod bind;
pub mod destination;
pub mod dial;
pub mod inherited;
pub mod names;
pub mod original_dst;
pub mod ours;
pub mod peek;
pub mod prefixed;
pub mod share;
pub mod succession;
pub mod tunnel;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use tokio::sync::OwnedSemaphorePermit;

use self::share::Counted;
use crate::{caller::Guest, config::Mode, shutdown::Shutdown};

/// Who is on the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// A Unix socket; the user id of the process that connected, where the system tells.
    Unix {
        uid: Option<u32>,
    },
}

/// What is known of a caller's connection before its first request.
#[derive(Debug, Clone)]
pub struct Conn {
    pub peer: Peer,
    /// Only this machine can connect to the listener.
    pub local: Reach,
    pub mode: Mode,
    pub security: Security,
    /// Which of the configuration's listeners accepted it.
    pub listener: usize,
    /// Of a forward listener's connection, whose requests name hosts that may be ours.
    pub end: Option<Arc<End>>,
    /// Of a connection that its caller believes to be another's.
    pub inside: Option<Arc<Inside>>,
    /// Held as long as anything of the connection lives, a tunnel included.
    pub place: Place,
}

/// The end of a connection that is ours: who names it means us.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub address: SocketAddr,
    /// The name that TLS was asked for by.
    pub name: Option<String>,
}

impl End {
    /// `host` in lower case, without brackets.
    pub fn is_named(&self, host: &str, port: u16) -> bool {
        let ours = |address: IpAddr| {
            let address = address.to_canonical();
            address.is_loopback() || address == self.address.ip().to_canonical()
        };
        let name = self.name.as_deref();
        let called = host == "localhost" || name.is_some_and(|n| n.eq_ignore_ascii_case(host));
        port == self.address.port() && (called || host.parse().is_ok_and(ours))
    }
}

/// A connection to another host that was opened here.
#[derive(Debug, PartialEq, Eq)]
pub struct Inside {
    /// The one host that requests on it may be for: lower case, without port.
    pub host: Box<str>,
    pub port: u16,
    pub security: Within,
    /// As whom the listener's rules know the caller.
    pub guest: Guest,
}

/// What a caller believes to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    Plain,
    Tls,
}

/// What a connection holds, and all that becomes of it.
pub type Place = Arc<Held>;

/// One of the connections that may be open at once, and one of those that its thread serves.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
    /// Of the listener: tunnels that came by it do not outlast it.
    pub stop: Shutdown,
}

impl Held {
    pub fn new(permit: OwnedSemaphorePermit, counted: Counted, stop: Shutdown) -> Self {
        Self {
            _permit: permit,
            _counted: counted,
            stop,
        }
    }
}

/// Who can connect to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    ThisMachine,
    Others,
}

/// Whether a connection is encrypted, and what certificate the caller showed. A connection that is
/// parked keeps it.
#[derive(Debug, Clone)]
pub enum Security {
    Plain,
    Tls {
        /// `None`: the caller showed none.
        certificate: Option<Arc<Certificate>>,
    },
}

/// A certificate whose key the caller has.
#[derive(Debug)]
pub struct Certificate {
    /// Its names, if the listener's authority vouches for them.
    pub names: Names,
    /// SHA-256 of it (RFC 8705 section 3.1), where a route may ask.
    pub thumbprint: Option<[u8; 32]>,
}

/// The names in a caller's certificate.
#[derive(Debug)]
pub enum Names {
    Vouched(Vec<String>),
    /// Anybody could have written them.
    Claimed,
}

impl Security {
    /// Scheme of the URLs that reach us this way.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Plain => None,
            Self::Tls { certificate } => certificate.as_deref(),
        }
    }
}
