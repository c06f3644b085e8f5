//! Routes: what a request must match, who may use it, which credential goes with it, where it goes.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use url::Url;

use super::{
    CallerIdentity, ClientTls, Credential, Name, Provider, ScopeSet, SecretPair, Session,
    TokenRules,
};

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Given, or `route-N`.
    pub name: Name,
    pub matches: Match,
    pub admit: Admit,
    /// The URL that callers know it by (RFC 9728 section 1.2).
    pub resource: Option<Url>,
    pub inject: Option<Inject>,
    /// By what the token that admitted the caller is exchanged for another.
    pub exchange: Option<Arc<Credential>>,
    /// What the service is told of callers; `None`: nothing.
    pub identity: Option<CallerIdentity>,
    /// `None`: requests of this route are decided about, and go nowhere from here.
    pub upstream: Option<Arc<Upstream>>,
    pub links: LinkRewriting,
    /// An HTML page or a redirect to the provider where an API's answer is expected becomes a 502.
    pub refuse_login_pages: bool,
    pub timeouts: RouteTimeouts,
    pub replay: Replay,
}

/// What a request must match. Empty lists match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Lower case, without port; `*.example.com` matches one or more labels.
    pub hosts: Vec<String>,
    /// On the decoded, normalised path; never query or fragment.
    pub path: Glob,
    /// Upper case.
    pub methods: BTreeSet<String>,
}

/// Whether `host` (lower case, without port) is one of these: names, or `*.` and the rest of one.
pub(super) fn is_among(patterns: &[String], host: &str) -> bool {
    let matches = |pattern: &String| match pattern.strip_prefix('*') {
        // the dot stays: something must stand before it
        Some(end) => host.len() > end.len() && host.ends_with(end),
        None => pattern == host,
    };
    patterns.iter().any(matches)
}

/// An anchored path pattern: `*` matches within a segment, `**` as a last segment the rest
/// (nothing included), `{a,b}` is not supported. `/imodels/**` matches `/imodels`, `/imodels/`, and all below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Default for Glob {
    fn default() -> Self {
        Self("/**".into())
    }
}

/// A pattern that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("a path pattern starts with '/'")]
    NotAbsolute,
    #[error("'**' is allowed as the last segment only")]
    DeepNotLast,
    #[error("a path pattern holds no '?', '#', '%', '\\', ';' and no control character")]
    BadCharacter,
    #[error("a path pattern has no '.' or '..' segment")]
    Dots,
}

impl Glob {
    /// # Errors
    /// When the pattern could be read in more than one way.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        if !pattern.starts_with('/') {
            return Err(GlobError::NotAbsolute);
        }
        if pattern
            .chars()
            .any(|c| matches!(c, '?' | '#' | '%' | '\\' | ';') || c.is_control())
        {
            return Err(GlobError::BadCharacter);
        }
        let segments: Vec<&str> = pattern[1..].split('/').collect();
        if segments.iter().any(|s| matches!(*s, "." | "..")) {
            return Err(GlobError::Dots);
        }
        let deep = segments.iter().position(|s| s.contains("**"));
        if deep.is_some_and(|n| n + 1 != segments.len() || segments[n] != "**") {
            return Err(GlobError::DeepNotLast);
        }
        Ok(Self(pattern.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admit {
    /// Whoever reaches a listener that only this machine reaches; nobody else.
    Local,
    /// Whoever reaches it, from anywhere. Never with `inject` on a listener that others reach,
    /// unless written so: `admit: anyone`.
    Anyone,
    /// Whoever satisfies one of the rules.
    Rules(Vec<AdmitRule>),
}

/// One way to be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmitRule {
    /// The peer's address lies in one of the networks.
    Networks(Vec<ipnet::IpNet>),
    /// The request carries this key in this header.
    Key(SharedKey),
    /// The request carries an access token of this provider that the rules take.
    Bearer {
        provider: Arc<Provider>,
        rules: Arc<TokenRules>,
    },
    /// A person who is signed in with a browser.
    Session(Arc<Session>),
    /// The caller's TLS certificate has one of these names (subject CN, DNS, URI or email SAN).
    /// Empty: any certificate that the listener's CA signed.
    Certificate { names: BTreeSet<String> },
    /// The process on the other end of the Unix socket runs as one of these users.
    Uids(BTreeSet<u32>),
    /// The request names this user and its password to the forward proxy (RFC 9110 section 11.7.2).
    ProxyUser(ProxyUser),
}

impl AdmitRule {
    /// Whether it asks for a person who is signed in.
    pub fn is_session(&self) -> bool {
        matches!(self, Self::Session(_))
    }

    /// Whether it asks callers for an access token.
    pub fn is_bearer(&self) -> bool {
        matches!(self, Self::Bearer { .. })
    }
}

/// A key that callers know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKey {
    pub name: Name,
    /// Lower case; removed before the request goes on.
    pub header: String,
    pub secret: SecretPair,
}

