//! `itwin-auth-proxy token`: one access token, for scripts.

use std::{sync::Arc, time::Duration};

use clap::Args;
use rand::{SeedableRng, rngs::StdRng};

use super::{Configuration, Exit, block_on, complain, named::Which, output::chain, say};
use crate::{
    clock::Clock,
    config::{Credential, ScopeSet},
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    tokens::TokenService,
};

/// Fetch an access token and print it on standard output; its remaining life goes to standard error.
///
/// It is a secret: whoever has it acts as the client, or as the person who signed in, until it
/// expires. With refresh_token_file it may use up the refresh token that a running proxy holds: do
/// not use it beside one. A sign-in by login can be shared.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the text is for the terminal")]
pub(super) struct Arguments {
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

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
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
