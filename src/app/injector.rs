//! The injector, built and running: another program in the same binary, with the same admin listener
//! and the same way to stop.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};

use super::{StartError, control::rng};
use crate::{
    admin::{self, AdminState},
    audit::Audit,
    clock::Clock,
    config::{
        ClientCertificates, Identity, OwnCertificate,
        injector::{Injector, NativeSidecars, WebhookCertificate},
    },
    health::Readiness,
    injector::{
        Form,
        certificate::{self, Keeper},
        kube::Api,
        server::{self, Webhook},
        version,
    },
    metrics::{InjectorMetrics, Metrics},
    net::bind,
    shutdown::{Shutdown, Stage},
    tls::{
        issued,
        reload::{self, Current},
    },
};

/// After the signal: time in which we are not ready but still accept, until the API server's own
/// node has learnt that this replica goes.
const DRAIN_DELAY: Duration = Duration::from_secs(5);
/// No question takes longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The injector, running.
#[derive(Debug)]
pub struct RunningInjector {
    pub webhook: SocketAddr,
    pub admin: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    /// Ends when the last question is answered.
    serving: JoinHandle<Option<()>>,
    _open: watch::Sender<bool>,
}

/// Binds both listeners and serves from the current runtime.
///
/// # Errors
/// When an address cannot be bound or the certificate cannot be used.
pub fn start_injector(
    config: Injector,
    clock: &Clock,
    mut metrics: Metrics,
    shutdown: Shutdown,
) -> Result<RunningInjector, StartError> {
    let admin = listener(config.admin)?;
    let webhook = listener(config.bind)?;
    let readiness = Readiness::new();
    let counted = metrics.injector();
    let api = Api::new(config.api_server);
    let tls = match config.certificate {
        WebhookCertificate::Files(files) => {
            shutdown.spawn(watch_end(files.certificate.clone(), counted.clone()));
            followed(files, &shutdown)?
        }
        WebhookCertificate::Managed(names) => {
            let keeper = Keeper {
                api: api.clone(),
                names,
                clock: clock.clone(),
                metrics: counted.clone(),
                serving: parking_lot::Mutex::default(),
            };
            let (served, current) = watch::channel(keeper.provisional()?);
            let waiting = readiness.wait_for("the webhook's certificate");
            shutdown.spawn(keeper.keep(served, waiting, rng()));
            current
        }
    };
    let form = match config.native_sidecars {
        NativeSidecars::Always => watch::channel(Form::Native).1,
        NativeSidecars::Never => watch::channel(Form::Container).1,
        NativeSidecars::Auto => {
            // nobody is answered before the cluster is known: we are not ready
            let (form, current) = watch::channel(Form::Container);
            let waiting = readiness.wait_for("the cluster's version");
            shutdown.spawn(version::follow(api, form, waiting, rng()));
            current
        }
    };
    let state = AdminState {
        readiness: readiness.clone(),
        metrics: Arc::new(metrics),
        reports: Vec::new(),
        documents: Vec::new(),
        editable: Vec::new(),
        orders: Vec::new(),
        questions: Vec::new(),
        followed: Vec::new(),
        key: None,
        uids: Vec::new(),
        allow_quit: false,
        audit: Audit::off(),
        shutdown: shutdown.clone(),
        clock: clock.clone(),
    };
    let (open, opened) = watch::channel(true);
    let sockets = admin::Sockets {
        tcp: Some(admin),
        unix: None,
    };
    let admin = admin::serve(sockets, state, opened, &shutdown).map_err(StartError::Admin)?;
    let admin = admin.ok_or(StartError::NoSocket(config.admin))?;
    webhook.set_nonblocking(true).map_err(StartError::Admin)?;
    let listener = TcpListener::from_std(webhook).map_err(StartError::Admin)?;
    let address = listener.local_addr().map_err(StartError::Admin)?;
    let webhook = Webhook {
        settings: config.settings,
        form,
        metrics: counted,
    };
    let serving = shutdown.spawn(server::serve(listener, tls, webhook, shutdown.clone()));
    readiness.started();
    tracing::info!(%address, "webhook listening");
    tracing::info!(address = %admin, "admin listening");
    Ok(RunningInjector {
        webhook: address,
        admin,
        readiness,
        shutdown,
        serving,
        _open: open,
    })
}

fn listener(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let mut sockets = bind::tcp(address, 1)?;
    sockets.pop().ok_or(StartError::NoSocket(address))
}

/// A certificate that somebody else renews.
fn followed(identity: Identity, shutdown: &Shutdown) -> Result<Current, StartError> {
    let clients = ClientCertificates::None;
    let followed = reload::follow(OwnCertificate { identity, clients });
    let (current, task) = followed.map_err(|source| StartError::Tls {
        listener: "webhook".into(),
        source,
    })?;
    shutdown.spawn(task);
    Ok(current)
}

/// Shows when a certificate of others ends.
async fn watch_end(file: PathBuf, metrics: InjectorMetrics) {
    loop {
        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        if let Some(end) = issued::end(&text) {
            metrics.certificate_expiry.set(end.as_secs_f64());
        }
        tokio::time::sleep(certificate::EVERY).await;
    }
}

impl RunningInjector {
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops in order: not ready, still accepting for a while; then what is under way ends.
    pub async fn drain(&mut self) {
        self.readiness.drain();
        let order = async {
            tokio::time::sleep(DRAIN_DELAY).await;
            self.shutdown.advance(Stage::Soft);
            // who takes longer is cut
            let _ = timeout(DRAIN_TIMEOUT, &mut self.serving).await;
        };
        tokio::select! {
            () = self.shutdown.reached(Stage::Hard) => {}
            () = order => {}
        }
        self.shutdown.advance(Stage::Hard);
        self.shutdown.finished().await;
    }
}
