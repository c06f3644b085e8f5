//! The configuration as data: values that cannot be wrong any more.
//!
//! What was written (`raw`) is read from YAML and environment (`source`), checked against the one
//! definition of every key, and turned into these types by `valid`; every problem found on the way
//! is reported at once (`problem`). Nothing here opens a socket, and nothing elsewhere reads a file
//! or a variable to learn what it should do.

pub mod bearer;
mod bound;
pub mod credential;
mod difference;
pub mod documents;
mod files;
pub mod identity;
pub mod injector;
pub mod interception;
pub mod limits;
pub mod listener;
pub mod login;
mod own;
mod path;
pub mod print;
pub mod problem;
pub mod provider;
mod raw;
pub mod reference;
pub mod revocation;
mod route;
mod schema;
pub mod secret;
pub mod session;
mod setter;
mod shape;
pub mod source;
pub mod telemetry;
mod tree;
mod valid;
mod variables;
mod yaml;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

pub use self::{
    bearer::{
        ABSENT, Algorithm, ClaimRule, ClaimTest, ClaimValue, InsufficientScope, LONGEST_SKEW,
        NEVER_ACCESS, Preflight, Strangers, TokenRules,
    },
    bound::{Bound, NonceUse, OLDEST_PROOF, Offered, ProofRules},
    credential::{
        Assertion, ClientAuth, Credential, Flow, Grant, JwtSource, SamlDialect, SamlSource,
        ScopeSet, SigningKey, Sts,
    },
    difference::{difference, needs_restart},
    files::NamedFile,
    identity::{CallerIdentity, CallersToken, IdentityHeader, IdentityJwt, Says, Signing},
    interception::{Interception, PlannedAuthority},
    limits::Limits,
    listener::{
        Bind, ClientCertificates, Gateway, Listener, Mode, OwnCertificate, Passage, RedirectedBy,
        ServerTls,
    },
    login::{Login, LoopbackHost, Redirect, RefreshSource},
    own::{Authority, Discovered, NamedIssuer, OwnEndpoints, TokenRequests, UrlDiscovery, Whereto},
    problem::{Place, Problem, Problems, Rendering, Severity},
    provider::{
        ClientTls, Endpoints, Identity, Introspected, Introspection, IntrospectionEndpoint,
        KeysLocation, Provider, ProviderKeys, ProviderTimeouts,
    },
    revocation::{BackchannelLogout, Revocation},
    route::{
        ActsFor, Admit, AdmitRule, Forwarded, Glob, Inject, LinkRewriting, Match, Origin,
        PresentedAuthorization, ProxyUser, Replay, Route, RouteTimeouts, SharedKey, Upstream,
        UpstreamProtocol,
    },
    secret::{SecretPair, SecretSource},
    session::{Session, SessionStore, Streams},
    source::Sources,
    telemetry::{Compression, Otlp, OtlpMetrics, OtlpTraces, Way},
};
use crate::handbook::Help;

use crate::audit;

/// What `init` writes where it is not told the identifier of a client: of a service, a web and a desktop
/// application.
pub const PLACEHOLDERS: [&str; 3] = [
    "service-your-client-id",
    "webapp-your-client-id",
    "native-your-client-id",
];

/// A name given in the configuration; shared, because logs and metrics carry it everywhere.
pub type Name = Arc<str>;

/// The whole configuration, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub providers: BTreeMap<Name, Arc<Provider>>,
    pub credentials: BTreeMap<Name, Arc<Credential>>,
    /// How people sign in with a browser.
    pub sessions: BTreeMap<Name, Arc<Session>>,
    pub listeners: Vec<Arc<Listener>>,
    /// In the order written: the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    /// What stands in for services that old software asks itself.
    pub own: OwnEndpoints,
    /// What identity JWTs are signed with, where a route sends any.
    pub signing: Option<Signing>,
    pub limits: Limits,
    /// `None` switches the admin listener off.
    pub admin: Option<SocketAddr>,
    /// Who has it may change what can be changed there; `None`: nobody may.
    pub admin_key: Option<SecretSource>,
    /// Where users of this machine may see and change everything.
    pub admin_socket: Option<AdminSocket>,
    /// Programs on this machine may end this one without that key.
    pub admin_allow_quit: bool,
    /// Where errors point for what they mean.
    pub help: Help,
    pub log: Log,
    /// Where traces and metrics are sent; `None`: nowhere.
    pub telemetry: Option<Otlp>,
    /// The file is looked at while the process runs.
    pub reload_watch: bool,
    /// `None`: nobody audits.
    pub audit: Option<AuditStream>,
    /// Where tokens survive a restart; `None`: in memory only.
    pub token_store: Option<TokenStore>,
    /// Data-plane threads; `None`: as many as the machine or the container's limit is for.
    pub workers: Option<NonZeroUsize>,
    /// Where a process that is to replace this one takes its sockets.
    pub handover_socket: Option<PathBuf>,
    /// Forwarded headers are believed from these peers only.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub revocation: Revocation,
    /// `None`: no connection is opened.
    pub interception: Option<Interception>,
}

