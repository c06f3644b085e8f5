//! The control plane: tokens, admin, certificates and shared keys, on one thread of its own, so
//! that a slow provider or a slow scrape cannot delay a request.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};

use tokio::sync::oneshot;

use super::{
    Seams, StartError,
    generation::Standing,
    present::{self, Present},
    reload::{self, Hands, Reloads},
    rotation,
    sockets::Sockets,
    succession::{Open, Succession},
    traffic::{self, Traffic},
};
use crate::{
    admin::{self, AdminState},
    config::{Config, Sources},
    health::{Followed, Order, Readiness, Report},
    otlp::Export,
    rotation::Rotations,
    shutdown::Stage,
    telemetry::LogOrder,
    tokens::TokenService,
};

/// How often the files of shared keys, and of those that we sign with, are read again.
const KEYS_EVERY: Duration = Duration::from_secs(10);

/// At the end, for what blocks.
const LAST: Duration = Duration::from_secs(1);

/// What the control plane hands to the data plane.
pub(super) struct Started {
    pub(super) present: Arc<Present>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) reloads: Reloads,
    /// Takes what is to be changed at a reload.
    pub(super) hands: oneshot::Sender<Hands>,
}

/// What it is started with.
pub(super) struct Start {
    pub(super) config: Arc<Config>,
    pub(super) seams: Seams,
    pub(super) sources: Option<Sources>,
    pub(super) readiness: Readiness,
    pub(super) workers: usize,
    pub(super) admin: admin::Sockets,
    pub(super) open: Open,
    pub(super) export: Option<Export>,
}

/// Starts the thread and waits until the plan is made and the admin listener answers.
pub(super) fn start(
    mut start: Start,
    mut sockets: Sockets,
    succession: Succession,
) -> Result<(Started, Sockets, JoinHandle<()>), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let (report, reported) = mpsc::channel();
    let thread = move || {
        runtime.block_on(async move {
            let (stop, readiness) = (start.seams.shutdown.clone(), start.readiness.clone());
            let mut export = start.export.take();
            let report_of = export.as_ref().map(Export::report);
            let outcome = run(start, &mut sockets, report_of);
            let failed = outcome.is_err();
            // the receiver waits for exactly this
            let _ = report.send(outcome.map(|started| (started, sockets)));
            if !failed {
                stop.spawn(succession.run(readiness, stop.clone()));
                send_until(&mut export, stop.reached(Stage::Hard)).await;
            }
        });
        // whoever still reads a file that does not answer is not waited for
        runtime.shutdown_timeout(LAST);
    };
    let thread = thread::Builder::new()
        .name("control".into())
        .spawn(thread)
        .map_err(StartError::Thread)?;
    let (started, sockets) = reported.recv().map_err(|_| StartError::ControlEnded)??;
    Ok((started, sockets, thread))
}

/// What parts say of themselves.
fn reports(
    seams: &Seams,
    present: &Arc<Present>,
    tokens: &TokenService,
    rotations: &Rotations,
) -> Vec<Arc<dyn Report>> {
    vec![
        Arc::clone(present) as _,
        Arc::new(tokens.exchanges()),
        Arc::new(tokens.authorities()),
        Arc::new(present::Credentials {
            tokens: tokens.clone(),
            rotations: rotations.clone(),
        }),
        Arc::new(present::Providers {
            present: Arc::clone(present),
            metrics: Arc::clone(&seams.metrics),
        }),
        Arc::new(present::Keys(Arc::clone(present))),
        Arc::new(present::People(Arc::clone(present))),
    ]
}

/// What log and audit report, and may be told; what of them may be followed.
fn logs(
    seams: &Seams,
    reports: &mut Vec<Arc<dyn Report>>,
    orders: &mut Vec<Arc<dyn Order>>,
) -> Vec<Arc<dyn Followed>> {
    reports.push(Arc::new(seams.audit.clone()));
    reports.extend(seams.audit.stream_report());
    let Some(log) = seams.requests.log().cloned() else {
        return Vec::new();
    };
    reports.push(Arc::new(log.clone()));
    orders.push(Arc::new(LogOrder {
        log: log.clone(),
        shutdown: seams.shutdown.clone(),
    }));
    vec![Arc::new(log)]
}

