//! Listeners: addresses we accept on, and how requests arrive there.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::Identity;

/// An address we accept on. All are `reverse`: requests name the listener itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub bind: Bind,
    pub tls: Option<ServerTls>,
}

/// Where we accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    Tcp(SocketAddr),
    /// A Unix socket, created with `mode`; a stale one that nobody listens on is replaced.
    Unix {
        path: PathBuf,
        mode: u32,
    },
}

impl Bind {
    /// Whether only this machine (and, for a socket, whoever its mode lets in) can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// TLS towards callers. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    pub identity: Identity,
    pub clients: ClientCertificates,
}

/// Whether callers show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    None,
    /// Asked for; a caller without one is served where a route admits it otherwise.
    Optional { ca: PathBuf },
    /// The handshake fails without one.
    Required { ca: PathBuf },
}
