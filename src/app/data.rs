//! The data plane: one thread per core, each with its own runtime, sockets and upstream
//! connections. Threads share nothing that a request writes to.

use std::{
    io,
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rand::Rng;
use tokio::sync::Semaphore;

use super::{Seams, StartError, shown};
use crate::{
    config::{Bind, Config},
    http::serve::Server,
    listen::{Service, Socket},
    net::{Reach, bind},
    proxy::{Limit, Observer, Plan, Proxy},
    shutdown::Stage,
    tls::reload::{self, Current},
};

/// Every listener's sockets, one for each thread.
pub(super) struct Sockets(Vec<Bound>);

struct Bound {
    name: String,
    reach: Reach,
    tls: Option<(Current, TlsTask)>,
    sockets: Vec<Raw>,
}

/// Keeps a listener's certificate current.
pub(super) type TlsTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

enum Raw {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds all listeners for `workers` threads.
pub(super) fn bind(config: &Config, workers: usize) -> Result<Sockets, StartError> {
    let mut all = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let tls = match &listener.tls {
            None => None,
            Some(tls) => {
                let (current, task) =
                    reload::follow(tls.clone()).map_err(|source| StartError::Tls {
                        listener: listener.bind.to_string(),
                        source,
                    })?;
                Some((current, Box::pin(task) as TlsTask))
            }
        };
        let (sockets, bound) = match &listener.bind {
            Bind::Tcp(address) => {
                let sockets = bind::tcp(*address, workers)?;
                let bound = sockets.first().and_then(|socket| socket.local_addr().ok());
                (sockets.into_iter().map(Raw::Tcp).collect(), bound)
            }
            Bind::Unix { path, mode } => {
                let socket = bind::unix(path, *mode)?;
                let copies = (1..workers).map(|_| socket.try_clone());
                let copies = copies
                    .collect::<io::Result<Vec<_>>>()
                    .map_err(StartError::Thread)?;
                let sockets = copies.into_iter().chain([socket]).map(Raw::Unix);
                (sockets.collect(), None)
            }
        };
        all.push(Bound {
            name: shown(&listener.bind, bound),
            reach: if listener.bind.is_local() {
                Reach::ThisMachine
            } else {
                Reach::Others
            },
            tls,
            sockets,
        });
    }
    Ok(Sockets(all))
}

impl Sockets {
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|bound| bound.name.clone()).collect()
    }

    /// Takes out the tasks that keep certificates current; the control plane runs them.
    pub(super) fn tls_tasks(&mut self) -> Vec<TlsTask> {
        let tasks = self.0.iter_mut().filter_map(|bound| bound.tls.as_mut());
        tasks
            .map(|(_, task)| std::mem::replace(task, Box::pin(std::future::ready(()))))
            .collect()
    }
}

/// Starts the threads; they end when the stop is hard.
pub(super) fn start(
    config: &Config,
    seams: &Seams,
    plan: &Arc<Plan>,
    sockets: Sockets,
    workers: usize,
) -> io::Result<Vec<JoinHandle<()>>> {
    let limit = Limit::new(config.limits.requests, workers);
    let open = Arc::new(Semaphore::new(
        config.limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let server = Server::new(&config.limits);
    let mut threads: Vec<Vec<(Raw, Option<Current>, Reach)>> =
        (0..workers).map(|_| Vec::new()).collect();
    for bound in sockets.0 {
        let tls = bound.tls.map(|(current, _)| current);
        for (thread, socket) in threads.iter_mut().zip(bound.sockets) {
            thread.push((socket, tls.clone(), bound.reach));
        }
    }
    let mut started = Vec::with_capacity(workers);
    for (number, sockets) in threads.into_iter().enumerate() {
        let proxy = Arc::new(Proxy::new(
            Arc::new(plan.for_thread(&seams.metrics)),
            Arc::new(Observer {
                clock: seams.clock.clone(),
                metrics: Arc::clone(&seams.metrics),
                log: seams.requests.clone(),
                unrouted: seams.metrics.route("none"),
                in_flight: seams.metrics.requests_in_flight(),
                slots: limit.slots(),
            }),
            seed(),
            seams.shutdown.clone(),
        ));
        let (server, open, stop) = (server.clone(), Arc::clone(&open), seams.shutdown.clone());
        let handshake_timeout = config.limits.header_timeout;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = move || {
            runtime.block_on(async move {
                let tended = Arc::clone(&proxy);
                stop.spawn(async move { tended.tend().await });
                for (socket, tls, reach) in sockets {
                    let service = Service {
                        proxy: Arc::clone(&proxy),
                        server: server.clone(),
                        tls,
                        reach,
                        open: Arc::clone(&open),
                        handshake_timeout,
                        stop: stop.clone(),
                    };
                    match socket.listen() {
                        Ok(socket) => drop(stop.spawn(service.accept(socket))),
                        Err(error) => tracing::error!(%error, "a listener is lost"),
                    }
                }
                stop.reached(Stage::Hard).await;
            });
        };
        started.push(
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(thread)?,
        );
    }
    Ok(started)
}

#[expect(clippy::disallowed_methods, reason = "names requests, decides nothing")]
fn seed() -> u64 {
    rand::rng().random()
}

impl Raw {
    fn listen(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Self::Unix(socket) => Socket::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }
}
