//! `itwin-auth-proxy upgrade`: a new process in the place of the one that runs.
//!
//! The new one is this program's file as it is now, with the configuration as it is now: so an upgrade and a
//! change of the configuration, of whatever key, are one thing, and both are tried before anything stops.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use clap::Args;

use super::{Configuration, Exit, block_on, complain, duration, say};
use crate::app;

const EVERY: Duration = Duration::from_millis(50);

/// Replace the running proxy by a new process, with this program and this configuration.
///
/// Both need the same `handover_socket`. No connection is refused: the new process takes the listening
/// sockets and serves as soon as it has its tokens, the old one finishes its calls and ends. If the new one does
/// not get that far, the old one goes on. Exit code 0: it is replaced; 1: the time was over; 69: no proxy offers
/// its sockets; 70: the new process failed; 78: the configuration is wrong, or has no `handover_socket`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// When the new process must be ready, or it is ended: seconds, or with a unit, 1s to 1h.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = limit)]
    timeout: Duration,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let config = arguments.configuration.load()?.config;
    let Some(socket) = config.handover_socket else {
        complain("error: the configuration has no handover_socket: without one, restart the proxy");
        return Err(Exit::Config);
    };
    let Some(before) = app::process_at(&socket) else {
        complain(format!(
            "error: no proxy offers its sockets at {}: start it with run",
            socket.display()
        ));
        return Err(Exit::Unavailable);
    };
    let failed = |error| {
        complain(format!("error: the new process cannot be started: {error}"));
        Exit::Software
    };
    let offer = identity(&socket);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    // its log goes where this command's errors go; whoever reads what this command says must not wait for
    // the end of the new process
    command
        .args(["run", "--take-over"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(file) = &arguments.configuration.config {
        command.arg("--config").arg(file);
    }
    let mut new = command.spawn().map_err(failed)?;
    let limit = humantime::format_duration(arguments.timeout);
    let watched =
        async { tokio::time::timeout(arguments.timeout, watch(&mut new, &socket, offer)).await };
    match block_on(watched)? {
        Ok(Ok(None)) => {
            say(format!("process {} has replaced {before}", new.id()));
            Ok(Exit::Ok)
        }
        Ok(Ok(Some(ended))) => {
            complain(format!(
                "error: the new process ended ({ended}); process {before} goes on"
            ));
            Ok(match ended.code() {
                Some(78) => Exit::Config,
                _ => Exit::Software,
            })
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => {
            let now = app::process_at(&socket);
            if now != Some(before) {
                complain(format!(
                    "error: after {limit} process {before} offers its sockets no longer, and the new one ({}) does not yet: see its log",
                    new.id()
                ));
                return Ok(Exit::No);
            }
            // it serves nothing yet; its failure to end would be the system's
            let _ = new.kill();
            let _ = new.wait();
            complain(format!(
                "error: the new process was not ready after {limit}; process {before} goes on"
            ));
            Ok(Exit::No)
        }
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1)..=Duration::from_secs(3600))
}

/// Until the new process offers its sockets, or has ended.
async fn watch(
    new: &mut Child,
    socket: &Path,
    before: Option<Identity>,
) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(ended) = new.try_wait()? {
            return Ok(Some(ended));
        }
        let replaced =
            identity(socket) != before && app::process_at(socket) == i32::try_from(new.id()).ok();
        if replaced {
            return Ok(None);
        }
        tokio::time::sleep(EVERY).await;
    }
}

type Identity = (u64, u64, i64, i64);

/// Another file is there as soon as another process offers its sockets.
fn identity(socket: &Path) -> Option<Identity> {
    let file = fs::metadata(socket).ok()?;
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}
