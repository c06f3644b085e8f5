//! `itwin-auth-proxy login`: a person signs in, and the sign-in is kept.

mod browser;
mod browsing;
pub(super) mod client;
mod device;
mod loopback;
mod page;
mod qr;
mod typed;
mod waiting;

use std::{sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use tokio::{task::spawn_blocking, time::sleep};
use url::Url;

pub(super) use self::browser::Browser;
use self::{
    browsing::{Means, SignedIn},
    client::{Client, Refused},
    page::Page,
};
use super::{Configuration, Exit, block_on, complain, duration, named, output::chain};
use crate::{
    config::{Credential, Login, LoopbackHost, Redirect},
    oauth::Issued,
    secret::Secret,
    shutdown::{Shutdown, Stage},
    tokens::kept::{Kept, KeptError, Keyring, Place, Record, Wanted, Who},
    verify::SentNonce,
};

/// Sign in as a person; the proxy and `token` then use that sign-in.
///
/// The browser opens the provider's page and comes back to an address of this machine. What is kept
/// goes to the system's keyring, or to a sealed file where there is none. Exit code 1: the sign-in
/// was declined; 130: cancelled.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    which: named::Which,
    /// Do not open a browser: the address is shown, and the last address of the browser, on whatever
    /// machine, is pasted here.
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Sign in on another device, by a code.
    #[arg(long)]
    device: bool,
    /// Where the sign-in is kept.
    #[arg(long, value_enum, default_value_t = Keep::Auto)]
    keep: Keep,
    /// The redirect URI that is registered, such as `http://localhost:3000/signin-callback`
    /// [default: as configured].
    #[arg(long, value_name = "URI", value_parser = redirect)]
    redirect: Option<Redirect>,
    /// Who is to sign in, for the provider's page: a name or an address.
    #[arg(long, value_name = "NAME")]
    login_hint: Option<String>,
    /// What the provider's page is to ask: `login`, `consent`, `select_account`.
    #[arg(long, value_name = "WORDS")]
    prompt: Option<String>,
    /// How long to wait for the person.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    timeout: Duration,
}

/// Where a sign-in is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Keep {
    /// In the keyring if there is one, otherwise in a file.
    Auto,
    /// In the system's keyring.
    Keyring,
    /// In a sealed file.
    File,
}

impl From<Keep> for Wanted {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Auto => Self::Any,
            Keep::Keyring => Self::Keyring,
            Keep::File => Self::File,
        }
    }
}

/// How somebody signed in, and where that is still to be told.
struct Granted {
    issued: Issued,
    who: Who,
    page: Option<loopback::Callback>,
}

fn patience(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1)..=Duration::from_secs(3600))
}

