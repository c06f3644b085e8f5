//! Sessions of browsers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretText, Texts};

/// How people sign in with a browser. Routes admit those who have (`admit: {session: NAME}`), and may
/// inject their tokens; the browser itself never has one.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Session {
    /// The credential that people sign in by, of the grant `authorization_code`. Default: the only
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credential: Option<String>,
    /// Where browsers reach this proxy: `https://` and a host, or `http://` and a name of this machine
    /// such as `http://localhost:8080`; without a path. The redirect URI that has to be registered with the
    /// provider is this and `callback_path`.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) public_url: Option<String>,
    /// The path below which our own endpoints are: `login`, `callback`, `logout`, `signed-out`, `session`, `renew`,
    /// `backchannel-logout` and `frontchannel-logout`.
    #[schemars(extend("default" = "/.itwin-auth"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) prefix: Option<String>,
    /// The path of the redirect URI, where another is registered. Default: `callback` below `prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) callback_path: Option<String>,
    /// The secret that cookies and stored sessions are sealed with, written here; 32 random characters or more.
    /// Default: one that is made at start and lost at the end, so that a restart signs everybody out.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<SecretText>,
    /// A file that holds the secret.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_file: Option<String>,
    /// An environment variable that holds the secret.
    #[schemars(extend("x-secret" = "key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_env: Option<String>,
    /// The secret that is being replaced: what was sealed with it is still opened.
    #[schemars(extend("x-secret" = "key_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_previous: Option<SecretText>,
    /// A file that holds the secret that is being replaced.
    #[schemars(extend("x-secret" = "key_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_previous_file: Option<String>,
    /// An environment variable that holds the secret that is being replaced.
    #[schemars(extend("x-secret" = "key_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_previous_env: Option<String>,
    /// Where sessions are kept: `cookie`, all of it sealed in cookies; `memory`, in this process; or
    /// `directory`, in sealed files of `directory`. With the last two the cookie is only a handle.
    #[schemars(extend("default" = "cookie"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) store: Option<SessionStore>,
    /// The directory of sealed files, for `store: directory`; for this program alone, and writable.
    #[schemars(extend("x-file" = "directory"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) directory: Option<String>,
    /// A session without a request for so long ends; a minute to 30 days.
    #[schemars(extend("default" = "4h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle: Option<String>,
    /// A session ends after so long, whatever happens; a minute to 90 days.
    #[schemars(extend("default" = "12h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) absolute: Option<String>,
    /// Parameters that are sent with every authorization request: `prompt`, `acr_values`, `max_age`,
    /// `audience` … Of these, `prompt`, `login_hint`, `acr_values`, `max_age` and `ui_locales` may also
    /// come with `login?…`, for one sign-in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) parameters: BTreeMap<String, String>,
    /// A directory of templates that replace our pages: `sign-in.html`, `signed-out.html`, `error.html`.
    #[schemars(extend("x-file" = "read"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) pages: Option<String>,
    /// The path where signing out ends. Default: a page of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) signed_out: Option<String>,
    /// Further origins whose pages may use the routes, such as `https://spa.example.com`: they get
    /// answers of CORS, and may change things. Their requests carry the cookie only if they are on the same site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) origins: Option<Texts>,
    /// What becomes of streams, downloads and WebSocket connections when their session ends: `close` them within
    /// two seconds, or let them `finish`.
    #[schemars(extend("default" = "close"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) streams: Option<Streams>,
    /// Sign-ins that one address may begin in a minute; 429 above it.
    #[schemars(extend("default" = 30), range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) sign_ins_per_minute: Option<u32>,
}

/// Where sessions are kept.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SessionStore {
    /// All of it sealed in cookies: it survives a restart, and is the same on several replicas.
    Cookie,
    /// In this process: lost when it ends.
    Memory,
    /// In sealed files.
    Directory,
}

/// What becomes of streams when their session ends.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Streams {
    /// Closed.
    Close,
    /// Left alone.
    Finish,
}
