//! Where the browser of a person at a desk comes back to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The redirect of the command `login`: an address of this machine, as it is registered at the
/// provider (RFC 8252 section 7.3).
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Redirect {
    /// How the redirect names this machine: `127.0.0.1`, `[::1]` or `localhost`. Default:
    /// `127.0.0.1`; at Bentley IMS `localhost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) host: Option<String>,
    /// Ports, the first that is free. Default: any; at Bentley IMS 3000.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ports: Option<Vec<u16>>,
    /// The path. Default: `/callback`; at Bentley IMS `/signin-callback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
}
