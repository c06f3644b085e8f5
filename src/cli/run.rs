//! `itwin-auth-proxy run`: the proxy itself, until a signal.
//!
//! The first SIGTERM or SIGINT finishes what is under way within the configured time, the second
//! cuts it.

mod manager;

use std::{error::Error, io, sync::Arc};

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::manager::Manager;
use super::{Configuration, Exit, complain, output, runtime};
use crate::{
    app::{self, Cause, Inheritance, Inherited, Running, Seams},
    audit::{self, Audit, Stream},
    config::{self, Config, Credential, LogFormat, NamedFile, Problems, Severity, Sources, source},
    confine::{Held, Rules},
    metrics::AuditLabels,
    notify::Notify,
    shutdown::{Shutdown, Stage},
    telemetry::{self, Colour, Requests, Settings},
    tokens::kept::{Kept, Keyring},
};

/// Run the proxy.
///
/// SIGTERM and SIGINT finish what is under way, a second one cuts it. SIGHUP has the configuration read
/// again, as `reload` does. Exit code 78: the
/// configuration is wrong, nothing was started; 69: an address cannot be had, or something else that it
/// needs; 77: the system does not allow it, as a port below 1024.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// Keep access to all files and programs. Otherwise, where the kernel can, the process gives up
    /// what its configuration does not name.
    #[arg(long)]
    no_confine: bool,
    /// Replace the process that runs with this configuration's `handover_socket`, as soon as this
    /// one is ready; what `upgrade` does.
    #[arg(long)]
    take_over: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    // while there is one thread: the variables are taken out of the environment
    let activated = Inherited::from_environment().map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Config
    })?;
    let sources = arguments.configuration.sources();
    let loaded = config::load(sources.clone()).map_err(|problems| {
        refuse(&sources, &problems);
        Exit::Config
    })?;
    let manager = Manager::of_this_process();
    // before the first thread
    let held = if arguments.no_confine {
        None
    } else {
        prepare(&loaded.config);
        let mut rules = confinement(&loaded.files);
        let kept = |credential: &Arc<Credential>| credential.grant.is_kept();
        if loaded.config.credentials.values().any(kept) && source::session_bus_is_abstract() {
            rules.connects_to_abstract_sockets();
        }
        Some(rules.enforce())
    };
    let log = &loaded.config.log;
    let telemetry = telemetry::init(&settings(log)).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Software
    })?;
    tell(held.as_ref());
    let mut seams = Seams::system(telemetry.requests());
    seams.pulse = manager.pulse().clone();
    let _stream = match &loaded.config.audit {
        None => None,
        Some(audit) => {
            let (audit, stream) = audited(audit, &seams)?;
            seams.audit = audit;
            Some(stream)
        }
    };
    telemetry.count_drops_in(seams.metrics.log_lines_dropped.clone());
    // in the log's own form, because whoever reads the log may be a program
    for warning in loaded.warnings.iter() {
        let origin = warning.origin.as_ref().map(ToString::to_string);
        tracing::warn!(
            key = warning.path,
            origin = origin.unwrap_or_default(),
            hint = warning.hint.as_deref().unwrap_or_default(),
            "configuration: {}",
            warning.text
        );
    }
    let runtime = runtime()?;
    // before anything is bound, so that no signal is lost
    let mut stop = runtime
        .block_on(async { Signals::listen() })
        .map_err(|error| {
            complain(format!("error: signals cannot be received: {error}"));
            Exit::Software
        })?;
    let offered = loaded.config.handover_socket.as_deref();
    if let Some(process) = offered
        .and_then(app::process_at)
        .filter(|_| !arguments.take_over)
    {
        let hint = "itwin-auth-proxy upgrade replaces it; run --take-over does, too";
        tracing::error!(process, hint, "a process runs with this configuration");
        return Err(Exit::Unavailable);
    }
    let before = Inheritance::find(&loaded.config, activated).map_err(|error| {
        tracing::error!(error = %output::chain(&error), "cannot start");
        not_started(&error)
    })?;
    let running =
        app::start_after(loaded.config, Some(sources), seams, before).map_err(|error| {
            tracing::error!(error = %output::chain(&error), "cannot start");
            not_started(&error)
        })?;
    manager.notify().ready();
    runtime.block_on(async {
        tokio::select! {
            () = until_told(&running, &mut stop, manager.notify()) => {}
            () = manager.attend(running.readiness()) => {}
        }
    });
    running.wait();
    tracing::info!("stopped");
    Ok(Exit::Ok)
}

