//! Accepting callers, and learning who is on the other end before the first request.
//!
//! A listener hands each request and what it knows of the connection to the proxy. It cannot see a
//! token, and decides nothing.

mod handover;
mod intercept;
mod minted;
mod transparent;

use std::{convert::Infallible, io, net::SocketAddr, os, sync::Arc, time::Duration};

use hyper::service::service_fn;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::handover::{Accepted, Stream};
pub use self::{
    handover::{Inbox, Threads},
    transparent::Refusals,
};
use crate::{
    config::Mode,
    http::serve::{Activity, Protocol, Server},
    metrics::{Counter, ListenerMetrics},
    net::{Certificate, Conn, End, Held, Names, Peer, Place, Reach, Security, dial},
    proxy::{Current, Thumbprints},
    shutdown::{Shutdown, Stage, spawn_on_worker},
    tls::{mint::Mint, reload, server},
};

/// After a failure to accept, such as too many open files, nothing is accepted for this time:
/// trying again at once would only keep a core busy.
const PAUSE: Duration = Duration::from_millis(50);

/// One failure in so many is logged: about one a second.
const LOG_EVERY: u32 = 20;

/// A socket that one thread accepts from.
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What the certificates are that a listener's callers show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// Signed by the listener's authority.
    Vouched,
    /// Any.
    Claimed,
}

/// The certificate that a listener shows.
#[derive(Clone)]
pub enum Shown {
    Own(reload::Current),
    /// One for the name that the caller indicates.
    Minted(Mint),
}

/// What every connection of a listener is served with. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub proxy: Arc<Current>,
    pub server: Server,
    /// `None`: plain.
    pub tls: Option<Shown>,
    pub certificates: Certificates,
    pub reach: Reach,
    pub mode: Mode,
    /// Which of the configuration's it is.
    pub listener: usize,
    /// What is counted of it; by this thread alone.
    pub counts: Arc<ListenerMetrics>,
    /// Where it listens; 0 for a Unix socket.
    pub port: u16,
    pub refusals: Arc<Refusals>,
    /// Connections that may be open at once, over all listeners and threads.
    pub open: Arc<Semaphore>,
    /// A TLS handshake that takes longer is given up.
    pub handshake_timeout: Duration,
    /// Counts the connections that another thread accepted.
    pub handed_over: Counter,
    pub stop: Shutdown,
}

