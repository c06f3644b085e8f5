//! `itwin-auth-proxy doctor`: everything that can be found out, each line with a way to mend it.

use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::json;

use super::{
    Configuration, Exit,
    asking::{self, Asked},
    block_on,
    checkup::{
        self, Check, Contacts, Finding, Progress, Verdict, files, listeners, process, rules,
    },
    output, say,
};
use crate::{
    clock::Clock,
    config::{self, Loaded, Place, Problems, Severity, source::ProxyVariables},
};

/// Find out what is wrong: configuration, files, network, providers, tokens, services, the process.
///
/// Looks at what the configuration names and contacts it, as the proxy would: names, certificates, clocks, metadata, a
/// token for each credential with its scopes, upstreams, one harmless call with each token; and asks the
/// process that runs, if there is one. Nothing is changed; tokens are thrown away. Exit code 0: nothing failed; 1: something did; 78: the configuration is wrong.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// The admin listener of the process that runs, as in 127.0.0.1:9901, or its socket's path [default: as configured].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<asking::Place>,
    /// Contact nobody.
    #[arg(long)]
    offline: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let loaded = config::load(arguments.configuration.sources());
    let findings = block_on(examine(arguments, &loaded))?;
    let failures = checkup::count(&findings, Verdict::Failure);
    let warnings = checkup::count(&findings, Verdict::Warning);
    if arguments.json {
        let verdict = [Verdict::Failure, Verdict::Warning]
            .into_iter()
            .find(|one| checkup::count(&findings, *one) > 0)
            .unwrap_or(Verdict::Ok);
        let all: Vec<_> = findings.iter().map(Finding::to_json).collect();
        let answer = json!({
            "verdict": verdict.word(),
            "failures": failures,
            "warnings": warnings,
            "findings": all,
        });
        say(format!("{answer:#}"));
    } else {
        say(format!("\n{}", summary(findings.len(), failures, warnings)));
    }
    Ok(match (&loaded, failures) {
        (Err(_), _) => Exit::Config,
        (Ok(_), 0) => Exit::Ok,
        (Ok(_), _) => Exit::No,
    })
}

async fn examine(arguments: &Arguments, loaded: &Result<Loaded, Problems>) -> Vec<Finding> {
    let clock = Clock::system();
    let contacts = Contacts::new();
    let mut checks = vec![
        at_once("configuration", configuration(loaded)),
        at_once(
            "environment",
            listeners::environment(&ProxyVariables::process()),
        ),
    ];
    if let Ok(loaded) = loaded {
        checks.push(at_once("files", files::findings(loaded, clock.now().wall)));
        let config = &loaded.config;
        checks.push(at_once("listeners", listeners::findings(config)));
        checks.push(at_once("rules", rules::findings(config)));
        if !arguments.offline {
            checks.extend(contacts.checks(config));
        }
    }
    let admin = match loaded {
        Ok(loaded) => Some(loaded.config.asked_at()),
        // a process may run whose file has become wrong since
        Err(_) => config::admin(&arguments.configuration.sources()),
    };
    let asked = match (&arguments.admin, admin) {
        _ if arguments.offline => None,
        (Some(place), admin) => Some(Asked::named(place.clone(), admin)),
        (None, admin) => admin.as_ref().and_then(Asked::configured),
    };
    if let Some(asked) = asked {
        let work = async move {
            let config = loaded.as_ref().ok().map(|loaded| &loaded.config);
            let (mut found, keys) = tokio::join!(process::examine(&asked, config), async {
                match config {
                    Some(config) => process::keys(&asked, config).await,
                    None => Vec::new(),
                }
            });
            found.extend(keys);
            found
        };
        checks.push(Check::new("process", "the process", work));
    }
    let tell = teller(arguments);
    let found = checkup::run(checks, tell).await;
    contacts.end().await;
    found
}

fn at_once(kind: &'static str, findings: Vec<Finding>) -> Check<'static> {
    Check::new(kind, kind, async { findings })
}

/// Tells people what is found while it is; a program is told at the end.
fn teller(arguments: &Arguments) -> impl Fn(Progress<'_>) + use<> {
    let (json, terminal) = (arguments.json, io::stdout().is_terminal());
    let colours = output::colours(&io::stdout());
    move |progress| match progress {
        _ if json => {}
        // a line that the finding takes the place of
        Progress::Asking(what) if terminal => output::hint(&format!("\r\x1b[K…        {what}")),
        Progress::Asking(_) => {}
        Progress::Found(finding) => {
            if terminal {
                output::hint("\r\x1b[K");
            }
            say(finding.render(|verdict, word| output::painted(verdict.colour(), word, colours)));
        }
    }
}

fn configuration(loaded: &Result<Loaded, Problems>) -> Vec<Finding> {
    let problems = match loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let mut all: Vec<Finding> = problems
        .iter()
        .map(|problem| {
            let origin = problem.origin.as_ref().map(Place::to_string);
            let what = [Some(problem.path.clone()), origin];
            let what: Vec<String> = what.into_iter().flatten().collect();
            let what = format!("configuration {}", what.join(" "));
            let remedy = problem.hint.clone();
            let seen = problem.text.clone();
            let verdict = match problem.severity {
                Severity::Warning => Verdict::Warning,
                Severity::Error => Verdict::Failure,
            };
            Finding {
                verdict,
                remedy,
                ..Finding::ok("configuration", what.trim_end(), seen)
            }
        })
        .collect();
    if let Ok(loaded) = loaded {
        let config = &loaded.config;
        let seen = format!(
            "it can run: {}, {}, {}",
            output::count(config.listeners.len(), "listener"),
            output::count(config.routes.len(), "route"),
            output::count(config.credentials.len(), "credential")
        );
        all.insert(0, Finding::ok("configuration", "configuration", seen));
    }
    all
}

fn summary(all: usize, failures: usize, warnings: usize) -> String {
    match (failures, warnings) {
        (0, 0) => format!("all is well: {all} lines"),
        (0, warnings) => format!(
            "nothing failed; of {all} lines {}",
            are(warnings, "warning")
        ),
        (failures, 0) => format!("of {all} lines {}", are(failures, "failure")),
        (failures, warnings) => {
            let (failures, warnings) = (are(failures, "failure"), are(warnings, "warning"));
            format!("of {all} lines {failures}, and {warnings}")
        }
    }
}

fn are(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 is a {what}"),
        more => format!("{more} are {what}s"),
    }
}
