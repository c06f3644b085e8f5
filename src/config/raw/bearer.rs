//! What a caller's own access token must be like.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Words;

/// A caller's own access token: a JWT, signed by its provider.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct BearerRule {
    /// Who signed it. Default: the only provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) provider: Option<String>,
    /// Whom it must be for: its `aud` has one of these. A token for somebody else's service must
    /// not open this one.
    #[schemars(required)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) audiences: Option<Words>,
    /// What it must allow: its `scope` has all of these. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<Words>,
    /// What it must allow, besides: its `scope` has one of these at least. Default: anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) any_scopes: Option<Words>,
    /// Client ids of which it must have one (`client_id`, else `azp`). Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) clients: Option<Words>,
    /// What other claims must be, by their names; all must hold. `realm_access.roles` is the claim
    /// of that name, else the member `roles` of `realm_access`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) claims: BTreeMap<String, ClaimRule>,
    /// What the `typ` of its header may be, without `application/`; `absent` for none, as Bentley
    /// IMS has it. `at+jwt` alone takes RFC 9068 tokens only. Kinds of JWT that are never access
    /// tokens cannot be named.
    #[schemars(extend("default" = ["absent", "jwt", "at+jwt"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) types: Option<Words>,
    /// How long ago its user may have signed in (`auth_time`), or `none` for any time. A token
    /// that does not say is refused then, with a challenge to sign in again (RFC 9470).
    #[schemars(extend("default" = "none"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_age: Option<String>,
    /// How far the provider's clock and ours may be apart; at most `5m`.
    #[schemars(extend("default" = "60s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) clock_skew: Option<String>,
    /// The longest time from its issue to its end, or `none`. A token that does not say when it was
    /// issued (those of Bentley IMS) is measured from now.
    #[schemars(extend("default" = "none"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_lifetime: Option<String>,
    /// Also admit requests that show no token at all, as strangers. A token that is not good is
    /// refused all the same. Not for a route that injects.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) optional: Option<bool>,
    /// What a CORS preflight (`OPTIONS` of a browser, which never carries a token) gets: `pass` to
    /// let the service answer it, `refuse` as any request without a token.
    #[schemars(extend("default" = "refuse"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) preflight: Option<Preflight>,
    /// The status for a token that lacks a scope: 403 as RFC 6750 has it, or 401 as iTwin services
    /// answer.
    #[schemars(range(min = 401, max = 403), extend("default" = 403))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) insufficient_scope: Option<u32>,
    /// What is asked of a token that is bound to a key or certificate of its holder's (`cnf`).
    #[schemars(extend("default" = "checked"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bound: Option<BoundMode>,
    /// What the proofs for tokens that are bound to a key must be like (DPoP, RFC 9449). Written,
    /// callers without a token are told that they may use DPoP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) dpop: Option<Dpop>,
}

/// What is asked of bound tokens.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum BoundMode {
    /// A token that is bound is good with the proof only that it asks for: a `DPoP` field (RFC
    /// 9449), or a connection with its client certificate (RFC 8705). Others are good as they are.
    Checked,
    /// As `checked`, and every token must be bound.
    Required,
    /// What a token is bound to is not looked at. For a service behind a balancer that ends TLS
    /// and checks client certificates itself: a stolen token is good here.
    Ignored,
}

/// Proofs of possession (DPoP, RFC 9449).
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Dpop {
    /// Algorithms that proofs may be signed with. Default: all with a public key that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) algorithms: Option<Words>,
    /// Whether a proof carries a nonce that we gave out, which shows that it was not made long
    /// before, nor for a process before this one.
    #[schemars(extend("default" = "off"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) nonce: Option<NonceMode>,
    /// How long ago a proof may have been made; at most `5m`. The `clock_skew` comes on top.
    #[schemars(extend("default" = "60s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_age: Option<String>,
}

/// Whether proofs carry a nonce of ours.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum NonceMode {
    /// None is given out.
    Off,
    /// One is given out with each answer to a proof without, and checked where there is one.
    Optional,
    /// A proof without is refused, with a nonce for the next.
    Required,
}

/// What a CORS preflight gets.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Preflight {
    /// The service's answer.
    Pass,
    /// The same as any request without a token.
    Refuse,
}

/// What a claim must be; of several keys all must hold. A claim that is one value counts as a list
/// of it. Values compare with their type: `1` is not `'1'`.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string", "integer", "boolean"], "x-short" = "equals"))]
pub(in crate::config) struct ClaimRule {
    /// It is this, and nothing besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) equals: Option<Scalar>,
    /// It has this; of a list, all of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) contains: Option<Scalars>,
    /// It has one of these at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) any_of: Option<Scalars>,
}

/// A text, a number or a truth value.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Scalar(pub(in crate::config) Value);

/// Several, or one.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct Scalars(pub(in crate::config) Value);

const WIDEST: i64 = (1 << 53) - 1;

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer", "boolean"], "minimum": -WIDEST, "maximum": WIDEST})
    }
}

impl JsonSchema for Scalars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalars".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = ["string", "integer", "boolean"];
        json_schema!({
            "type": ["array", "string", "integer", "boolean"],
            "items": {"type": one, "minimum": -WIDEST, "maximum": WIDEST},
            "minimum": -WIDEST, "maximum": WIDEST
        })
    }
}
