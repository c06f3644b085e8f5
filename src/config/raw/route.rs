//! Routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BearerRule, CallerIdentity, ClientTls, SecretText, Words};

/// What a request must match, who may send it, which credential goes with it, where it goes.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// Its name in logs and metrics. Default: `route-1` for the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name: Option<String>,
    /// Hosts that the request may name, without port; `*.example.com` stands for one or more
    /// labels. Default: any; of callers that name hosts of others (`forward`, `transparent`, opened
    /// connections), the upstream's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) hosts: Option<Words>,
    /// The path: `*` stands for anything within a segment, `**` as the last segment for all the
    /// rest. `/imodels/**` matches `/imodels`, `/imodels/` and everything below.
    #[schemars(extend("default" = "/**"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
    /// Methods, whatever their case; `GET` stands for `HEAD` as well. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) methods: Option<Words>,
    /// Who may use the route: `local` (whoever reaches a listener that only this machine
    /// reaches), `anyone`, or a list of rules of which one must hold. Whoever may use an injecting
    /// route *is* the service towards the upstream. Default: `local` for a route that injects,
    /// `anyone` for one that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) admit: Option<Admit>,
    /// The URL that callers know what is behind this route by, such as
    /// `https://api.example.com/imodels`. Refusals for want of a token then say where a client
    /// reads what it needs, and that document (RFC 9728) is served at its well-known path on every
    /// listener. Default: neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) resource: Option<String>,
    /// The credential whose token goes with the request. Default: none, requests go on as they
    /// came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) inject: Option<Inject>,
    /// What the service learns of the caller, such as `{headers: {email: off}, token: remove}`.
    /// Default: the header fields below where the route admits callers by their tokens and injects
    /// none, nothing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) identity: Option<CallerIdentity>,
    /// Where requests go. Default: `https://api.bentley.com` for a credential of `bentley`,
    /// `https://qa-api.bentley.com` for one of `bentley-qa`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) upstream: Option<Upstream>,
    /// Links in JSON answers, `Location` and `Link` that point at exactly the upstream's origin
    /// point back at this proxy, because iTwin clients follow them as they stand. Other links,
    /// such as those to storage, are never touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) links: Option<Links>,
    /// Answer 502 in JSON when the upstream answers with a sign-in page, or with a redirect to the
    /// provider, where a client expects an API's answer. Default: `true` for a route that injects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) refuse_login_pages: Option<bool>,
    /// How long a request may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeouts: Option<Timeouts>,
    /// How much of a request's body is kept, to send it again when the upstream answers 401 for a
    /// token of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) replay: Option<Replay>,
}

/// Who may use a route.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-one" = "item"))]
pub(in crate::config) enum Admit {
    /// A word.
    Word(AdmitWord),
    /// Rules of which one must hold.
    Rules(Vec<AdmitRule>),
}

/// Who may use a route, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AdmitWord {
    /// Whoever reaches a listener that only this machine reaches; nobody else.
    Local,
    /// Whoever reaches any listener.
    Anyone,
}

/// One way to be admitted: exactly one of its keys.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AdmitRule {
    /// The caller's address lies in one of these networks, such as `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) networks: Option<Words>,
    /// The request carries this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<KeyRule>,
    /// The request carries an access token that this provider signed, in `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bearer: Option<BearerRule>,
    /// A person who is signed in with a browser: the name of one of `sessions`. Who is not, is sent to sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) session: Option<String>,
    /// The caller's TLS certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate: Option<CertificateRule>,
    /// The process at the other end of the Unix socket runs as one of these users (numbers).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) uids: Option<Vec<u32>>,
    /// On listeners of the mode `forward` only: the request names this user and its password in
    /// `Proxy-Authorization: Basic` (RFC 7617), which never goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) proxy_user: Option<super::ProxyUser>,
}

/// A key that callers know and send in a header.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct KeyRule {
    /// Its name in logs. Default: `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name: Option<String>,
    /// The header that carries it; it is removed before the request goes on.
    #[schemars(extend("default" = "x-api-key"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header: Option<String>,
    /// The key, written here; 16 characters at least.
    #[schemars(extend("x-secret" = "secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret: Option<SecretText>,
    /// A file that holds the key.
    #[schemars(extend("x-secret" = "secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_file: Option<String>,
    /// An environment variable that holds the key.
    #[schemars(extend("x-secret" = "secret"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_env: Option<String>,
    /// The key that is being replaced, good as well during a rotation.
    #[schemars(extend("x-secret" = "secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_previous: Option<SecretText>,
    /// A file that holds the key that is being replaced.
    #[schemars(extend("x-secret" = "secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_previous_file: Option<String>,
    /// An environment variable that holds the key that is being replaced.
    #[schemars(extend("x-secret" = "secret_previous"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_previous_env: Option<String>,
}

