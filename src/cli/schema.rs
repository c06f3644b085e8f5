//! `itwin-auth-proxy schema`: the configuration's definition, for editors and readers.

use clap::Args;

use super::{Exit, output};
use crate::config::reference;

/// Print the JSON schema of the configuration file, for editors.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the reference page (Markdown) instead.
    #[arg(long)]
    reference: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let text = if arguments.reference {
        reference::markdown()
    } else {
        reference::json_schema()
    };
    output::pour(&text);
    Ok(Exit::Ok)
}
