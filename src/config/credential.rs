//! Credentials: a way to get access tokens. Provider, client, grant and scopes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use super::{Identity, Name, Provider, SecretPair, SecretSource};

/// A way to get access tokens.
#[derive(Debug, Clone)]
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

/// How the client proves who it is at the token endpoint.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
pub enum Assertion {
    /// Signed by us, fresh for every request.
    Signed(SigningKey),
    /// A file that somebody else keeps fresh, such as a projected Kubernetes service-account
    /// token; read for every request.
    File(PathBuf),
}

/// The key of `private_key_jwt`.
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub key: SecretSource,
    pub algorithm: jsonwebtoken::Algorithm,
    pub key_id: Option<String>,
    /// `aud` of the assertion; the token endpoint unless given.
    pub audience: Option<String>,
}

/// The OAuth 2.0 grant that gets the token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// RFC 6749 section 4.4.
    ClientCredentials,
    /// RFC 6749 section 4.3; for authorization servers that still offer it.
    Password {
        username: String,
        password: SecretSource,
    },
    /// RFC 6749 section 6; the file is written back when the token is rotated.
    RefreshToken { file: PathBuf },
    /// RFC 8693: for a token that a caller showed.
    TokenExchange { subject_token_type: String },
}

impl Grant {
    /// The value of `grant_type`.
    pub fn grant_type(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
            Self::TokenExchange { .. } => "token_exchange",
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