/// A certificate that a listener's `client_ca` signed.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CertificateRule {
    /// Names of which the certificate must have one: subject common name, or DNS, URI or e-mail
    /// alternative name. Default: any certificate will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) names: Option<Words>,
}

/// Which credential goes with a request.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "credential"))]
pub(in crate::config) struct Inject {
    /// The credential's name.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credential: Option<String>,
    /// `caller`: the token is got for the one that admitted the caller, and is in the caller's name.
    /// The credential has the grant `token_exchange` (RFC 8693), or `jwt_bearer` without `assertion`
    /// (RFC 7523). It is kept in memory for 10 minutes at most, and never longer than the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_behalf_of: Option<OnBehalfOf>,
    /// Other scopes than the credential's. Each set has a token of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<Words>,
    /// A token with less life left is renewed before the call, if that can be: a call must be able
    /// to finish with the token that it began with. At most `30m`, because a token for one hour
    /// would be renewed for nearly every call.
    #[schemars(extend("default" = "60s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) min_remaining: Option<String>,
    /// What happens to a bearer token of the caller's own. `replace`, because iTwin clients cannot
    /// do without one and send something.
    #[schemars(extend("default" = "replace"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) presented_bearer: Option<Presented>,
    /// What happens to an `Authorization` of another scheme (`Basic`, `SharedAccessSignature`,
    /// `X509` …). `keep`, because no token of ours can stand for it.
    #[schemars(extend("default" = "keep"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) presented_other: Option<Presented>,
    /// Bearer tokens that mean "none": ours takes their place whatever `presented_bearer` says.
    #[schemars(extend("default" = ["dummy", "placeholder", "none", "undefined", "null"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) placeholders: Option<Words>,
    /// How long a request waits for a token that must be fetched first, before it is answered 503.
    #[schemars(extend("default" = "15s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) wait: Option<String>,
}

/// In whose name an injected token is, if not in the credential's own.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum OnBehalfOf {
    /// The caller's.
    Caller,
}

/// What happens to a caller's own `Authorization`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Presented {
    /// Ours takes its place.
    Replace,
    /// It goes on as it is, and nothing is injected.
    Keep,
    /// The request is answered 400.
    Refuse,
}

/// Where requests go.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "url"))]
pub(in crate::config) struct Upstream {
    /// Scheme, host and port, such as `https://api.bentley.com`. No path: the caller's is sent as
    /// it came.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) url: Option<String>,
    /// The protocol. `auto`: over TLS what both sides prefer, HTTP/1.1 otherwise.
    #[schemars(extend("default" = "auto"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) protocol: Option<Protocol>,
    /// TLS towards the upstream, and its addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<ClientTls>,
    /// Time for name, TCP and TLS together.
    #[schemars(extend("default" = "5s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) connect_timeout: Option<String>,
    /// An unused connection is closed after this time; less than what common servers and load
    /// balancers allow (60 seconds and more), so that no request meets a closing connection.
    #[schemars(extend("default" = "45s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle_timeout: Option<String>,
    /// Unused connections that each thread keeps.
    #[schemars(extend("default" = 128), range(min = 0, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle_connections: Option<u32>,
    /// Send the caller's `Host` instead of the upstream's.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) preserve_host: Option<bool>,
    /// Tell the upstream where the caller is (`Forwarded`, `X-Forwarded-*`), written anew; what a
    /// trusted proxy in front said is kept before it. By default nothing is said, and what the
    /// caller said is removed: somebody else's service has no use for our addresses.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) forwarded: Option<bool>,
}

/// The protocol spoken to an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Protocol {
    /// Over TLS what both sides prefer, HTTP/1.1 otherwise.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// Links in answers.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "boolean"], "x-short" = "rewrite"))]
pub(in crate::config) struct Links {
    /// Whether links to the upstream point back at this proxy.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rewrite: Option<bool>,
    /// The origin that they point at. Default: the one that the caller used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) public: Option<String>,
}

/// How long a request may take.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Timeouts {
    /// From the end of the request to the header of the answer. Two minutes: some iModelHub
    /// operations take longer than the minute that is usual elsewhere. Five seconds and more are
    /// kept to within two seconds.
    #[schemars(extend("default" = "120s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) response: Option<String>,
    /// Without a byte in either direction while a body passes.
    #[schemars(extend("default" = "120s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle: Option<String>,
    /// The whole request, or `none`: large uploads take as long as they take, and `idle` ends
    /// those that stand still.
    #[schemars(extend("default" = "none"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) total: Option<String>,
}

/// How much of a request's body is kept for one replay.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Replay {
    /// Kept in memory: most JSON bodies, with room to spare.
    #[schemars(extend("default" = "256KiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) memory: Option<String>,
    /// Kept in all; what is past `memory` goes to a temporary file. A larger body is not kept, and
    /// a 401 for it is passed on with the reason.
    #[schemars(extend("default" = "16MiB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) total: Option<String>,
}
