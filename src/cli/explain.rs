//! `itwin-auth-proxy explain METHOD URL`: what would happen to a call.

use clap::Args;
use http::{Method, Uri};

use super::{Configuration, Exit, complain, say};
use crate::app::{self, Verdict};

/// Say what would happen to a call: which route, who may, which token, what is sent where.
///
/// Sends nothing. Exit code 1 when no route takes the call.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// The method, such as GET.
    method: String,
    /// The URL as the caller would write it, or as the upstream has it; without a host it is a path.
    url: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let method =
        Method::from_bytes(arguments.method.to_ascii_uppercase().as_bytes()).map_err(|_| {
            complain("error: this is not a method");
            Exit::Usage
        })?;
    let url: Uri = arguments.url.parse().map_err(|error| {
        complain(format!("error: this is not a URL: {error}"));
        Exit::Usage
    })?;
    let loaded = arguments.configuration.load()?;
    let explanation = app::explain(&loaded.config, &method, &url);
    let width = explanation.lines.iter().map(|(name, _)| name.len()).max();
    for (name, text) in &explanation.lines {
        let width = width.unwrap_or_default() + 1;
        say(format!("{:width$} {text}", format!("{name}:")));
    }
    Ok(match explanation.verdict {
        Verdict::Served => Exit::Ok,
        Verdict::Refused => Exit::No,
    })
}
