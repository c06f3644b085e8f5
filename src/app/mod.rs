//! The whole program, built and running.
//!
//! [`start`] binds everything first, then starts the control plane (tokens, admin, certificates) on
//! a thread of its own and the data plane on one thread per core, and returns the addresses. A
//! provider that is down stops none of this: requests wait for their token, `/ready` says so.

mod again;
mod control;
mod data;
mod examine;
mod explain;
mod generation;
mod injector;
mod present;
mod reload;
mod rotation;
mod sockets;
mod succession;
mod traffic;
mod workers;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

pub use self::{
    examine::{Examined, examine_token},
    explain::{Explanation, Verdict, explain},
    injector::{RunningInjector, start_injector},
    present::Cause,
    reload::Reloads,
    succession::{Inheritance, process_at},
    workers::Workers,
};
use self::{
    present::Present,
    reload::Hands,
    sockets::{Files, Grounds, Sockets},
    succession::{Offer, Succession},
};
pub use crate::net::inherited::Inherited;
use crate::{
    admin,
    audit::Audit,
    clock::Clock,
    config::{Bind, Config, LogFormat, Sources},
    health::Readiness,
    metrics::Metrics,
    net::{
        bind::{BindError, SocketFile},
        succession::Offers,
    },
    otlp::Export,
    proxy::{PlanError, SignerError},
    pulse::Pulse,
    session::SessionError,
    shutdown::{Shutdown, Stage},
    telemetry::{Format, RequestLog},
    tls::TlsError,
    trace::{Tracer, Traces},
};

/// What a test may want to be another.
#[derive(Debug, Clone)]
pub struct Seams {
    pub clock: Clock,
    pub requests: RequestLog,
    pub metrics: Arc<Metrics>,
    pub audit: Audit,
    pub shutdown: Shutdown,
    /// Every thread of the proxy keeps it moving.
    pub pulse: Pulse,
    /// For what the control plane does by itself.
    pub tracer: Tracer,
}

