//! The data plane: one thread per core, each with its own runtime, sockets and upstream
//! connections. Threads share nothing that a request writes to.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rand::Rng;
use tokio::sync::Semaphore;

use super::{Seams, StartError, shown, succession::Open};
use crate::{
    clock::Clock,
    config::{Bind, ClientCertificates, Config, Mode, RedirectedBy, ServerTls},
    http::serve::Server,
    listen::{Certificates, Inbox, Refusals, Service, Shown, Socket, Threads},
    net::{
        Reach,
        bind::{self, SocketFile},
        inherited::Inherited,
        ours::Ours,
        share::Spread,
        succession::Offered,
    },
    proxy::{Limit, Observer, Plan, Proxy},
    shutdown::Stage,
    tls::{
        mint::{self, Mint},
        reload,
    },
    verify::{Proofs, Verifier},
};

/// Every listener's sockets, one for each thread.
pub(super) struct Sockets {
    /// Where the admin listener is.
    pub(super) admin: Option<SocketAddr>,
    all: Vec<Bound>,
    mint: Option<Mint>,
    tls_tasks: Vec<TlsTask>,
    files: Vec<SocketFile>,
}

struct Bound {
    name: String,
    port: u16,
    reach: Reach,
    mode: Mode,
    tls: Option<Shown>,
    certificates: Certificates,
    sockets: Vec<Raw>,
}

/// Keeps a listener's certificate current.
pub(super) type TlsTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

