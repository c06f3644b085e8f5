//! Accepting callers, and learning who is on the other end before the first request.
//!
//! A listener hands each request and what it knows of the connection to the proxy. It cannot see a
//! token, and decides nothing.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hyper::service::service_fn;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    http::serve::{Activity, Protocol, Server},
    net::{Conn, Peer, Place, Reach, Security},
    proxy::Proxy,
    shutdown::{Shutdown, Stage, spawn_on_worker},
    tls::{reload::Current, server::names},
};

/// After a failure to accept, such as too many open files, nothing is accepted for this time:
/// trying again at once would only keep a core busy.
const PAUSE: Duration = Duration::from_millis(50);

/// One failure in so many is logged: about one a second.
const LOG_EVERY: u32 = 20;

/// One socket that one thread accepts from.
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What every connection of a listener is served with. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub proxy: Arc<Proxy>,
    pub server: Server,
    /// `None`: plain.
    pub tls: Option<Current>,
    pub reach: Reach,
    /// Connections that may be open at once, over all listeners and threads.
    pub open: Arc<Semaphore>,
    /// A TLS handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    pub stop: Shutdown,
}

impl Service {
    /// Accepts connections until the stop is soft.
    pub async fn accept(self, socket: Socket) {
        let stop = self.stop.clone();
        let mut soft = std::pin::pin!(stop.reached(Stage::Soft));
        let mut failures = 0_u32;
        loop {
            let stream = tokio::select! {
                biased;
                () = soft.as_mut() => return self.accept_waiting(&socket),
                stream = socket.accept() => stream,
            };
            // no further one is accepted until this one has its place: they wait in the kernel
            let Ok(place) = Arc::clone(&self.open).acquire_owned().await else {
                return;
            };
            match stream {
                Ok((stream, peer)) => self.clone().spawn(stream, peer, place),
                Err(error) => {
                    if failures.is_multiple_of(LOG_EVERY) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    failures += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Accepts the connections that the kernel has already taken for us: their callers may have
    /// sent a request, and would see it cut.
    fn accept_waiting(self, socket: &Socket) {
        while let Some(Ok((stream, peer))) = socket.accept().now_or_never() {
            let Ok(place) = Arc::clone(&self.open).try_acquire_owned() else {
                return;
            };
            self.clone().spawn(stream, peer, place);
        }
    }

    fn spawn(self, stream: Stream, peer: Peer, place: OwnedSemaphorePermit) {
        spawn_on_worker(async move {
            let place = Arc::new(place);
            let _open = self.proxy.connection();
            match stream {
                Stream::Unix(stream) => {
                    let protocol = Protocol::Unknown;
                    self.serve(stream, protocol, peer, Security::Plain, place)
                        .await;
                }
                Stream::Tcp(stream) => match &self.tls {
                    None => {
                        let protocol = Protocol::Unknown;
                        self.serve(stream, protocol, peer, Security::Plain, place)
                            .await;
                    }
                    Some(current) => {
                        // boxed, as is the stream: a plain connection must not keep their room
                        let handshake = Box::pin(self.handshake(current, stream));
                        let Some(stream) = handshake.await else {
                            return;
                        };
                        let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
                        let certificate = certificate_names(&stream);
                        let security = Security::Tls { certificate };
                        self.serve(stream, protocol, peer, security, place).await;
                    }
                },
            }
        });
    }

    async fn handshake(
        &self,
        current: &Current,
        stream: TcpStream,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let config = Arc::clone(&current.borrow());
        let handshake = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake with a caller failed");
                None
            }
            Err(_) => None,
        }
    }

    async fn serve<I>(
        &self,
        io: I,
        protocol: Protocol,
        peer: Peer,
        security: Security,
        place: Place,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let conn = Arc::new(Conn {
            peer,
            local: self.reach,
            security,
            place,
        });
        let activity = Arc::new(Activity::new());
        let service = service_fn({
            let (proxy, activity) = (Arc::clone(&self.proxy), Arc::clone(&activity));
            move |request| {
                let answer = Arc::clone(&proxy).handle(request, &conn, &activity);
                async move { Ok::<_, Infallible>(answer.await) }
            }
        });
        self.server
            .serve(io, protocol, service, activity, self.stop.clone())
            .await;
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // answers are whole messages; waiting to join them only adds delay
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().map(|cred| cred.uid()).ok();
                Ok((Stream::Unix(stream), Peer::Unix { uid }))
            }
        }
    }
}

fn certificate_names(stream: &TlsStream<TcpStream>) -> Option<Arc<[String]>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Some(names(certificate).into())
}
