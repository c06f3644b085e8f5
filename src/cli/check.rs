//! `itwin-auth-proxy check`: is the configuration right?

use std::io::{self, IsTerminal};

use clap::Args;

use super::{
    Configuration, Exit,
    checkup::{self, Contacts, Finding, Progress, Verdict},
    complain,
    output::{self, count},
    say,
};
use crate::{
    app::Workers,
    config::{self, Config},
};

/// Check the configuration: every problem with its place and a remedy.
///
/// Opens no connection unless --live is given. Exit code 0: it can run; 78: it cannot; 69: it can,
/// but with --live something could not be reached.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// Print the whole effective configuration as YAML, without secrets.
    #[arg(long)]
    print: bool,
    /// Contact every provider (discovery and a token for each credential) and every upstream; `doctor` looks at more.
    #[arg(long)]
    live: bool,
    /// Print problems as JSON, on standard output.
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    if arguments.json {
        let (config, problems) = match config::load(arguments.configuration.sources()) {
            Ok(loaded) => (Some(loaded.config), loaded.warnings),
            Err(problems) => (None, problems),
        };
        let mut answer = problems.to_json();
        let mut exit = if config.is_some() {
            Exit::Ok
        } else {
            Exit::Config
        };
        if let (true, Some(config)) = (arguments.live, &config) {
            let findings = super::block_on(contact(config, |_| {}))?;
            if checkup::count(&findings, Verdict::Failure) > 0 {
                exit = Exit::Unavailable;
            }
            answer["live"] = findings.iter().map(Finding::to_json).collect();
        }
        say(format!("{answer:#}"));
        return Ok(exit);
    }
    let loaded = arguments.configuration.load()?;
    if arguments.print {
        output::pour(&config::print::yaml(&loaded.config));
        if loaded.config.workers.is_none() {
            // a comment: it is true here, and need not be where the output is used
            say(format!("# {}", Workers::new(None)));
        }
    }
    if arguments.live {
        let terminal = io::stderr().is_terminal();
        let findings = super::block_on(contact(&loaded.config, |progress| match progress {
            // a line that the finding takes the place of
            Progress::Asking(what) if terminal => output::hint(&format!("\r\x1b[K…        {what}")),
            Progress::Asking(_) => {}
            Progress::Found(finding) => {
                if terminal {
                    output::hint("\r\x1b[K");
                }
                complain(finding.render(|verdict, word| {
                    output::painted(verdict.colour(), word, output::rendering())
                }));
            }
        }))?;
        let failed = checkup::count(&findings, Verdict::Failure);
        if failed > 0 {
            complain(format!("{failed} of {} failed", findings.len()));
            return Ok(Exit::Unavailable);
        }
    }
    if !arguments.print {
        let config = &loaded.config;
        let sources = arguments.configuration.sources();
        let overrides = sources.overrides();
        if !overrides.is_empty() && sources.file().is_some() {
            complain(format!(
                "environment variables stand over the file: {}",
                overrides.join(", ")
            ));
        }
        complain(format!(
            "the configuration is good: {}, {}, {}; {}",
            count(config.listeners.len(), "listener"),
            count(config.routes.len(), "route"),
            count(config.credentials.len(), "credential"),
            Workers::new(config.workers),
        ));
    }
    Ok(Exit::Ok)
}

async fn contact(config: &Config, tell: impl Fn(Progress<'_>)) -> Vec<Finding> {
    let contacts = Contacts::new();
    let findings = checkup::run(contacts.checks(config), tell).await;
    contacts.end().await;
    findings
}
