//! A route's rules for the claims of a token.
//!
//! They are asked each time that a token is used: what is remembered of a token is what it says,
//! never that it was let through.

use std::{collections::BTreeSet, time::Duration};

use super::{
    claims::Claims,
    json::{Json, Object},
    refusal::{Refusal, shown},
};
use crate::{
    clock::Moment,
    config::{ABSENT, ClaimRule, ClaimTest, ClaimValue, LONGEST_SKEW, TokenRules},
};

impl Claims {
    /// Whether a route with these rules takes the token now.
    ///
    /// # Errors
    /// The first rule that does not hold; the scopes last, because they are what may be asked for.
    pub fn check(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        self.check_expiry(rules, now)?;
        self.check_begin(rules, now)?;
        self.check_lifetime(rules, now)?;
        self.check_type(rules)?;
        self.check_audience(rules)?;
        self.check_client(rules)?;
        for rule in &rules.claims {
            self.check_claim(rule)?;
        }
        self.check_sign_in(rules, now)?;
        self.check_scopes(rules)
    }

    pub(super) fn check_type(&self, rules: &TokenRules) -> Result<(), Refusal> {
        let known = match self.typ.as_deref() {
            None => rules.types.contains(ABSENT),
            Some(typ) => typ != ABSENT && rules.types.contains(typ),
        };
        if known { Ok(()) } else { Err(Refusal::Type) }
    }

    pub(super) fn check_audience(&self, rules: &TokenRules) -> Result<(), Refusal> {
        let mut audiences = self.audiences.iter();
        if audiences.any(|audience| rules.audiences.contains(&**audience)) {
            return Ok(());
        }
        let found = shown(&self.audiences.join(" "));
        Err(Refusal::Audience { found })
    }

    pub(super) fn check_client(&self, rules: &TokenRules) -> Result<(), Refusal> {
        if rules.clients.is_empty() {
            return Ok(());
        }
        let client = self.holder.client.as_deref();
        let client = client.ok_or(Refusal::Missing { claim: "client_id" })?;
        if rules.clients.contains(client) {
            return Ok(());
        }
        let found = shown(client);
        Err(Refusal::Client { found })
    }

    pub(super) fn check_claim(&self, rule: &ClaimRule) -> Result<(), Refusal> {
        if self.fulfils(rule) {
            return Ok(());
        }
        let claim = rule.claim.clone();
        Err(Refusal::Claim { claim })
    }

    pub(super) fn check_sign_in(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        let Some(limit) = rules.max_age else {
            return Ok(());
        };
        let then = self.signed_in;
        let then = then.ok_or(Refusal::Missing { claim: "auth_time" })?;
        let age = now.wall.saturating_sub(then);
        if age > limit.saturating_add(rules.clock_skew) {
            return Err(Refusal::SignedInLongAgo { age: whole(age) });
        }
        Ok(())
    }

    pub(super) fn check_scopes(&self, rules: &TokenRules) -> Result<(), Refusal> {
        let has = |scope: &String| self.scopes.iter().any(|granted| **granted == **scope);
        let words = |scopes: &mut dyn Iterator<Item = &String>| {
            let words: Vec<&str> = scopes.map(String::as_str).collect();
            words.join(" ")
        };
        if !rules.scopes.iter().all(has) {
            let missing = words(&mut rules.scopes.iter().filter(|scope| !has(scope)));
            return Err(Refusal::Scopes { missing });
        }
        if !rules.any_scopes.is_empty() && !rules.any_scopes.iter().any(has) {
            let missing = words(&mut rules.any_scopes.iter());
            return Err(Refusal::Scopes { missing });
        }
        Ok(())
    }

    fn fulfils(&self, rule: &ClaimRule) -> bool {
        let Some(found) = self.find(&rule.claim) else {
            return false;
        };
        // words of a scope are values; those of any other text may be one name
        let scope = matches!(rule.claim.as_str(), "scope" | "scp");
        let words: BTreeSet<&str> = match found {
            _ if scope => self.scopes.iter().map(|scope| &**scope).collect(),
            _ => BTreeSet::new(),
        };
        let has = |value: &ClaimValue| match value {
            ClaimValue::Text(text) if scope => words.contains(text.as_str()),
            value => found.items().iter().any(|item| same(item, value)),
        };
        match &rule.test {
            ClaimTest::Equals(value) if scope => words.len() == 1 && has(value),
            ClaimTest::Equals(value) => {
                matches!(found.items(), [only] if same(only, value))
            }
            ClaimTest::Contains(values) => values.iter().all(has),
            ClaimTest::AnyOf(values) => values.iter().any(has),
        }
    }

    pub(super) fn check_expiry(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        let skew = skew(rules);
        // by the clock that says so first: a wall clock that was set back makes nothing young again
        let left = self.gone.remaining(now);
        if left.saturating_add(skew) <= LONGEST_SKEW {
            let ago = now.wall.saturating_sub(self.expires.unwrap_or(now.wall));
            let ago = whole(ago.max(LONGEST_SKEW.saturating_sub(left)));
            return Err(Refusal::Expired { ago });
        }
        Ok(())
    }

    pub(super) fn check_begin(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        let skew = skew(rules);
        let ahead = |date: Duration| date.saturating_sub(now.wall);
        if let Some(ahead) = self.not_before.map(ahead).filter(|ahead| *ahead > skew) {
            let ahead = whole(ahead);
            return Err(Refusal::TooEarly { ahead });
        }
        if let Some(ahead) = self.issued.map(ahead).filter(|ahead| *ahead > skew) {
            let ahead = whole(ahead);
            return Err(Refusal::FromTheFuture { ahead });
        }
        Ok(())
    }

    pub(super) fn check_lifetime(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        let Some(limit) = rules.max_lifetime else {
            return Ok(());
        };
        let expires = self.expires.ok_or(Refusal::Missing { claim: "exp" })?;
        // `nbf` is not when it was issued: IMS keeps the one of the first sign-in
        let issued = self.issued.unwrap_or(now.wall);
        if expires.saturating_sub(issued) > limit.saturating_add(skew(rules)) {
            return Err(Refusal::LivesTooLong { limit });
        }
        Ok(())
    }
}

/// The claim of this name, else the member that the name leads to as a path with dots.
pub(super) fn at<'c>(claims: &'c Object, name: &str) -> Option<&'c Json> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    // the longest first: names that are URLs have dots of their own
    let mut paths = name.rmatch_indices('.');
    paths.find_map(|(dot, _)| match claims.get(&name[..dot]) {
        Some(Json::Object(within)) => at(within, &name[dot + 1..]),
        _ => None,
    })
}

fn same(found: &Json, wanted: &ClaimValue) -> bool {
    match (found, wanted) {
        (Json::Text(found), ClaimValue::Text(wanted)) => found == wanted,
        (Json::Bool(found), ClaimValue::Truth(wanted)) => found == wanted,
        (Json::Number(found), ClaimValue::Number(wanted)) => found.as_i64() == Some(*wanted),
        _ => false,
    }
}

fn skew(rules: &TokenRules) -> Duration {
    rules.clock_skew.min(LONGEST_SKEW)
}

/// For people.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}
