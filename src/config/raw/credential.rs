//! Credentials.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Identity, SecretText, Words};

/// A way to get access tokens: provider, client, grant and scopes.
///
/// Each secret is given in exactly one of three forms: written here, read from a file (again each
/// time it is needed, so that a rotated secret is used without a restart), or taken from an
/// environment variable when the program starts.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Credential {
    /// The provider's name. Default: the only one that is declared, `bentley` if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) provider: Option<String>,
    /// The OAuth 2.0 grant that gets the token.
    #[schemars(extend("default" = "client_credentials"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) grant: Option<GrantType>,
    /// The client's identifier at the provider, such as `service-…`.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_id: Option<String>,
    /// How the client proves who it is. Default: by what is given, `client_secret_basic` for a
    /// secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_auth: Option<ClientAuthMethod>,
    /// The client's secret, written here.
    #[schemars(extend("x-secret" = "client_secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret: Option<SecretText>,
    /// A file that holds the client's secret.
    #[schemars(extend("x-secret" = "client_secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_file: Option<String>,
    /// An environment variable that holds the client's secret.
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
    /// How assertions are signed: `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`,
    /// `ES384` or `EdDSA`. Default: `RS256` for an RSA key, what fits the curve for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_algorithm: Option<String>,
    /// `kid` of the assertions, by which the provider finds the public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) private_key_id: Option<String>,
    /// `aud` of the assertions. Default: the token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion_audience: Option<String>,
    /// A file that holds a client assertion and that somebody else keeps fresh, such as a
    /// projected Kubernetes service-account token (RFC 7523); read for every token request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion_file: Option<String>,
    /// The client's certificate, for mutual TLS (RFC 8705).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<Identity>,
    /// The user's name, for the grant `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) username: Option<String>,
    /// The user's password, for the grant `password`.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password: Option<SecretText>,
    /// A file that holds the user's password.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_file: Option<String>,
    /// An environment variable that holds the user's password.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_env: Option<String>,
    /// The file that holds the refresh token, for the grant `refresh_token`. It is written back
    /// when the provider rotates the token: the file and its directory must be writable, and no
    /// other program may use the same token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) refresh_token_file: Option<String>,
    /// What the caller's token is, for the grant `token_exchange`.
    #[schemars(extend("default" = "urn:ietf:params:oauth:token-type:access_token"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) subject_token_type: Option<String>,
    /// What the token is asked to be good for. Default: `itwin-platform` at Bentley IMS (except
    /// for the grant `refresh_token`), otherwise what the provider grants by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<Words>,
    /// Parameters that are sent with every token request: `resource` (RFC 8707), `audience`,
    /// `acr_values` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) parameters: BTreeMap<String, String>,
}

/// Grants.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-later" = ["authorization_code", "device_code", "jwt_bearer", "saml_bearer"]))]
pub(in crate::config) enum GrantType {
    /// The client acts for itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// A user's name and password (RFC 6749 section 4.3), for authorization servers that still
    /// offer it.
    Password,
    /// A refresh token from a file (RFC 6749 section 6).
    RefreshToken,
    /// For a token that a caller showed (RFC 8693); a route names the credential in
    /// `identity.token`.
    TokenExchange,
}

/// Client authentication methods, by their registered names (RFC 7591, RFC 8705).
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuthMethod {
    /// The secret in the `Authorization` header, form-encoded (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// The secret in the request's body.
    ClientSecretPost,
    /// A signed assertion: signed with `private_key`, or read from `assertion_file` (RFC 7523).
    PrivateKeyJwt,
    /// The client's certificate (RFC 8705).
    TlsClientAuth,
    /// A public client: its identifier only.
    None,
}

impl ClientAuthMethod {
    /// The registered name.
    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth => "tls_client_auth",
            Self::None => "none",
        }
    }
}
