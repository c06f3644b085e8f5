//! `itwin-auth-proxy reload`: another configuration for the process that runs.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{
    Exit,
    asking::{Whom, disobeyed},
    block_on, complain, say,
};

/// New credentials are given time to have their tokens.
const ANSWER: Duration = Duration::from_secs(60);

/// Have a running proxy read its configuration again.
///
/// It is taken whole or not at all. Requests that are under way end as they began, and connections stay, but for
/// those of listeners that are no longer there. Some keys hold as long as a process runs; the answer names
/// them, and `upgrade` changes them, too. It needs the admin socket, or the admin key in both
/// configurations; without either, send SIGHUP. Exit code 0: it runs with what is written now; 1: it
/// refuses it, and goes on as before; 69: nothing answers; 77: it does not allow it; 78: the configuration does not
/// say where it is.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let answer = block_on(asked.send(Method::POST, "/reload", ANSWER))?;
    let (status, text) = answer.map_err(|reason| {
        complain(format!("error: the proxy cannot be asked: {reason}"));
        Exit::Unavailable
    })?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if status.is_success() {
        for change in answer["difference"].as_array().into_iter().flatten() {
            say(change.as_str().unwrap_or_default());
        }
        say(match answer["result"].as_str() {
            Some("unchanged") => "nothing has changed",
            _ => "the proxy runs with this configuration now",
        });
        return Ok(Exit::Ok);
    }
    let exit = disobeyed(status, &text);
    if exit == Exit::NotPermitted {
        complain(
            "hint: as its user or root, where the configuration has an admin.socket; with the key, where \
             both configurations have an admin.key; or SIGHUP (kill -HUP and the process's number)",
        );
    }
    Ok(exit)
}
