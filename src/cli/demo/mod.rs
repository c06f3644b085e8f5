//! `itwin-auth-proxy demo`: the mock servers, the proxy in front of them, and an agent whose calls
//! show what the proxy does; then everything stays up to be tried by hand.
//!
//! The proxy is started as `run` starts it, configured by the variables of the environment form.
//! Nothing is printed that was not observed; where an observation is not what the story promises, it
//! is marked, and `--once` ends with exit code 1.

mod agent;
mod browser;
mod guard;
mod legacy;
mod network;
mod screen;
mod story;
mod wire;

use std::time::Duration;

use clap::Args;

use self::{
    agent::Agent,
    legacy::Place,
    screen::Screen,
    story::{LIFETIME, Story},
};
use super::{
    Exit, complain, output,
    sandbox::{environment, interrupted, runtime},
};
use crate::{
    app::{self, Running, Seams},
    clock::Clock,
    config::{self, Sources},
    sandbox::{Sandbox, SandboxConfig, SigningAlgorithm},
    shutdown::Stage,
    telemetry::RequestLog,
};

/// Watch the proxy work, against mock servers: half a minute, nothing to set up.
///
/// Afterwards all of it stays up, to be called by hand, until Ctrl-C.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a flag of a command line is one"
)]
pub(super) struct Arguments {
    /// Let the proxy listen on this port [default: a free one].
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// End after the story; exit code 1 if not all went as told.
    #[arg(long, visible_alias = "exit")]
    once: bool,
    /// Software that nobody will change, instead: old agents, `HTTPS_PROXY`, connections that the
    /// kernel redirects where network namespaces can be made. Ends after the story.
    #[arg(long, conflicts_with = "port")]
    legacy: bool,
    /// People who sign in, instead: a page that calls iModelHub without a token, to be opened with your
    /// browser, and what happens then. With `--once`, a browser without a screen does it all.
    #[arg(long, conflicts_with = "legacy")]
    browser: bool,
    /// Open that page with your browser.
    #[arg(long, requires = "browser", conflicts_with = "once")]
    open: bool,
    /// In a network namespace that was made for it.
    #[arg(long, hide = true, requires = "legacy")]
    inside: bool,
}

/// Lifetime of the tokens that are tried by hand.
const LIFETIME_AFTERWARDS: Duration = Duration::from_secs(60);

/// Runs until the story is told, or until Ctrl-C.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    if arguments.browser {
        return runtime()?.block_on(browser::demonstrate(arguments));
    }
    if !arguments.legacy {
        return runtime()?.block_on(demonstrate(arguments));
    }
    let place = if arguments.inside {
        Place::Network
    } else {
        // does not return where it can
        Place::Machine(network::enter())
    };
    runtime()?.block_on(legacy::demonstrate(&place))
}

async fn demonstrate(arguments: &Arguments) -> Result<Exit, Exit> {
    let sandbox = Sandbox::start(SandboxConfig {
        token_lifetime: LIFETIME,
        signing: SigningAlgorithm::Rs256,
        ..SandboxConfig::default()
    })
    .await
    .map_err(|error| failed("the mock servers cannot be started", &error))?;
    let proxy = start_proxy(&sandbox, arguments.port)?;
    let address = proxy.listeners().first().cloned().unwrap_or_default();
    let url = format!("http://{address}");

    let mut screen = Screen::new();
    introduce(&mut screen, &sandbox, &url);
    let clock = Clock::system();
    let agent =
        Agent::new(clock.clone()).map_err(|error| failed("the agent cannot be started", &error))?;
    let mut story = Story {
        sandbox: &sandbox,
        agent,
        clock,
        proxy: url.clone(),
        screen: &mut screen,
    };
    let no_signals = |error: &std::io::Error| failed("signals cannot be received", error);
    let told = tokio::select! {
        told = story.tell() => {
            told.map_err(|error| failed("the mock servers do not do as told", &error))?;
            true
        }
        interrupted = interrupted() => {
            interrupted.map_err(|error| no_signals(&error))?;
            false
        }
    };
    if told && !arguments.once {
        sandbox.faults().token_lifetime(LIFETIME_AFTERWARDS);
        invite(&mut screen, &sandbox, &url);
        interrupted().await.map_err(|error| no_signals(&error))?;
    }
    proxy.shutdown().advance(Stage::Hard);
    // waits for threads; nothing else has to go on meanwhile but the servers they may be talking to
    let _ = tokio::task::spawn_blocking(move || proxy.wait()).await;
    Ok(match screen.otherwise() {
        0 => Exit::Ok,
        _ => Exit::No,
    })
}

/// The proxy, as the environment form configures it.
fn start_proxy(sandbox: &Sandbox, port: u16) -> Result<Running, Exit> {
    let bind = format!("127.0.0.1:{port}");
    let environment = environment(sandbox);
    let variables = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain([("ITWIN_BIND", bind.as_str())]);
    let loaded = config::load(Sources::variables(variables)).map_err(|problems| {
        complain(problems.render(output::rendering()).trim_end());
        Exit::Software
    })?;
    let mut config = loaded.config;
    // probes and metrics have a place of their own; here any will do
    config.admin = Some(([127, 0, 0, 1], 0).into());
    app::start(config, Seams::system(RequestLog::off()))
        .map_err(|error| failed("the proxy cannot be started", &error))
}

fn failed(what: &str, error: &dyn std::error::Error) -> Exit {
    complain(format!("error: {what}: {}", output::chain(error)));
    Exit::Unavailable
}

fn introduce(screen: &mut Screen, sandbox: &Sandbox, proxy: &str) {
    screen.line("**itwin-auth-proxy**: an agent that knows nothing of OAuth calls iModelHub");
    screen.line("");
    screen.line(format_args!(
        "   agent ──▶ **proxy** {proxy} ──▶ mock iModelHub {}",
        sandbox.hub()
    ));
    screen.line(format_args!(
        "               └─▶ mock authorization server {}, its tokens live {} s",
        sandbox.issuer(),
        LIFETIME.as_secs(),
    ));
}

fn invite(screen: &mut Screen, sandbox: &Sandbox, proxy: &str) {
    let (itwin, hub) = (sandbox.itwin_id(), sandbox.hub());
    screen.line("");
    screen.line(
        "All of it stays up. Call it yourself; stop its authorization server, and call again:",
    );
    screen.line("");
    screen.line(format_args!(
        "   **curl '{proxy}/imodels?iTwinId={itwin}&$top=2'**"
    ));
    screen.line(format_args!(
        "   **curl -d '{{\"idp_door\":\"refuse\"}}' {hub}/__faults**"
    ));
    screen.line("");
    screen.dim("Ctrl-C ends it.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_the_calls_fail_the_story_says_so() {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let clock = Clock::system();
        let mut screen = Screen::new();
        let mut story = Story {
            sandbox: &sandbox,
            agent: Agent::new(clock.clone()).unwrap(),
            clock,
            // nobody adds a token
            proxy: sandbox.hub().to_owned(),
            screen: &mut screen,
        };
        story.tell().await.unwrap();
        assert_eq!(screen.otherwise(), 2, "neither calls nor token");
    }
}
