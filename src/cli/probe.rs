//! `itwin-auth-proxy probe`: for containers whose image has no other program to ask with.

use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};

use super::{Exit, asking::Whom, block_on, complain};

/// Ask the running proxy's admin listener whether it is ready; exit code 0 if so, 1 if not.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// What to ask for.
    #[arg(value_enum, default_value_t = What::Ready)]
    what: What,
    /// Seconds to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
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
    let limit = Duration::from_secs(arguments.timeout);
    match block_on(asked.send(Method::GET, arguments.what.path(), limit))? {
        Ok((StatusCode::OK, _)) => Ok(Exit::Ok),
        Ok((status, text)) => {
            complain(format!("{status} {}", text.trim_end()));
            Ok(Exit::No)
        }
        Err(reason) => {
            complain(format!(
                "error: {} cannot be asked: {reason}",
                asked.address
            ));
            Ok(Exit::No)
        }
    }
}
