//! `itwin-auth-proxy schema`: the configuration's definition, for editors and readers.

use clap::Args;

use super::{Exit, output};
use crate::{config::reference, handbook, metrics};

/// Print the JSON schema of the configuration file, for editors, or another definition.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag, one at a time"
)]
pub(super) struct Arguments {
    /// Print the reference page (Markdown) instead.
    #[arg(long, group = "what")]
    reference: bool,
    /// Print what codes mean and what to do (Markdown) instead.
    #[arg(long, group = "what")]
    troubleshooting: bool,
    /// Print the page about the metrics (Markdown) instead.
    #[arg(long, group = "what")]
    metrics: bool,
    /// Print the dashboard for Grafana (JSON) instead.
    #[arg(long, group = "what")]
    dashboard: bool,
    /// Print the alert rules for Prometheus (YAML) instead.
    #[arg(long, group = "what")]
    alerts: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let text = if arguments.reference {
        reference::markdown()
    } else if arguments.troubleshooting {
        handbook::markdown()
    } else if arguments.metrics {
        metrics::reference::markdown()
    } else if arguments.dashboard {
        metrics::dashboard::json()
    } else if arguments.alerts {
        metrics::alerts::yaml()
    } else {
        reference::json_schema()
    };
    output::pour(&text);
    Ok(Exit::Ok)
}