enum Raw {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Binds all listeners for `workers` threads, but for those whose sockets there are already.
pub(super) fn bind(
    config: &Config,
    clock: &Clock,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, StartError> {
    let mut tls_tasks = Vec::new();
    let mint = match &config.interception {
        None => None,
        Some(interception) => {
            let followed = mint::follow(interception, clock.clone());
            let (mint, task) = followed.map_err(StartError::Interception)?;
            tls_tasks.push(Box::pin(task) as TlsTask);
            Some(mint)
        }
    };
    let mut all = Vec::with_capacity(config.listeners.len());
    let mut files = Vec::new();
    for listener in &config.listeners {
        let tls = match (&listener.tls, &mint) {
            (None, _) => None,
            // the configuration was checked: there is an interception
            (Some(ServerTls::Minted), None) => continue,
            (Some(ServerTls::Minted), Some(mint)) => Some(Shown::Minted(mint.clone())),
            (Some(ServerTls::Own(own)), _) => {
                let (current, task) =
                    reload::follow(own.clone()).map_err(|source| StartError::Tls {
                        listener: listener.bind.to_string(),
                        source,
                    })?;
                tls_tasks.push(Box::pin(task) as TlsTask);
                Some(Shown::Own(current))
            }
        };
        let (sockets, bound) = match &listener.bind {
            Bind::Tcp(address) => {
                let found = inherited.tcp(*address);
                let sockets = match listener.mode {
                    _ if !found.is_empty() => {
                        one_each(found, workers).map_err(StartError::Duplicate)?
                    }
                    Mode::Transparent(RedirectedBy::Tproxy) => bind::tproxy(*address, workers)?,
                    _ => bind::tcp(*address, workers)?,
                };
                let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
                (sockets.into_iter().map(Raw::Tcp).collect(), bound)
            }
            // one thread accepts: each connection would wake all of them
            Bind::Unix { path, mode } => {
                // the file of one that was there is its maker's
                let socket = if let Some(socket) = inherited.unix(path) {
                    socket
                } else {
                    let (socket, file) = bind::unix(path, *mode)?;
                    files.push(file);
                    socket
                };
                (vec![Raw::Unix(socket, path.clone())], None)
            }
        };
        all.push(Bound {
            port: bound.map_or(0, |address| address.port()),
            name: shown(&listener.bind, bound),
            reach: if listener.bind.is_local() {
                Reach::ThisMachine
            } else {
                Reach::Others
            },
            mode: listener.mode,
            certificates: match listener.tls.as_ref().map(ServerTls::clients) {
                Some(ClientCertificates::Any) => Certificates::Claimed,
                _ => Certificates::Vouched,
            },
            tls,
            sockets,
        });
    }
    Ok(Sockets {
        admin: None,
        all,
        mint,
        tls_tasks,
        files,
    })
}

/// A socket for each thread at least: where there are fewer, threads share.
fn one_each(mut sockets: Vec<TcpListener>, workers: usize) -> io::Result<Vec<TcpListener>> {
    let there = sockets.len();
    for shared in 0..workers.saturating_sub(there) {
        let again = sockets[shared % there].try_clone()?;
        sockets.push(again);
    }
    Ok(sockets)
}

impl Sockets {
    /// All of them once more, for a process that is to take them.
    pub(super) fn duplicates(&self, admin: Option<&TcpListener>) -> io::Result<Arc<[Offered]>> {
        let mut all = Vec::new();
        for socket in self.all.iter().flat_map(|bound| &bound.sockets) {
            all.push(match socket {
                Raw::Tcp(socket) => Offered::Tcp(socket.try_clone()?.into()),
                Raw::Unix(socket, path) => Offered::Unix(socket.try_clone()?.into(), path.clone()),
            });
        }
        if let Some(admin) = admin {
            all.push(Offered::Tcp(admin.try_clone()?.into()));
        }
        Ok(all.into())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|bound| bound.name.clone()).collect()
    }

    /// Takes out the files of Unix sockets: they are to be there as long as the program.
    pub(super) fn files(&mut self) -> Vec<SocketFile> {
        std::mem::take(&mut self.files)
    }

    /// Takes out the tasks that keep certificates current; the control plane runs them.
    pub(super) fn tls_tasks(&mut self) -> Vec<TlsTask> {
        std::mem::take(&mut self.tls_tasks)
    }
}

/// Starts the threads; they end when the stop is hard.
pub(super) fn start(
    config: &Config,
    seams: &Seams,
    plan: &Arc<Plan>,
    sockets: Sockets,
    workers: NonZeroUsize,
    accepting: &Open,
) -> io::Result<Vec<JoinHandle<()>>> {
    let proofs = Arc::new(proofs(config, seams));
    let limit = Limit::new(config.limits.requests, workers.get());
    let tunnels = Limit::new(config.limits.connections, workers.get());
    let open = Arc::new(Semaphore::new(
        config.limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let server = Server::new(&config.limits);
    let mint = sockets.mint;
    let listening = sockets
        .all
        .iter()
        .filter_map(|bound| bound.name.parse().ok());
    let listening: Vec<SocketAddr> = listening.collect();
    let closed = Arc::new(Ours::new(listening.iter().copied().chain(sockets.admin)));
    let ours = Arc::new(Ours::new(listening));
    let threads = seats(sockets.all, workers);
    let mut started = Vec::with_capacity(workers.get());
    for (number, seats) in threads.into_iter().enumerate() {
        let (opener, connections) = tokio::sync::mpsc::unbounded_channel();
        let mut plan = plan.for_thread(&seams.metrics);
        plan.ours = Arc::clone(&ours);
        plan.closed = Arc::clone(&closed);
        let proxy = Arc::new(Proxy::new(
            Arc::new(plan),
            Arc::new(Observer {
                clock: seams.clock.clone(),
                metrics: Arc::clone(&seams.metrics),
                log: seams.requests.clone(),
                unrouted: seams.metrics.route("none"),
                in_flight: seams.metrics.requests_in_flight(),
                slots: limit.slots(),
                tunnels: tunnels.slots(),
            }),
            verifier(&proofs)?,
            opener,
            mint.clone(),
            seed(),
            seams.shutdown.clone(),
        ));
        let (server, open, stop) = (server.clone(), Arc::clone(&open), seams.shutdown.clone());
        let accepting = accepting.clone();
        let handshake_timeout = config.limits.header_timeout;
        let name = format!("worker-{number}");
        let pulse = seams.pulse.keep(&name);
        let handed_over = seams.metrics.connections_handed_over.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = move || {
            runtime.block_on(async move {
                let tended = Arc::clone(&proxy);
                stop.spawn(async move { tended.tend().await });
                stop.spawn(pulse);
                let mut connections = Some(connections);
                for seat in seats {
                    let service = Service {
                        proxy: Arc::clone(&proxy),
                        server: server.clone(),
                        tls: seat.tls,
                        certificates: seat.certificates,
                        reach: seat.reach,
                        mode: seat.mode,
                        listener: seat.listener,
                        port: seat.port,
                        refusals: seat.refusals,
                        open: Arc::clone(&open),
                        handshake_timeout,
                        handed_over: handed_over.clone(),
                        stop: stop.clone(),
                    };
                    stop.spawn(service.clone().receive(seat.inbox));
                    // whichever listener it is: such a connection knows by which it came
                    if let Some(opened) = connections.take() {
                        stop.spawn(service.clone().open_all(opened));
                    }
                    let Some((socket, others)) = seat.socket else {
                        continue;
                    };
                    match socket.listen() {
                        Ok(socket) => {
                            let mut accepting = accepting.clone();
                            drop(stop.spawn(async move {
                                if accepting.wait_for(|open| *open).await.is_ok() {
                                    service.accept(socket, others).await;
                                }
                            }));
                        }
                        Err(error) => tracing::error!(%error, "a listener is lost"),
                    }
                }
                stop.reached(Stage::Hard).await;
            });
        };
        started.push(thread::Builder::new().name(name).spawn(thread)?);
    }
    Ok(started)
}

/// Each thread's part in each listener.
fn seats(all: Vec<Bound>, workers: NonZeroUsize) -> Vec<Vec<Seat>> {
    let mut threads: Vec<Vec<Seat>> = (0..workers.get()).map(|_| Vec::new()).collect();
    for (number, bound) in all.into_iter().enumerate() {
        let refusals: Arc<Refusals> = Arc::default();
        let tls = bound.tls;
        let spread = match bound.sockets[..] {
            [Raw::Unix(..), ..] => Spread::ByUs,
            _ => Spread::ByKernel,
        };
        let mut sockets = bound.sockets.into_iter();
        // once, but where the process before this one had more threads: some accept from several sockets
        while sockets.len() > 0 {
            let mut round: Vec<_> = sockets.by_ref().take(workers.get()).map(Some).collect();
            // a Unix socket has one thread that accepts: each has another
            round.resize_with(workers.get(), || None);
            if spread == Spread::ByUs {
                round.rotate_right(number % workers);
            }
            let others = Threads::new(workers, spread);
            for (thread, (socket, (others, inbox))) in
                threads.iter_mut().zip(round.into_iter().zip(others))
            {
                thread.push(Seat {
                    socket: socket.map(|socket| (socket, others)),
                    inbox,
                    tls: tls.clone(),
                    certificates: bound.certificates,
                    reach: bound.reach,
                    mode: bound.mode,
                    listener: number,
                    port: bound.port,
                    refusals: Arc::clone(&refusals),
                });
            }
        }
    }
    threads
}

/// One thread's part in a listener.
struct Seat {
    /// `None`: other threads accept.
    socket: Option<(Raw, Threads)>,
    inbox: Inbox,
    tls: Option<Shown>,
    certificates: Certificates,
    reach: Reach,
    mode: Mode,
    listener: usize,
    port: u16,
    refusals: Arc<Refusals>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "what remembered tokens are found by must be nobody's to guess"
)]
fn verifier(proofs: &Arc<Proofs>) -> io::Result<Verifier> {
    Verifier::new(&rand::rng().random(), Arc::clone(proofs)).map_err(io::Error::other)
}

#[expect(
    clippy::disallowed_methods,
    reason = "nonces must be nobody's to guess"
)]
fn proofs(config: &Config, seams: &Seams) -> Proofs {
    let longest = config.token_rules().map(Proofs::longest).max();
    let longest = longest.unwrap_or_default();
    Proofs::new(&rand::rng().random(), longest, seams.clock.now())
}

#[expect(clippy::disallowed_methods, reason = "names requests, decides nothing")]
fn seed() -> u64 {
    rand::rng().random()
}

impl Raw {
    fn listen(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Self::Unix(socket, _) => Socket::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }
}
