//! The data plane: one thread per core, each with its own runtime, sockets and upstream
//! connections. Threads share nothing that a request writes to.
//!
//! Another configuration reaches each thread as a [`Change`], between two of its tasks.

use std::{
    io,
    num::NonZeroUsize,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::Rng;
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::{
    Seams,
    generation::Generation,
    sockets::{Bound, Raw, Sockets},
    succession::Open,
};
use crate::{
    clock::Clock,
    config::{Config, Limits, Mode},
    http::serve::Server,
    listen::{Certificates, Inbox, Refusals, Service, Threads},
    metrics::{Cache, Counter, ListenerMetrics, Metrics},
    net::{Reach, share::Spread},
    proxy::{Current, Limit, Observer, Plan, Proxy},
    shutdown::{Shutdown, Stage},
    tls::mint::Mint,
    verify::{Proofs, Verifier},
};

/// The threads, as the control plane reaches them.
pub(super) struct Workers {
    changes: Vec<UnboundedSender<Change>>,
    metrics: Arc<Metrics>,
}

/// What a thread is to serve with from now on.
struct Change {
    plan: Arc<Plan>,
    mint: Option<Mint>,
    verifier: Option<Arc<Verifier>>,
    limits: Arc<Limits>,
    seats: Vec<Seat>,
    /// Told when it does.
    done: UnboundedSender<()>,
}

/// What all connections of a thread share.
#[derive(Clone)]
struct Desk {
    current: Arc<Current>,
    /// Connections that may be open at once, over all listeners and threads.
    open: Arc<Semaphore>,
    handed_over: Counter,
    /// What connections count that callers have opened.
    opened: Arc<ListenerMetrics>,
    accepting: Open,
    stop: Shutdown,
}

/// Starts the threads; they end when the stop is hard.
pub(super) fn start(
    generation: &Generation,
    seams: &Seams,
    sockets: &Sockets,
    workers: NonZeroUsize,
    accepting: &Open,
) -> io::Result<(Workers, Vec<JoinHandle<()>>)> {
    let Generation {
        config,
        plan,
        proofs,
        ..
    } = generation;
    let limit = Limit::new(config.limits.requests, workers.get());
    let tunnels = Limit::new(config.limits.connections, workers.get());
    let open = Arc::new(Semaphore::new(
        config.limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let limits = Arc::new(config.limits.clone());
    let mut started = Vec::with_capacity(workers.get());
    let mut changes = Vec::with_capacity(workers.get());
    for (number, seats) in seats(&sockets.all, workers, &seams.metrics)?
        .into_iter()
        .enumerate()
    {
        let (opener, connections) = unbounded_channel();
        let proxy = Proxy::new(
            Arc::new(plan.for_thread(&seams.metrics)),
            Arc::new(Observer {
                clock: seams.clock.clone(),
                metrics: Arc::clone(&seams.metrics),
                log: seams.requests.clone(),
                audit: seams.audit.desk(),
                unrouted: seams.metrics.route("none"),
                tracer: seams.tracer.for_thread(super::control::rng()),
                in_flight: seams.metrics.requests_in_flight(),
                slots: limit.slots(),
                tunnels: tunnels.slots(),
            }),
            Arc::new(verifier(proofs, &seams.metrics)?),
            opener,
            sockets.mint().cloned(),
            seed(),
        );
        let desk = Desk {
            current: Arc::new(Current::new(proxy)),
            open: Arc::clone(&open),
            handed_over: seams.metrics.connections_handed_over.clone(),
            opened: seams.metrics.listener("interception"),
            accepting: accepting.clone(),
            stop: seams.shutdown.clone(),
        };
        let name = format!("worker-{number}");
        let pulse = seams.pulse.keep(&name);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let limits = Arc::clone(&limits);
        let (change, orders) = unbounded_channel();
        changes.push(change);
        let metrics = Arc::clone(&seams.metrics);
        let thread = move || {
            runtime.block_on(async move {
                let stop = desk.stop.clone();
                let tended = Arc::clone(&desk.current);
                stop.spawn(async move { tended.tend().await });
                stop.spawn(pulse);
                let opening = desk.opening(&limits);
                stop.spawn(opening.open_all(connections));
                for seat in seats {
                    desk.take(seat, &limits);
                }
                tokio::select! {
                    () = desk.change(orders, &metrics) => {}
                    () = stop.reached(Stage::Hard) => {}
                }
            });
        };
        started.push(thread::Builder::new().name(name).spawn(thread)?);
    }
    let metrics = Arc::clone(&seams.metrics);
    Ok((Workers { changes, metrics }, started))
}

impl Workers {
    /// Has every thread serve with these, and accept where it does not yet; waits until all do.
    ///
    /// # Errors
    /// When a socket or a key cannot be had: nothing has changed then.
    pub(super) async fn change(
        &self,
        plan: &Arc<Plan>,
        mint: Option<&Mint>,
        proofs: Option<&Arc<Proofs>>,
        limits: &Limits,
        listeners: &[Arc<Bound>],
    ) -> io::Result<()> {
        let workers = NonZeroUsize::new(self.changes.len()).ok_or(io::ErrorKind::NotFound)?;
        let limits = Arc::new(limits.clone());
        let verifiers = self.changes.iter().map(|_| {
            let verifier = proofs
                .map(|proofs| verifier(proofs, &self.metrics))
                .transpose();
            verifier.map(|verifier| verifier.map(Arc::new))
        });
        let verifiers: Vec<_> = verifiers.collect::<io::Result<_>>()?;
        let (done, mut told) = unbounded_channel();
        let seats = seats(listeners, workers, &self.metrics)?;
        for ((thread, seats), verifier) in self.changes.iter().zip(seats).zip(verifiers) {
            let change = Change {
                plan: Arc::clone(plan),
                mint: mint.cloned(),
                verifier,
                limits: Arc::clone(&limits),
                seats,
                done: done.clone(),
            };
            // it is gone only at a hard stop
            let _ = thread.send(change);
        }
        drop(done);
        while told.recv().await.is_some() {}
        Ok(())
    }
}

impl Desk {
    async fn change(&self, mut changes: UnboundedReceiver<Change>, metrics: &Metrics) {
        while let Some(change) = changes.recv().await {
            let plan = Arc::new(change.plan.for_thread(metrics));
            self.current.replace(plan, change.mint, change.verifier);
            for seat in change.seats {
                self.take(seat, &change.limits);
            }
            let _ = change.done.send(());
        }
        // nobody will change anything; what there is goes on
        std::future::pending::<()>().await;
    }

    /// Accepts at this seat, until its listener is to finish.
    fn take(&self, seat: Seat, limits: &Limits) {
        let stop = seat.stop.clone();
        let service = Service {
            tls: seat.tls,
            certificates: seat.certificates,
            reach: seat.reach,
            mode: seat.mode,
            listener: seat.listener,
            counts: seat.counts,
            port: seat.port,
            refusals: seat.refusals,
            stop: seat.stop,
            ..self.opening(limits)
        };
        stop.spawn(service.clone().receive(seat.inbox));
        let Some((socket, others)) = seat.socket else {
            return;
        };
        match socket.listen() {
            Ok(socket) => {
                let mut accepting = self.accepting.clone();
                drop(stop.spawn(async move {
                    if accepting.wait_for(|open| *open).await.is_ok() {
                        service.accept(socket, others).await;
                    }
                }));
            }
            Err(error) => tracing::error!(%error, "a listener is lost"),
        }
    }

    /// What serves connections that callers have opened: each knows by which listener it came.
    fn opening(&self, limits: &Limits) -> Service {
        Service {
            proxy: Arc::clone(&self.current),
            server: Server::new(limits),
            tls: None,
            certificates: Certificates::Vouched,
            reach: Reach::ThisMachine,
            mode: Mode::Forward,
            listener: usize::MAX,
            counts: Arc::clone(&self.opened),
            port: 0,
            refusals: Arc::default(),
            open: Arc::clone(&self.open),
            handshake_timeout: limits.header_timeout,
            handed_over: self.handed_over.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// Each thread's part in each listener.
fn seats(
    all: &[Arc<Bound>],
    workers: NonZeroUsize,
    metrics: &Metrics,
) -> io::Result<Vec<Vec<Seat>>> {
    let mut threads: Vec<Vec<Seat>> = (0..workers.get()).map(|_| Vec::new()).collect();
    for bound in all {
        let refusals: Arc<Refusals> = Arc::default();
        let spread = match bound.sockets[..] {
            [Raw::Unix(..), ..] => Spread::ByUs,
            _ => Spread::ByKernel,
        };
        let sockets = bound.sockets.iter().map(Raw::duplicate);
        let sockets: Vec<_> = sockets.collect::<io::Result<_>>()?;
        let mut sockets = sockets.into_iter();
        // once, but where the process before this one had more threads: some accept from several sockets
        while sockets.len() > 0 {
            let mut round: Vec<_> = sockets.by_ref().take(workers.get()).map(Some).collect();
            // a Unix socket has one thread that accepts: each has another
            round.resize_with(workers.get(), || None);
            if spread == Spread::ByUs {
                round.rotate_right(bound.number % workers);
            }
            let others = Threads::new(workers, spread);
            for (thread, (socket, (others, inbox))) in
                threads.iter_mut().zip(round.into_iter().zip(others))
            {
                thread.push(Seat {
                    socket: socket.map(|socket| (socket, others)),
                    inbox,
                    tls: bound.tls.clone(),
                    certificates: bound.certificates,
                    reach: bound.reach,
                    mode: bound.mode,
                    listener: bound.number,
                    counts: metrics.listener(&bound.name),
                    port: bound.port,
                    refusals: Arc::clone(&refusals),
                    stop: bound.stop.clone(),
                });
            }
        }
    }
    Ok(threads)
}

/// One thread's part in a listener.
struct Seat {
    /// `None`: other threads accept.
    socket: Option<(Raw, Threads)>,
    inbox: Inbox,
    counts: Arc<ListenerMetrics>,
    tls: Option<crate::listen::Shown>,
    certificates: Certificates,
    reach: Reach,
    mode: Mode,
    listener: usize,
    port: u16,
    refusals: Arc<Refusals>,
    stop: Shutdown,
}

#[expect(
    clippy::disallowed_methods,
    reason = "what remembered tokens are found by must be nobody's to guess"
)]
fn verifier(proofs: &Arc<Proofs>, metrics: &Metrics) -> io::Result<Verifier> {
    let counts = metrics.cache(Cache::VerifiedTokens);
    Verifier::new(&rand::rng().random(), Arc::clone(proofs), counts).map_err(io::Error::other)
}

#[expect(
    clippy::disallowed_methods,
    reason = "nonces must be nobody's to guess"
)]
pub(super) fn proofs(longest: Duration, clock: &Clock, metrics: &Metrics) -> Arc<Proofs> {
    let proofs = Proofs::new(&rand::rng().random(), longest, clock.now());
    let proofs = Arc::new(proofs);
    let counts = metrics.shared_cache(Cache::UsedProofs);
    counts.held_by(&proofs, |proofs| proofs.remembered() as u64);
    proofs
}

/// How long proofs that were used are remembered.
pub(super) fn longest_proofs(config: &Config) -> Duration {
    let longest = config.token_rules().map(Proofs::longest).max();
    longest.unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "names requests, decides nothing")]
fn seed() -> u64 {
    rand::rng().random()
}
