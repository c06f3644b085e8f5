//! Rules for callers' tokens.

use serde_json::Value;

use super::{duration, list};
use crate::config::{
    Bound, ClaimRule, ClaimTest, ClaimValue, InsufficientScope, NonceUse, Offered, Preflight,
    ProofRules, Strangers, TokenRules,
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
        bound: Some(match rules.bound {
            Bound::Checked => raw::BoundMode::Checked,
            Bound::Required => raw::BoundMode::Required,
            Bound::Ignored => raw::BoundMode::Ignored,
        }),
        dpop: match rules.proofs.offered {
            Offered::No => None,
            Offered::Yes => Some(proofs(&rules.proofs)),
        },
    }
}

fn proofs(rules: &ProofRules) -> raw::Dpop {
    let algorithms = rules.algorithms.iter().map(|one| one.name().to_owned());
    raw::Dpop {
        algorithms: Some(raw::Words(algorithms.collect())),
        nonce: Some(match rules.nonce {
            NonceUse::Off => raw::NonceMode::Off,
            NonceUse::Optional => raw::NonceMode::Optional,
            NonceUse::Required => raw::NonceMode::Required,
        }),
        max_age: Some(duration(rules.max_age)),
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
