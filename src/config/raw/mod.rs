//! What can be written: the one definition of every key.
//!
//! These types feed the YAML reader, the environment, the JSON schema and the reference page; the
//! text of a doc comment is what a user reads there. Nothing is checked here but the shape, and
//! everything is optional in Rust, so that a configuration with a fault in one place can still be
//! checked in all others: what must be given is marked `required` for the schema.
//!
//! Extensions that the schema carries for ourselves and that are not published: `x-short` (a
//! single value stands for this key of the object), `x-one` (a single item stands for a list;
//! `words` may hold several), `x-secret` (keys that are forms of one secret), `x-later` (names that
//! a later version will know).

mod audit;
mod bearer;
mod credential;
mod identity;
mod injector;
mod interception;
mod introspection;
mod listener;
mod login;
mod own;
mod provider;
mod revocation;
mod route;
mod session;
mod settings;
mod telemetry;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub(super) use self::{
    audit::{Audit, Stream},
    bearer::{BearerRule, BoundMode, ClaimRule, Dpop, NonceMode, Preflight, Scalar, Scalars},
    credential::{ClientAuthMethod, Credential, Flow, GrantAssertion, GrantType, SamlDialect, Sts},
    identity::{
        CallerIdentity, CallersToken, CallersTokenGoes, IdentityHeaders, IdentityJwt, Signing,
    },
    injector::{
        Amounts, ApiServer, Certificate, Defaults, Injector, Managed, NativeSidecars, PullPolicy,
        Resources,
    },
    interception::Interception,
    introspection::{IntrospectedTokens, Introspection},
    listener::{ClientsMode, GatewayName, Listener, ProxyUser, RedirectedBy, ServerTls},
    login::Redirect,
    own::{Authority, DiscoveredUrl, NamedIssuer, TokenRequests, UrlDiscovery},
    provider::{ClientTls, Identity, Provider},
    revocation::{BackchannelLogout, Revocation},
    route::{
        Admit, AdmitRule, AdmitWord, CertificateRule, Inject, KeyRule, Links, OnBehalfOf,
        Presented, Protocol, Replay, Route, Timeouts, Upstream,
    },
    session::{Session, SessionStore, Streams},
    settings::{Admin, AdminSocket, Errors, Limits, Log, LogFormat, Reload, TokenStore},
    telemetry::{Otlp, OtlpHeader, OtlpMetrics, OtlpTraces, Telemetry},
};
use crate::secret::Secret;

/// What a secret that is written in the file itself becomes when the configuration is printed.
pub(super) const HIDDEN: &str = "(set)";

/// The configuration of itwin-auth-proxy.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Configuration")]
pub(super) struct Raw {
    /// Authorization servers by name. `bentley` and `bentley-qa` are known without being declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) providers: BTreeMap<String, Provider>,
    /// Ways to get access tokens, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) credentials: BTreeMap<String, Credential>,
    /// Ways in which people sign in with a browser, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sessions: BTreeMap<String, Session>,
    /// Addresses that calls are accepted on. Default: one, `127.0.0.1:8080`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) listeners: Vec<Listener>,
    /// What may be called, and what goes with it; the first route that matches is taken. Default:
    /// one that injects the only credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) routes: Vec<Route>,
    /// Authorization servers that this proxy stands in for, for software that fetches its tokens
    /// itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) authorities: Vec<Authority>,
    /// The URL discovery service ("Buddi") for clients of generation 1.x. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url_discovery: Option<UrlDiscovery>,
    /// A token for the asking, for scripts and SDKs on this machine. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_requests: Option<TokenRequests>,
    /// The keys that identity JWTs are signed with (`routes[].identity.jwt`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signing: Option<Signing>,
    /// What is accepted from callers, and how long they are waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Limits>,
    /// The listener for probes, metrics and status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<Admin>,
    /// What callers are told of errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errors: Option<Errors>,
    /// What is logged, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log: Option<Log>,
    /// Traces and metrics, sent to a collector (OTLP). Default: none, unless
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) telemetry: Option<Telemetry>,
    /// How a running process comes to another configuration. What is wrong changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reload: Option<Reload>,
    /// Who did what: a stream of its own that shows when it was tampered with. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audit: Option<Audit>,
    /// An encrypted file in which tokens survive a restart, and beside it one (`.keys`) for the keys
    /// that callers' tokens are checked with, so that a restart while the
    /// authorization server is down still serves. Default: tokens live in memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_store: Option<TokenStore>,
    /// Threads that carry calls. Default: the CPU limit of the container, rounded up, or one for
    /// each CPU where there is none; `check` shows the number and its reason.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<u32>,
    /// A Unix socket at which a new process of this program, of the same user or of root, takes the
    /// listeners over from the one that runs, so that an upgrade or a changed configuration refuses
    /// no connection: `itwin-auth-proxy upgrade`, or `run --take-over`. Default: none.
    #[schemars(extend("x-file" = "socket"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) handover_socket: Option<String>,
    /// Networks of proxies in front of this one: `Forwarded` and `X-Forwarded-*` are believed from
    /// these peers only. Default: none is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trusted_proxies: Option<Words>,
    /// Tokens of callers that are good no longer, though nothing in them says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revocation: Option<Revocation>,
    /// TLS connections that are opened. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interception: Option<Interception>,
}

/// A list of words; a single text with spaces or commas between them will do.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Words(pub(super) Vec<String>);

impl JsonSchema for Words {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["array", "string"], "items": {"type": "string"}, "x-one": "words"})
    }
}

/// A list of texts, such as file names; a single one will do.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Texts(pub(super) Vec<String>);

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["array", "string"], "items": {"type": "string"}, "x-one": "text"})
    }
}

/// A secret written where it is used. Printed as `(set)`.
#[derive(Clone)]
pub(super) struct SecretText(pub(super) Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true})
    }
}
