//! The control plane: tokens, admin, certificates and shared keys, on one thread of its own, so
//! that a slow provider or a slow scrape cannot delay a request.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};

use super::{
    Seams, StartError,
    data::TlsTask,
    succession::{Open, Succession},
};
use crate::{
    admin::{self, AdminState},
    config::Config,
    health::{Document, Readiness, Report},
    proxy::{Plan, Signer},
    session::{Sessions, Stands},
    shutdown::Stage,
    tokens::TokenService,
    verify::KeyService,
};

/// How often the files of shared keys, and of those that we sign with, are read again.
const KEYS_EVERY: Duration = Duration::from_secs(10);

/// What the control plane hands to the data plane.
pub(super) struct Started {
    pub(super) plan: Arc<Plan>,
    pub(super) admin: Option<SocketAddr>,
}

/// Starts the thread and waits until the plan is made and the admin listener answers.
pub(super) fn start(
    config: Arc<Config>,
    seams: &Seams,
    readiness: &Readiness,
    tls: Vec<TlsTask>,
    admin: Option<TcpListener>,
    open: Open,
    succession: Succession,
) -> Result<(Started, JoinHandle<()>), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let (report, reported) = mpsc::channel();
    let (seams, readiness) = (seams.clone(), readiness.clone());
    let thread = move || {
        runtime.block_on(async move {
            let stop = seams.shutdown.clone();
            let outcome = run(&config, &seams, &readiness, tls, admin, open);
            let failed = outcome.is_err();
            // the receiver waits for exactly this
            let _ = report.send(outcome);
            if !failed {
                stop.spawn(succession.run(readiness, stop.clone()));
                stop.reached(Stage::Hard).await;
            }
        });
    };
    let thread = thread::Builder::new()
        .name("control".into())
        .spawn(thread)
        .map_err(StartError::Thread)?;
    let started = reported.recv().map_err(|_| StartError::ControlEnded)??;
    Ok((started, thread))
}

fn run(
    config: &Config,
    seams: &Seams,
    readiness: &Readiness,
    tls: Vec<TlsTask>,
    listener: Option<TcpListener>,
    open: Open,
) -> Result<Started, StartError> {
    let stop = &seams.shutdown;
    stop.spawn(seams.pulse.keep("control"));
    let tokens = TokenService::start(
        seams.clock.clone(),
        Arc::clone(&seams.metrics),
        stop,
        config.token_store.as_ref(),
        rng(),
    );
    let keys = KeyService::start(
        config,
        &seams.clock,
        &seams.metrics,
        stop,
        readiness,
        &mut rng(),
    );
    let signer = config.signing.as_ref().map(Signer::new).transpose()?;
    let signer = signer.map(Arc::new);
    let stands = Stands {
        clock: &seams.clock,
        metrics: &seams.metrics,
        shutdown: stop,
        tokens: &tokens,
        keys: &keys,
    };
    let sessions = Sessions::start(config, &stands, &mut rng())?;
    let plan = Plan::new(
        config,
        &tokens,
        &keys,
        &sessions,
        &seams.metrics,
        signer.as_ref(),
    )?;
    let plan = Arc::new(plan);
    let handles: Vec<_> = plan.tokens().collect();
    tokens.first_tokens(readiness, handles);
    for task in tls {
        stop.spawn(task);
    }
    let shared_keys = plan.keys();
    if !shared_keys.is_empty() || signer.is_some() {
        let signer = signer.clone();
        stop.spawn(async move {
            loop {
                tokio::time::sleep(KEYS_EVERY).await;
                if let Some(signer) = &signer {
                    signer.refresh();
                }
                for key in &shared_keys {
                    key.refresh();
                }
            }
        });
    }
    let revoked = Arc::clone(keys.revoked());
    let reports: Vec<Arc<dyn Report>> = vec![
        Arc::new(tokens.exchanges()),
        Arc::new(tokens.authorities()),
        Arc::new(tokens),
        Arc::new(keys),
        Arc::new(sessions),
        Arc::clone(&revoked) as _,
    ];
    let state = AdminState {
        readiness: readiness.clone(),
        metrics: Arc::clone(&seams.metrics),
        reports,
        documents: signer
            .into_iter()
            .map(|one| one as Arc<dyn Document>)
            .collect(),
        editable: vec![revoked],
        key: config.admin_key.clone(),
        allow_quit: config.admin_allow_quit,
        shutdown: stop.clone(),
        clock: seams.clock.clone(),
    };
    let admin = listener
        .map(|listener| admin::serve(listener, state, open, stop))
        .transpose()
        .map_err(StartError::Admin)?;
    Ok(Started { plan, admin })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one source of randomness for tokens"
)]
pub(super) fn rng() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}
