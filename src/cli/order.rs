//! `itwin-auth-proxy drain` and `quit`: what a script or a Job's container says when it is done.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use super::{
    Exit,
    asking::{Whom, disobeyed},
    block_on, complain, say,
};

const ANSWER: Duration = Duration::from_secs(5);

/// Have a running proxy stop as at SIGTERM.
///
/// It needs the admin socket, `admin.allow_quit` in the proxy's configuration, or the admin key in both. Exit code 0: it was told;
/// 1: it answered something else; 69: nothing answers; 77: it does not allow it; 78: the configuration
/// does not say where it is.
#[derive(Debug, Args)]
pub(super) struct Quit {
    #[command(flatten)]
    whom: Whom,
}

/// Have a running proxy report that it is not ready, and go on serving.
///
/// It needs the admin socket, `admin.allow_quit` in the proxy's configuration, or the admin key in both. Exit code 0: it was told;
/// 1: it answered something else; 69: nothing answers; 77: it does not allow it; 78: the configuration
/// does not say where it is.
#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn quit(arguments: &Quit) -> Result<Exit, Exit> {
    let said = "the proxy stops: it takes no more calls, and ends when those under way have";
    give(&arguments.whom, "/quit", said)
}

pub(super) fn drain(arguments: &Drain) -> Result<Exit, Exit> {
    let said = "the proxy is drained: it says that it is not ready, and still serves calls";
    give(&arguments.whom, "/drain", said)
}

fn give(whom: &Whom, path: &str, obeyed: &str) -> Result<Exit, Exit> {
    let asked = whom.find()?;
    match block_on(asked.send(Method::POST, path, ANSWER))? {
        Ok((StatusCode::ACCEPTED, _)) => {
            say(obeyed);
            Ok(Exit::Ok)
        }
        Ok((status, text)) => Ok(disobeyed(status, &text)),
        Err(reason) => {
            complain(format!("error: {asked} cannot be asked: {reason}"));
            Ok(Exit::Unavailable)
        }
    }
}
