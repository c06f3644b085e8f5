//! `demo --browser`: a page that has no token, and people who sign in to see it.
//!
//! The proxy signs them in at the mock authorization server and adds their token to what the page
//! calls. It stays up, and the terminal tells what happens, until Ctrl-C; with `--once` a browser
//! without a screen does what a person would, and the exit code says whether all went as told.

mod front;
mod story;
mod visitor;
mod watch;

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use serde_json::json;
use url::Url;

use self::{front::Front, story::Story, visitor::Visitor, watch::Watch};
use super::{Arguments, agent::Agent, failed, screen::Screen};
use crate::{
    app::{self, Inheritance, Inherited, Running, Seams},
    cli::{Exit, login::Browser, output::chain, sandbox::interrupted},
    clock::Clock,
    config::{self, Sources, source},
    sandbox::{Person, Sandbox, SandboxConfig, SigningAlgorithm},
    shutdown::Stage,
    telemetry::RequestLog,
};

/// Short enough to watch a renewal, long enough to look at the page meanwhile.
const LIFETIME: Duration = Duration::from_secs(60);
/// Nobody looks at anything in the story that ends by itself.
const LIFETIME_ONCE: Duration = Duration::from_secs(8);
/// How the application is registered.
const CLIENT: &str = "webapp-sandbox";
const PREFIX: &str = "/.itwin-auth";

/// Runs until Ctrl-C, or until the story is told.
pub(super) async fn demonstrate(arguments: &Arguments) -> Result<Exit, Exit> {
    let lifetime = if arguments.once {
        LIFETIME_ONCE
    } else {
        LIFETIME
    };
    let sandbox = Sandbox::start(SandboxConfig {
        token_lifetime: lifetime,
        signing: SigningAlgorithm::Rs256,
        ..SandboxConfig::default()
    })
    .await
    .map_err(|error| failed("the mock servers cannot be started", &error))?;
    let front = Front::start()
        .await
        .map_err(|error| failed("the page cannot be served", &error))?;
    let (proxy, url) = start(&sandbox, &front, arguments.port)
        .map_err(|error| failed("the proxy cannot be started", &error))?;

    let mut screen = Screen::new();
    introduce(&screen, &sandbox, &url, lifetime);
    let told = if arguments.once {
        let clock = Clock::system();
        let agent = Agent::new(clock.clone())
            .map_err(|error| failed("the browser cannot be started", &error))?;
        let mut story = Story {
            sandbox: &sandbox,
            visitor: Visitor::new(agent),
            clock,
            page: url,
            screen: &mut screen,
        };
        tokio::select! {
            () = story.tell() => Ok(()),
            interrupted = interrupted() => interrupted,
        }
    } else {
        invite(&screen, &sandbox, &url, arguments);
        let mut watch = Watch::new(&sandbox, Clock::system(), &mut screen);
        tokio::select! {
            never = watch.tell() => match never {},
            interrupted = interrupted() => interrupted,
        }
    };
    told.map_err(|error| failed("signals cannot be received", &error))?;
    proxy.shutdown().advance(Stage::Hard);
    // waits for threads
    let _ = tokio::task::spawn_blocking(move || proxy.wait()).await;
    Ok(match screen.otherwise() {
        0 => Exit::Ok,
        _ => Exit::No,
    })
}

/// The proxy, as a file would configure it. Its address is part of the configuration, so there is
/// a socket before there is a proxy.
fn start(sandbox: &Sandbox, front: &Front, port: u16) -> io::Result<(Running, Url)> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let bind = socket.local_addr()?;
    let url = format!("http://localhost:{}/", bind.port());
    let url: Url = url.parse().map_err(io::Error::other)?;
    let client = sandbox.clients().iter().find(|client| client.id == CLIENT);
    let config = json!({
        "providers": {"mock": {"issuer": sandbox.issuer()}},
        "credentials": {"web": {
            "provider": "mock",
            "grant": "authorization_code",
            "client_id": CLIENT,
            "client_secret": client.and_then(|client| client.secrets.first()),
            "scopes": ["openid", "profile", "email", "offline_access", "itwin-platform"],
        }},
        "sessions": {"web": {
            "credential": "web",
            "public_url": url.origin().ascii_serialization(),
            "prefix": PREFIX,
        }},
        "listeners": [bind],
        "routes": [
            {"path": "/itwins/**", "admit": {"session": "web"}, "inject": "web", "upstream": sandbox.hub()},
            {"path": "/imodels/**", "admit": {"session": "web"}, "inject": "web", "upstream": sandbox.hub()},
            {"path": "/**", "admit": {"session": "web"}, "upstream": front.url()},
        ],
        "admin": {"bind": "none"},
    });
    // JSON is YAML
    let loaded = config::load(Sources::yaml(&config.to_string()))
        .map_err(|problems| io::Error::other(problems.to_string()))?;
    let mut sockets = Inherited::default();
    sockets.add(socket.into())?;
    let before = Inheritance::find(&loaded.config, sockets).map_err(io::Error::other)?;
    let running = app::start_after(
        loaded.config,
        None,
        Seams::system(RequestLog::off()),
        before,
    )
    .map_err(|error| io::Error::other(chain(&error)))?;
    Ok((running, url))
}

fn introduce(screen: &Screen, sandbox: &Sandbox, url: &Url, lifetime: Duration) {
    screen.line(
        "**itwin-auth-proxy**: a page that has no token calls iModelHub, for those who sign in",
    );
    screen.line("");
    screen.line(format_args!(
        "   browser ──▶ **proxy** {url} ──▶ the page, and mock iModelHub {}",
        sandbox.hub()
    ));
    screen.line(format_args!(
        "      └──────────┴─▶ mock authorization server {}, its tokens live {} s",
        sandbox.issuer(),
        lifetime.as_secs(),
    ));
}

fn invite(screen: &Screen, sandbox: &Sandbox, url: &Url, arguments: &Arguments) {
    let opened = arguments.open && Browser::of(&source::desktop()).open(url).is_ok();
    screen.line("");
    screen.line(if opened {
        "Your browser shows the page. If it does not, open"
    } else if arguments.open {
        "No browser can be started here. Open"
    } else {
        "Open"
    });
    screen.line(format_args!("\n   **{url}**\n\nand sign in as one of\n"));
    for Person { mail, password, .. } in sandbox.people() {
        screen.line(format_args!("   {mail:<27} {password}"));
    }
    screen.line("");
    screen.dim("What happens then is told here. Ctrl-C ends it.");
    screen.line("");
}