fn redirect(text: &str) -> Result<Redirect, String> {
    let not =
        "an address of this machine is allowed, such as http://localhost:3000/signin-callback";
    let url = Url::parse(text).map_err(|_| not.to_owned())?;
    let host = match (url.scheme(), url.host_str()) {
        ("http", Some("localhost")) => LoopbackHost::Name,
        ("http", Some("127.0.0.1")) => LoopbackHost::V4,
        ("http", Some("[::1]")) => LoopbackHost::V6,
        _ => return Err(not.into()),
    };
    if url.query().is_some() || url.fragment().is_some() || url.port() == Some(0) {
        return Err(not.into());
    }
    Ok(Redirect {
        host,
        ports: url.port().into_iter().collect(),
        path: url.path().to_owned(),
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let config = arguments.configuration.load()?.config;
    let (credential, login) = arguments.which.kept(&config)?;
    let kept = Kept::of(credential, login, &Keyring::default());
    // before anybody signs in: what could not be kept would be lost
    let place = kept.examine(arguments.keep.into()).map_err(|error| {
        complain(format!("error: a sign-in could not be kept: {error}"));
        Exit::CannotCreate
    })?;
    let shutdown = Shutdown::new();
    block_on(async {
        let ended = sign_in(arguments, credential, login, &kept, place, &shutdown).await;
        // pages that are on their way still arrive
        shutdown.advance(Stage::Soft);
        shutdown.finished().await;
        ended
    })?
}

async fn sign_in(
    arguments: &Arguments,
    credential: &Arc<Credential>,
    login: &Login,
    kept: &Kept,
    place: Place,
    shutdown: &Shutdown,
) -> Result<Exit, Exit> {
    let client = Client::connect(credential)
        .await
        .map_err(|error| refused(credential, &error))?;
    let granted = ask(arguments, &client, login, shutdown).await?;
    let Granted { issued, who, page } = granted;
    let ended = keep(arguments, &client, kept, place, &issued, who).await;
    if let Some(page) = page {
        page.end(match &ended {
            Ok(_) => Page::done(),
            Err(_) => Page::failed("The sign-in could not be kept"),
        });
    }
    let record = ended?;
    report(arguments, credential, &record, &issued, kept);
    Ok(Exit::Ok)
}

fn refused(credential: &Credential, error: &Refused) -> Exit {
    let issuer = &credential.provider.issuer;
    complain(format!("error: {issuer}: {}", chain(error)));
    if let Refused::Secret(_) = error {
        return Exit::Config;
    }
    complain(
        "hint: is that the provider, and does it answer from here? ITWIN_ISSUER or providers in the configuration name \
         another; itwin-auth-proxy check --live asks it",
    );
    Exit::Unavailable
}

async fn ask(
    arguments: &Arguments,
    client: &Client,
    login: &Login,
    shutdown: &Shutdown,
) -> Result<Granted, Exit> {
    let (issued, nonce, page) = if arguments.device {
        (
            device::sign_in(client, arguments.timeout).await?,
            None,
            None,
        )
    } else {
        let means = if arguments.no_browser {
            Means::Address
        } else {
            Means::Browser
        };
        let redirect = arguments.redirect.as_ref().unwrap_or(&login.redirect);
        let extra = parameters(arguments, &client.credential);
        let limit = arguments.timeout;
        let signed_in = browsing::sign_in(client, redirect, means, &extra, limit, shutdown).await?;
        let SignedIn {
            issued,
            nonce,
            page,
        } = signed_in;
        (issued, Some(nonce), page)
    };
    let sent = nonce.as_deref().map_or(SentNonce::None, SentNonce::Was);
    let now = client.clock.now();
    match client.who(&issued, sent, now).await {
        Ok(who) => Ok(Granted { issued, who, page }),
        Err(error) => {
            if let Some(page) = page {
                page.end(Page::failed("The provider does not prove who signed in"));
            }
            Err(refused(&client.credential, &error))
        }
    }
}

/// What goes with the authorization request, besides what it has itself.
fn parameters(arguments: &Arguments, credential: &Credential) -> Vec<(String, String)> {
    let mut all = Vec::new();
    // OpenID Connect Core section 11: without consent it may be left out
    if credential.scopes.contains("offline_access") {
        all.push(("prompt".to_owned(), "consent".to_owned()));
    }
    let configured = credential.extra.iter();
    all.extend(configured.map(|(name, value)| (name.clone(), value.clone())));
    let given = [
        ("prompt", &arguments.prompt),
        ("login_hint", &arguments.login_hint),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            all.push((name.to_owned(), value.clone()));
        }
    }
    all
}

/// Keeps it; revokes what could not be kept, so that nothing is left over.
async fn keep(
    arguments: &Arguments,
    client: &Client,
    kept: &Kept,
    place: Place,
    issued: &Issued,
    who: Who,
) -> Result<Record, Exit> {
    let Some(token) = issued.refresh.clone() else {
        complain(format!(
            "error: {} gave no refresh token, so that there is nothing to keep",
            client.credential.provider.issuer
        ));
        complain(
            "hint: the client must be allowed to ask for the scope offline_access, and the configuration must have it in \
             `scopes`",
        );
        return Err(Exit::No);
    };
    let wanted = match place {
        Place::Keyring => arguments.keep.into(),
        Place::File => Wanted::File,
    };
    match store(kept, client, &token, who, wanted).await {
        Ok(record) => Ok(record),
        Err(error) => {
            complain(format!("error: the sign-in cannot be kept: {error}"));
            match client.revoke(&token).await {
                Ok(()) => complain("It was revoked at the provider. Mend this, and sign in again."),
                Err(error) => {
                    complain(format!("It could not be revoked either: {}", chain(&error)));
                }
            }
            Err(Exit::CannotCreate)
        }
    }
}

/// As the only owner. A keyring that refuses after all is no reason to lose a sign-in.
async fn store(
    kept: &Kept,
    client: &Client,
    token: &Secret,
    who: Who,
    wanted: Wanted,
) -> Result<Record, KeptError> {
    let _owner = own(kept, client).await?;
    let (kept, token) = (kept.clone(), token.clone());
    let task = spawn_blocking(move || match kept.keep(&token, who.clone(), wanted) {
        Err(KeptError::Keyring(error)) if wanted == Wanted::Any => {
            complain(format!("warning: {error}; a sealed file is used instead"));
            kept.keep(&token, who, Wanted::File)
        }
        other => other,
    });
    // the task does not panic, and nobody aborts it
    task.await.unwrap_or(Err(KeptError::Seal))
}

/// Waits for a renewal that is under way in another process, as long as one may take.
pub(super) async fn own(
    kept: &Kept,
    client: &Client,
) -> Result<crate::tokens::kept::Lock, KeptError> {
    let limit = client.credential.provider.timeouts.total * 2;
    let ends = client.clock.now().plus(limit);
    loop {
        let trying = kept.clone();
        let tried = spawn_blocking(move || trying.try_lock());
        match tried.await.unwrap_or(Ok(None))? {
            Some(lock) => return Ok(lock),
            None if ends.passed(client.clock.now()) => return Err(kept.busy()),
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}

fn report(
    arguments: &Arguments,
    credential: &Credential,
    record: &Record,
    issued: &Issued,
    kept: &Kept,
) {
    let name = record.who.name.as_ref().or(record.who.subject.as_ref());
    let name = name.map_or("somebody whom the provider does not name", String::as_str);
    let place = match record.place {
        Place::Keyring => "the system's keyring".to_owned(),
        Place::File => format!("{} (sealed)", kept.sealed_file().display()),
    };
    let life = Duration::from_secs(issued.life.as_secs());
    complain(format!(
        "Signed in as {name}\n  at       {}\n  for      {}\n  kept in  {place}\n  until    you log out or the \
         provider ends it; access tokens live {} and are renewed\n",
        credential.provider.issuer,
        record.who.scopes,
        humantime::format_duration(life)
    ));
    let missing = issued.scopes.as_ref();
    let missing = missing.map(|granted| granted.missing(&credential.scopes));
    if let Some(missing) = missing.filter(|missing| !missing.is_empty()) {
        complain(format!("Not granted: {missing}\n"));
    }
    // as it can be copied
    let file = arguments.configuration.named();
    let file = file.map_or_else(String::new, |file| format!(" --config {}", file.display()));
    let program = "itwin-auth-proxy";
    complain(format!(
        "{program} run{file} serves it, {program} token {name}{file} prints an access token, {program} logout {name}{file} ends it.",
        name = credential.name
    ));
}
