//! `itwin-auth-proxy completions`: what a shell offers after TAB.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Exit, output};

/// Print completions for a shell.
///
/// For bash: itwin-auth-proxy completions bash > /etc/bash_completion.d/itwin-auth-proxy
#[derive(Debug, Args)]
pub(super) struct Arguments {
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let mut text = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "itwin-auth-proxy", &mut text);
    output::pour(&String::from_utf8_lossy(&text));
    Ok(Exit::Ok)
}
