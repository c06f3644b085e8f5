//! Providers: OAuth 2.0 / OpenID Connect authorization servers, known by their issuer.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{Algorithm, ClientAuth, Name};

/// An authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub name: Name,
    /// `https`, or `http` on a loopback host. Without a trailing slash, as an issuer is compared
    /// (RFC 8414 section 3.3).
    pub issuer: Url,
    pub endpoints: Endpoints,
    pub tls: ClientTls,
    pub timeouts: ProviderTimeouts,
    pub keys: ProviderKeys,
    /// `None`: tokens that are no JWTs are refused.
    pub introspection: Option<Introspection>,
}

/// Asking the provider about callers' tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    pub endpoint: IntrospectionEndpoint,
    /// The API that asks; no client that gets tokens.
    pub client_id: String,
    pub auth: ClientAuth,
    pub tokens: Introspected,
    /// The longest time that an answer is believed; zero: for one request.
    pub cache: Duration,
}

/// Where a provider's introspection endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntrospectionEndpoint {
    /// Where its metadata says.
    Discover,
    Given(Url),
}

/// Which tokens the provider is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Introspected {
    /// What is no JWT.
    Opaque,
    /// JWTs as well; its keys are of no interest.
    All,
}

/// The keys that callers' tokens are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderKeys {
    pub location: KeysLocation,
    /// In order: a key that does not say its own is for the first that fits it.
    pub algorithms: Vec<Algorithm>,
    /// How long the last good set is used while no other can be had.
    pub max_stale: Duration,
}

/// Where a provider's key set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysLocation {
    /// Where its metadata says.
    Discover,
    Given(Url),
}

impl Default for ProviderKeys {
    fn default() -> Self {
        Self {
            location: KeysLocation::Discover,
            algorithms: Algorithm::ALL.to_vec(),
            max_stale: Duration::from_secs(24 * 3600),
        }
    }
}

impl Provider {
    /// Whether it is asked about every token, so that its keys are not needed.
    pub fn answers_for_all(&self) -> bool {
        let introspection = self.introspection.as_ref();
        introspection.is_some_and(|one| one.tokens == Introspected::All)
    }

    /// Other names that its metadata may give.
    pub fn also(&self) -> &[Url] {
        match &self.endpoints {
            Endpoints::Discover { also } => also,
            Endpoints::Given { .. } => &[],
        }
    }

    /// Every name that its tokens and documents may give.
    pub fn issuers(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.issuer).chain(self.also())
    }
}

/// Where the provider's endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// From `<issuer>/.well-known/openid-configuration`, else RFC 8414; the document's `issuer`
    /// must equal ours or one of `also` (Bentley IMS has two).
    Discover { also: Vec<Url> },
    /// Given.
    Given { token: Url },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderTimeouts {
    /// Name, TCP and TLS together.
    pub connect: Duration,
    /// The whole exchange, connect included.
    pub total: Duration,
}

/// TLS towards a provider or an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM files with authorities that are trusted beside the system's.
    pub extra_ca: Vec<PathBuf>,
    /// Our own certificate, if they ask for one (RFC 8705 for providers).
    pub identity: Option<Identity>,
    /// The name asked for and checked, when it is not the URL's host.
    pub server_name: Option<String>,
    /// Addresses to connect to instead of asking DNS.
    pub addresses: Vec<SocketAddr>,
    /// Name servers to ask instead of the system's, with their ports.
    pub name_servers: Vec<SocketAddr>,
}

/// A certificate chain and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}
