//! `itwin-auth-proxy token`: one access token, for scripts.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use http::Method;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Configuration, Exit,
    asking::{Whom, disobeyed},
    block_on, complain,
    named::Which,
    output::chain,
    say,
};
use crate::{
    clock::Clock,
    config::{Credential, ScopeSet},
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    tokens::TokenService,
    trace::Tracer,
};

/// A fetch may wait for the provider's metadata, and for another credential's token.
const ANSWER: Duration = Duration::from_secs(90);

/// Fetch an access token and print it on standard output; its remaining life goes to standard error.
///
/// It is a secret: whoever has it acts as the client, or as the person who signed in, until it
/// expires. With refresh_token_file it may use up the refresh token that a running proxy holds: do
/// not use it beside one. A sign-in by login can be shared.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::doc_markdown, reason = "the text is for the terminal")]
pub(super) struct Arguments {
    #[command(subcommand)]
    order: Option<Order>,
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    which: Which,
    /// Other scopes than the credential's.
    #[arg(long, alias = "scope", value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Print the whole header's value, `Bearer …`.
    #[arg(long)]
    header: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    Refresh(Refresh),
}

/// Have a running proxy fetch another token for a credential now.
///
/// The old one is served until the new one is there, and goes on when there is none. It needs the admin
/// socket, or the admin key in both configurations. Exit code 0: there is a new one; 1: there is none, or no such
/// credential; 69: nothing answers; 77: it does not allow it; 78: the configuration does not
/// say where it is.
#[derive(Debug, Args)]
struct Refresh {
    #[command(flatten)]
    whom: Whom,
    /// The credential's name in the configuration that runs.
    credential: String,
}

fn refresh(arguments: &Refresh) -> Result<Exit, Exit> {
    let asked = arguments.whom.find()?;
    let body = json!({ "credential": arguments.credential }).to_string();
    let answered = asked.send_with(Method::POST, "/tokens/refresh", body.into(), ANSWER);
    let (status, text) = block_on(answered)?.map_err(|reason| {
        complain(format!("error: {asked} cannot be asked: {reason}"));
        Exit::Unavailable
    })?;
    if !status.is_success() {
        return Ok(disobeyed(status, &text));
    }
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    for one in said["refreshed"].as_array().into_iter().flatten() {
        let of = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let (scopes, expires) = (of("scopes"), of("expires"));
        say(format!(
            "{} ({scopes}): valid until {expires}",
            arguments.credential
        ));
    }
    Ok(Exit::Ok)
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    if let Some(Order::Refresh(order)) = &arguments.order {
        return refresh(order);
    }
    let config = arguments.configuration.load()?.config;
    let credential = arguments.which.any(&config)?;
    let scopes = if arguments.scopes.is_empty() {
        credential.scopes.clone()
    } else {
        ScopeSet::new(&arguments.scopes)
    };
    if credential.grant.flow().is_some() {
        complain(format!(
            "error: {} signs people in with a browser, and nobody has their tokens but their sessions; a credential with grant: refresh_token is for a person at a desk, who signs in with `itwin-auth-proxy login`",
            credential.name
        ));
        return Ok(Exit::Usage);
    }
    let (header, life) = block_on(fetch(credential, &scopes))?.map_err(|error| {
        complain(format!("error: {}: {error}", credential.provider.issuer));
        Exit::Unavailable
    })?;
    let token = if arguments.header {
        header.as_str()
    } else {
        header.strip_prefix("Bearer ").unwrap_or(&header)
    };
    say(token);
    let life = Duration::from_secs(life.as_secs());
    complain(format!("valid for {}", humantime::format_duration(life)));
    Ok(Exit::Ok)
}

async fn fetch(
    credential: &Arc<Credential>,
    scopes: &ScopeSet,
) -> Result<(String, Duration), String> {
    let clock = Clock::system();
    let shutdown = Shutdown::new();
    let tokens = TokenService::start(
        clock.clone(),
        Arc::new(Metrics::new()),
        Tracer::off(),
        &shutdown,
        None,
        StdRng::from_os_rng(),
    );
    let got = tokens
        .handle(credential, scopes)
        .get(Duration::ZERO, credential.patience())
        .await;
    shutdown.advance(Stage::Hard);
    shutdown.finished().await;
    let ready = got.map_err(|error| chain(&error))?;
    let text = ready.header().to_str().map_err(|error| error.to_string())?;
    Ok((text.to_owned(), ready.expires().remaining(clock.now())))
}
