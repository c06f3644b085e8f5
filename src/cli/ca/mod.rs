//! `itwin-auth-proxy ca`: the authority of an interception, from its making to those who trust it.

mod export;
mod init;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{Configuration, Exit, complain, output};
use crate::config::{self, PlannedAuthority};

/// Make, look at and hand out the authority of an interception.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(init::Arguments),
    Show(show::Arguments),
    Export(export::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    match &arguments.action {
        Action::Init(arguments) => init::run(arguments),
        Action::Show(arguments) => show::run(arguments),
        Action::Export(arguments) => export::run(arguments),
    }
}

/// Which certificate.
#[derive(Debug, Args)]
struct Which {
    /// The authority's certificate [default: `interception.certificate` of the configuration].
    #[arg(value_name = "CERTIFICATE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    #[command(flatten)]
    configuration: Configuration,
}

impl Which {
    fn certificate(&self) -> Result<PathBuf, Exit> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let planned = planned(&self.configuration)?.ok_or_else(|| {
            complain(
                "error: the configuration has no `interception`; name the certificate, as in `ca.crt`",
            );
            Exit::Usage
        })?;
        Ok(planned.files.certificate)
    }
}

/// What the configuration says of the authority; its problems are shown.
fn planned(configuration: &Configuration) -> Result<Option<PlannedAuthority>, Exit> {
    config::planned_authority(configuration.sources()).map_err(|problems| {
        complain(problems.render(output::rendering()).trim_end());
        Exit::Config
    })
}
