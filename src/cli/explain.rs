//! `itwin-auth-proxy explain METHOD URL`: what would happen to a call; `explain CODE`: what a code means.

use std::time::Duration;

use clap::Args;
use http::{Method, Uri};
use serde_json::Value;
use url::form_urlencoded;

use super::{Exit, asking::Whom, block_on, complain, meaning, say};
use crate::app::{self, Verdict};

const ANSWER: Duration = Duration::from_secs(5);

/// Say what would happen to a call, or what a code means.
///
/// Of a call: which route, who may, which token, what is sent where; nothing is sent, and the exit
/// code is 1 when no route takes it. With --live, by the configuration that a running proxy really has, which may
/// be another than the one that is written; exit code 69 when it does not answer. Of a code, a status or an exit
/// code: what it means and what to do.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Ask the running proxy.
    #[arg(long)]
    live: bool,
    /// The method, such as GET; or a code, such as `TokenUnavailable`, 503 or 78.
    #[arg(value_name = "METHOD|CODE")]
    method: String,
    /// The URL as the caller would write it, or as the upstream has it; without a host it is a path.
    url: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let Some(written) = &arguments.url else {
        return meaning::explain(&arguments.method);
    };
    let method =
        Method::from_bytes(arguments.method.to_ascii_uppercase().as_bytes()).map_err(|_| {
            complain("error: this is not a method");
            Exit::Usage
        })?;
    let url: Uri = written.parse().map_err(|error| {
        complain(format!("error: this is not a URL: {error}"));
        Exit::Usage
    })?;
    if arguments.live {
        return live(&arguments.whom, &method, written);
    }
    let loaded = arguments.whom.configuration().load()?;
    let explanation = app::explain(&loaded.config, &method, &url);
    show(
        explanation
            .lines
            .iter()
            .map(|(name, text)| (*name, text.as_str())),
    );
    Ok(match explanation.verdict {
        Verdict::Served => Exit::Ok,
        Verdict::Refused => Exit::No,
    })
}

fn live(whom: &Whom, method: &Method, url: &str) -> Result<Exit, Exit> {
    let asked = whom.find()?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("method", method.as_str())
        .append_pair("url", url)
        .finish();
    let answer = block_on(asked.send(Method::GET, &format!("/explain?{query}"), ANSWER))?;
    let (status, text) = answer.map_err(|reason| {
        complain(format!("error: the proxy cannot be asked: {reason}"));
        Exit::Unavailable
    })?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    if !status.is_success() {
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        complain(format!("error: {status}: {message}"));
        return Err(Exit::No);
    }
    let lines = answer["lines"].as_array().map(Vec::as_slice);
    show(lines.unwrap_or_default().iter().map(|line| {
        let part = |key: &str| line[key].as_str().unwrap_or_default();
        (part("name"), part("text"))
    }));
    Ok(if answer["served"] == true {
        Exit::Ok
    } else {
        Exit::No
    })
}

fn show<'l>(lines: impl Iterator<Item = (&'l str, &'l str)> + Clone) {
    let width = lines.clone().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default() + 1;
    for (name, text) in lines {
        say(format!("{:width$} {text}", format!("{name}:")));
    }
}
