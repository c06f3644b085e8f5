//! `itwin-auth-proxy token`: one access token, for scripts.

use std::{sync::Arc, time::Duration};

use clap::Args;
use rand::{SeedableRng, rngs::StdRng};

use super::{Configuration, Exit, block_on, complain, output::chain, say};
use crate::{
    clock::Clock,
    config::{Credential, ScopeSet},
    metrics::Metrics,
    shutdown::{Shutdown, Stage},
    tokens::TokenService,
};

/// Fetch an access token and print it on standard output.
///
/// It is a secret: whoever has it acts as the client until it expires. The grant refresh_token may
/// use up the refresh token that a running proxy holds; do not use it beside one.
#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the text is for the terminal")]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    /// The credential's name [default: the only one].
    credential: Option<String>,
    /// Other scopes than the credential's.
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Print the whole header's value, `Bearer …`.
    #[arg(long)]
    header: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let config = arguments.configuration.load()?.config;
    let mut all = config.credentials.values();
    let found = match &arguments.credential {
        Some(name) => config.credentials.get(name.as_str()),
        None => all.next().filter(|_| all.next().is_none()),
    };
    let Some(credential) = found else {
        let names: Vec<&str> = config.credentials.keys().map(AsRef::as_ref).collect();
        complain(format!(
            "error: name one of the credentials: {}",
            names.join(", ")
        ));
        return Ok(Exit::Usage);
    };
    let scopes = if arguments.scopes.is_empty() {
        credential.scopes.clone()
    } else {
        ScopeSet::new(&arguments.scopes)
    };
    let header = block_on(fetch(credential, &scopes))?.map_err(|reason| {
        complain(format!("error: {}: {reason}", credential.provider.issuer));
        Exit::Unavailable
    })?;
    let token = if arguments.header {
        header.as_str()
    } else {
        header.strip_prefix("Bearer ").unwrap_or(&header)
    };
    say(token);
    Ok(Exit::Ok)
}

async fn fetch(credential: &Arc<Credential>, scopes: &ScopeSet) -> Result<String, String> {
    let shutdown = Shutdown::new();
    let tokens = TokenService::start(
        Clock::system(),
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
    Ok(text.to_owned())
}
