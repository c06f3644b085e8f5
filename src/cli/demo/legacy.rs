//! `demo --legacy`: software that nobody will change, and what it takes to give it tokens.
//!
//! Where the machine allows it, all of it is in a network of its own, and the last kind of software
//! is reached by the kernel's redirection; elsewhere that act is left out, with the reason.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header::AUTHORIZATION, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::{
    agent::Agent,
    network::{self, Reason},
    screen::{Screen, Seen},
    wire::{self, Answer},
};
use crate::{
    app::{self, Running, Seams},
    atomic,
    cli::{Exit, output::chain, sandbox::interrupted},
    clock::Clock,
    config::{self, ClientTls, Sources},
    sandbox::{Sandbox, SandboxConfig, SigningAlgorithm},
    shutdown::Stage,
    telemetry::RequestLog,
    tls::{authority::Authority, client::client_config},
};

const API: &str = "api.bentley.com";
/// The authority is not used again.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Where the kernel redirects to; the network is ours alone.
const REDIRECTED: &str = "127.0.0.1:15001";

/// Where the demonstration is.
#[derive(Debug)]
pub(super) enum Place {
    /// In a network of its own.
    Network,
    /// On this machine, because there can be no such network.
    Machine(Reason),
}

/// Tells the story, or stops at Ctrl-C.
pub(super) async fn demonstrate(place: &Place) -> Result<Exit, Exit> {
    let failed = |what: &str, error: &dyn std::error::Error| super::failed(what, error);
    let sandbox = Sandbox::start(SandboxConfig {
        signing: SigningAlgorithm::Rs256,
        ..SandboxConfig::default()
    })
    .await
    .map_err(|error| failed("the mock servers cannot be started", &error))?;
    let clock = Clock::system();
    let files = Files::new(&clock).map_err(|error| failed("no authority can be made", &error))?;
    let proxy = start(&sandbox, place, &files)?;
    let mut screen = Screen::new();
    let tls = ClientTls {
        extra_ca: vec![files.certificate()],
        ..ClientTls::default()
    };
    let trusting = client_config(&tls, &[b"http/1.1"])
        .map_err(|error| failed("the agent cannot be started", &error))?;
    let mut story = Story {
        sandbox: &sandbox,
        agent: Agent::new(clock).map_err(|error| failed("the agent cannot be started", &error))?,
        connector: TlsConnector::from(trusting),
        listeners: proxy.listeners().to_vec(),
        screen: &mut screen,
    };
    tokio::select! {
        () = story.tell(place) => {}
        interrupted = interrupted() => {
            interrupted.map_err(|error| failed("signals cannot be received", &error))?;
        }
    }
    proxy.shutdown().advance(Stage::Hard);
    // waits for threads
    let _ = tokio::task::spawn_blocking(move || proxy.wait()).await;
    Ok(match screen.otherwise() {
        0 => Exit::Ok,
        _ => Exit::No,
    })
}

/// The authority's files, which go away with this.
#[derive(Debug)]
struct Files(PathBuf);

impl Files {
    fn new(clock: &Clock) -> io::Result<Self> {
        let hosts = [API.to_owned()];
        let made = Authority::new(&hosts, clock.now(), LIFETIME).map_err(io::Error::other)?;
        let name = format!("itwin-auth-proxy-demo-{}", std::process::id());
        let directory = env::temp_dir().join(name);
        // fails if it is there: then it is somebody else's
        DirBuilder::new().mode(0o700).create(&directory)?;
        let files = Self(directory);
        fs::write(files.certificate(), &made.certificate)?;
        atomic::create_secret(&files.key(), &made.key)?;
        Ok(files)
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.join("ca.key")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all::<&Path>(self.0.as_ref());
    }
}

/// A proxy as a file would configure it.
fn start(sandbox: &Sandbox, place: &Place, files: &Files) -> Result<Running, Exit> {
    let storage = sandbox.storage().rsplit(':').next();
    let storage: u16 = storage.and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut listeners = vec![
        json!("127.0.0.1:0"),
        json!({
            "bind": "127.0.0.1:0",
            "mode": "forward",
            // where the mock storage is
            "hosts": ["127.0.0.1"],
            "ports": [443, storage],
            "networks": ["127.0.0.1/32"],
        }),
    ];
    if matches!(place, Place::Network) {
        listeners.push(json!({"bind": REDIRECTED, "mode": "transparent"}));
    }
    let config = json!({
        "providers": {"mock": {"issuer": sandbox.issuer()}},
        "credentials": {"agent": {
            "provider": "mock",
            "client_id": sandbox.client_id(),
            "client_secret": sandbox.client_secret(),
            "scopes": ["itwin-platform"],
        }},
        "interception": {
            "certificate": files.certificate(),
            "key": files.key(),
            "hosts": [API],
        },
        "listeners": listeners,
        "routes": [
            {"hosts": [API], "inject": "agent", "upstream": sandbox.hub()},
            {"path": "/imodelhub/**", "inject": "agent", "upstream": sandbox.hub()},
        ],
        "authorities": [{"credential": "agent"}],
        "url_discovery": {},
        "admin": {"bind": "none"},
    });
    // JSON is YAML
    let loaded = config::load(Sources::yaml(&config.to_string()));
    let started = loaded
        .map_err(|problems| io::Error::other(problems.to_string()))
        .and_then(|loaded| {
            let log = Seams::system(RequestLog::off());
            app::start(loaded.config, log).map_err(|error| io::Error::other(chain(&error)))
        });
    started.map_err(|error| super::failed("the proxy cannot be started", &error))
}