impl Config {
    /// The rules for callers' tokens, of all routes.
    pub fn token_rules(&self) -> impl Iterator<Item = &TokenRules> {
        let rules = self.routes.iter().flat_map(|route| match &route.admit {
            Admit::Rules(rules) => rules.as_slice(),
            Admit::Local | Admit::Anyone => &[],
        });
        rules.filter_map(|rule| match rule {
            AdmitRule::Bearer { rules, .. } => Some(&**rules),
            _ => None,
        })
    }

    /// Where a process is asked that runs with this.
    pub fn asked_at(&self) -> Admin {
        Admin {
            address: self.admin,
            key: self.admin_key.clone(),
            socket: self.admin_socket.clone(),
        }
    }
}

/// Where the admin listener is, and what it wants to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub address: Option<SocketAddr>,
    pub key: Option<SecretSource>,
    pub socket: Option<AdminSocket>,
}

/// The admin listener's Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSocket {
    pub path: PathBuf,
    pub mode: u32,
    /// Who may, beside root and our own user.
    pub uids: Vec<u32>,
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

/// Where it is told who did what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditStream {
    pub target: audit::Target,
    /// What lines are signed with; `None`: they only hang together.
    pub key: Option<SecretSource>,
    pub every: audit::Every,
}

/// The encrypted file in which tokens survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStore {
    pub path: PathBuf,
    /// The key the file is sealed with is derived from this secret.
    pub key: SecretSource,
}

/// A configuration that was read, and what is worth a look in it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Problems,
    /// What is used as long as the program runs.
    pub files: Vec<NamedFile>,
    /// Those of them that hold a secret.
    pub secret_files: Vec<PathBuf>,
}

/// Reads and checks the configuration. Reads the files that it names, opens no socket.
///
/// # Errors
/// All problems at once, warnings among them.
#[expect(clippy::needless_pass_by_value, reason = "what was read is used up")]
pub fn load(sources: Sources) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let schema = schema::Schema::new();
    let tree = sources.tree(&schema, &mut problems);
    if problems.unreadable() {
        return Err(problems);
    }
    let shaped = shape::check(&tree, &schema, &mut problems);
    let files::Found {
        all: mut files,
        secret: secret_files,
    } = files::named(&shaped, &schema);
    let config = if let Ok(raw) = serde_json::from_value(shaped) {
        valid::check(&raw, &tree, sources.environment(), &mut problems)
    } else {
        // cannot happen: the shape was checked against the schema of the same type. The error is
        // not shown, because it may quote a value
        problems.push(Problem {
            severity: Severity::Error,
            path: String::new(),
            origin: None,
            text: "the configuration does not fit its own schema; please report this".into(),
            hint: None,
        });
        None
    };
    match config {
        Some(config) => {
            for credential in config.credentials.values() {
                if let Some(login) = credential.grant.login() {
                    files.extend(login.files());
                }
            }
            Ok(Loaded {
                config,
                warnings: problems,
                files,
                secret_files,
            })
        }
        None => Err(problems),
    }
}

/// Where the process is asked that was started with this configuration, which may be wrong by now: what
/// `admin` says by itself, as far as that is good. Nothing, where even that cannot be told.
pub fn admin(sources: &Sources) -> Option<Admin> {
    let (raw, tree) = alone(sources, "admin")?;
    Some(valid::admin_alone(&raw, &tree, sources.environment()))
}

/// How a configuration that may be wrong wants to be logged: what `log` says by itself, if that can be told
/// and is good.
pub fn log(sources: &Sources) -> Option<Log> {
    let (raw, tree) = alone(sources, "log")?;
    valid::log_alone(&raw, &tree, sources.environment())
}

/// What is written, where only the part below this key matters.
fn alone(sources: &Sources, key: &str) -> Option<(raw::Raw, tree::Node)> {
    let schema = schema::Schema::new();
    let mut problems = Problems::default();
    let mut tree = sources.tree(&schema, &mut problems);
    if problems.unreadable() {
        // what is no YAML further down says nothing about this part
        let part = sources.part(key)?;
        problems = Problems::default();
        tree = part.tree(&schema, &mut problems);
        if problems.unreadable() {
            return None;
        }
    }
    let shaped = shape::check(&tree, &schema, &mut problems);
    let raw = serde_json::from_value(shaped).ok()?;
    Some((raw, tree))
}

/// What the configuration says of the authority of its interception, if it has one. The files need
/// not be there, and nothing else in the configuration is looked at.
///
/// # Errors
/// The problems of that part, or of a text that cannot be read at all.
#[expect(clippy::needless_pass_by_value, reason = "what was read is used up")]
pub fn planned_authority(sources: Sources) -> Result<Option<PlannedAuthority>, Problems> {
    if sources.are_none() {
        return Ok(None);
    }
    let mut problems = Problems::default();
    let schema = schema::Schema::new();
    let tree = sources.tree(&schema, &mut problems);
    if problems.unreadable() {
        return Err(problems);
    }
    let shaped = shape::check(&tree, &schema, &mut problems);
    let Ok(raw) = serde_json::from_value(shaped) else {
        return Err(problems);
    };
    valid::planned_authority(&raw, &tree, sources.environment(), problems)
}

#[cfg(test)]
mod tests;
