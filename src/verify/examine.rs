//! A token looked at claim by claim, for a person who wants to know why it passes or does not.
//!
//! The same checks as for a request, but all of them, whatever the ones before have found. Nothing
//! is remembered, and the token itself is in no finding.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    cache::Verified,
    claims::Claims,
    coming::LONGEST_WAIT,
    introspection::{Outcome, Said},
    issuer::Issuer,
    jwt::Jws,
    refusal::{Refusal, shown},
    revoked::Revoked,
    rules::at,
};
use crate::{
    clock::Moment,
    config::{ABSENT, TokenRules},
};

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A claim's name, or what else was looked at.
    pub what: String,
    /// As the token has it, cleaned and bounded.
    pub found: String,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// No rule asks for it.
    Told,
    /// Why the token does not pass.
    Bad(String),
}

/// All findings about a token of one issuer, by the rules of one route.
pub async fn examine(
    issuer: &Issuer,
    rules: &TokenRules,
    revoked: &Revoked,
    token: &str,
    now: Moment,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let claims = match asked(issuer, token, now).await {
        Ok(Some(outcome)) => findings.answered(outcome),
        Ok(None) => findings.signed(issuer, token, now),
        Err(refusal) => {
            findings.add("form", "", Err(refusal));
            None
        }
    };
    if let Some(claims) = claims {
        findings.rules(&claims, rules, now);
        if let Err(refusal) = revoked.check(&claims, now) {
            findings.add("revoked", "", Err(refusal));
        }
    }
    findings.0
}

impl Issuer {
    /// Waits until its keys were asked for once, but not longer than `limit`; why they were not had.
    pub async fn first_keys(&self, limit: Duration) -> Result<(), Arc<str>> {
        let mut progress = self.progress.subscribe();
        let asked = progress.wait_for(|progress| progress.rounds > 0);
        let error = match timeout(limit, asked).await {
            Ok(Ok(progress)) => progress.last_error.clone(),
            Ok(Err(_)) | Err(_) => Some("the provider did not answer in time".into()),
        };
        match error {
            Some(error) if self.keys().is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}

/// What the provider says of the token, if it is to be asked.
async fn asked(issuer: &Issuer, token: &str, now: Moment) -> Result<Option<Outcome>, Refusal> {
    let Some(introspector) = issuer.introspector() else {
        return Ok(None);
    };
    if !issuer.is_asked_about(introspector, token)? {
        return Ok(None);
    }
    Ok(Some(match introspector.ask(token, now) {
        Said::Known(outcome) => outcome,
        Said::Coming(answer) => answer.until(deadline()).await,
    }))
}

#[expect(clippy::disallowed_methods, reason = "a limit, no measurement")]
fn deadline() -> Instant {
    Instant::now() + LONGEST_WAIT
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &str, found: impl Into<String>, outcome: Result<(), Refusal>) {
        self.0.push(Finding {
            what: what.to_owned(),
            found: found.into(),
            verdict: match outcome {
                Ok(()) => Verdict::Good,
                Err(refusal) => Verdict::Bad(refusal.to_string()),
            },
        });
    }

    fn tell(&mut self, what: &str, found: impl Into<String>) {
        self.0.push(Finding {
            what: what.to_owned(),
            found: found.into(),
            verdict: Verdict::Told,
        });
    }

    fn answered(&mut self, outcome: Outcome) -> Option<Claims> {
        match outcome {
            Outcome::Good(verified) => {
                self.add("introspection", "active", Ok(()));
                let Verified { claims, .. } = &*verified;
                Some(claims.clone())
            }
            Outcome::Bad(refusal) => {
                self.add("introspection", "", Err(refusal));
                None
            }
            Outcome::None(unavailable) => {
                self.0.push(Finding {
                    what: "introspection".to_owned(),
                    found: String::new(),
                    verdict: Verdict::Bad(unavailable.reason.to_string()),
                });
                None
            }
        }
    }

    fn signed(&mut self, issuer: &Issuer, token: &str, now: Moment) -> Option<Claims> {
        let jws = match Jws::parse(token) {
            Ok(jws) => jws,
            Err(refusal) => {
                self.add("form", "", Err(refusal));
                return None;
            }
        };
        let key = jws
            .key_id
            .as_deref()
            .map_or_else(|| "without id".to_owned(), shown);
        let signature = issuer.keys().verify(&jws).map(drop);
        self.add(
            "signature",
            format!("{} by key {key}", jws.algorithm),
            signature,
        );
        match issuer.claims(&jws, now) {
            Ok(claims) => {
                self.add("iss", shown(&claims.issuer), Ok(()));
                Some(claims)
            }
            Err(refusal) => {
                let what = match refusal {
                    Refusal::Issuer { .. } => "iss",
                    _ => "claims",
                };
                self.add(what, "", Err(refusal));
                None
            }
        }
    }

    fn rules(&mut self, claims: &Claims, rules: &TokenRules, now: Moment) {
        let expires = claims
            .expires
            .map_or_else(|| "none".to_owned(), |then| when(then, now));
        self.add("exp", expires, claims.check_expiry(rules, now));
        for (what, date) in [("nbf", claims.not_before), ("iat", claims.issued)] {
            if let Some(date) = date {
                let outcome = claims.check_begin(rules, now);
                self.add(what, when(date, now), outcome);
            }
        }
        if let Some(limit) = rules.max_lifetime {
            let found = format!("at most {}", humantime::format_duration(limit));
            self.add("lifetime", found, claims.check_lifetime(rules, now));
        }
        let typ = claims
            .typ
            .as_deref()
            .map_or_else(|| ABSENT.to_owned(), shown);
        self.add("typ", typ, claims.check_type(rules));
        let audiences = shown(&claims.audiences.join(" "));
        self.add("aud", audiences, claims.check_audience(rules));
        let client = claims
            .holder
            .client
            .as_deref()
            .map(shown)
            .unwrap_or_default();
        if rules.clients.is_empty() {
            self.tell("client_id", client);
        } else {
            self.add("client_id", client, claims.check_client(rules));
        }
        for rule in &rules.claims {
            let found = at(claims.members(), &rule.claim);
            let found = found.and_then(|value| serde_json::to_string(value).ok());
            let found = found.as_deref().map_or_else(|| "none".to_owned(), shown);
            self.add(&rule.claim, found, claims.check_claim(rule));
        }
        if let Some(then) = claims.signed_in {
            let outcome = claims.check_sign_in(rules, now);
            self.add("auth_time", when(then, now), outcome);
        } else if rules.max_age.is_some() {
            self.add("auth_time", "none", claims.check_sign_in(rules, now));
        }
        let scopes = shown(&claims.scopes.join(" "));
        self.add("scope", scopes, claims.check_scopes(rules));
        if let Some(subject) = &claims.holder.subject {
            self.tell("sub", shown(subject));
        }
        match claims.asks_for(rules) {
            Ok("") => {}
            Ok(proof) => self.tell("cnf", format!("good with {proof} only")),
            Err(unbound) => self.0.push(Finding {
                what: "cnf".into(),
                found: String::new(),
                verdict: Verdict::Bad(unbound.to_string()),
            }),
        }
    }
}

/// A date as it lies from now.
fn when(date: Duration, now: Moment) -> String {
    let words = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    match date.checked_sub(now.wall) {
        Some(ahead) => format!("in {}", words(ahead)),
        None => format!("{} ago", words(now.wall.saturating_sub(date))),
    }
}
