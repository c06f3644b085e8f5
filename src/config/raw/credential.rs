//! Credentials.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Identity, Redirect, SecretText, Words};

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
    #[schemars(extend("x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion_file: Option<String>,
    /// The client's certificate, for mutual TLS (RFC 8705).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<Identity>,
    /// The user's name, for the grants `password` and `saml_bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) username: Option<String>,
    /// The user's password, for the grants `password` and `saml_bearer`.
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
    /// other program may use the same token. Default: what the command `login` keeps, in the
    /// system's keyring or in a sealed file.
    #[schemars(extend("x-file" = "replaced", "x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) refresh_token_file: Option<String>,
    /// How people sign in, for the grant `authorization_code`.
    #[schemars(extend("default" = "code"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) flow: Option<Flow>,
    /// Where the browser comes back to when a person signs in by the command `login`, for the grant
    /// `refresh_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) redirect: Option<Redirect>,
    /// Where the assertion comes from, for the grants `jwt_bearer` and, in place of `username` and
    /// `password`, `saml_bearer`. `jwt_bearer` without it: the token of the caller, on routes that
    /// inject `on_behalf_of: caller`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) assertion: Option<GrantAssertion>,
    /// The security token service that gives a SAML assertion for the user's name and password,
    /// for the grant `saml_bearer`. At Bentley IMS it is known, and all of it may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) sts: Option<Sts>,
    /// How the SAML assertion is shown to the provider, for the grant `saml_bearer`. Default:
    /// `bentley` for one of an STS, `rfc7522` for one from a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) dialect: Option<SamlDialect>,
    /// What the caller's token is, for the grant `token_exchange`.
    #[schemars(extend("default" = "urn:ietf:params:oauth:token-type:access_token"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) subject_token_type: Option<String>,
    /// What the token is asked to be good for. Default: `itwin-platform` at Bentley IMS (except
    /// for a refresh token from a file), otherwise what the provider grants by itself; with them
    /// `openid offline_access` for a person who signs in by the command `login`.
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
#[schemars(extend("x-later" = ["device_code"]))]
pub(in crate::config) enum GrantType {
    /// The client acts for itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// A user's name and password (RFC 6749 section 4.3), for authorization servers that still
    /// offer it.
    Password,
    /// A refresh token (RFC 6749 section 6): from a file, or of the person who signed in by the
    /// command `login`.
    RefreshToken,
    /// For a token that a caller showed (RFC 8693); a route names the credential in `inject`, with
    /// `on_behalf_of: caller`, or in `identity.token`.
    TokenExchange,
    /// A SAML assertion (RFC 7522): from a security token service for a user's name and password,
    /// which is what agents of iModel.js 0.x and 1.x call a service user; or from a file.
    SamlBearer,
    /// A JWT as the assertion (RFC 7523): the token of another credential, whose user this client
    /// acts for; one from a file; or the token of the caller.
    JwtBearer,
    /// People who sign in with a browser (RFC 6749 section 4.1, with RFC 7636): each has a token of
    /// their own. For `sessions`.
    AuthorizationCode,
}

/// How people sign in.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Flow {
    /// The authorization code flow, with PKCE.
    Code,
    /// The implicit flow, for registrations that have nothing else: the tokens come through the browser
    /// once (`form_post`), and there is no refresh token.
    Implicit,
}

/// An assertion: in exactly one of two forms.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct GrantAssertion {
    /// The name of another credential, whose access token is the assertion (`jwt_bearer`). Each
    /// renewal shows one that is valid then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credential: Option<String>,
    /// A file that holds the assertion and that somebody else keeps fresh: a JWT; or SAML, as XML
    /// or in Base64. Read for every token request.
    #[schemars(extend("x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) file: Option<String>,
}

/// A security token service that speaks JSON, as Bentley's does.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Sts {
    /// Where name and password are turned into an assertion; the URL service calls it
    /// `Mobile.ImsStsAuth`.
    #[schemars(extend("default" = "https://ims.bentley.com/rest/ActiveSTSService/json/IssueEx"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) url: Option<String>,
    /// Where that assertion is turned into the one that the provider takes; the URL service calls
    /// it `ActiveSTSDelegationServiceUrl`, and `/json/IssueEx` is added. Default: none, so that the
    /// first assertion is shown; at Bentley IMS its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) delegation_url: Option<String>,
    /// The relying party that the assertion is for (`imjs_default_relying_party_uri`). Default: at
    /// Bentley IMS `https://connect-wsg20.bentley.com`, elsewhere the provider's issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) applies_to: Option<String>,
    /// `DeviceId` of the requests.
    #[schemars(extend("default" = "backend"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) device_id: Option<String>,
    /// `AppId` of the requests. Default: `imodeljs` and the client's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) app_id: Option<String>,
    /// How long the assertion for name and password is asked to live. It is kept in memory and used
    /// for every renewal until it ends or is refused, so that the password is rarely sent.
    #[schemars(extend("default" = "7d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) lifetime: Option<String>,
}

/// How a SAML assertion is shown.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum SamlDialect {
    /// `urn:ietf:params:oauth:grant-type:saml-token`, the assertion in Base64: as Bentley IMS has it.
    Bentley,
    /// `urn:ietf:params:oauth:grant-type:saml2-bearer`, in base64url, as the RFC has it.
    Rfc7522,
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
