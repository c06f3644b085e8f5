//! The audit stream, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretText;

/// Who was given which credential for what, sign-ins, refusals, reloads, changed secrets and orders: a
/// stream of its own, each line a link of a chain that shows tampering. `itwin-auth-proxy audit
/// verify` checks it. `file` or `stream` is needed.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "stream"))]
pub(in crate::config) struct Audit {
    /// The file; made if it is not there, appended to, and made again when it is rotated away. The end
    /// of the chain is kept beside it, in a file with `.head` behind the name.
    #[schemars(extend("x-file" = "replaced"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) file: Option<String>,
    /// A stream instead: its lines have `"kind":"audit"`. The chain begins anew with each start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) stream: Option<Stream>,
    /// The secret that lines are signed with (HMAC-SHA-256), written here; 16 characters at least.
    /// Without one, whoever may write the file can write all of it anew.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<SecretText>,
    /// A file that holds that secret.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_file: Option<String>,
    /// An environment variable that holds that secret.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_env: Option<String>,
    /// A line for each caller, credential and route in this time, with the number of requests; or
    /// `request`: a line for every request.
    #[schemars(extend("default" = "1m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) every: Option<String>,
}

/// Where to, if not to a file.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Stream {
    Stdout,
    Stderr,
}
