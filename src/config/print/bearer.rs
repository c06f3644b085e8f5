//! Rules for callers' tokens.

use serde_json::Value;

use super::{duration, list};
use crate::config::{
    ClaimRule, ClaimTest, ClaimValue, InsufficientScope, Preflight, Strangers, TokenRules,
    raw::{self, Scalar, Scalars},
};

pub(super) fn written(provider: &str, rules: &TokenRules) -> raw::BearerRule {
    let limit = |limit: Option<_>| Some(limit.map_or_else(|| "none".into(), duration));
    let mut claims = std::collections::BTreeMap::<String, raw::ClaimRule>::new();
    for rule in &rules.claims {
        put(claims.entry(rule.claim.clone()).or_default(), rule);
    }
    raw::BearerRule {
        provider: Some(provider.to_owned()),
        audiences: list(rules.audiences.iter()),
        scopes: list(rules.scopes.iter()),
        any_scopes: list(rules.any_scopes.iter()),
        clients: list(rules.clients.iter()),
        claims,
        types: list(rules.types.iter()),
        max_age: limit(rules.max_age),
        clock_skew: Some(duration(rules.clock_skew)),
        max_lifetime: limit(rules.max_lifetime),
        optional: Some(rules.strangers == Strangers::Admitted),
        preflight: Some(match rules.preflight {
            Preflight::Passed => raw::Preflight::Pass,
            Preflight::Refused => raw::Preflight::Refuse,
        }),
        insufficient_scope: Some(match rules.insufficient_scope {
            InsufficientScope::Forbidden => 403,
            InsufficientScope::Unauthorized => 401,
        }),
    }
}

fn put(raw: &mut raw::ClaimRule, rule: &ClaimRule) {
    let all = |values: &[ClaimValue]| Some(Scalars(values.iter().map(scalar).collect()));
    match &rule.test {
        ClaimTest::Equals(value) => raw.equals = Some(Scalar(scalar(value))),
        ClaimTest::Contains(values) => raw.contains = all(values),
        ClaimTest::AnyOf(values) => raw.any_of = all(values),
    }
}

fn scalar(value: &ClaimValue) -> Value {
    match value {
        ClaimValue::Text(text) => text.as_str().into(),
        ClaimValue::Number(number) => (*number).into(),
        ClaimValue::Truth(truth) => (*truth).into(),
    }
}
