//! `itwin-auth-proxy logout`: a sign-in is revoked at the provider (RFC 7009), and forgotten here.

use std::sync::Arc;

use clap::Args;

use super::{
    Configuration, Exit, block_on, complain,
    login::{
        client::{Client, Refused},
        own,
    },
    named::{Which, all_kept},
    output::chain,
};
use crate::{
    config::Credential,
    secret::Secret,
    tokens::kept::{Kept, KeptError, Keyring},
};

/// Sign a person out: the sign-in is revoked at the provider and forgotten here.
///
/// It is forgotten here also where the provider cannot be reached; exit code 69 then. A running proxy
/// serves the access token that it has until that expires.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    which: Which,
    /// Every sign-in of this configuration.
    #[arg(long, conflicts_with_all = ["name", "credential"])]
    all: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let config = arguments.configuration.load()?.config;
    let chosen = if arguments.all {
        all_kept(&config)
    } else {
        vec![arguments.which.kept(&config)?.0]
    };
    block_on(async {
        let mut worst = Exit::Ok;
        for credential in chosen {
            let ended = sign_out(credential).await;
            if ended != Exit::Ok {
                worst = ended;
            }
        }
        worst
    })
}

async fn sign_out(credential: &Arc<Credential>) -> Exit {
    let Some(login) = credential.grant.login() else {
        return Exit::Ok;
    };
    let kept = Kept::of(credential, login, &Keyring::default());
    let name = &credential.name;
    let client = Client::connect(credential).await;
    let _owner = match &client {
        // a renewal under way would bring a token that nobody revokes
        Ok(client) => own(&kept, client).await.ok(),
        Err(_) => None,
    };
    let token = match kept.refresh_token() {
        Ok(token) => Some(token),
        Err(KeptError::NobodySignedIn { .. }) => {
            complain(format!("{name}: nobody is signed in"));
            // what may be left of a broken one
            return forgotten(&kept, name).map_or_else(|exit| exit, |()| Exit::Ok);
        }
        Err(error) => {
            complain(format!("warning: {name}: {error}"));
            None
        }
    };
    let revoked = match &token {
        Some(token) => revoked(client, token).await,
        None => Err("its token cannot be read".into()),
    };
    if let Err(exit) = forgotten(&kept, name) {
        return exit;
    }
    match revoked {
        Ok(()) => {
            complain(format!("{name}: signed out, here and at the provider"));
            Exit::Ok
        }
        Err(why) => {
            complain(format!(
                "{name}: the sign-in is gone from this machine, but the provider was not told: {why}. It ends there by \
                 itself, or in the account's settings."
            ));
            Exit::Unavailable
        }
    }
}

async fn revoked(client: Result<Client, Refused>, token: &Secret) -> Result<(), String> {
    let client = client.map_err(|error| chain(&error))?;
    client.revoke(token).await.map_err(|error| chain(&error))
}

fn forgotten(kept: &Kept, name: &str) -> Result<(), Exit> {
    kept.forget().map_err(|error| {
        complain(format!(
            "error: {name}: the sign-in cannot be removed: {error}"
        ));
        Exit::CannotCreate
    })
}
