//! `itwin-auth-proxy probe`: for containers whose image has no other program to ask with.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};

use super::{Exit, asking::Whom, block_on, complain, duration};

/// Ask the running proxy's admin listener whether it is ready.
///
/// Exit code 0: yes; 1: no, or nothing answers; 78: the configuration does not
/// say where it is.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// What to ask for.
    #[arg(value_enum, default_value_t = What::Ready)]
    what: What,
    /// How long to wait for the answer: seconds, or with a unit, 1s to 1m.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = limit)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// It can serve calls.
    Ready,
    /// It works at all.
    Live,
    /// It has started.
    Startup,
}

impl What {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/ready",
            Self::Live => "/live",
            Self::Startup => "/startup",
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    match block_on(asked.send(Method::GET, arguments.what.path(), arguments.timeout))? {
        Ok((StatusCode::OK, _)) => Ok(Exit::Ok),
        Ok((status, text)) => {
            complain(format!("{status} {}", text.trim_end()));
            Ok(Exit::No)
        }
        Err(reason) => {
            complain(format!("error: {asked} cannot be asked: {reason}"));
            Ok(Exit::No)
        }
    }
}

fn limit(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1)..=Duration::from_secs(60))
}
