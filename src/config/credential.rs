//! Credentials: a way to get access tokens. Provider, client, grant and scopes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use url::Url;

use super::{Identity, Login, Name, Provider, RefreshSource, SecretPair, SecretSource};

/// A way to get access tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub name: Name,
    pub provider: Arc<Provider>,
    pub client_id: String,
    pub auth: ClientAuth,
    pub grant: Grant,
    /// Asked for unless a route asks for others.
    pub scopes: ScopeSet,
    /// Sent with every token request: `resource` (RFC 8707), `audience`, `acr_values` …
    pub extra: BTreeMap<String, String>,
}

impl Credential {
    /// How long a token may take, with the one that is shown for it.
    pub fn patience(&self) -> Duration {
        let other = self.grant.shows().map(|other| other.patience());
        // metadata and the token request, each within the provider's own limit
        self.provider.timeouts.total * 2 + other.unwrap_or_default()
    }
}

/// How the client proves who it is at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// A public client: `client_id` only.
    None,
    /// `client_secret_basic`, form-encoded before Base64 (RFC 6749 section 2.3.1).
    Basic(SecretPair),
    /// `client_secret_post`.
    Post(SecretPair),
    /// `private_key_jwt` or any file as a client assertion (RFC 7523 section 2.2).
    Assertion(Assertion),
    /// `tls_client_auth` / `self_signed_tls_client_auth` (RFC 8705 section 2).
    MutualTls(Identity),
}

/// Where a client assertion comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// Signed by us, fresh for every request.
    Signed(SigningKey),
    /// A file that somebody else keeps fresh, such as a projected Kubernetes service-account
    /// token; read for every request.
    File(PathBuf),
}

/// The key of `private_key_jwt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub key: SecretSource,
    pub algorithm: jsonwebtoken::Algorithm,
    pub key_id: Option<String>,
    /// `aud` of the assertion; the token endpoint unless given.
    pub audience: Option<String>,
}

/// The OAuth 2.0 grant that gets the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749 section 4.4.
    ClientCredentials,
    /// RFC 6749 section 4.3; for authorization servers that still offer it.
    Password {
        username: String,
        password: SecretSource,
    },
    /// RFC 6749 section 6.
    RefreshToken { from: RefreshSource },
    /// RFC 8693: for a token that a caller showed.
    TokenExchange { subject_token_type: String },
    /// RFC 7522, or what Bentley IMS had before it.
    SamlBearer {
        assertion: SamlSource,
        dialect: SamlDialect,
    },
    /// RFC 7523 section 2.1.
    JwtBearer { assertion: JwtSource },
    /// People sign in by a browser; each has a token of their own.
    AuthorizationCode { flow: Flow },
}

/// How a browser comes back from a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With a code, and PKCE (RFC 6749 section 4.1, RFC 7636).
    Code,
    /// With the tokens themselves, in a form, for registrations that have nothing else (OpenID
    /// Connect Core section 3.2). There is no refresh token.
    Implicit,
}

/// Where a SAML assertion comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SamlSource {
    /// A file that somebody else keeps fresh; read for every token request.
    File(PathBuf),
    /// A security token service, for a user's name and password.
    Sts(Box<Sts>),
}

/// A security token service that speaks JSON, as Bentley's does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sts {
    pub url: Url,
    /// Issues another assertion for one of the STS; that one goes to the token endpoint.
    pub delegation: Option<Url>,
    /// The relying party that assertions are for.
    pub applies_to: String,
    pub device_id: String,
    pub app_id: String,
    /// Asked for; in whole minutes.
    pub lifetime: Duration,
    pub username: String,
    pub password: SecretSource,
}

/// How a SAML assertion is shown to the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamlDialect {
    /// `urn:ietf:params:oauth:grant-type:saml-token`, the assertion in Base64.
    Bentley,
    /// `urn:ietf:params:oauth:grant-type:saml2-bearer`, in base64url (RFC 7522 section 2.1).
    Rfc7522,
}

/// Where the JWT comes from that is shown as an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtSource {
    /// A file that somebody else keeps fresh; read for every token request.
    File(PathBuf),
    /// The access token of another credential.
    Credential(Arc<Credential>),
    /// The access token that a caller showed.
    Caller,
}

impl Grant {
    /// Its name in a configuration.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
            Self::TokenExchange { .. } => "token_exchange",
            Self::SamlBearer { .. } => "saml_bearer",
            Self::JwtBearer { .. } => "jwt_bearer",
            Self::AuthorizationCode { .. } => "authorization_code",
        }
    }

    /// How people sign in by it, if they do.
    pub fn flow(&self) -> Option<Flow> {
        match self {
            Self::AuthorizationCode { flow } => Some(*flow),
            _ => None,
        }
    }

    /// What is known of the sign-in of a person by the command `login`, where it is for one.
    pub fn login(&self) -> Option<&Login> {
        match self {
            Self::RefreshToken {
                from: RefreshSource::Login(login),
            } => Some(login),
            _ => None,
        }
    }

    /// Whether it is for a person who signs in by the command `login`.
    pub fn is_kept(&self) -> bool {
        self.login().is_some()
    }

    /// Whether each of its tokens is for one that a caller showed: it has none of its own.
    pub fn exchanges(&self) -> bool {
        matches!(
            self,
            Self::TokenExchange { .. }
                | Self::JwtBearer {
                    assertion: JwtSource::Caller
                }
        )
    }

    /// The credential whose token is shown for this one's.
    pub fn shows(&self) -> Option<&Arc<Credential>> {
        match self {
            Self::JwtBearer {
                assertion: JwtSource::Credential(other),
            } => Some(other),
            _ => None,
        }
    }
}

/// Scopes as a set: `b a` and `a b` are the same (RFC 6749 section 3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeSet(BTreeSet<String>);

impl ScopeSet {
    /// From separate scope tokens, or several in one string separated by spaces.
    pub fn new<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self(
            scopes
                .into_iter()
                .flat_map(|text| {
                    text.as_ref()
                        .split_ascii_whitespace()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .collect(),
        )
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Those of `wanted` that are not in here.
    #[must_use]
    pub fn missing(&self, wanted: &Self) -> Self {
        Self(wanted.0.difference(&self.0).cloned().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, scope) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}
