//! Connections to one upstream, of one data-plane thread.
//!
//! An HTTP/1.1 connection serves one request at a time and waits in the pool between them, an
//! HTTP/2 connection serves all. A connection that dies before it read its request gives the
//! request back. Pools belong to one upstream of one configuration on one thread, so that all that
//! made a connection trustworthy is the same for whoever takes it.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
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
    metrics::{KeptConnections, Metrics},
    net::{dial, names::Names, ours::Ours, tunnel::End},
    shutdown::spawn_on_worker,
    tls::{
        TlsError,
        client::{client_config, make},
    },
};

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

/// How TLS is spoken with an upstream. It holds all authorities that are trusted. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Settings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tls: ClientTls,
    offered: &'static [&'static [u8]],
    current: ArcSwap<Configs>,
    /// How often others took their place.
    edition: AtomicU32,
}

#[derive(Debug)]
struct Configs {
    /// Offers what the route wants.
    any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only: upgrades exist nowhere else.
    http1: Arc<ClientConfig>,
}

impl Configs {
    fn of(tls: &ClientTls, offered: &[&[u8]]) -> Result<Self, TlsError> {
        Ok(Self {
            any: client_config(tls, offered)?,
            http1: client_config(tls, &[b"http/1.1"])?,
        })
    }
}

impl Settings {
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn of(tls: &ClientTls, protocol: UpstreamProtocol) -> Result<Self, TlsError> {
        let offered: &'static [&'static [u8]] = match protocol {
            UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
            UpstreamProtocol::Http1 => &[b"http/1.1"],
            UpstreamProtocol::Http2 => &[b"h2"],
        };
        Ok(Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(Configs::of(tls, offered)?),
            tls: tls.clone(),
            offered,
            edition: AtomicU32::new(0),
        })))
    }

    fn config(&self, need: Need) -> Arc<ClientConfig> {
        let current = self.0.current.load();
        Arc::clone(match need {
            Need::Any => &current.any,
            Need::Upgrade => &current.http1,
        })
    }

    fn edition(&self) -> u32 {
        self.0.edition.load(Ordering::Relaxed)
    }

    /// Takes over what the files hold now, for connections from here on. Reads files.
    fn refresh(&self) -> Result<(), TlsError> {
        let Shared { tls, offered, .. } = &*self.0;
        // one that cannot be used is told, and changes nothing
        make(tls, offered)?;
        let new = Configs::of(tls, offered)?;
        if !Arc::ptr_eq(&new.any, &self.0.current.load().any) {
            self.0.current.store(Arc::new(new));
            self.0.edition.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Target {
    /// Has connections be made by what the files of its TLS settings hold now; those of before serve
    /// what is under way, and nothing more. Reads files.
    ///
    /// # Errors
    /// When they cannot be used. What they held before stays in use.
    pub fn refresh(&self) -> Result<(), TlsError> {
        match &self.tls {
            Some(tls) => tls.settings.refresh(),
            None => Ok(()),
        }
    }

    fn edition(&self) -> u32 {
        self.tls.as_ref().map_or(0, |tls| tls.settings.edition())
    }

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
    /// Told once a second.
    kept: KeptConnections,
    idle: Mutex<Vec<Idle>>,
    http2: Mutex<Option<Http2>>,
    /// The tick at which the HTTP/2 connection was last asked for.
    http2_used: AtomicU32,
    /// TLS settled on HTTP/2 before: it is expected to do so again.
    speaks_http2: AtomicBool,
    /// Held while an HTTP/2 connection is made: all wait for the one.
    making_http2: tokio::sync::Mutex<()>,
    /// Of the TLS settings: what was made by those of before is not used again.
    edition: AtomicU32,
}

#[derive(Debug)]
struct Idle {
    sender: Http1,
    /// The tick at which it became idle.
    since: u32,
}

/// A connection that serves one request at a time.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<OutgoingBody>,
    /// Of the TLS settings that it was made by.
    edition: u32,
}

impl Deref for Http1 {
    type Target = http1::SendRequest<OutgoingBody>;

    fn deref(&self) -> &Self::Target {
        &self.sender
    }
}

impl DerefMut for Http1 {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.sender
    }
}

/// A connection that a request may be sent on.
pub enum Connection {
    Http1 { sender: Http1, reused: bool },
    Http2(Http2),
}

impl Pool {
    pub fn new(target: Arc<Target>, ours: Arc<Ours>, metrics: &Metrics) -> Self {
        let Upstream { origin, tls, .. } = &*target.upstream;
        let names = Names::new(&tls.addresses, &tls.name_servers).but_not(ours);
        let kept = metrics.kept_connections(&origin.to_string());
        Self::of_names(target, Arc::new(names), kept)
    }

    /// Whether these are connections to that upstream, as it is configured.
    pub(super) fn leads_to(&self, target: &Target) -> bool {
        self.target.upstream == target.upstream
    }

