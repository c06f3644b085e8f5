//! Connections to one upstream, of one data-plane thread.
//!
//! An HTTP/1.1 connection serves one request at a time and waits in the pool between them, an
//! HTTP/2 connection serves all. A connection that dies before it read its request gives the
//! request back. Pools belong to one upstream of one configuration on one thread, so that all that
//! made a connection trustworthy is the same for whoever takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use hyper::{
    client::conn::{http1, http2},
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::failure::ConnectError;
use crate::{
    config::{ClientTls, Upstream, UpstreamProtocol},
    http::body::OutgoingBody,
    net::{dial, names::Names, ours::Ours, tunnel::End},
    shutdown::spawn_on_worker,
    tls::{TlsError, client::client_config},
};

type Http1 = http1::SendRequest<OutgoingBody>;
type Http2 = http2::SendRequest<OutgoingBody>;

/// An upstream that cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0} is no name that a certificate can have")]
    ServerName(String, #[source] InvalidDnsNameError),
}

/// What all threads share of an upstream.
#[derive(Debug)]
pub struct Target {
    pub upstream: Arc<Upstream>,
    tls: Option<TlsTarget>,
}

#[derive(Debug)]
struct TlsTarget {
    name: ServerName<'static>,
    settings: Settings,
}

/// How TLS is spoken with an upstream. It holds all authorities that are trusted.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Offers what the route wants.
    any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only: upgrades exist nowhere else.
    http1: Arc<ClientConfig>,
}

impl Settings {
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn of(tls: &ClientTls, protocol: UpstreamProtocol) -> Result<Self, TlsError> {
        let offered: &[&[u8]] = match protocol {
            UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
            UpstreamProtocol::Http1 => &[b"http/1.1"],
            UpstreamProtocol::Http2 => &[b"h2"],
        };
        Ok(Self {
            any: client_config(tls, offered)?,
            http1: client_config(tls, &[b"http/1.1"])?,
        })
    }
}

impl Target {
    /// # Errors
    /// When the upstream's TLS settings cannot be used.
    pub fn new(upstream: Arc<Upstream>) -> Result<Self, UpstreamError> {
        if !upstream.origin.https {
            return Ok(Self {
                upstream,
                tls: None,
            });
        }
        let settings = Settings::of(&upstream.tls, upstream.protocol)?;
        Self::with(upstream, &settings)
    }

    /// With TLS settings that others have as well.
    ///
    /// # Errors
    /// When no certificate can have the upstream's name.
    pub(super) fn with(
        upstream: Arc<Upstream>,
        settings: &Settings,
    ) -> Result<Self, UpstreamError> {
        if !upstream.origin.https {
            return Ok(Self {
                upstream,
                tls: None,
            });
        }
        let name = upstream
            .tls
            .server_name
            .as_ref()
            .unwrap_or(&upstream.origin.host);
        let name = ServerName::try_from(name.clone())
            .map_err(|source| UpstreamError::ServerName(name.clone(), source))?;
        Ok(Self {
            upstream,
            tls: Some(TlsTarget {
                name,
                settings: settings.clone(),
            }),
        })
    }
}

/// What a request needs of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Any,
    /// An upgrade follows: HTTP/1.1, and nobody else's afterwards.
    Upgrade,
}

/// Whether an idle connection may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    Any,
    New,
}

/// Connections of one thread to one upstream.
#[derive(Debug)]
pub struct Pool {
    target: Arc<Target>,
    /// Seconds, counted by [`Pool::prune`]: the age of an idle connection needs no clock.
    ticks: AtomicU32,
    names: Arc<Names>,
    idle: Mutex<Vec<Idle>>,
    http2: Mutex<Option<Http2>>,
    /// The tick at which the HTTP/2 connection was last asked for.
    http2_used: AtomicU32,
    /// TLS settled on HTTP/2 before: it is expected to do so again.
    speaks_http2: AtomicBool,
    /// Held while an HTTP/2 connection is made: all wait for the one.
    making_http2: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Idle {
    sender: Http1,
    /// The tick at which it became idle.
    since: u32,
}

/// A connection that a request may be sent on.
pub enum Connection {
    Http1 { sender: Http1, reused: bool },
    Http2(Http2),
}

impl Pool {
    pub fn new(target: Arc<Target>, ours: Arc<Ours>) -> Self {
        let tls = &target.upstream.tls;
        let names = Names::new(&tls.addresses, &tls.name_servers).but_not(ours);
        Self::of_names(target, Arc::new(names))
    }

    /// Connects where `names` says.
    pub(super) fn of_names(target: Arc<Target>, names: Arc<Names>) -> Self {
        Self {
            names,
            target,
            ticks: AtomicU32::new(0),
            idle: Mutex::default(),
            http2: Mutex::default(),
            http2_used: AtomicU32::new(0),
            speaks_http2: AtomicBool::new(false),
            making_http2: tokio::sync::Mutex::default(),
        }
    }

    /// An idle connection, or a new one.
    ///
    /// # Errors
    /// When the upstream cannot be connected to within its connect timeout.
    pub async fn connection(&self, need: Need, age: Age) -> Result<Connection, ConnectError> {
        if need == Need::Any
            && age == Age::Any
            && let Some(connection) = self.at_hand()
        {
            return Ok(connection);
        }
        let limit = self.target.upstream.connect_timeout;
        // boxed: it is large, and few requests need it
        Box::pin(tokio::time::timeout(limit, self.connect(need)))
            .await
            .unwrap_or(Err(ConnectError::Timeout(limit)))
    }