/// Everything that takes part.
struct Story<'a> {
    sandbox: &'a Sandbox,
    agent: Agent,
    /// Trusts the authority.
    connector: TlsConnector,
    /// By address, forward and perhaps transparent.
    listeners: Vec<String>,
    screen: &'a mut Screen,
}

impl Story<'_> {
    async fn tell(&mut self, place: &Place) {
        self.introduce(place);
        self.by_one_variable().await;
        self.in_clear().await;
        self.through_a_tunnel().await;
        match place {
            Place::Network => self.redirected().await,
            Place::Machine(reason) => {
                self.screen.line("");
                self.screen.line(format_args!(
                    "Not shown: connections that the kernel redirects, because {reason}"
                ));
            }
        }
        self.storage().await;
        let counts = self.sandbox.counts();
        self.screen.line("");
        match self.screen.otherwise() {
            0 => self.screen.line(format_args!(
                "**All as told**: {} calls of software that nobody changed reached the hub, with the token of one service. \
                 Recipes: docs/legacy.md",
                counts.hub_authorized
            )),
            n => self.screen.line(format_args!(
                "**Not all went as told**: see the {n} marked ✗ above."
            )),
        }
    }

    fn introduce(&self, place: &Place) {
        let line = |text: &str| self.screen.line(text);
        line(
            "**itwin-auth-proxy**: software that nobody will change calls https://api.bentley.com",
        );
        line("");
        line(match place {
            Place::Network => {
                "   All of it is in a network namespace of its own, which is gone when this ends."
            }
            Place::Machine(_) => "   Everything listens on loopback, at free ports.",
        });
        line(
            "   An authority that can sign for api.bentley.com alone was made; the agents below trust it.",
        );
    }

    async fn by_one_variable(&mut self) {
        self.screen
            .act("An agent of iModel.js 1.x: imjs_buddi_url, and nothing else");
        let discovery = format!(
            "http://{}/WebService/GetUrl/?region=0&url=",
            self.listener(0)
        );
        let mut found = Vec::new();
        for key in ["IMSOpenID", "iModelHubApi"] {
            let answer = self.agent.get(&format!("{discovery}{key}")).await.json();
            found.push(text(&answer["result"]["url"]));
        }
        let [ims, hub] = found.try_into().unwrap_or_default();
        self.see(
            !ims.is_empty() && !hub.is_empty(),
            format!("it asked where to sign in, and where iModelHub is: {ims}, {hub}"),
        );
        let metadata = format!("{ims}/.well-known/openid-configuration");
        let metadata = self.agent.get(&metadata).await.json();
        let request = Request::post(text(&metadata["token_endpoint"]))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, "Basic YWdlbnQ6YSBzZWNyZXQgb2YgMjAxOQ==")
            .body(Bytes::from_static(
                b"grant_type=client_credentials&scope=imodelhub",
            ));
        let signed_in = self.agent.send(request).await;
        let token = text(&signed_in.json()["access_token"]);
        self.see(
            signed_in.ok() && !token.is_empty(),
            format!(
                "it signed in with a secret of 2019, which nobody knows any more: {}",
                signed_in.status
            ),
        );
        let itwin = self.sandbox.itwin_id();
        let list = format!("{hub}/sv1.1/Repositories/Context--{itwin}/ContextScope/iModel/");
        let request = Request::get(list).header(AUTHORIZATION, format!("Bearer {token}"));
        let listed = self.agent.send(request.body(Bytes::new())).await;
        let count = listed.json()["instances"].as_array().map_or(0, Vec::len);
        self.see(
            listed.ok() && count > 0,
            format!("it listed {count} iModels by the paths of that time"),
        );
    }

    async fn in_clear(&mut self) {
        self.screen
            .act("HTTPS_PROXY, with axios up to 1.16.0: the whole request in clear, though its URL is https");
        let target = format!("https://{API}{}", self.list());
        let proxy = self.listener(1).to_owned();
        let answer = async { wire::get(wire::tcp(&proxy).await?, API, &target).await };
        let answer = answer.await;
        self.listed(answer);
    }

    async fn through_a_tunnel(&mut self) {
        self.screen.act(
            "HTTPS_PROXY, with everything else: a tunnel, opened for the hosts that are named",
        );
        let proxy = self.listener(1).to_owned();
        let answer = self.tunnelled(&proxy).await;
        self.listed(answer);
        self.sandbox.faults().revoke_tokens();
        let answer = self.tunnelled(&proxy).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        self.see(
            status == 200,
            format!("its token was withdrawn meanwhile, which it did not notice: {status}"),
        );
        let refused = wire::tunnel(&proxy, "elsewhere.example:443").await;
        let status = refused.map_or(0, |(status, _)| status);
        self.see(
            status == 403,
            format!("a tunnel to a host that is not named: {status}"),
        );
    }

    async fn tunnelled(&self, proxy: &str) -> io::Result<Answer> {
        let (status, stream) = wire::tunnel(proxy, &format!("{API}:443")).await?;
        if status != 200 {
            return Err(io::Error::other(format!("no tunnel: {status}")));
        }
        let stream = wire::tls(&self.connector, API, stream).await?;
        wire::get(stream, API, &self.list()).await
    }

    async fn redirected(&mut self) {
        self.screen
            .act("A program that knows of no proxy at all: the kernel redirects its connections");
        let applied = network::redirect(&["--apply", "--only", "root"]).await;
        self.see(
            applied.is_ok(),
            applied.map_or_else(
                |said| format!("the rules cannot be made: {said}"),
                |()| "itwin-auth-proxy redirect --apply --only root".to_owned(),
            ),
        );
        let answer = async {
            let stream = wire::tcp(network::SERVICE).await?;
            let stream = wire::tls(&self.connector, API, stream).await?;
            wire::get(stream, API, &self.list()).await
        };
        let answer = answer.await;
        self.screen.dim(format_args!(
            "     it connected to {}, where nobody is",
            network::SERVICE
        ));
        self.listed(answer);
        let removed = network::redirect(&["--remove"]).await;
        self.see(
            removed.is_ok(),
            removed.map_or_else(
                |said| format!("the rules cannot be removed: {said}"),
                |()| "itwin-auth-proxy redirect --remove".to_owned(),
            ),
        );
    }

    async fn storage(&mut self) {
        self.screen
            .act("Files in storage: through the proxy, untouched and without a token");
        let proxy = self.listener(1).to_owned();
        let list = async {
            let target = format!("https://{API}{}", self.list());
            let listed = wire::get(wire::tcp(&proxy).await?, API, &target).await?;
            let id = text(&listed.json()["iModels"][0]["id"]);
            let target = format!("https://{API}/imodels/{id}/changesets/1");
            let answer = wire::get(wire::tcp(&proxy).await?, API, &target).await?;
            let link = text(&answer.json()["changeset"]["_links"]["download"]["href"]);
            Ok::<_, io::Error>(link)
        };
        let link = list.await.unwrap_or_default();
        let before = self.sandbox.counts();
        let request = http::Uri::try_from(link.as_str()).unwrap_or_default();
        let host = request
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let stream = wire::tcp(&proxy).await;
        let file = match stream {
            Ok(stream) => wire::get_without_token(stream, &host, &link).await,
            Err(error) => Err(error),
        };
        let after = self.sandbox.counts();
        let bytes = file.as_ref().map_or(0, |file| file.body.len());
        let good = file.is_ok_and(|file| file.status == 200)
            && after.storage_bad_signature == before.storage_bad_signature
            && after.storage_with_authorization == 0;
        self.see(
            good,
            format!("{bytes} bytes, by a link whose signature storage found good"),
        );
    }

    /// The first iModels were listed, by a call that had our token.
    fn listed(&mut self, answer: io::Result<Answer>) {
        match answer {
            Err(error) => self.see(false, format!("no answer: {error}")),
            Ok(answer) => {
                let count = answer.json()["iModels"].as_array().map_or(0, Vec::len);
                let text = format!("{}: {count} iModels, for a dummy token", answer.status);
                self.see(answer.status == 200 && count > 0, text);
            }
        }
    }

    fn see(&mut self, as_told: bool, text: String) {
        self.screen.observed(Seen::when(as_told), text);
    }

    fn listener(&self, n: usize) -> &str {
        self.listeners.get(n).map_or("", String::as_str)
    }

    fn list(&self) -> String {
        format!("/imodels?iTwinId={}&$top=5", self.sandbox.itwin_id())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
