//! Providers, and TLS towards providers and upstreams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Introspection, Texts, Words};

/// An OAuth 2.0 / OpenID Connect authorization server.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Provider {
    /// The issuer's URL; `https`, or `http` on a loopback address. The endpoints are read from
    /// `<issuer>/.well-known/openid-configuration`, else from the document of RFC 8414. Must be given,
    /// but for `bentley` and `bentley-qa`, whose it is known.
    #[schemars(example = "https://ims.bentley.com")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) issuer: Option<String>,
    /// Other issuers that the discovery document may name. Default: for Bentley IMS the second
    /// name of the same server (`https://imsoidc.bentley.com`), otherwise none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) also: Option<Texts>,
    /// The token endpoint's URL, for a provider without discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) token_endpoint: Option<String>,
    /// The URL of the key set (JWKS) that callers' tokens are checked with. Default: what the
    /// discovery document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) jwks_uri: Option<String>,
    /// Signature algorithms that callers' tokens may have; a key that does not say its own is for
    /// the first that fits it. Default: all that need no shared secret.
    #[schemars(extend("default" = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) algorithms: Option<Words>,
    /// How long the last good key set is used while no other can be had.
    #[schemars(extend("default" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_stale: Option<String>,
    /// Time for name, TCP and TLS together: a server that takes longer will not be faster for
    /// being waited for, and calls wait behind it.
    #[schemars(extend("default" = "5s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) connect_timeout: Option<String>,
    /// Time for a whole exchange, the connection included. Bentley's clients give up after 12
    /// seconds.
    #[schemars(extend("default" = "15s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<String>,
    /// TLS towards this provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<ClientTls>,
    /// Asking the provider about callers' tokens that are no JWTs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) introspection: Option<Introspection>,
}

/// TLS and addresses towards a provider or an upstream.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientTls {
    /// PEM files with certificate authorities that are trusted beside the system's.
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) extra_ca: Option<Texts>,
    /// Our own certificate, for a server that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) identity: Option<Identity>,
    /// The name that is asked for and must be in the certificate, when it is not the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) server_name: Option<String>,
    /// Addresses to connect to instead of asking DNS: `10.0.0.1:443`, or without a port the URL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) addresses: Option<Words>,
    /// Name servers to ask instead of the system's, `10.0.0.2` or with a port: where the system
    /// leads the upstream's name back to the proxy (`hostAliases`, `/etc/hosts`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name_servers: Option<Words>,
}

/// A certificate and its key.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Identity {
    /// PEM file with the certificate, followed by its chain.
    #[schemars(required)]
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate: Option<String>,
    /// PEM file with the private key.
    #[schemars(required)]
    #[schemars(extend("x-file" = "read", "x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<String>,
}
