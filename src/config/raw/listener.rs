//! Listeners.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretText, Words};

/// An address that calls are accepted on.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "bind"))]
pub(in crate::config) struct Listener {
    /// Address and port, `127.0.0.1:8080` or `[::1]:8080`, or a Unix socket, `unix:/run/itwin.sock`.
    /// When others than this machine can reach it, injecting routes must say who is admitted.
    #[schemars(required)]
    #[schemars(extend("x-file" = "bind"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bind: Option<String>,
    /// How requests arrive: `reverse`, they name this listener itself and go on; `forward`, they
    /// name any host, in absolute form or by CONNECT, as programs send them that know `HTTP_PROXY`;
    /// `transparent`, the kernel redirects connections to other addresses here; `decide`, each is
    /// the question of a gateway whether another request may pass: 200 with the identity headers
    /// of the route, or the refusal.
    #[schemars(extend("default" = "reverse", "enum" = ["reverse", "forward", "transparent", "decide"]))]
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
    /// `forward` and `transparent`: who may use the listener at all: `local`, `anyone`, or rules
    /// (`networks`, `proxy_user`, `certificate`, `uids`). Whom its rules admit, routes with
    /// `admit: local` admit as well. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) admit: Option<super::Admit>,
    /// `forward` and `transparent`: hosts that are reached though no route names them, untouched
    /// and without a token; `*.example.com` is every host below, `*` every host. Default: none for
    /// `forward`, every host for `transparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// `forward`: the ports at which those hosts, and those that are opened, are reached. `transparent`: the ports whose
    /// connections are looked into, those to others pass. Default: 80 and 443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ports: Option<Vec<u16>>,
    /// `forward`: addresses that those hosts may have though they are loopback, private,
    /// link-local or otherwise not public, such as `10.1.0.0/16`. `transparent`, where others than
    /// this machine are redirected: addresses that connections are passed on to though they are
    /// link-local or a cloud's metadata service. Default: none, so that nobody reaches through the
    /// proxy what only the proxy's machine reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) networks: Option<Words>,
    /// `forward`: servers that find the addresses of those hosts, such as `10.0.0.2` or
    /// `10.0.0.2:5353`, where the system's resolver leads back here. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name_servers: Option<Words>,
    /// `forward`: where a proxy auto-configuration file is served that sends the hosts of routes
    /// and of this listener here and all others past it. Default: `/proxy.pac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) pac: Option<String>,
    /// `transparent`: what the kernel redirects with: `nat` (REDIRECT, DNAT) or `tproxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) redirected_by: Option<RedirectedBy>,
}

/// What the kernel redirects with.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RedirectedBy {
    /// `REDIRECT` or `DNAT`: the original destination is asked of the kernel.
    Nat,
    /// `TPROXY`: the connection's own address is the original destination.
    Tproxy,
}

/// A user of a forward proxy.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ProxyUser {
    /// The user's name; no colon.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name: Option<String>,
    /// The password, written here.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password: Option<SecretText>,
    /// A file that holds the password.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_file: Option<String>,
    /// An environment variable that holds the password.
    #[schemars(extend("x-secret" = "password"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_env: Option<String>,
    /// The password that is being replaced, good as well during a rotation.
    #[schemars(extend("x-secret" = "password_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_previous: Option<SecretText>,
    /// A file that holds the password that is being replaced.
    #[schemars(extend("x-secret" = "password_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_previous_file: Option<String>,
    /// An environment variable that holds the password that is being replaced.
    #[schemars(extend("x-secret" = "password_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) password_previous_env: Option<String>,
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
    /// PEM file with the certificate, followed by its chain. Must be given unless `minted`.
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate: Option<String>,
    /// PEM file with the private key. Must be given unless `minted`.
    #[schemars(extend("x-file" = "read", "x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<String>,
    /// PEM file with the authorities that sign callers' certificates.
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_ca: Option<String>,
    /// Whether callers show a certificate. Default: `required` with a `client_ca`, `none` without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_certificates: Option<ClientsMode>,
    /// `true`: instead of a certificate in files, one that is made for the name that the caller
    /// indicates, if it is among `interception.hosts`. For software whose names for the services
    /// lead here (`/etc/hosts`, `hostAliases`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) minted: Option<bool>,
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
