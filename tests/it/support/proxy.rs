//! The proxy, started in this process from a configuration as a user would write it.

use std::net::SocketAddr;

use bytes::Bytes;
use itwin_auth_proxy::{
    app::{self, Inheritance, Running, Seams},
    clock::Clock,
    config::{self, Sources},
    health::{Disobeyed, Order as _},
    shutdown::Stage,
    telemetry::RequestLog,
};
use serde_json::{Value, json};

use super::{
    client::{Answer, Client},
    http2,
    idp::Idp,
    origin::Origin,
};

/// A configuration under way.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    config: Value,
}

/// A running proxy; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    running: Option<Running>,
    config: Value,
    file: tempfile::NamedTempFile,
}

/// How many threads the proxies of this run have, where a test does not say: one, or what
/// `TEST_WORKERS` says. `tests/run` runs all of them both ways.
#[expect(
    clippy::disallowed_methods,
    reason = "says how to test, not what is tested"
)]
pub(crate) fn workers() -> usize {
    std::env::var("TEST_WORKERS").map_or(1, |workers| workers.parse().unwrap())
}

/// In front of `origin`, for everything.
pub(crate) fn to(origin: &Origin) -> Builder {
    to_url(&origin.url())
}

pub(crate) fn to_url(upstream: &str) -> Builder {
    Builder {
        config: json!({
            "listeners": [{"bind": "127.0.0.1:0"}],
            "routes": [{"upstream": {"url": upstream}}],
            "admin": {"bind": "none"},
            "workers": workers(),
        }),
    }
}

impl Builder {
    /// Sets a key of the only route: `route("inject.wait", "1s")`.
    pub(crate) fn route(self, path: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/routes/0/{}", path.replace('.', "/")), value)
    }

    /// Sets a key: `with("limits.body_size", "1KiB")`.
    pub(crate) fn with(self, path: &str, value: impl Into<Value>) -> Self {
        self.set(&format!("/{}", path.replace('.', "/")), value)
    }

    /// The route adds tokens of this provider.
    pub(crate) fn injecting(self, idp: &Idp) -> Self {
        let provider =
            json!({"issuer": idp.url(), "token_endpoint": format!("{}/token", idp.url())});
        let credential = json!({
            "provider": "test",
            "client_id": "service",
            "client_secret": "a secret of the service",
            "scopes": ["itwin-platform"],
        });
        self.with("providers.test", provider)
            .with("credentials.agent", credential)
            .route("inject.credential", "agent")
    }

    fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            at = match key.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[key],
            };
        }
        *at = value.into();
        self
    }

    pub(crate) fn start(self) -> Proxy {
        self.start_by(Clock::system())
    }

    /// With a clock that the test may move.
    pub(crate) fn start_by(self, clock: Clock) -> Proxy {
        // JSON is YAML
        let text = self.config.to_string();
        let loaded = config::load(Sources::yaml(&text))
            .unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let running = app::start_after(
            loaded.config,
            Some(Sources::at(file.path())),
            Seams {
                clock,
                ..Seams::system(RequestLog::off())
            },
            Inheritance::default(),
        )
        .unwrap();
        // a Unix socket has none
        let address = running.listeners()[0].parse().unwrap_or(([0; 4], 0).into());
        Proxy {
            address,
            running: Some(running),
            config: self.config,
            file,
        }
    }
}

impl Proxy {
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// What the admin listener serves there, if it has one.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        self.ask_admin(get(path))
    }

    /// Sends these bytes to the admin listener; the answer to them.
    pub(crate) fn ask_admin(&self, request: impl AsRef<[u8]>) -> Answer {
        let admin = self.running.as_ref().and_then(Running::admin).unwrap();
        Client::connect(admin).send(request).answer()
    }

    /// Where the listener with this number accepts.
    pub(crate) fn listener(&self, number: usize) -> &str {
        &self.running().listeners()[number]
    }

    /// How many connections the metric counts now.
    pub(crate) fn open(&self) -> i64 {
        self.running().metrics().connections.get()
    }

    /// How many connections were handed from one thread to another.
    pub(crate) fn handed_over(&self) -> u64 {
        self.running().metrics().connections_handed_over.get()
    }

    /// No new connection; what is under way is finished.
    pub(crate) fn stop_softly(&self) {
        self.running().shutdown().advance(Stage::Soft);
    }

    /// Has it serve another configuration; what it says of it.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Value)) -> Result<Value, Disobeyed> {
        let mut config = self.config.clone();
        change(&mut config);
        std::fs::write(self.file.path(), config.to_string()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(self.running().reloads().obey(Bytes::new()))
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn connect_http2(&self) -> http2::Client {
        http2::Client::connect(self.address)
    }

    /// Sends these bytes on a connection of their own; the answer to them.
    pub(crate) fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        self.connect().send(request).answer()
    }

    /// The answer to a simple request.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(get(path))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().advance(Stage::Hard);
            running.wait();
        }
    }
}

/// A simple request.
pub(crate) fn get(path: &str) -> String {
    with_fields("GET", path, "")
}

/// A request without a body, with these field lines besides `Host`.
pub(crate) fn with_fields(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: proxy.localhost\r\n{fields}\r\n")
}

/// A request with a body and its length.
pub(crate) fn with_body(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    with_fields(method, path, &format!("Content-Length: {length}\r\n")) + body
}
