//! `itwin-auth-proxy sandbox`: the mock servers by themselves, until Ctrl-C.
//!
//! With `--json` one line on standard output holds every address and name, for tests in other
//! languages; the sandbox then also ends when its standard input does, so that none is left behind
//! by a test that died.

use std::{
    io::{self, Read},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{Exit, complain, output};
use crate::sandbox::{Client, Person, Sandbox, SandboxConfig, SigningAlgorithm, TokenShape};

/// Run a mock authorization server and a mock iModelHub to try the proxy with.
///
/// The authorization server signs people in, by browser and by device code, with pages that show
/// whom it knows: three people at sandbox.example, and their password. Its clients are
/// `service-sandbox` and `webapp-sandbox` (a web application; both with
/// the secret `sandbox-secret`), `spa-sandbox` (the same without a secret), `native-sandbox`
/// (a program at a desk) and `legacy-sandbox` (implicit flow only). Their redirect URIs are
/// `/.itwin-auth/callback` and `/signin-callback` on this machine, at any port; of
/// `native-sandbox` also `/callback` and `/`.
///
/// What people, browsers and clients have to suffer is set with `POST /__faults` on any of the
/// three addresses; `{"visitor": "ada@sandbox.example"}` signs everybody in without a page.
///
/// The authorization server also plays the security token service of old agents: SAML assertions
/// for a name and a password, and tokens for those.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Listen on this port, and on the next two for iModelHub and storage [default: any free ones].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65533))]
    port: Option<u16>,
    /// How long an access token lives, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,
    /// How many iModels there are.
    #[arg(long, value_name = "NUMBER", default_value_t = 23)]
    imodels: usize,
    /// How many changesets each iModel has.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    changesets: usize,
    /// What tokens are signed with.
    #[arg(long, value_enum, default_value_t = Algorithm::Rs256)]
    algorithm: Algorithm,
    /// What tokens look like.
    #[arg(long, value_enum, default_value_t = Shape::Ims)]
    tokens: Shape,
    /// Print one line of JSON, and end when standard input does.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// RSA, as Bentley IMS signs.
    Rs256,
    /// Elliptic curve.
    Es256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// JWTs of Bentley IMS.
    Ims,
    /// JWTs of IdentityServer.
    IdentityServer,
    /// References, about which the introspection endpoint must be asked.
    Opaque,
}

/// Runs until it is told to end.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(arguments));
    // a thread may still be reading standard input
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            complain(format!("error: the sandbox cannot run: {error}"));
            Err(Exit::Unavailable)
        }
    }
}

async fn serve(arguments: &Arguments) -> io::Result<()> {
    let sandbox = Sandbox::start(arguments.config()).await?;
    if arguments.json {
        output::say(machine(&sandbox).to_string());
    } else {
        output::pour(&human(&sandbox));
    }
    tokio::select! {
        ended = interrupted() => ended,
        () = input_ended(arguments.json) => Ok(()),
    }
}

/// A runtime for servers and their clients in one process.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            complain(format!("error: the runtime cannot be started: {error}"));
            Exit::Software
        })
}

impl Arguments {
    fn config(&self) -> SandboxConfig {
        let bind = |offset: u16| {
            let port = self.port.map_or(0, |port| port + offset);
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        };
        SandboxConfig {
            idp: bind(0),
            hub: bind(1),
            storage: bind(2),
            token_lifetime: Duration::from_secs(self.token_lifetime),
            imodels: self.imodels,
            changesets: self.changesets,
            signing: match self.algorithm {
                Algorithm::Rs256 => SigningAlgorithm::Rs256,
                Algorithm::Es256 => SigningAlgorithm::Es256,
            },
            shape: match self.tokens {
                Shape::Ims => TokenShape::Ims,
                Shape::IdentityServer => TokenShape::IdentityServer,
                Shape::Opaque => TokenShape::Opaque,
            },
            ..SandboxConfig::default()
        }
    }
}

