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
    /// How requests arrive: `reverse`, they name this listener itself and go on; `decide`, each is
    /// the question of a gateway whether another request may pass: 200 with the identity headers
    /// of the route, or the refusal.
    #[schemars(extend("default" = "reverse", "x-later" = ["forward", "transparent"], "enum" = ["reverse", "decide"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<String>,
    /// Whose questions a `decide` listener answers: `nginx` (`auth_request`; `X-Original-Method`,
    /// `X-Original-Proto`, `X-Original-URI` and `X-Original-Host`, which is `$host:$server_port`,
    /// must be set), `ingress_nginx` (`auth-url`; it tells the `Host` field, which need not be the
    /// host that is served, so give all its hosts the same rules), `traefik` (`forwardAuth`, also
    /// Caddy's `forward_auth` from 2.11 on), `envoy` (`ext_authz` over HTTP). Only the gateway may
    /// reach this listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) gateway: Option<GatewayName>,
    /// Permissions of a Unix socket, in octal: whoever may connect may use the routes, so that by
    /// default it is the same user only.
    #[schemars(extend("default" = "0600"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) socket_mode: Option<String>,
    /// TLS towards callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<ServerTls>,
}

/// A gateway that asks.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum GatewayName {
    /// `auth_request`.
    Nginx,
    /// The ingress controller's `auth-url`.
    IngressNginx,
    /// `forwardAuth`, also Caddy's `forward_auth`.
    Traefik,
    /// `ext_authz` over HTTP.
    Envoy,
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
    /// Asked for, and any is taken, also one that its holder signed itself. It admits nobody: only
    /// tokens that are bound to it (RFC 8705) are good on the connection.
    Any,
}