impl Seams {
    /// The machine's clock, and requests logged to `requests`.
    pub fn system(requests: RequestLog) -> Self {
        Self {
            clock: Clock::system(),
            requests,
            metrics: Arc::new(Metrics::new()),
            audit: Audit::off(),
            shutdown: Shutdown::new(),
            pulse: Pulse::unwatched(),
            tracer: Tracer::off(),
        }
    }
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("listener {listener}")]
    Tls { listener: String, source: TlsError },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Signing(#[from] SignerError),
    #[error("connections cannot be opened (interception)")]
    Interception(#[source] crate::tls::TlsError),
    #[error("the admin listener cannot be served")]
    Admin(#[source] std::io::Error),
    #[error("the settings of telemetry.otlp cannot be used")]
    Telemetry(#[source] crate::http::client::ClientError),
    #[error("a thread or its runtime cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("the webhook's certificate")]
    Webhook(#[from] crate::injector::certificate::KeepError),
    #[error("no socket was made for {0}")]
    NoSocket(std::net::SocketAddr),
    #[error("the control plane ended before it was ready")]
    ControlEnded,
    #[error(
        "a socket was handed to this process (LISTEN_FDS) for {0}, and no listener has that address: change ListenStream= of the socket unit, or a bind of the configuration"
    )]
    Unclaimed(String),
    #[error("a listening socket cannot be duplicated")]
    Duplicate(#[source] io::Error),
}

/// The program, running.
#[derive(Debug)]
pub struct Running {
    listeners: Vec<String>,
    /// Removed when the program has ended.
    files: Files,
    admin_file: Mutex<Option<SocketFile>>,
    /// How many processes have the sockets and do not serve yet.
    held: Arc<AtomicUsize>,
    admin: Option<SocketAddr>,
    readiness: Readiness,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    present: Arc<Present>,
    reloads: Reloads,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
}

/// Binds everything, starts the threads and returns when requests are accepted.
///
/// # Errors
/// When an address cannot be bound, a certificate cannot be used or a thread cannot be started;
/// nothing keeps running then.
pub fn start(config: Config, seams: Seams) -> Result<Running, StartError> {
    start_after(config, None, seams, Inheritance::default())
}

/// The same with the sockets that there are already. Where another process serves with them, this one
/// accepts when it is ready. It reads `sources` again when it is told to.
///
/// # Errors
/// As of [`start`], and when a socket is for no listener.
pub fn start_after(
    config: Config,
    sources: Option<Sources>,
    mut seams: Seams,
    before: Inheritance,
) -> Result<Running, StartError> {
    let Inheritance {
        sockets: mut inherited,
        predecessor,
    } = before;
    let config = Arc::new(config);
    let export = exporting(&config, &mut seams)?;
    raise_open_files(config.limits.connections);
    let workers = Workers::new(config.workers);
    let count = workers.count;
    let grounds = Grounds {
        clock: &seams.clock,
        metrics: &seams.metrics,
        workers: count.get(),
        shutdown: &seams.shutdown,
    };
    let mut sockets = Sockets::bind(&config, &grounds, &mut inherited)?;
    let (admin, admin_file) = admin::Sockets::bind(&config, &mut inherited)?;
    all_claimed(&inherited.rest(), predecessor.is_some())?;
    let tcp = admin.tcp.as_ref();
    sockets.admin = tcp.and_then(|socket| socket.local_addr().ok());
    let readiness = Readiness::new();

    let (opens, open) = watch::channel(predecessor.is_none());
    let mut offers = None;
    let offer = match &config.handover_socket {
        None => None,
        Some(path) => {
            let all = sockets.duplicates(&admin);
            let all = Arc::new(Offers::from_pointee(all.map_err(StartError::Duplicate)?));
            offers = Some(Arc::clone(&all));
            Some(Offer::new(path.clone(), all, predecessor.as_ref())?)
        }
    };
    let offered_admin = match &offers {
        None => Ok(admin::Sockets::default()),
        Some(_) => admin.duplicate(),
    };
    let offered_admin = offered_admin.map_err(StartError::Duplicate)?;
    let held = Arc::<AtomicUsize>::default();
    let succession = Succession {
        predecessor,
        offer,
        held: Arc::clone(&held),
        open: opens,
    };
    let start = control::Start {
        config: Arc::clone(&config),
        seams: seams.clone(),
        sources,
        readiness: readiness.clone(),
        workers: count.get(),
        admin,
        open: open.clone(),
        export,
    };
    let (started, mut sockets, control) = control::start(start, sockets, succession)?;
    let listeners = sockets.names();
    let files = Files::default();
    sockets.settle(&files);
    let first = started.present.generation.load_full();
    let threads = data::start(&first, &seams, &sockets, count, &open);
    let (hands, threads) = match threads {
        Ok(started) => started,
        Err(error) => {
            seams.shutdown.advance(Stage::Hard);
            return Err(StartError::Thread(error));
        }
    };
    let hands = Hands {
        workers: hands,
        sockets,
        files: Arc::clone(&files),
        offers,
        admin: offered_admin,
    };
    // the control plane is there as long as the program
    let _ = started.hands.send(hands);
    readiness.started();
    tracing::info!(count, reason = %workers.reason(), "workers");
    for listener in &listeners {
        tracing::info!(address = %listener, "listening");
    }
    if let Some(address) = started.admin {
        tracing::info!(%address, "admin listening");
    }
    if let Some(socket) = &config.admin_socket {
        tracing::info!(path = %socket.path.display(), "admin listening");
    }
    Ok(Running {
        listeners,
        files,
        admin_file: Mutex::new(admin_file),
        held,
        admin: started.admin,
        readiness,
        shutdown: seams.shutdown,
        metrics: seams.metrics,
        present: started.present,
        reloads: started.reloads,
        workers: threads,
        control,
    })
}

/// What sends telemetry on, if anything does; then the control plane's work is traced.
fn exporting(config: &Config, seams: &mut Seams) -> Result<Option<Export>, StartError> {
    let Some(otlp) = &config.telemetry else {
        return Ok(None);
    };
    let traces = otlp.traces.as_ref();
    let traces = traces.map(|traces| Traces::new(traces.sampling, seams.clock.clone()));
    if let Some(traces) = &traces {
        seams.tracer = traces.tracer(control::rng());
    }
    let (clock, metrics) = (seams.clock.clone(), Arc::clone(&seams.metrics));
    let export = Export::new(otlp, traces, metrics, clock, control::rng());
    export.map(Some).map_err(StartError::Telemetry)
}

/// Of a predecessor, sockets may be left over.
fn all_claimed(rest: &[String], of_a_predecessor: bool) -> Result<(), StartError> {
    match rest {
        [] => Ok(()),
        rest if of_a_predecessor => {
            tracing::info!(addresses = rest.join(", "), "no longer listened on");
            Ok(())
        }
        [first, ..] => Err(StartError::Unclaimed(first.clone())),
    }
}

/// Every call needs two descriptors, and the usual soft limit of 1,024 is for programs that use
/// `select`. What the hard limit allows is taken.
fn raise_open_files(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let wanted = (connections as u64).saturating_mul(2).saturating_add(64);
    if let Some(files) = now.filter(|files| *files < wanted) {
        let fits = (files.saturating_sub(64) / 2).max(1);
        let hint = format!(
            "raise it (ulimit -n {wanted}, LimitNOFILE={wanted}), or have limits.connections: {fits}"
        );
        tracing::warn!(
            files,
            wanted,
            hint,
            "the limit of open files is below what limits.connections may need"
        );
    }
}

impl Running {
    /// Where requests are accepted, in the order of the configuration: `127.0.0.1:8080`, or
    /// `unix:` and a path.
    pub fn listeners(&self) -> &[String] {
        &self.listeners
    }

    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Has the configuration read again.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops in order: not ready, still accepting for the drain delay; then finishing what is under
    /// way, at most for the drain timeout. [`Stage::Hard`] from elsewhere cuts it short.
    pub async fn drain(&self) {
        self.readiness.drain();
        let delay = self.present.generation.load().config.limits.drain_delay;
        self.finish(delay).await;
    }

    /// Stops when another process has taken the sockets: no load balancer has to learn of anything.
    pub async fn give_way(&self) {
        self.leave_files();
        self.finish(Duration::ZERO).await;
    }

    /// Unix sockets stay where they are found: others serve them.
    fn leave_files(&self) {
        for (_, file) in std::mem::take(&mut *self.files.lock()) {
            file.leave();
        }
        if let Some(file) = self.admin_file.lock().take() {
            file.leave();
        }
    }

    async fn finish(&self, delay: Duration) {
        let limit = self.present.generation.load().config.limits.drain_timeout;
        let cut = self.shutdown.reached(Stage::Hard);
        let order = async {
            tokio::time::sleep(delay).await;
            self.shutdown.advance(Stage::Soft);
            let idle = async {
                while self.metrics.connections.get() > 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            // a timeout here is the drain timeout: what is still under way is cut
            let _ = tokio::time::timeout(limit, idle).await;
        };
        tokio::select! {
            () = cut => {}
            () = order => {}
        }
        self.shutdown.advance(Stage::Hard);
    }

    /// Blocks until every thread has ended, which a hard stop makes them do.
    pub fn wait(self) {
        if self.held.load(Ordering::Relaxed) > 0 {
            // one that waits to replace this process finds that it has ended, and serves
            self.leave_files();
        }
        for thread in self.workers.into_iter().chain([self.control]) {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy panicked");
            }
        }
    }
}

/// A listener's address as it is shown.
fn shown(bind: &Bind, bound: Option<SocketAddr>) -> String {
    bound.map_or_else(|| bind.to_string(), |address| address.to_string())
}

/// How the configuration wants lines to look.
pub fn format(configured: LogFormat) -> Format {
    match configured {
        LogFormat::Auto => Format::Auto,
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    }
}
