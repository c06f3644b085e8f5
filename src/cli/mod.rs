//! The command line: one file a command, and what they share.
//!
//! What a command was asked for goes to standard output, everything else to standard error. Exit
//! codes are those of `sysexits.h`. A reader that goes away (`| head`) is no failure.

mod asking;
mod audit;
mod ca;
mod check;
mod checkup;
mod completions;
mod demo;
mod doctor;
mod explain;
mod init;
mod inject;
mod log;
mod login;
mod logout;
mod man;
mod meaning;
mod named;
mod order;
mod output;
mod probe;
mod redirect;
mod reload;
mod run;
mod sandbox;
mod schema;
mod status;
mod token;
mod upgrade;
mod verify;
mod wait;

use std::{ops::RangeInclusive, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueHint, error::ErrorKind};

use self::output::{complain, say};
use crate::{
    config::{self, Loaded, Sources},
    handbook::Exit,
};

/// Gives software that knows nothing of OAuth valid access tokens for iTwin services.
///
/// The software calls this program instead of the iTwin API; the call arrives there with a token
/// that this program fetched and keeps fresh.
#[derive(Debug, Parser)]
#[command(
    name = "itwin-auth-proxy",
    version,
    arg_required_else_help = true,
    after_help = after_help()
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  itwin-auth-proxy demo
  ITWIN_CLIENT_ID=service-… ITWIN_CLIENT_SECRET_FILE=/run/secrets/itwin itwin-auth-proxy run
  itwin-auth-proxy init > itwin.yaml && itwin-auth-proxy check --config itwin.yaml";

/// What stands below the list of commands.
fn after_help() -> String {
    let codes = Exit::ALL.iter();
    let codes: Vec<String> = codes
        .map(|exit| format!("{} {}", exit.number(), exit.word()))
        .collect();
    format!("{FIRST_STEPS}\n\nExit codes: {}.", codes.join(", "))
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Run(run::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Explain(explain::Arguments),
    Login(login::Arguments),
    Logout(logout::Arguments),
    Token(token::Arguments),
    Verify(verify::Arguments),
    Init(init::Arguments),
    Ca(ca::Arguments),
    Status(status::Arguments),
    Probe(probe::Arguments),
    Wait(wait::Arguments),
    Reload(reload::Arguments),
    Log(log::Change),
    Logs(log::Read),
    Upgrade(upgrade::Arguments),
    Drain(order::Drain),
    Quit(order::Quit),
    Audit(audit::Arguments),
    Redirect(redirect::Arguments),
    Inject(inject::Arguments),
    Sandbox(sandbox::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct Configuration {
    /// The configuration file; `ITWIN_CONFIG` names it too. Other variables override it.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

impl Configuration {
    /// The file that the command line names.
    fn named(&self) -> Option<&std::path::Path> {
        self.config.as_deref()
    }

    fn sources(&self) -> Sources {
        Sources::process(self.config.clone())
    }

    /// The configuration; its problems are shown.
    fn load(&self) -> Result<Loaded, Exit> {
        match config::load(self.sources()) {
            Ok(loaded) => {
                if !loaded.warnings.is_empty() {
                    complain(loaded.warnings.render(output::rendering()).trim_end());
                }
                Ok(loaded)
            }
            Err(problems) => {
                complain(problems.render(output::rendering()).trim_end());
                Err(Exit::Config)
            }
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    ExitCode::from(ended().number())
}

fn ended() -> Exit {
    // fails only when there is one already, which is as good
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::try_parse() {
        Ok(arguments) => arguments.command.run(),
        Err(error) => {
            // help and version come as errors, and go to standard output
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
                _ => Exit::Usage,
            }
        }
    }
}

impl Command {
    fn run(&self) -> Exit {
        let ended = match self {
            Self::Demo(arguments) => demo::run(arguments),
            Self::Run(arguments) => run::run(arguments),
            Self::Explain(arguments) => explain::run(arguments),
            Self::Login(arguments) => login::run(arguments),
            Self::Logout(arguments) => logout::run(arguments),
            Self::Token(arguments) => token::run(arguments),
            Self::Verify(arguments) => verify::run(arguments),
            Self::Check(arguments) => check::run(arguments),
            Self::Doctor(arguments) => doctor::run(arguments),
            Self::Init(arguments) => init::run(arguments),
            Self::Ca(arguments) => ca::run(arguments),
            Self::Status(arguments) => status::run(arguments),
            Self::Probe(arguments) => probe::run(arguments),
            Self::Wait(arguments) => wait::run(arguments),
            Self::Reload(arguments) => reload::run(arguments),
            Self::Log(arguments) => log::level(arguments),
            Self::Logs(arguments) => log::lines(arguments),
            Self::Upgrade(arguments) => upgrade::run(arguments),
            Self::Drain(arguments) => order::drain(arguments),
            Self::Quit(arguments) => order::quit(arguments),
            Self::Audit(arguments) => audit::run(arguments),
            Self::Redirect(arguments) => redirect::run(arguments),
            Self::Inject(arguments) => inject::run(arguments),
            Self::Sandbox(arguments) => sandbox::run(arguments),
            Self::Schema(arguments) => schema::run(arguments),
            Self::Completions(arguments) => completions::run(arguments),
            Self::Man(arguments) => man::run(arguments),
        };
        ended.unwrap_or_else(|exit| exit)
    }
}

/// A runtime for what a command does itself. With it the allocator gets its thread, which gives
/// memory back that is not used: not before, because a process that confines itself has one.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    // fails where another allocator is used
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            complain(format!("error: the runtime cannot be started: {error}"));
            Exit::Software
        })
}

/// A duration of a command line: with a unit as in a configuration, or seconds.
fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let given = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    given.filter(|given| range.contains(given)).ok_or_else(|| {
        format!(
            "a number of seconds, or a number with a unit as in 90s or 2m, from {} to {} is allowed",
            humantime::format_duration(*range.start()),
            humantime::format_duration(*range.end())
        )
    })
}

/// Runs a future of a command on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Exit> {
    Ok(runtime()?.block_on(work))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_duration_is_seconds_or_has_a_unit() {
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        for (text, seconds) in [
            ("60", 60),
            ("1", 1),
            ("1m", 60),
            ("1m 30s", 90),
            ("1h", 3600),
        ] {
            let given = duration(text, range.clone());
            assert_eq!(given, Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0",
            "3601",
            "2h",
            "-1",
            "1.5",
            "soon",
            "99999999999999999999999",
        ] {
            let refused = duration(text, range.clone()).unwrap_err();
            assert!(refused.contains("from 1s to 1h"), "{refused}");
        }
    }
}
