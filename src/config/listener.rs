//! Listeners: addresses we accept on, and how requests arrive there.

use std::{collections::BTreeSet, fmt, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;

use super::{Admit, Identity, route::is_among};

/// An address we accept on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub bind: Bind,
    pub mode: Mode,
    pub tls: Option<ServerTls>,
    /// Of a listener whose callers name hosts that are not ours.
    pub passage: Option<Passage>,
}

/// Who may go through a listener to hosts of others, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub admit: Admit,
    /// Reached though no route names them: lower case; `*.example.com`, or `*` for every host.
    pub hosts: Vec<String>,
    pub ports: BTreeSet<u16>,
    /// Addresses that they may have though they are not public.
    pub networks: Vec<IpNet>,
    /// Who finds their addresses; empty: the system.
    pub name_servers: Vec<SocketAddr>,
    /// Where the proxy auto-configuration file is.
    pub pac: String,
}

impl Passage {
    /// Whether a host (lower case, without port) is reached though no route names it.
    pub fn names(&self, host: &str) -> bool {
        is_among(&self.hosts, host)
    }
}

/// How requests arrive, and what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They name the listener itself, and go on to the route's upstream.
    Reverse,
    /// They name any host, in absolute form or by CONNECT.
    Forward,
    /// The kernel redirects connections to others here.
    Transparent(RedirectedBy),
    /// Each is a gateway's question whether another request may pass; none goes on.
    Decide(Gateway),
}

impl Mode {
    /// Whether requests are questions about others, whose connections we do not see.
    pub fn decides(self) -> bool {
        matches!(self, Self::Decide(_))
    }

    /// Whether callers name hosts that are not ours.
    pub fn names_others(self) -> bool {
        matches!(self, Self::Forward | Self::Transparent(_))
    }
}

/// What the kernel redirects with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectedBy {
    /// `REDIRECT` or `DNAT`: the original destination is asked of the kernel.
    Nat,
    /// `TPROXY`: the connection's own address is the original destination.
    Tproxy,
}

/// Who asks, and so how it describes the request in question. Only what it sets itself is read:
/// whatever else looks like a description is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// `auth_request`, with `X-Original-Method`, `-Proto`, `-Host` and `-URI` set as documented.
    Nginx,
    /// The ingress controller's `auth-url`: `X-Original-Method` and `X-Original-URL`.
    IngressNginx,
    /// `forwardAuth`, also of Caddy: `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    Traefik,
    /// `ext_authz` over HTTP: the question has the method, host and path of the request.
    Envoy,
}

impl Gateway {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::IngressNginx => "ingress_nginx",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
        }
    }
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

/// TLS towards callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTls {
    Own(OwnCertificate),
    /// Callers are shown a certificate for the name that they indicate, made by the authority of
    /// the interception.
    Minted,
}

impl ServerTls {
    pub fn clients(&self) -> &ClientCertificates {
        match self {
            Self::Own(own) => &own.clients,
            Self::Minted => &ClientCertificates::None,
        }
    }
}

/// The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
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
    /// Asked for, and any is taken, whoever signed it: it says nothing about its holder but that it
    /// has the key, which a token may be bound to (RFC 8705 section 7.2).
    Any,
}
