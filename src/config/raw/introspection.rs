//! How opaque tokens of callers are checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ClientAuthMethod, Credential, Identity, SecretText};

/// Asking the provider about callers' tokens (RFC 7662). The client is the *API's* own at the
/// provider (IdentityServer: the API resource and its secret), not one that gets tokens.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Introspection {
    /// The introspection endpoint's URL. Default: what the discovery document says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) endpoint: Option<String>,
    /// Which tokens the provider is asked about.
    #[schemars(extend("default" = "opaque"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tokens: Option<IntrospectedTokens>,
    /// The longest time that an answer is believed; a token that is revoked is taken for so long
    /// at most. That a token is not good is believed for 10 seconds at most. `0s`: each request is
    /// asked about.
    #[schemars(extend("default" = "1m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cache: Option<String>,
    /// The API's identifier at the provider.
    #[schemars(required, example = "imodels-api")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_id: Option<String>,
    /// How the API proves who it is. Default: by what is given, `client_secret_basic` for a
    /// secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_auth: Option<ClientAuthMethod>,
    /// The API's secret, written here.
    #[schemars(extend("x-secret" = "client_secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret: Option<SecretText>,
    /// A file that holds the API's secret.
    #[schemars(extend("x-secret" = "client_secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_file: Option<String>,
    /// An environment variable that holds the API's secret.
    #[schemars(extend("x-secret" = "client_secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_env: Option<String>,
    /// The secret that is being replaced, during a rotation: it is tried once when the provider
    /// refuses the other.
    #[schemars(extend("x-secret" = "client_secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_previous: Option<SecretText>,
    /// A file that holds the secret that is being replaced.
    #[schemars(extend("x-secret" = "client_secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_previous_file: Option<String>,
    /// An environment variable that holds the secret that is being replaced.
    #[schemars(extend("x-secret" = "client_secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_previous_env: Option<String>,
    /// The private key (PEM) that signs client assertions (`private_key_jwt`, RFC 7523).
    #[schemars(extend("x-secret" = "private_key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key: Option<SecretText>,
    /// A PEM file that holds the private key.
    #[schemars(extend("x-secret" = "private_key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_file: Option<String>,
    /// An environment variable that holds the private key.
    #[schemars(extend("x-secret" = "private_key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_env: Option<String>,
    /// How assertions are signed, as a credential's are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_algorithm: Option<String>,
    /// `kid` of the assertions, by which the provider finds the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_id: Option<String>,
    /// `aud` of the assertions. Default: the introspection endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion_audience: Option<String>,
    /// A file that holds a client assertion and that somebody else keeps fresh (RFC 7523).
    #[schemars(extend("x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion_file: Option<String>,
    /// The API's certificate, for mutual TLS (RFC 8705).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<Identity>,
}

/// Which tokens the provider is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum IntrospectedTokens {
    /// What is no JWT; a JWT is checked with the provider's keys.
    Opaque,
    /// JWTs as well, so that a revoked one is refused. The provider's keys are not asked for.
    All,
}

impl Introspection {
    /// What proves who the API is, as a credential says it.
    pub(in crate::config) fn client(&self) -> Credential {
        let one = self.clone();
        Credential {
            client_id: one.client_id,
            client_auth: one.client_auth,
            client_secret: one.client_secret,
            client_secret_file: one.client_secret_file,
            client_secret_env: one.client_secret_env,
            client_secret_previous: one.client_secret_previous,
            client_secret_previous_file: one.client_secret_previous_file,
            client_secret_previous_env: one.client_secret_previous_env,
            private_key: one.private_key,
            private_key_file: one.private_key_file,
            private_key_env: one.private_key_env,
            private_key_algorithm: one.private_key_algorithm,
            private_key_id: one.private_key_id,
            assertion_audience: one.assertion_audience,
            assertion_file: one.assertion_file,
            tls: one.tls,
            ..Credential::default()
        }
    }

    /// The other way round.
    pub(in crate::config) fn of(client: Credential) -> Self {
        Self {
            endpoint: None,
            tokens: None,
            cache: None,
            client_id: client.client_id,
            client_auth: client.client_auth,
            client_secret: client.client_secret,
            client_secret_file: client.client_secret_file,
            client_secret_env: client.client_secret_env,
            client_secret_previous: client.client_secret_previous,
            client_secret_previous_file: client.client_secret_previous_file,
            client_secret_previous_env: client.client_secret_previous_env,
            private_key: client.private_key,
            private_key_file: client.private_key_file,
            private_key_env: client.private_key_env,
            private_key_algorithm: client.private_key_algorithm,
            private_key_id: client.private_key_id,
            assertion_audience: client.assertion_audience,
            assertion_file: client.assertion_file,
            tls: client.tls,
        }
    }
}
