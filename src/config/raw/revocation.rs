//! Revoked tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Words;

/// Tokens of callers that are good no longer, though nothing in them says so.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Revocation {
    /// A file that lists them, read again when it changes. A line is `jti VALUE` for one token,
    /// `sid VALUE` for a session or `sub VALUE` for a user, perhaps with `issuer=URL`,
    /// `before=2026-01-31T12:00:00Z` (only tokens of earlier sign-ins) and `until=…` (when the line
    /// ends) behind it; `#` begins a comment. A line that cannot be read is named in the log, and
    /// costs the others nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) file: Option<String>,
    /// Lets a provider say which sessions have ended (OpenID Connect Back-Channel Logout 1.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) backchannel_logout: Option<BackchannelLogout>,
}

/// An address for a provider's logout tokens, on every listener for callers.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct BackchannelLogout {
    /// The path that is registered with the provider as `backchannel_logout_uri`.
    #[schemars(extend("default" = "/.itwin-auth/backchannel-logout"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Whose logout tokens are taken. Default: the only provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) provider: Option<String>,
    /// The clients that it tells of: a logout token's `aud` has one of these.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) clients: Option<Words>,
    /// How long a logout is remembered: at least as long as access tokens live.
    #[schemars(extend("default" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) keep: Option<String>,
}
