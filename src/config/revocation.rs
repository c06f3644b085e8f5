//! Tokens that are good no longer, though nothing in them says so.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use super::Provider;

/// Where it is learnt which tokens are revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocation {
    /// A file that lists them; read again when it changes.
    pub file: Option<PathBuf>,
    pub logout: Option<BackchannelLogout>,
}

/// A provider says which sessions have ended (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackchannelLogout {
    /// Where, on every listener for callers; compared exactly.
    pub path: String,
    pub provider: Arc<Provider>,
    /// The clients of whose sessions it tells: `aud` has one of them.
    pub clients: BTreeSet<String>,
    /// How long access tokens of a session can live on.
    pub keep: Duration,
}
