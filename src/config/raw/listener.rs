//! Listeners.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address that calls are accepted on.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "bind"))]
pub(in crate::config) struct Listener {
    /// Address and port, `127.0.0.1:8080` or `[::1]:8080`, or a Unix socket, `unix:/run/itwin.sock`.
    /// When others than this machine can reach it, injecting routes must say who is admitted.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bind: Option<String>,
    /// How requests arrive: `reverse`, they name this listener itself.
    #[schemars(extend("default" = "reverse", "x-later" = ["forward", "transparent"], "enum" = ["reverse"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<String>,
    /// Permissions of a Unix socket, in octal: whoever may connect may use the routes, so that by
    /// default it is the same user only.
    #[schemars(extend("default" = "0600"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) socket_mode: Option<String>,
    /// TLS towards callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<ServerTls>,
}

/// TLS towards callers. The files are read again when they change.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ServerTls {
    /// PEM file with the certificate, followed by its chain.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate: Option<String>,
    /// PEM file with the private key.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<String>,
    /// PEM file with the authorities that sign callers' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_ca: Option<String>,
    /// Whether callers show a certificate. Default: `required` with a `client_ca`, `none` without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_certificates: Option<ClientsMode>,
}

/// Whether callers show a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientsMode {
    /// Not asked for.
    None,
    /// Asked for; a caller without one is served where a route admits it otherwise.
    Optional,
    /// The connection fails without one.
    Required,
}
