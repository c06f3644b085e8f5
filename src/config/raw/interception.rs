//! Interception.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Words;

/// TLS connections that are opened, for software that can be given neither another address nor a
/// token. `itwin-auth-proxy ca init` makes the authority; the software must trust it
/// (`itwin-auth-proxy ca export`).
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Interception {
    /// PEM file with the authority's certificate, which the software trusts.
    #[schemars(required)]
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate: Option<String>,
    /// PEM file with the authority's private key. Nobody but this program should be able to read
    /// it: whoever has it can pose as each of the hosts.
    #[schemars(required)]
    #[schemars(extend("x-file" = "read", "x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<String>,
    /// The hosts whose connections are opened, and no other; `*.example.com` for all names below
    /// one. What software sends to them is served by the routes.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// How long the certificate that is made for a host is good for; never longer than the
    /// authority's own. A new one is made in time.
    #[schemars(extend("default" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) leaf_lifetime: Option<String>,
}
