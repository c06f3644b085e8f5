//! Settings of the program as a whole: limits, admin listener, log, token store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretText;

/// What callers are told of errors.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Errors {
    /// The address of a page that explains errors, such as a copy of `docs/troubleshooting.md` or
    /// `http://…:9901/troubleshooting` of the admin listener: `details` of an error point there, to
    /// `#` and the code in lower case. Default: they name `itwin-auth-proxy explain CODE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) help: Option<String>,
}

/// What is accepted from callers, and how long they are waited for.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Request line and header fields together; 431 above it. Room for several tokens of 2 kB and
    /// many cookies.
    #[schemars(extend("default" = "32KiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header_size: Option<String>,
    /// Header fields of a request; 431 above it. More than 100 are refused before they are all read,
    /// with a 431 that has no body, unless more are allowed here.
    #[schemars(extend("default" = 80), range(min = 10, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header_count: Option<u32>,
    /// A request's body, or `unlimited`, because bodies stream through in bounded memory and
    /// changesets are large; 413 above it.
    #[schemars(extend("default" = "unlimited"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body_size: Option<String>,
    /// Connections at once over all listeners; more wait in the kernel's queue. Tunnels that share a
    /// connection of HTTP/2 may be as many again.
    #[schemars(extend("default" = 10_000), range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) connections: Option<u32>,
    /// Requests under way at once; 503 above it. Threads take their share by the handful: one that
    /// is busy alone may refuse while up to a sixteenth is free.
    #[schemars(extend("default" = 10_000), range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests: Option<u32>,
    /// From the first byte of a request to the end of its header: long enough for any network,
    /// short enough that slow senders do not fill the connections.
    #[schemars(extend("default" = "10s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header_timeout: Option<String>,
    /// An idle connection of a caller is closed after this time; longer than clients keep theirs
    /// (90 seconds and less), so that it is they who close.
    #[schemars(extend("default" = "120s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle_timeout: Option<String>,
    /// Streams at once on one HTTP/2 connection.
    #[schemars(extend("default" = 250), range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) http2_streams: Option<u32>,
    /// After SIGTERM: time in which `/ready` fails but calls are still accepted, so that load
    /// balancers learn of it. Default: `0s` when only this machine reaches the listeners, `5s`
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) drain_delay: Option<String>,
    /// After that: time for calls under way to finish. With the delay it fits into the 30 seconds
    /// after which Kubernetes kills.
    #[schemars(extend("default" = "25s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) drain_timeout: Option<String>,
}

/// The listener for probes (`/startup`, `/live`, `/ready`), `/metrics` and `/status`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "bind"))]
pub(in crate::config) struct Admin {
    /// Address and port, or `none`.
    #[schemars(extend("default" = "127.0.0.1:9901"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bind: Option<String>,
    /// Needed for an address that others than this machine can reach. Nothing that is secret is
    /// shown there, but names, addresses and traffic figures are.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) allow_remote: Option<bool>,
    /// Programs on this machine, or in this pod, may end this one (`POST /quit`) or take it out of
    /// service (`POST /drain`) without a key: for Jobs whose sidecar does not end by itself.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) allow_quit: Option<bool>,
    /// A Unix socket that answers the same, and takes every order from whom the kernel says to be root,
    /// this program's own user, or one of `uids`. `itwin-auth-proxy status`, `log`, `drain` and the like use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) socket: Option<AdminSocket>,
    /// Who has this key may revoke tokens at `/revocations` (`Authorization: Bearer KEY`) and give
    /// orders (`/quit`, `/drain`), written here; 16 characters at least. Without a key nothing can be
    /// changed there.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<SecretText>,
    /// A file that holds that key.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_file: Option<String>,
    /// An environment variable that holds that key.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_env: Option<String>,
}

/// When another configuration is taken by the process that runs.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Reload {
    /// As soon as the file says something else. Without it at SIGHUP and by `itwin-auth-proxy reload` only.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) watch: Option<bool>,
}

/// A Unix socket of the admin listener.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "path"))]
pub(in crate::config) struct AdminSocket {
    /// Where: `/run/itwin-auth-proxy/admin.sock`. A stale one that nobody listens on is replaced.
    #[schemars(extend("x-file" = "socket"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Its permissions, in octal; `0600`, or `0666` where there are `uids`: who may connect and is
    /// nobody of those is told so, and no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<String>,
    /// Users, by number, who may see and order everything, beside root and this program's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) uids: Option<Vec<u32>>,
}

/// What is logged, and how.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "level"))]
pub(in crate::config) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,itwin_auth_proxy::tokens=debug`.
    #[schemars(extend("default" = "info"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) level: Option<String>,
    /// `auto`: for people on a terminal, JSON otherwise.
    #[schemars(extend("default" = "auto"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) format: Option<LogFormat>,
    /// One line for each request.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests: Option<bool>,
}

/// How a log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The encrypted file in which tokens survive a restart.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenStore {
    /// The file; made if it is not there, in a directory that must be writable.
    #[schemars(required)]
    #[schemars(extend("x-file" = "replaced"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// The secret from which the file's key is derived, written here; 16 characters at least.
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
}
