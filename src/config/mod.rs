//! The configuration as data: values that cannot be wrong any more.
//!
//! What was written (`raw`) is read from YAML and environment (`source`), checked against the one
//! definition of every key, and turned into these types by `valid`; every problem found on the way
//! is reported at once (`problem`). Nothing here opens a socket, and nothing elsewhere reads a file
//! or a variable to learn what it should do.

pub mod credential;
pub mod limits;
pub mod listener;
pub mod provider;
pub mod route;
pub mod secret;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

pub use self::{
    credential::{Assertion, ClientAuth, Credential, Grant, ScopeSet, SigningKey},
    limits::Limits,
    listener::{Bind, ClientCertificates, Listener, ServerTls},
    provider::{ClientTls, Endpoints, Identity, Provider, ProviderTimeouts},
    route::{
        Admit, AdmitRule, Forwarded, Glob, Inject, LinkRewriting, Match, Origin,
        PresentedAuthorization, Replay, Route, RouteTimeouts, SharedKey, Upstream,
        UpstreamProtocol,
    },
    secret::{SecretPair, SecretSource},
};

/// A name given in the configuration; shared, because logs and metrics carry it everywhere.
pub type Name = Arc<str>;

/// The whole configuration, valid.
#[derive(Debug, Clone)]
pub struct Config {
    pub providers: BTreeMap<Name, Arc<Provider>>,
    pub credentials: BTreeMap<Name, Arc<Credential>>,
    pub listeners: Vec<Arc<Listener>>,
    /// In the order written: the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    pub limits: Limits,
    /// `None` switches the admin listener off.
    pub admin: Option<SocketAddr>,
    pub log: Log,
    /// Where tokens survive a restart; `None`: in memory only.
    pub token_store: Option<TokenStore>,
    /// Data-plane threads; `None`: one per CPU that the container may use.
    pub workers: Option<NonZeroUsize>,
    /// Forwarded headers are believed from these peers only.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Directives as `tracing` writes them: `info`, `itwin_auth_proxy=debug,hyper=warn`.
    pub level: String,
    pub format: LogFormat,
    /// One line per request.
    pub requests: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` otherwise.
    Auto,
    Human,
    Json,
}

/// The encrypted file in which tokens survive a restart.
#[derive(Debug, Clone)]
pub struct TokenStore {
    pub path: PathBuf,
    /// The key the file is sealed with is derived from this secret.
    pub key: SecretSource,
}