/// Sends telemetry until the `end`, and what is left then once more.
async fn send_until(export: &mut Option<Export>, end: impl Future<Output = ()>) {
    let Some(export) = export else {
        return end.await;
    };
    tokio::select! {
        () = export.run() => {}
        () = end => {}
    }
    export.flush().await;
}

fn run(
    start: Start,
    sockets: &mut Sockets,
    telemetry: Option<Arc<dyn Report>>,
) -> Result<Started, StartError> {
    let Start {
        config,
        seams,
        sources,
        readiness,
        workers,
        admin,
        open,
        export: _,
    } = start;
    let stop = &seams.shutdown;
    stop.spawn(seams.pulse.keep("control"));
    let tokens = TokenService::start(
        seams.clock.clone(),
        Arc::clone(&seams.metrics),
        seams.tracer.clone(),
        stop,
        config.token_store.as_ref(),
        rng(),
    );
    let standing = Standing {
        seams: seams.clone(),
        tokens: tokens.clone(),
        workers,
    };
    let first = standing.first(Arc::clone(&config), sockets, &readiness, &mut rng())?;
    let revoked = Arc::clone(first.keys.revoked());
    first.count(&seams.metrics);
    seams.metrics.configuration.last_successful.set(1);
    let present = Arc::new(Present::new(first, sources, seams.clock.clone()));
    for task in sockets.tls_tasks() {
        stop.spawn(task);
    }
    let refreshed = Arc::clone(&present);
    stop.spawn(async move {
        loop {
            tokio::time::sleep(KEYS_EVERY).await;
            let generation = refreshed.generation.load_full();
            if let Some(signer) = &generation.signer {
                signer.refresh();
            }
            for key in &generation.shared_keys() {
                key.refresh();
            }
        }
    });
    let rotations = rotation::start(&seams, &present);
    let (reloads, prepared) = reload::prepare();
    let (hands, given) = oneshot::channel();
    stop.spawn({
        let present = Arc::clone(&present);
        async move {
            // without the data plane there is nothing to be changed
            if let Ok(hands) = given.await {
                prepared.with(present, standing, hands).run().await;
            }
        }
    });
    let mut reports = reports(&seams, &present, &tokens, &rotations);
    let traffic = Traffic::start(&seams, &present);
    reports.push(Arc::new(traffic::Listeners(traffic.clone())));
    reports.push(Arc::new(traffic::Routes(traffic)));
    reports.push(Arc::new(rotations));
    reports.push(Arc::clone(&revoked) as _);
    reports.extend(telemetry);
    let mut orders: Vec<Arc<dyn Order>> = vec![Arc::new(reloads.clone()), Arc::new(tokens.clone())];
    let followed = logs(&seams, &mut reports, &mut orders);
    let state = AdminState {
        readiness,
        metrics: Arc::clone(&seams.metrics),
        reports,
        documents: vec![Arc::new(present::SigningKeys(Arc::clone(&present)))],
        editable: vec![revoked],
        orders,
        questions: vec![
            Arc::new(present::Configuration(Arc::clone(&present))),
            Arc::new(present::Explained(Arc::clone(&present))),
        ],
        followed,
        key: config.admin_key.clone(),
        uids: config
            .admin_socket
            .as_ref()
            .map(|socket| socket.uids.clone())
            .unwrap_or_default(),
        allow_quit: config.admin_allow_quit,
        audit: seams.audit.clone(),
        shutdown: stop.clone(),
        clock: seams.clock.clone(),
    };
    let admin = admin::serve(admin, state, open, stop).map_err(StartError::Admin)?;
    Ok(Started {
        present,
        admin,
        reloads,
        hands,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one source of randomness for tokens"
)]
pub(super) fn rng() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}
