//! `itwin-auth-proxy inject`: the injector of a Kubernetes cluster.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::{Args, ValueHint};

use super::{Exit, complain, output, run, runtime};
use crate::{
    app,
    clock::Clock,
    config::{
        Identity, documents,
        injector::{self, Injector, LoadedInjector, NativeSidecars, WebhookCertificate},
        print::block,
    },
    confine::Rules,
    injector::{Form, Manifest, kube},
    metrics::Metrics,
    shutdown::Shutdown,
    telemetry,
};

/// Give pods that ask for it the proxy as a sidecar: a mutating admission webhook.
///
/// Pods ask with the annotation (or label) itwin-auth-proxy/inject: "true". Exit code 78: the
/// configuration is wrong, nothing was started; 69: an address cannot be bound; with --print, 1: a
/// pod cannot be given the sidecar.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  itwin-auth-proxy inject --config injector.yaml
  itwin-auth-proxy inject --config injector.yaml --print < deployment.yaml | kubectl apply -f -")]
pub(super) struct Arguments {
    /// The injector's configuration file.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: PathBuf,
    /// Check the configuration, and do nothing else.
    #[arg(long)]
    check: bool,
    /// Print the manifests of standard input (YAML or JSON) with the sidecar in those pods that ask
    /// for it; no cluster is asked, sidecars are native unless `native_sidecars` is `never`.
    #[arg(long, conflicts_with = "check")]
    print: bool,
    /// Do not restrict the process to the files that it needs.
    #[arg(long)]
    no_confine: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let loaded = load(arguments)?;
    if arguments.print {
        return print(&loaded.injector);
    }
    if arguments.check {
        complain("the configuration is good");
        return Ok(Exit::Ok);
    }
    serve(loaded, arguments)
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

fn print(injector: &Injector) -> Result<Exit, Exit> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| {
        complain(format!("error: standard input cannot be read: {error}"));
        Exit::Usage
    })?;
    let mut documents = documents::read(&text, "standard input").map_err(|problems| {
        complain(problems.render(output::rendering()).trim_end());
        Exit::Usage
    })?;
    let form = match injector.native_sidecars {
        NativeSidecars::Auto | NativeSidecars::Always => Form::Native,
        NativeSidecars::Never => Form::Container,
    };
    let mut manifest = Manifest::default();
    for document in &mut documents {
        manifest.inject(document, &injector.settings, form);
    }
    for warning in &manifest.warnings {
        complain(format!("warning: {warning}"));
    }
    for (name, faults) in &manifest.refused {
        complain(format!(
            "error: {name} cannot be given the sidecar:\n{faults}"
        ));
    }
    if !manifest.refused.is_empty() {
        return Ok(Exit::No);
    }
    if manifest.injected.is_empty() {
        complain(
            "no pod in it asks for the sidecar: the annotation or label itwin-auth-proxy/inject: \"true\" of a pod or of its template does",
        );
    }
    let written: Vec<String> = documents.iter().map(block::yaml).collect();
    output::pour(&written.join("---\n"));
    Ok(Exit::Ok)
}

fn serve(loaded: LoadedInjector, arguments: &Arguments) -> Result<Exit, Exit> {
    // before the first thread
    let held = (!arguments.no_confine).then(|| confinement(&loaded.injector).enforce());
    let log = &loaded.injector.log;
    let telemetry = telemetry::init(&run::settings(log)).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Software
    })?;
    run::tell(held.as_ref());
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
        let mut running = running.map_err(|error| {
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

/// What the injector needs.
fn confinement(injector: &Injector) -> Rules {
    let mut rules = Rules::of_the_system();
    for file in kube::files(&injector.api_server) {
        rules.reads(&file);
    }
    if let WebhookCertificate::Files(Identity { certificate, key }) = &injector.certificate {
        rules.reads(certificate);
        rules.reads(key);
    }
    rules
}
