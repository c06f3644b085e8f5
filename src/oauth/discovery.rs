//! Where a provider's endpoints are: OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.
//!
//! A document is believed only if it names the issuer that was asked (or one that the
//! configuration names beside it) and if its endpoints are reached by TLS or do not leave this
//! machine. What has been checked is another type than what was read.

mod sign_in;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::{Host, Url};

#[cfg(test)]
pub(super) use self::sign_in::read as read_sign_in;
pub use self::sign_in::{SignInMetadata, discover_sign_in};
use super::types::clean;
use crate::{
    config::ClientAuth,
    http::client::{ClientError, HttpClient},
};

/// A provider's metadata, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedMetadata {
    /// As the document writes it.
    pub issuer: String,
    pub token_endpoint: Url,
    /// For clients with a certificate (RFC 8705 section 5), where it differs.
    pub mtls_token_endpoint: Option<Url>,
    /// Empty where the document is silent.
    pub grant_types: Vec<String>,
    pub auth_methods: Vec<String>,
    pub scopes: Vec<String>,
}

/// Where an issuer is asked about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionEndpoints {
    pub endpoint: Url,
    /// For clients with a certificate (RFC 8705 section 5), where it differs.
    pub mtls: Option<Url>,
}

impl IntrospectionEndpoints {
    /// The one that a client asks that proves itself so.
    pub fn of(self, auth: &ClientAuth) -> Url {
        match (auth, self.mtls) {
            (ClientAuth::MutualTls(_), Some(alias)) => alias,
            _ => self.endpoint,
        }
    }
}

/// Metadata that cannot be had or must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{host} answered {status} when asked for its metadata")]
    Status { host: String, status: StatusCode },
    #[error("the metadata of {host} cannot be read")]
    Unreadable { host: String },
    #[error("the metadata of {host} is for another issuer, `{found}`")]
    ForeignIssuer { host: String, found: String },
    #[error("the metadata of {host} names no token endpoint that can be used: {why}")]
    Endpoint { host: String, why: EndpointError },
    #[error("the metadata of {host} names no key set that can be used: {why}")]
    Keys { host: String, why: EndpointError },
    #[error("the metadata of {host} names no introspection endpoint that can be used: {why}")]
    Introspection { host: String, why: EndpointError },
    #[error("the metadata of {host} names no {what} that can be used: {why}")]
    SignIn {
        host: String,
        /// Which endpoint.
        what: &'static str,
        why: EndpointError,
    },
}

/// A URL that no credentials are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("it is missing or not a URL")]
    Missing,
    #[error("it is not https, and http is for loopback only")]
    NotSecure,
    #[error("it is http while the issuer is https")]
    Downgrade,
    #[error("it holds user information or a fragment")]
    Odd,
}

/// As it is written. Unknown members are of no interest.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    token_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    jwks_uri: Option<String>,
    #[serde(default)]
    mtls_endpoint_aliases: Aliases,
    #[serde(default)]
    grant_types_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Aliases {
    token_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
}

/// Fetches and checks the metadata of `issuer`. `also`: other names that the document may give.
///
/// # Errors
/// When there is no document, or none that can be believed.
pub async fn discover(
    http: &HttpClient,
    issuer: &Url,
    also: &[Url],
) -> Result<CheckedMetadata, DiscoveryError> {
    let document = fetch(http, issuer).await?;
    check(document, issuer, also)
}

/// Where the metadata says that the issuer's public keys are. A provider that only signs needs no
/// token endpoint.
///
/// # Errors
/// When there is no document, or none that can be believed, or it names no key set.
pub async fn discover_keys(
    http: &HttpClient,
    issuer: &Url,
    also: &[Url],
) -> Result<Url, DiscoveryError> {
    let document = fetch(http, issuer).await?;
    check_issuer(&document.issuer, issuer, also)?;
    endpoint(document.jwks_uri.as_deref(), issuer).map_err(|why| DiscoveryError::Keys {
        host: issuer.host_str().unwrap_or_default().to_owned(),
        why,
    })
}

/// Where the metadata says that the issuer answers questions about tokens.
///
/// # Errors
/// When there is no document, or none that can be believed, or it names no such endpoint.
pub async fn discover_introspection(
    http: &HttpClient,
    issuer: &Url,
    also: &[Url],
) -> Result<IntrospectionEndpoints, DiscoveryError> {
    let document = fetch(http, issuer).await?;
    check_issuer(&document.issuer, issuer, also)?;
    let endpoint = |text: Option<&str>| {
        endpoint(text, issuer).map_err(|why| DiscoveryError::Introspection {
            host: issuer.host_str().unwrap_or_default().to_owned(),
            why,
        })
    };
    let mtls = document.mtls_endpoint_aliases.introspection_endpoint;
    Ok(IntrospectionEndpoints {
        endpoint: endpoint(document.introspection_endpoint.as_deref())?,
        mtls: mtls.as_deref().map(|url| endpoint(Some(url))).transpose()?,
    })
}