/// Whether it is something that we may not do, or something that is not to be had.
fn not_started(error: &(dyn Error + 'static)) -> Exit {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let forbidden = causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    });
    if forbidden {
        Exit::NotPermitted
    } else {
        Exit::Unavailable
    }
}

/// Runs until a signal, then stops in order; a second signal cuts.
async fn until_told(running: &Running, stop: &mut Signals, notify: &Notify) {
    let shutdown = running.shutdown();
    let reload = async {
        loop {
            stop.hangup.recv().await;
            running.reloads().begin(Cause::Signal);
        }
    };
    tokio::select! {
        () = reload => {}
        signal = stop.end.next() => tracing::info!(signal, "stopping"),
        () = shutdown.asked() => tracing::info!("stopping, as ordered at the admin listener"),
        process = shutdown.superseded() => {
            tracing::info!(process, "another process has taken over: finishing");
            notify.main_pid(process.unsigned_abs());
            tokio::select! {
                () = running.give_way() => {}
                signal = stop.end.next() => cut(signal, shutdown),
            }
            return;
        }
        () = shutdown.reached(Stage::Hard) => return,
    }
    notify.stopping();
    tokio::select! {
        () = running.drain() => {}
        signal = stop.end.next() => cut(signal, shutdown),
    }
}

fn cut(signal: &str, shutdown: &Shutdown) {
    tracing::warn!(signal, "cutting what is under way");
    shutdown.advance(Stage::Hard);
}

/// All signals that it hears.
struct Signals {
    end: Stop,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            end: Stop::listen()?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The signals that ask the program to stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Makes the directory in which a person's sign-in will be: what is not there now could not be
/// reached later.
fn prepare(config: &Config) {
    for credential in config.credentials.values() {
        if let Some(login) = credential.grant.login() {
            let kept = Kept::of(credential, login, &Keyring::default());
            // a token that is asked for says what is wrong
            let _ = kept.prepare();
        }
    }
}

/// What the program needs with these files.
fn confinement(files: &[NamedFile]) -> Rules {
    let mut rules = Rules::of_the_system();
    for path in source::authorities() {
        rules.reads(&path);
    }
    for file in files {
        match file {
            NamedFile::Read(path) => rules.reads(path),
            NamedFile::Replaced(path) => rules.replaces(path),
            NamedFile::Socket(path) => rules.binds(path),
        }
    }
    rules
}

/// Begins the audit stream. It ends after everything that is noted there.
fn audited(configured: &config::AuditStream, seams: &Seams) -> Result<(Audit, Stream), Exit> {
    let key = configured.key.as_ref().map(|key| {
        let secret = key.read().map_err(|error| {
            tracing::error!(error = %output::chain(&error), "audit: the key cannot be read");
            Exit::Config
        })?;
        Ok(audit::Key::new(&secret))
    });
    let settings = audit::Settings {
        target: configured.target.clone(),
        key: key.transpose()?,
        every: configured.every,
    };
    let lines = |result| {
        let labels = AuditLabels { result };
        seams.metrics.audit_lines.get_or_create(&labels)
    };
    let counts = audit::Counts {
        written: lines("written"),
        lost: lines("lost"),
    };
    Audit::start(settings, seams.clock.clone(), counts).map_err(|error| {
        tracing::error!(error = %output::chain(&error), "audit: its thread cannot be started");
        Exit::Software
    })
}

/// Says what is wrong; as lines of the log, where its reader wants JSON.
fn refuse(sources: &Sources, problems: &Problems) {
    let log = config::log(sources).filter(|log| log.format == LogFormat::Json);
    let log = log.map(|log| config::Log {
        level: "info".into(),
        ..log
    });
    let Some(Ok(_telemetry)) = log.as_ref().map(|log| telemetry::init(&settings(log))) else {
        complain(problems.render(output::rendering()).trim_end());
        return;
    };
    for problem in problems.iter() {
        let key = &problem.path;
        let origin = problem.origin.as_ref().map(ToString::to_string);
        let origin = origin.unwrap_or_default();
        let hint = problem.hint.as_deref().unwrap_or_default();
        let text = &problem.text;
        match problem.severity {
            Severity::Error => tracing::error!(key, origin, hint, "configuration: {text}"),
            Severity::Warning => tracing::warn!(key, origin, hint, "configuration: {text}"),
        }
    }
    let errors = problems.errors();
    tracing::error!(errors, "not started: the configuration is wrong");
}

/// Says what holds.
pub(super) fn tell(held: Option<&Held>) {
    match held {
        None => tracing::info!("not confined: --no-confine"),
        Some(held @ Held::Nothing(_)) => tracing::warn!("{held}"),
        Some(held) => tracing::info!("{held}"),
    }
}

pub(super) fn settings(log: &config::Log) -> Settings<'_> {
    Settings {
        level: &log.level,
        format: app::format(log.format),
        colour: if source::no_color() {
            Colour::Never
        } else {
            Colour::Auto
        },
        requests: if log.requests {
            Requests::Logged
        } else {
            Requests::NotLogged
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen")]
    struct CannotListen {
        source: io::Error,
    }

    #[test]
    fn a_forbidden_port_ends_otherwise_than_one_that_is_taken() {
        for (kind, exit) in [
            (io::ErrorKind::PermissionDenied, Exit::NotPermitted),
            (io::ErrorKind::AddrInUse, Exit::Unavailable),
        ] {
            let error = CannotListen {
                source: kind.into(),
            };
            assert_eq!(not_started(&error), exit);
        }
    }
}
