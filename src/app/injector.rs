//! The injector, built and running: another program in the same binary, with the same admin listener
//! and the same way to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};

use super::StartError;
use crate::{
    admin::{self, AdminState},
    clock::Clock,
    config::{
        ClientCertificates, OwnCertificate,
        injector::{Injector, NativeSidecars, WebhookCertificate},
    },
    health::Readiness,
    injector::{
        Form,
        server::{self, Webhook},
    },
    metrics::Metrics,
    net::bind,
    shutdown::{Shutdown, Stage},
    tls::reload::{self, Current},
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
    let tls = certificate(config.certificate, &shutdown)?;
    let form = match config.native_sidecars {
        NativeSidecars::Always | NativeSidecars::Auto => Form::Native,
        NativeSidecars::Never => Form::Container,
    };
    let (_, form) = watch::channel(form);
    let state = AdminState {
        readiness: readiness.clone(),
        metrics: Arc::new(metrics),
        reports: Vec::new(),
        documents: Vec::new(),
        editable: Vec::new(),
        key: None,
        allow_quit: false,
        shutdown: shutdown.clone(),
        clock: clock.clone(),
    };
    let (open, opened) = watch::channel(true);
    let admin = admin::serve(admin, state, opened, &shutdown).map_err(StartError::Admin)?;
    webhook.set_nonblocking(true).map_err(StartError::Admin)?;
    let listener = TcpListener::from_std(webhook).map_err(StartError::Admin)?;
    let address = listener.local_addr().map_err(StartError::Admin)?;
    let webhook = Arc::new(Webhook {
        settings: config.settings,
        form,
        metrics: counted,
    });
    shutdown.spawn(server::serve(listener, tls, webhook, shutdown.clone()));
    readiness.started();
    tracing::info!(%address, "webhook listening");
    tracing::info!(address = %admin, "admin listening");
    Ok(RunningInjector {
        webhook: address,
        admin,
        readiness,
        shutdown,
        _open: open,
    })
}

fn listener(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let mut sockets = bind::tcp(address, 1)?;
    sockets.pop().ok_or(StartError::ControlEnded)
}

fn certificate(
    certificate: WebhookCertificate,
    shutdown: &Shutdown,
) -> Result<Current, StartError> {
    match certificate {
        WebhookCertificate::Files(identity) => {
            let clients = ClientCertificates::None;
            let followed = reload::follow(OwnCertificate { identity, clients });
            let (current, task) = followed.map_err(|source| StartError::Tls {
                listener: "webhook".into(),
                source,
            })?;
            shutdown.spawn(task);
            Ok(current)
        }
        WebhookCertificate::Managed(_) => Err(StartError::ControlEnded),
    }
}

impl RunningInjector {
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Stops in order: not ready, still accepting for a while; then what is under way ends.
    pub async fn drain(&self) {
        self.readiness.drain();
        let order = async {
            tokio::time::sleep(DRAIN_DELAY).await;
            self.shutdown.advance(Stage::Soft);
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            () = self.shutdown.reached(Stage::Hard) => {}
            () = order => {}
        }
        self.shutdown.advance(Stage::Hard);
        self.shutdown.finished().await;
    }
}