impl Service {
    /// Accepts connections until the stop is soft, and keeps or hands over each as `threads` say.
    pub async fn accept(self, socket: Socket, mut threads: Threads) {
        let stop = self.stop.clone();
        let mut soft = std::pin::pin!(stop.reached(Stage::Soft));
        let mut failures = 0_u32;
        loop {
            let stream = tokio::select! {
                biased;
                () = soft.as_mut() => return self.accept_waiting(socket, &mut threads),
                stream = socket.accept() => stream,
            };
            // no further one is accepted until this one has its place: they wait in the kernel
            let Ok(permit) = Arc::clone(&self.open).acquire_owned().await else {
                return;
            };
            match stream {
                Ok((stream, peer)) => self.place(stream, peer, permit, &mut threads),
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
    /// sent a request, and would see it cut. The runtime may not know of them yet.
    fn accept_waiting(self, socket: Socket, threads: &mut Threads) {
        let Ok(socket) = socket.without_runtime() else {
            return;
        };
        loop {
            let (stream, peer) = match socket.accept() {
                Ok(accepted) => accepted,
                // this one's caller is gone, the next one's may not be
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => return,
            };
            let Ok(permit) = Arc::clone(&self.open).try_acquire_owned() else {
                return;
            };
            self.place(stream, peer, permit, threads);
        }
    }

    /// Serves what other threads hand over, until none of them accepts any more.
    pub async fn receive(self, mut handed_over: Inbox) {
        while let Some(Accepted {
            stream,
            peer,
            place,
            open,
        }) = handed_over.recv().await
        {
            match stream.attach() {
                Ok(stream) => self.clone().spawn(Accepted {
                    stream,
                    peer,
                    place,
                    open,
                }),
                Err(error) => tracing::warn!(%error, "a connection is lost between two threads"),
            }
        }
    }

    fn place(
        &self,
        stream: Stream,
        peer: Peer,
        permit: OwnedSemaphorePermit,
        threads: &mut Threads,
    ) {
        let (thread, counted) = threads.share.take(now);
        let (place, open) = (
            Arc::new(Held::new(permit, counted, self.stop.clone())),
            self.proxy.now().connection(),
        );
        let accepted = Accepted {
            stream,
            peer,
            place,
            open,
        };
        if thread == threads.own {
            self.clone().spawn(accepted);
        } else if let Err(error) = accepted.hand_over(&threads.inboxes[thread]) {
            tracing::warn!(%error, "a connection is lost between two threads");
        } else {
            self.handed_over.inc();
        }
    }

    fn spawn(self, accepted: Accepted<Stream>) {
        spawn_on_worker(async move {
            let Accepted {
                stream,
                peer,
                place,
                open: _open,
            } = accepted;
            self.counts.connected();
            if let (Stream::Tcp(stream), true) = (&stream, self.mode.names_others()) {
                // it may become a tunnel, also below TLS or among other streams
                dial::keep_alive(stream);
            }
            match stream {
                Stream::Unix(stream) => {
                    let conn = self.conn(peer, Security::Plain, place, None);
                    self.serve(stream, Protocol::Unknown, conn).await;
                }
                Stream::Tcp(stream) if matches!(self.mode, Mode::Transparent(_)) => {
                    let conn = self.conn(peer, Security::Plain, place, None);
                    Box::pin(self.redirected(stream, conn)).await;
                }
                Stream::Tcp(stream) => match &self.tls {
                    None => {
                        let end = self.end(&stream, None);
                        let conn = self.conn(peer, Security::Plain, place, end);
                        self.serve(stream, Protocol::Unknown, conn).await;
                    }
                    Some(shown) => {
                        // boxed, as is the stream: a plain connection must not keep their room
                        let handshake = Box::pin(self.handshake(shown, stream));
                        let Some(stream) = handshake.await else {
                            return;
                        };
                        let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
                        let certificate = self.certificate(&stream);
                        let (below, tls) = stream.get_ref();
                        let end = self.end(below, tls.server_name());
                        let conn = self.conn(peer, Security::Tls { certificate }, place, end);
                        self.serve(stream, protocol, conn).await;
                    }
                },
            }
        });
    }

    /// What the caller showed; of a session that goes on, what it showed when that began.
    fn certificate(&self, stream: &TlsStream<TcpStream>) -> Option<Arc<Certificate>> {
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        Some(Arc::new(Certificate {
            names: match self.certificates {
                Certificates::Vouched => Names::Vouched(server::names(certificate)),
                Certificates::Claimed => Names::Claimed,
            },
            thumbprint: match self.proxy.now().thumbprints() {
                Thumbprints::Asked => Some(server::thumbprint(certificate)),
                Thumbprints::NotAsked => None,
            },
        }))
    }

    async fn handshake(
        &self,
        shown: &Shown,
        stream: TcpStream,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let handshake = async {
            match shown {
                Shown::Own(current) => {
                    let config = Arc::clone(&current.borrow());
                    TlsAcceptor::from(config).accept(stream).await
                }
                Shown::Minted(mint) => minted::accept(mint, stream).await,
            }
        };
        match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake with a caller failed");
                self.counts.tls_failed();
                None
            }
            Err(_) => {
                self.counts.tls_failed();
                None
            }
        }
    }

    /// Asked of the kernel where requests may be about it.
    fn end(&self, stream: &TcpStream, name: Option<&str>) -> Option<Arc<End>> {
        if self.mode != Mode::Forward {
            return None;
        }
        let name = name.map(str::to_owned);
        let address = stream.local_addr().ok()?;
        Some(Arc::new(End { address, name }))
    }

    fn conn(
        &self,
        peer: Peer,
        security: Security,
        place: Place,
        end: Option<Arc<End>>,
    ) -> Arc<Conn> {
        Arc::new(Conn {
            peer,
            local: self.reach,
            mode: self.mode,
            listener: self.listener,
            end,
            inside: None,
            security,
            place,
        })
    }

    async fn serve<I>(&self, io: I, protocol: Protocol, conn: Arc<Conn>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // of the listener that it came by, also when it was opened later
        let activity = Arc::new(Activity::new(conn.place.stop.clone()));
        let service = service_fn({
            let (proxy, activity) = (Arc::clone(&self.proxy), Arc::clone(&activity));
            let counts = Arc::clone(&self.counts);
            move |request| {
                counts.requested();
                let answer = proxy.now().handle(request, &conn, &activity);
                async move { Ok::<_, Infallible>(answer.await) }
            }
        });
        self.server.serve(io, protocol, service, activity).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "bounds work, decides nothing")]
fn now() -> Instant {
    Instant::now()
}

impl Socket {
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(accepted_tcp(stream, address))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(accepted_unix(stream))
            }
        }
    }

    fn without_runtime(self) -> io::Result<Waiting> {
        Ok(match self {
            Self::Tcp(listener) => Waiting::Tcp(listener.into_std()?),
            Self::Unix(listener) => Waiting::Unix(listener.into_std()?),
        })
    }
}

/// A socket that does not wait for what has not come yet.
enum Waiting {
    Tcp(std::net::TcpListener),
    Unix(os::unix::net::UnixListener),
}

impl Waiting {
    fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(accepted_tcp(TcpStream::from_std(stream)?, address))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(accepted_unix(UnixStream::from_std(stream)?))
            }
        }
    }
}

fn accepted_tcp(stream: TcpStream, peer: SocketAddr) -> (Stream, Peer) {
    // answers are whole messages; waiting to join them only adds delay
    let _ = stream.set_nodelay(true);
    (Stream::Tcp(stream), Peer::Tcp(peer))
}

fn accepted_unix(stream: UnixStream) -> (Stream, Peer) {
    let uid = stream.peer_cred().map(|cred| cred.uid()).ok();
    (Stream::Unix(stream), Peer::Unix { uid })
}
