//! What a service learns of the caller.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Texts, Words};

/// What the service learns of the caller.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CallerIdentity {
    /// Header fields that say who the caller is. Whoever else sends one of them, or one that a
    /// service could take for it (`x_itwin_subject`), has it removed, on every route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<IdentityHeaders>,
    /// A JWT of ours that says the same, for a service that believes signatures only. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) jwt: Option<IdentityJwt>,
    /// What happens to the access token that admitted the caller: `keep` sends it on, `remove` does
    /// not, `{exchange: CREDENTIAL}` sends another in its place. A bearer token that was not checked, because the caller is admitted by something else,
    /// never goes on where others are checked. Where the route injects, ours takes its place.
    #[schemars(extend("default" = "keep"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) token: Option<CallersToken>,
}

/// Names of header fields, each `off` for none. Values are visible ASCII with spaces within; a text
/// that is not, or that could be taken for something else, is written as RFC 8187 has it:
/// `UTF-8''` and the text's UTF-8 octets, percent-encoded. A value of more than 4 KiB, or with which
/// all would be more than 8 KiB, is left out, and the log says so.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "boolean"], "x-short" = "set"))]
pub(in crate::config) struct IdentityHeaders {
    /// Whether they are set at all.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) set: Option<bool>,
    /// How the caller is known: `bearer` (by its access token), `stranger` (it showed none),
    /// `key:NAME`, `cert:NAME`, `net:ADDRESS`, `uid:NUMBER` or `local`. The other fields are there
    /// for `bearer` only.
    #[schemars(extend("default" = "X-Itwin-Caller"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) caller: Option<String>,
    /// The claim `sub`, which means something together with the issuer only. Tokens of services
    /// may have none.
    #[schemars(extend("default" = "X-Itwin-Subject"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) subject: Option<String>,
    /// The claim `client_id`, else `azp`.
    #[schemars(extend("default" = "X-Itwin-Client-Id"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_id: Option<String>,
    /// The claim `iss`.
    #[schemars(extend("default" = "X-Itwin-Issuer"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) issuer: Option<String>,
    /// The scopes, with a space between them.
    #[schemars(extend("default" = "X-Itwin-Scopes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<String>,
    /// The claim `email`, unless `email_verified` says that it is not the caller's.
    #[schemars(extend("default" = "X-Itwin-Email"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) email: Option<String>,
    /// Other claims, each with the field that carries it: `{org: X-Itwin-Org}`.
    /// `realm_access.roles` is the claim of that name, else the member `roles` of `realm_access`. A
    /// text is sent as it is, everything else as JSON in ASCII: what begins with `[` or `{` is
    /// always a list or an object, never a text that looks like one. `null` is not sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) claims: BTreeMap<String, String>,
}

/// A JWT for the service (ES256, `typ` `itwin-identity+jwt`) with `iss`, `aud`, `sub`,
/// `subject_issuer` (who gave `sub`), `client_id`, `scope`, `iat` and `exp`; for callers known by
/// their access token only. The same one goes with many requests, so that it has no `jti`. Its keys
/// are at `/jwks.json` of the admin listener, and where `signing.path` says.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct IdentityJwt {
    /// The header field that carries it; a caller's is removed like the others.
    #[schemars(extend("default" = "X-Itwin-Identity"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header: Option<String>,
    /// Who made it, for the service: its `iss`.
    #[schemars(extend("default" = "itwin-auth-proxy"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) issuer: Option<String>,
    /// Its `aud`: the service, so that no other takes it. Default: the upstream's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) audience: Option<String>,
    /// From its issue to its end, of which half is left at least when it is sent; it never ends
    /// later than the caller's token, whatever `clock_skew` allows.
    #[schemars(extend("default" = "60s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) lifetime: Option<String>,
    /// Claims of the caller's token that it has as well, under the names written here.
    #[schemars(extend("default" = ["email"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) claims: Option<Words>,
}

/// The keys that identity JWTs are signed with.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Signing {
    /// Files with private keys (ECDSA, P-256, in PEM): the first signs, all are published. To
    /// replace a key, put the new one first and keep the old one until its JWTs have ended; files are
    /// read again every ten seconds. Default: a key made at the start, which is enough for one
    /// replica whose services fetch keys again when they meet one that they do not know.
    #[schemars(extend("x-private" = "yes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_files: Option<Texts>,
    /// A path, such as `/.itwin-auth/jwks.json`, at which every listener for callers serves the
    /// public keys as well, before all routes; or `none`.
    #[schemars(extend("default" = "none"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<String>,
}

/// What happens to the access token that admitted the caller.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-short" = "goes"))]
pub(in crate::config) struct CallersToken {
    /// Whether it goes on.
    #[schemars(extend("default" = "keep"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) goes: Option<CallersTokenGoes>,
    /// The name of a credential with the grant `token_exchange`, or `jwt_bearer` without
    /// `assertion`: the service gets the token that the caller's is exchanged for (RFC 8693, RFC
    /// 7523) in its place. It is kept in memory for 10 minutes
    /// at most, and no longer than either token lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) exchange: Option<String>,
}

/// Whether the access token that admitted the caller goes on.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum CallersTokenGoes {
    /// It goes on to the service.
    Keep,
    /// It does not.
    Remove,
}