/// What the proxy needs to work against `sandbox`, as environment variables.
pub(super) fn environment(sandbox: &Sandbox) -> [(&'static str, String); 5] {
    [
        ("ITWIN_ISSUER", sandbox.issuer().to_owned()),
        ("ITWIN_CLIENT_ID", sandbox.client_id().to_owned()),
        ("ITWIN_CLIENT_SECRET", sandbox.client_secret().to_owned()),
        ("ITWIN_SCOPES", "itwin-platform".to_owned()),
        ("ITWIN_UPSTREAM", sandbox.hub().to_owned()),
    ]
}

fn human(sandbox: &Sandbox) -> String {
    let (hub, itwin) = (sandbox.hub(), sandbox.itwin_id());
    let exports = environment(sandbox)
        .map(|(name, value)| format!("  export {name}={value}\n"))
        .concat();
    format!(
        "Mock servers are up. Nothing in them is real.\n\n\
         \u{20} authorization server  {issuer} (and its security token service, for SAML)\n\
         \u{20} iModelHub             {hub}\n\
         \u{20} storage               {storage}\n\n\
         Point the proxy at them, in another terminal:\n\n{exports}\
         \u{20} itwin-auth-proxy run\n\n\
         and call it without a token:\n\n\
         \u{20} curl 'http://127.0.0.1:8080/imodels?iTwinId={itwin}&$top=3'\n\n\
         {people}\
         Stop the authorization server, start it again, see what was asked:\n\n\
         \u{20} curl -d '{{\"idp_door\":\"refuse\"}}' {hub}/__faults\n\
         \u{20} curl -d '{{\"clear\":true}}' {hub}/__faults\n\
         \u{20} curl {hub}/__counts\n\n\
         Ctrl-C ends it.\n",
        issuer = sandbox.issuer(),
        storage = sandbox.storage(),
        people = people(sandbox),
    )
}

/// Who signs in, and through which clients.
fn people(sandbox: &Sandbox) -> String {
    let person = |person: &Person| format!("  {:<27} {}\n", person.mail, person.password);
    let people: Vec<String> = sandbox.people().iter().map(person).collect();
    let people = people.concat();
    let client = |client: &Client| {
        let secret = client.secrets.first().map_or("no secret", String::as_str);
        let name = &client.registration.name;
        format!("  {:<16} {secret:<16} {name}\n", client.id)
    };
    let with_people = |client: &&Client| !client.registration.redirect_uris.is_empty();
    let clients: Vec<String> = sandbox
        .clients()
        .iter()
        .filter(with_people)
        .map(client)
        .collect();
    let clients = clients.concat();
    format!(
        "These people can sign in (pages of the authorization server show them, too):\n\n{people}\n\
         through these clients, which may return to /.itwin-auth/callback and /signin-callback on this\n\
         machine, native-sandbox also to /callback:\n\n{clients}\n"
    )
}

fn machine(sandbox: &Sandbox) -> serde_json::Value {
    let (username, password) = sandbox.user().unzip();
    let (api, api_secret) = sandbox.api().unzip();
    let environment: serde_json::Map<_, _> = environment(sandbox)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect();
    json!({
        "issuer": sandbox.issuer(),
        "hub": sandbox.hub(),
        "storage": sandbox.storage(),
        "itwin_id": sandbox.itwin_id(),
        "client_id": sandbox.client_id(),
        "client_secret": sandbox.client_secret(),
        "api_id": api,
        "api_secret": api_secret,
        "sts": sandbox.sts().0,
        "delegation": sandbox.sts().1,
        "username": username,
        "password": password,
        "refresh_token": sandbox.refresh_token(),
        "people": sandbox.people().iter().map(|person| json!({
            "mail": person.mail,
            "name": person.name,
            "password": person.password,
        })).collect::<Vec<_>>(),
        "clients": sandbox.clients().iter().map(|client| json!({
            "client_id": client.id,
            "client_secret": client.secrets.first(),
            "redirect_uris": client.registration.redirect_uris,
        })).collect::<Vec<_>>(),
        "upload_link": sandbox.upload_link("example.bin"),
        "environment": environment,
    })
}

/// Ends with standard input if that is watched. Its reader is a thread of its own, which the end
/// of the process takes along: a read of standard input cannot be cancelled.
async fn input_ended(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    let (ended, wait) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while io::stdin().read(&mut ignored).is_ok_and(|n| n > 0) {}
        drop(ended);
    });
    // the sender is never used, only dropped
    let _ = wait.await;
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn interrupted() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended,
        _ = terminate.recv() => Ok(()),
    }
}