/// A user of a forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUser {
    pub name: Name,
    pub password: SecretPair,
}

/// Which credential goes with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inject {
    pub credential: Arc<Credential>,
    pub acts_for: ActsFor,
    /// The credential's, unless the route narrows or changes them.
    pub scopes: ScopeSet,
    /// A token with less life left than this is renewed before the call, if that can be.
    pub min_remaining: Duration,
    /// What to do with a caller's own bearer token that is no placeholder.
    pub presented_bearer: PresentedAuthorization,
    /// What to do with an `Authorization` of another scheme (`SharedAccessSignature`, `X509`,
    /// `Basic` …), which no token of ours can stand for.
    pub presented_other: PresentedAuthorization,
    /// Tokens that mean "none", such as `dummy`: the text behind `Bearer `.
    pub placeholders: BTreeSet<String>,
    /// How long a request waits for a token that must be fetched first.
    pub wait: Duration,
}

/// In whose name the injected token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActsFor {
    /// The credential's own.
    Itself,
    /// The caller's: each token is got for the one that admitted the caller.
    Caller,
}

/// What happens to an `Authorization` header that is not empty, not a bare `Bearer`, not a
/// placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedAuthorization {
    /// Ours takes its place.
    Replace,
    /// It goes on as it is; nothing is injected.
    Keep,
    /// 400.
    Refuse,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub origin: Origin,
    pub protocol: UpstreamProtocol,
    pub tls: ClientTls,
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// An unused connection is closed after this time; below what servers allow.
    pub idle_timeout: Duration,
    /// Unused connections kept per data-plane thread.
    pub idle_connections: usize,
    /// Send the caller's `Host` instead of the upstream's.
    pub preserve_host: bool,
    pub forwarded: Forwarded,
}

/// Whether an upstream is told where the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing is said, and what the caller said is removed: an upstream that belongs to somebody
    /// else has no use for our addresses.
    Silent,
    /// `Forwarded` (RFC 7239) and `X-Forwarded-*` are written anew; what a trusted proxy in front
    /// of us said is kept before it.
    Told,
}

/// Scheme, host and port (RFC 6454). Host lower case, without brackets for IPv6.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub https: bool,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// Scheme as it is written in a URL.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// `host`, or `host:port` when the port is not the scheme's default; IPv6 in brackets.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let default = if self.https { 443 } else { 80 };
        if self.port == default {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// Over TLS what ALPN settles, HTTP/1.1 otherwise.
    Auto,
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// Links in answers that point at exactly the upstream's origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkRewriting {
    Off,
    /// Pointed back at the origin that the caller used, or at `public` if given.
    On {
        public: Option<Origin>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the end of the request to the header of the answer.
    pub response: Duration,
    /// Without a byte in either direction while a body passes.
    pub idle: Duration,
    /// The whole request; `None`: unlimited.
    pub total: Option<Duration>,
}

/// How much of a request body is kept for one replay after a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// Kept in memory.
    pub memory_bytes: u64,
    /// Kept in all; past `memory_bytes` in a temporary file. Above it the body is not kept, and a
    /// 401 is passed on with the reason.
    pub total_bytes: u64,
}