    /// A connection for which nobody has to wait, if there is one.
    pub fn at_hand(&self) -> Option<Connection> {
        if let Some(sender) = self.take_idle() {
            let reused = true;
            return Some(Connection::Http1 { sender, reused });
        }
        self.shared_http2().map(Connection::Http2)
    }

    /// Seconds, counted while the thread lives.
    pub fn tick(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Gives a connection back whose answer has been read to its end.
    pub fn give_back(&self, sender: Http1) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < self.target.upstream.idle_connections {
            let since = self.ticks.load(Ordering::Relaxed);
            idle.push(Idle { sender, since });
        }
    }

    /// Closes connections that were idle too long. Called once a second.
    pub(super) fn prune(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        self.idle
            .lock()
            .retain(|idle| !idle.sender.is_closed() && !self.is_stale(idle.since));
        if self.is_stale(self.http2_used.load(Ordering::Relaxed)) {
            // it ends when the answers that still come on it have
            *self.http2.lock() = None;
        }
    }

    fn is_stale(&self, since: u32) -> bool {
        let ticks = self.ticks.load(Ordering::Relaxed).wrapping_sub(since);
        Duration::from_secs(ticks.into()) >= self.target.upstream.idle_timeout
    }

    /// The one used last: the others may then become idle long enough to be closed.
    fn take_idle(&self) -> Option<Http1> {
        let mut idle = self.idle.lock();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            if idle[at].sender.is_closed() || self.is_stale(idle[at].since) {
                idle.swap_remove(at);
            } else if idle[at].sender.is_ready() {
                return Some(idle.remove(at).sender);
            }
            // neither: an answer came before its request was sent to the end; it stays for later
        }
        None
    }

    fn shared_http2(&self) -> Option<Http2> {
        let tick = self.ticks.load(Ordering::Relaxed);
        self.http2_used.store(tick, Ordering::Relaxed);
        let mut shared = self.http2.lock();
        match shared.as_ref() {
            Some(sender) if sender.is_closed() => {
                *shared = None;
                None
            }
            other => other.cloned(),
        }
    }

    async fn connect(&self, need: Need) -> Result<Connection, ConnectError> {
        let http2 = self.target.upstream.protocol == UpstreamProtocol::Http2
            || self.speaks_http2.load(Ordering::Relaxed);
        if need == Need::Any && http2 {
            let _making = self.making_http2.lock().await;
            // somebody else may have made it while we waited
            if let Some(sender) = self.shared_http2() {
                return Ok(Connection::Http2(sender));
            }
            return self.dial(need).await;
        }
        self.dial(need).await
    }

    async fn dial(&self, need: Need) -> Result<Connection, ConnectError> {
        let upstream = &self.target.upstream;
        let origin = &upstream.origin;
        let stream = dial::tcp(&origin.host, origin.port, &self.names).await?;
        let Some(tls) = &self.target.tls else {
            return match (upstream.protocol, need) {
                (UpstreamProtocol::Http2, Need::Any) => self.http2(stream).await,
                _ => http1(stream).await,
            };
        };
        let config = match need {
            Need::Any => &tls.settings.any,
            Need::Upgrade => &tls.settings.http1,
        };
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(tls.name.clone(), stream)
            .await
            .map_err(ConnectError::Tls)?;
        let settled = stream.get_ref().1.alpn_protocol();
        match (settled == Some(b"h2"), upstream.protocol, need) {
            (true, _, _) => self.http2(stream).await,
            (false, UpstreamProtocol::Http2, Need::Any) => Err(ConnectError::NoHttp2),
            (false, _, _) => http1(stream).await,
        }
    }

    async fn http2<I>(&self, io: I) -> Result<Connection, ConnectError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(io))
            .await
            .map_err(ConnectError::Http)?;
        spawn_on_worker(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to an upstream ended");
            }
        });
        self.speaks_http2.store(true, Ordering::Relaxed);
        // several may have been made at once before it was known that one is enough
        if let Some(first) = self.shared_http2() {
            return Ok(Connection::Http2(first));
        }
        *self.http2.lock() = Some(sender.clone());
        Ok(Connection::Http2(sender))
    }
}

/// The socket of a plain connection that has switched protocols; anything else comes back.
pub(super) fn into_tcp(upgraded: Upgraded) -> Result<End<TcpStream>, Upgraded> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
    Ok(End {
        io: parts.io.into_inner(),
        early: parts.read_buf,
    })
}

async fn http1<I>(io: I) -> Result<Connection, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    spawn_on_worker(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to an upstream ended");
        }
    });
    Ok(Connection::Http1 {
        sender,
        reused: false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Forwarded, Origin};

    /// A pool without a connection.
    pub(in crate::proxy) fn pool() -> Arc<Pool> {
        let upstream = Upstream {
            origin: Origin {
                https: false,
                host: "127.0.0.1".into(),
                port: 9,
            },
            protocol: UpstreamProtocol::Auto,
            tls: ClientTls::default(),
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            idle_connections: 1,
            preserve_host: false,
            forwarded: Forwarded::Silent,
        };
        let target = Target::new(Arc::new(upstream)).unwrap();
        Arc::new(Pool::new(Arc::new(target), Arc::default()))
    }
}