/// The whole document, and those of its endpoints that may be sent what callers send.
#[derive(Debug, Clone)]
pub struct WholeMetadata {
    pub members: Map<String, Value>,
    pub token: Option<Url>,
    pub introspection: Option<Url>,
    pub keys: Option<Url>,
}

/// Fetches the metadata to show them to others.
///
/// # Errors
/// When there is no document, or it is for another issuer.
pub async fn discover_all(
    http: &HttpClient,
    issuer: &Url,
    also: &[Url],
) -> Result<WholeMetadata, DiscoveryError> {
    let text = fetch_text(http, issuer).await?;
    let unreadable = |_| DiscoveryError::Unreadable {
        host: issuer.host_str().unwrap_or_default().to_owned(),
    };
    let document: Document = serde_json::from_slice(&text).map_err(unreadable)?;
    let members = serde_json::from_slice(&text).map_err(unreadable)?;
    check_issuer(&document.issuer, issuer, also)?;
    let usable = |text: Option<String>| endpoint(text.as_deref(), issuer).ok();
    Ok(WholeMetadata {
        members,
        token: usable(document.token_endpoint),
        introspection: usable(document.introspection_endpoint),
        keys: usable(document.jwks_uri),
    })
}

async fn fetch(http: &HttpClient, issuer: &Url) -> Result<Document, DiscoveryError> {
    let text = fetch_text(http, issuer).await?;
    serde_json::from_slice(&text).map_err(|_| DiscoveryError::Unreadable {
        host: issuer.host_str().unwrap_or_default().to_owned(),
    })
}

async fn fetch_text(http: &HttpClient, issuer: &Url) -> Result<Bytes, DiscoveryError> {
    let host = issuer.host_str().unwrap_or_default().to_owned();
    let mut answered = None;
    for url in locations(issuer) {
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|_| ClientError::Url)?;
        let response = http.send(request).await?;
        match response.status() {
            StatusCode::OK => return Ok(response.into_body()),
            status => answered = answered.or(Some(status)),
        }
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    let status = answered.unwrap_or(StatusCode::NOT_FOUND);
    Err(DiscoveryError::Status { host, status })
}

/// The OpenID Connect path behind the issuer's, then RFC 8414's between host and path.
fn locations(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let mut openid = issuer.clone();
    openid.set_path(&format!("{path}/.well-known/openid-configuration"));
    let mut oauth = issuer.clone();
    oauth.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    [openid, oauth]
}

fn check(
    document: Document,
    issuer: &Url,
    also: &[Url],
) -> Result<CheckedMetadata, DiscoveryError> {
    check_issuer(&document.issuer, issuer, also)?;
    let endpoint = |text: Option<&str>| {
        endpoint(text, issuer).map_err(|why| DiscoveryError::Endpoint {
            host: issuer.host_str().unwrap_or_default().to_owned(),
            why,
        })
    };
    let mtls = document.mtls_endpoint_aliases.token_endpoint.as_deref();
    Ok(CheckedMetadata {
        token_endpoint: endpoint(document.token_endpoint.as_deref())?,
        mtls_token_endpoint: mtls.map(|url| endpoint(Some(url))).transpose()?,
        issuer: document.issuer,
        grant_types: document.grant_types_supported,
        auth_methods: document.token_endpoint_auth_methods_supported,
        scopes: document.scopes_supported,
    })
}

fn check_issuer(found: &str, issuer: &Url, also: &[Url]) -> Result<(), DiscoveryError> {
    let mut known = std::iter::once(issuer).chain(also);
    if known.any(|known| same(known.as_str(), found)) {
        return Ok(());
    }
    Err(DiscoveryError::ForeignIssuer {
        host: issuer.host_str().unwrap_or_default().to_owned(),
        found: clean(found),
    })
}

fn endpoint(written: Option<&str>, issuer: &Url) -> Result<Url, EndpointError> {
    let url = written.and_then(|text| Url::parse(text).ok());
    let url = url.ok_or(EndpointError::Missing)?;
    usable(&url, issuer).map(|()| url)
}

/// Character by character (RFC 8414 section 3.3), but for one `/` at the end: a URL without a path
/// gets one when it is parsed.
fn same(issuer: &str, found: &str) -> bool {
    issuer.strip_suffix('/').unwrap_or(issuer) == found.strip_suffix('/').unwrap_or(found)
}

/// Whether credentials may be sent to `url`.
///
/// # Errors
/// When they would leave this machine in the clear, or the URL is not what an endpoint looks like.
pub fn usable(url: &Url, issuer: &Url) -> Result<(), EndpointError> {
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(EndpointError::Odd);
    }
    match (url.scheme(), issuer.scheme()) {
        ("https", _) if url.has_host() => Ok(()),
        ("http", "https") => Err(EndpointError::Downgrade),
        ("http", _) if is_loopback(url) => Ok(()),
        _ => Err(EndpointError::NotSecure),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
