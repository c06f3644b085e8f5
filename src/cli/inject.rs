//! `itwin-auth-proxy inject`: the injector of a Kubernetes cluster.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Exit, complain, output, run, runtime};
use crate::{
    app,
    clock::Clock,
    config::injector::{self, LoadedInjector},
    metrics::Metrics,
    shutdown::Shutdown,
    telemetry,
};

/// Give pods that ask for it the proxy as a sidecar: a mutating admission webhook.
///
/// Pods ask with the annotation (or label) itwin-auth-proxy/inject: "true". Exit code 78: the
/// configuration is wrong, nothing was started; 69: an address cannot be bound.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The injector's configuration file.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: PathBuf,
    /// Check the configuration, and do nothing else.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let loaded = load(arguments)?;
    if arguments.check {
        complain("the configuration is good");
        return Ok(Exit::Ok);
    }
    serve(loaded)
}

fn load(arguments: &Arguments) -> Result<LoadedInjector, Exit> {
    let loaded = injector::load(&arguments.config).map_err(|problems| {
        complain(problems.render(output::rendering()).trim_end());
        Exit::Config
    })?;
    if !loaded.warnings.is_empty() {
        complain(loaded.warnings.render(output::rendering()).trim_end());
    }
    Ok(loaded)
}

fn serve(loaded: LoadedInjector) -> Result<Exit, Exit> {
    let log = &loaded.injector.log;
    let telemetry = telemetry::init(&run::settings(log)).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Software
    })?;
    let metrics = Metrics::new();
    telemetry.count_drops_in(metrics.log_lines_dropped.clone());
    runtime()?.block_on(async {
        // before anything is bound, so that no signal is lost
        let mut stop = run::Stop::listen().map_err(|error| {
            complain(format!("error: signals cannot be received: {error}"));
            Exit::Software
        })?;
        let shutdown = Shutdown::new();
        let clock = Clock::system();
        let running = app::start_injector(loaded.injector, &clock, metrics, shutdown);
        let running = running.map_err(|error| {
            tracing::error!(error = %output::chain(&error), "cannot start");
            Exit::Unavailable
        })?;
        let signal = stop.next().await;
        tracing::info!(signal, "stopping");
        tokio::select! {
            () = running.drain() => {}
            signal = stop.next() => tracing::warn!(signal, "cutting what is under way"),
        }
        tracing::info!("stopped");
        Ok(Exit::Ok)
    })
}
