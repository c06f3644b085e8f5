//! Connections of the admin listener, over TCP and at its Unix socket.
//!
//! There are few at once, each has a bounded life, and one that panics costs its answer. A connection
//! whose answer goes on lives as long as somebody reads.

use std::{
    any::Any,
    convert::Infallible,
    error::Error,
    io,
    net::{SocketAddr, TcpListener as TcpSocket},
    os::unix::net::UnixListener as UnixSocket,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower_http::catch_panic::{CatchPanic, ResponseForPanic};
use tower_service::Service;

use super::{
    Admin, AdminState,
    access::Peer,
    follow::{AdminBody, Lease},
    pages,
};
use crate::{
    config::{AdminSocket, Config},
    metrics::Counter,
    net::{
        bind::{self, BindError, SocketFile},
        inherited::Inherited,
        succession::Offered,
    },
    shutdown::Shutdown,
};

/// Probes and scrapers are few; whoever opens more waits.
const CONNECTIONS: usize = 64;
/// From the first byte of a request, or the end of the one before, to the end of its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is asked to end after this time, and cut [`GRACE`] later, so that nobody who stops
/// reading holds its place for ever.
const LIFETIME: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(10);
/// Who follows may be silent for long; that its machine is gone is found by the kernel's questions.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Accepting fails when descriptors run out; trying again at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is listened on.
#[derive(Debug, Default)]
pub struct Sockets {
    pub tcp: Option<TcpSocket>,
    /// And where it is found.
    pub unix: Option<(UnixSocket, PathBuf)>,
}

impl Sockets {
    /// Those that the configuration names, unless they are there already. A file of ours comes with them,
    /// to be kept as long as somebody may come by it.
    ///
    /// # Errors
    /// When an address or a path cannot be listened on.
    pub fn bind(
        config: &Config,
        inherited: &mut Inherited,
    ) -> Result<(Self, Option<SocketFile>), BindError> {
        let tcp = match config.admin {
            None => None,
            Some(address) => match inherited.tcp(address).pop() {
                Some(socket) => Some(socket),
                None => bind::tcp(address, 1)?.pop(),
            },
        };
        let Some(AdminSocket { path, mode, .. }) = &config.admin_socket else {
            return Ok((Self { tcp, unix: None }, None));
        };
        let (socket, file) = match inherited.unix(path) {
            Some(socket) => (socket, None),
            None => bind::unix(path, *mode).map(|(socket, file)| (socket, Some(file)))?,
        };
        let unix = Some((socket, path.clone()));
        Ok((Self { tcp, unix }, file))
    }

    /// # Errors
    /// When there are too many files open.
    pub fn duplicate(&self) -> io::Result<Self> {
        let unix = self.unix.as_ref();
        Ok(Self {
            tcp: self.tcp.as_ref().map(TcpSocket::try_clone).transpose()?,
            unix: unix
                .map(|(socket, path)| Ok::<_, io::Error>((socket.try_clone()?, path.clone())))
                .transpose()?,
        })
    }

    /// For a process that is to take them.
    pub fn offered(self) -> impl Iterator<Item = Offered> {
        let tcp = self.tcp.map(|socket| Offered::Tcp(socket.into()));
        let unix = self.unix;
        let unix = unix.map(|(socket, path)| Offered::Unix(socket.into(), path));
        tcp.into_iter().chain(unix)
    }
}

/// Answers on `sockets` from the current runtime, from when `open` is true until the stop is hard: while
/// the data plane drains, `/ready` still has to say so. Returns the bound address.
pub fn serve(
    sockets: Sockets,
    state: AdminState,
    open: watch::Receiver<bool>,
    shutdown: &Shutdown,
) -> io::Result<Option<SocketAddr>> {
    let admin = Arc::new(Admin::new(state));
    let mut address = None;
    if let Some(tcp) = sockets.tcp {
        tcp.set_nonblocking(true)?;
        let tcp = TcpListener::from_std(tcp)?;
        address = Some(tcp.local_addr()?);
        listen(Listening::Tcp(tcp), &admin, open.clone(), shutdown);
    }
    if let Some((unix, _)) = sockets.unix {
        unix.set_nonblocking(true)?;
        let unix = UnixListener::from_std(unix)?;
        listen(Listening::Unix(unix), &admin, open, shutdown);
    }
    Ok(address)
}

fn listen(
    listener: Listening,
    admin: &Arc<Admin>,
    mut open: watch::Receiver<bool>,
    shutdown: &Shutdown,
) {
    let (admin, stop) = (Arc::clone(admin), shutdown.clone());
    shutdown.spawn(async move {
        // the sender lives as long as what may open
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        tokio::select! {
            () = accept(listener, admin, stop.clone()) => {}
            // the probes that come now are for the process that accepts them
            _ = stop.superseded() => {}
        }
    });
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Each has places of its own: whoever fills those of TCP does not keep out who gives orders.
async fn accept(listener: Listening, admin: Arc<Admin>, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // the semaphore is never closed
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let admin = Arc::clone(&admin);
        let connection: Pin<Box<dyn Future<Output = ()> + Send>> = match &listener {
            Listening::Tcp(listener) => match listener.accept().await {
                Ok((stream, peer)) => {
                    kept_alive(&stream);
                    Box::pin(connection(stream, Peer::Address(peer.ip()), admin))
                }
                Err(error) => {
                    failed(&error).await;
                    continue;
                }
            },
            Listening::Unix(listener) => match listener.accept().await {
                Ok((stream, _)) => {
                    let peer = Peer::of(&stream);
                    Box::pin(connection(stream, peer, admin))
                }
                Err(error) => {
                    failed(&error).await;
                    continue;
                }
            },
        };
        shutdown.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

async fn failed(error: &io::Error) {
    tracing::warn!(error = error as &dyn Error, "admin: accept");
    sleep(ACCEPT_PAUSE).await;
}

fn kept_alive(stream: &TcpStream) {
    let often = TcpKeepalive::new().with_time(KEEPALIVE);
    // a socket that has no such option is served without
    let _ = SockRef::from(stream).set_tcp_keepalive(&often);
}

async fn connection<S>(stream: S, peer: Peer, admin: Arc<Admin>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let panics = CountPanics(admin.state.metrics.panics.clone());
    let lease = Lease::default();
    let service = CatchPanic::custom(Ask(admin, peer, lease.clone()), panics);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(64)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
    );
    loop {
        // how a connection ends is its peer's business: a probe that hangs up is no event
        tokio::select! {
            _ = &mut connection => return,
            () = sleep(LIFETIME) => {}
        }
        if !lease.renewed() {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(GRACE, connection).await;
            return;
        }
    }
}

/// Counts a panic and answers it.
#[derive(Clone)]
struct CountPanics(Counter);

impl ResponseForPanic for CountPanics {
    type ResponseBody = Full<Bytes>;

    fn response_for_panic(&mut self, _: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
        self.0.inc();
        pages::bug()
    }
}

/// [`Admin`] as a service, for a connection of this peer.
#[derive(Clone)]
struct Ask(Arc<Admin>, Peer, Lease);

impl<B> Service<Request<B>> for Ask
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self(admin, peer, lease) = self.clone();
        Box::pin(async move { Ok(admin.serve(request, peer, &lease).await) })
    }
}