    /// Connects where `names` says.
    pub(super) fn of_names(target: Arc<Target>, names: Arc<Names>, kept: KeptConnections) -> Self {
        let edition = target.edition();
        Self {
            names,
            target,
            kept,
            ticks: AtomicU32::new(0),
            idle: Mutex::default(),
            http2: Mutex::default(),
            http2_used: AtomicU32::new(0),
            speaks_http2: AtomicBool::new(false),
            making_http2: tokio::sync::Mutex::default(),
            edition: AtomicU32::new(edition),
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
        if sender.is_closed() || sender.edition != self.edition.load(Ordering::Relaxed) {
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
        let edition = self.target.edition();
        if self.edition.swap(edition, Ordering::Relaxed) != edition {
            self.idle.lock().clear();
            *self.http2.lock() = None;
        }
        let mut idle = self.idle.lock();
        idle.retain(|idle| !idle.sender.is_closed() && !self.is_stale(idle.since));
        let mut http2 = self.http2.lock();
        if self.is_stale(self.http2_used.load(Ordering::Relaxed)) {
            // it ends when the answers that still come on it have
            *http2 = None;
        }
        http2.take_if(|sender| sender.is_closed());
        self.kept.are(idle.len(), usize::from(http2.is_some()));
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
        // before the settings are taken: what is made by newer ones is good for these
        let edition = self.edition.load(Ordering::Relaxed);
        let stream = dial::tcp(&origin.host, origin.port, &self.names).await?;
        let Some(tls) = &self.target.tls else {
            return match (upstream.protocol, need) {
                (UpstreamProtocol::Http2, Need::Any) => self.http2(stream, edition).await,
                _ => http1(stream, edition).await,
            };
        };
        let stream = TlsConnector::from(tls.settings.config(need))
            .connect(tls.name.clone(), stream)
            .await
            .map_err(ConnectError::Tls)?;
        let settled = stream.get_ref().1.alpn_protocol();
        match (settled == Some(b"h2"), upstream.protocol, need) {
            (true, _, _) => self.http2(stream, edition).await,
            (false, UpstreamProtocol::Http2, Need::Any) => Err(ConnectError::NoHttp2),
            (false, _, _) => http1(stream, edition).await,
        }
    }

    async fn http2<I>(&self, io: I, edition: u32) -> Result<Connection, ConnectError>
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
        if edition == self.edition.load(Ordering::Relaxed) {
            *self.http2.lock() = Some(sender.clone());
        }
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

async fn http1<I>(io: I, edition: u32) -> Result<Connection, ConnectError>
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
        sender: Http1 { sender, edition },
        reused: false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::{fs, net::SocketAddr};

    use rustls_pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::{Forwarded, Origin},
        shutdown::Shutdown,
    };

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
        Arc::new(Pool::new(Arc::new(target), Arc::default(), &Metrics::new()))
    }

    /// A server whose certificate this is; what it is asked is of no interest.
    async fn server(
        certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
        stop: &Shutdown,
    ) -> SocketAddr {
        let chain = vec![certificate.cert.der().clone()];
        let key = PrivateKeyDer::Pkcs8(certificate.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        stop.spawn(async move {
            let mut open = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.extend(acceptor.accept(stream).await);
            }
        });
        address
    }

    #[tokio::test]
    async fn another_authority_is_trusted_from_the_next_connection_on_and_no_old_one_is_used_again()
    {
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        let made = || rcgen::generate_simple_self_signed(["up.test".to_owned()]).unwrap();
        let (first, second, stop) = (made(), made(), Shutdown::new());
        fs::write(&ca, first.cert.pem()).unwrap();
        let addresses = [server(&first, &stop).await, server(&second, &stop).await];
        let pools = addresses.map(|address| {
            let tls = ClientTls {
                extra_ca: vec![ca.clone()],
                addresses: vec![address],
                ..ClientTls::default()
            };
            let upstream = Upstream {
                origin: Origin {
                    https: true,
                    host: "up.test".into(),
                    port: address.port(),
                },
                tls,
                connect_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(60),
                ..Upstream::clone(&pool().target.upstream)
            };
            let target = Arc::new(Target::new(Arc::new(upstream)).unwrap());
            Pool::new(target, Arc::default(), &Metrics::new())
        });
        let [known, stranger] = &pools;
        let connect = |pool| Pool::connection(pool, Need::Any, Age::Any);
        let taken = |connection| match connection {
            Connection::Http1 { sender, reused } => (sender, reused),
            Connection::Http2(_) => panic!("it offers nothing"),
        };
        let (sender, _) = taken(connect(known).await.unwrap());
        let (busy, _) = taken(connect(known).await.unwrap());
        known.give_back(sender);
        let (sender, reused) = taken(connect(known).await.unwrap());
        assert!(reused);
        known.give_back(sender);
        assert!(connect(stranger).await.is_err(), "not trusted yet");

        fs::write(&ca, "half").unwrap();
        assert!(known.target.refresh().is_err(), "it is told");
        known.prune();
        assert!(known.at_hand().is_some(), "and changes nothing");

        fs::write(&ca, second.cert.pem()).unwrap();
        for pool in &pools {
            pool.target.refresh().unwrap();
            pool.prune();
        }
        assert!(connect(stranger).await.is_ok());
        known.give_back(busy);
        assert!(known.at_hand().is_none(), "made when another was trusted");
        assert!(connect(known).await.is_err(), "not trusted any more");
        stop.advance(crate::shutdown::Stage::Hard);
    }
}
