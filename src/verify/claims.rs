//! The claims of a token whose signature is right, and the rules for them.
//!
//! A claim of a wrong type is refused, never taken for absent. Who may call is asked of the claims
//! each time that a token is used: what is remembered of a token is what it says, never that it was
//! let through.

use std::{sync::Arc, time::Duration};

use super::{
    json::{Json, Object},
    jwt::Declared,
    refusal::{Refusal, shown},
};
use crate::{
    caller::Holder,
    clock::{Deadline, Moment},
    config::{LONGEST_SKEW, TokenRules},
};

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub issuer: Box<str>,
    pub holder: Arc<Holder>,
    pub audiences: Box<[Box<str>]>,
    pub scopes: Box<[Box<str>]>,
    /// `exp` and [`LONGEST_SKEW`], on both clocks.
    gone: Deadline,
    expires: Duration,
    not_before: Option<Duration>,
    issued: Option<Duration>,
}

impl Claims {
    /// Reads the claims of an access token; `now` is when that is done.
    ///
    /// # Errors
    /// When a claim that matters is missing or of a wrong type, or the token is of another kind.
    pub(super) fn read(claims: &Object, declared: Declared, now: Moment) -> Result<Self, Refusal> {
        refuse_other_kinds(claims, declared)?;
        let expires = date(claims, "exp")?.ok_or(Refusal::Missing { claim: "exp" })?;
        let issuer = text(claims, "iss")?.ok_or(Refusal::Missing { claim: "iss" })?;
        // RFC 9068 and IMS say client_id, OpenID Connect azp
        let client = match text(claims, "client_id")? {
            Some(client) => Some(client),
            None => text(claims, "azp")?,
        };
        let gone = expires.saturating_add(LONGEST_SKEW);
        Ok(Self {
            issuer,
            holder: Arc::new(Holder {
                subject: text(claims, "sub")?,
                client,
            }),
            audiences: texts(claims, "aud")?,
            scopes: scopes(claims)?,
            gone: now.plus(gone.saturating_sub(now.wall)),
            expires,
            not_before: date(claims, "nbf")?,
            issued: date(claims, "iat")?,
        })
    }

    /// When no rule can take it any more.
    pub(super) fn gone(&self) -> Deadline {
        self.gone
    }

    /// Octets that it takes in memory, about.
    pub(super) fn size(&self) -> usize {
        let one = |text: &str| text.len() + size_of::<Box<str>>();
        let lists = self.audiences.iter().chain(&self.scopes);
        let single = self.holder.subject.iter().chain(&self.holder.client);
        let texts = lists.chain(single).chain([&self.issuer]);
        size_of::<Self>() + size_of::<Holder>() + texts.map(|text| one(text)).sum::<usize>()
    }

    /// Whether a route with these rules takes the token now.
    ///
    /// # Errors
    /// The first rule that does not hold; the scopes last, because they are what may be asked for.
    pub fn check(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        self.check_times(rules, now)?;
        if !self
            .audiences
            .iter()
            .any(|a| rules.audiences.contains(&**a))
        {
            let found = shown(&self.audiences.join(" "));
            return Err(Refusal::Audience { found });
        }
        if !rules.clients.is_empty() {
            let client = self.holder.client.as_deref();
            let client = client.ok_or(Refusal::Missing { claim: "client_id" })?;
            if !rules.clients.contains(client) {
                let found = shown(client);
                return Err(Refusal::Client { found });
            }
        }
        let has = |scope: &str| self.scopes.iter().any(|granted| **granted == *scope);
        if rules.scopes.iter().all(|scope| has(scope)) {
            return Ok(());
        }
        let missing = rules.scopes.iter().filter(|scope| !has(scope));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        Err(Refusal::Scopes {
            missing: missing.join(" "),
        })
    }

    fn check_times(&self, rules: &TokenRules, now: Moment) -> Result<(), Refusal> {
        let skew = rules.clock_skew.min(LONGEST_SKEW);
        let ahead = |date: Duration| date.saturating_sub(now.wall);
        // by the clock that says so first: a wall clock that was set back makes nothing young again
        let left = self.gone.remaining(now);
        if left.saturating_add(skew) <= LONGEST_SKEW {
            let ago = now.wall.saturating_sub(self.expires);
            let ago = whole(ago.max(LONGEST_SKEW.saturating_sub(left)));
            return Err(Refusal::Expired { ago });
        }
        if let Some(ahead) = self.not_before.map(ahead).filter(|ahead| *ahead > skew) {
            let ahead = whole(ahead);
            return Err(Refusal::TooEarly { ahead });
        }
        if let Some(ahead) = self.issued.map(ahead).filter(|ahead| *ahead > skew) {
            let ahead = whole(ahead);
            return Err(Refusal::FromTheFuture { ahead });
        }
        // `nbf` is not when it was issued: IMS keeps the one of the first sign-in
        let issued = self.issued.unwrap_or(now.wall);
        let life = self.expires.saturating_sub(issued);
        match rules.max_lifetime {
            Some(limit) if life > limit.saturating_add(skew) => {
                Err(Refusal::LivesTooLong { limit })
            }
            _ => Ok(()),
        }
    }
}

/// For people.
fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// Other tokens of the same issuer, signed with the same keys (RFC 8725 section 2.8).
fn refuse_other_kinds(claims: &Object, declared: Declared) -> Result<(), Refusal> {
    let refuse = |kind| Err(Refusal::Kind { kind });
    // Keycloak says it in a claim
    let typ = claims.get("typ").and_then(Json::text).unwrap_or_default();
    match typ {
        "ID" => return refuse("an ID token"),
        "Refresh" | "Offline" => return refuse("a refresh token"),
        "Logout" => return refuse("a logout token"),
        _ => {}
    }
    if claims.has("events") {
        return refuse("a logout token or another event");
    }
    if claims.has("htm") && claims.has("htu") {
        return refuse("a DPoP proof");
    }
    let says_access = declared == Declared::AccessToken || typ == "Bearer";
    let hashes = claims.has("at_hash") || claims.has("c_hash");
    if hashes || (claims.has("nonce") && !says_access) {
        return refuse("an ID token");
    }
    Ok(())
}

/// RFC 7519 section 2, `NumericDate`: seconds, with a fraction perhaps; never text.
fn date(claims: &Object, claim: &'static str) -> Result<Option<Duration>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Number(seconds)) => Duration::try_from_secs_f64(*seconds)
            .map(Some)
            .map_err(|_| Refusal::WrongType { claim }),
        Some(_) => Err(Refusal::WrongType { claim }),
    }
}

fn text(claims: &Object, claim: &'static str) -> Result<Option<Box<str>>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Text(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(Refusal::WrongType { claim }),
    }
}

/// `scope` (RFC 9068), as text or as IMS and IdentityServer write it, a list; `scp` elsewhere.
fn scopes(claims: &Object) -> Result<Box<[Box<str>]>, Refusal> {
    let claim = if claims.has("scope") { "scope" } else { "scp" };
    let all = texts(claims, claim)?;
    let words = all.iter().flat_map(|text| text.split(' '));
    Ok(words
        .filter(|word| !word.is_empty())
        .map(Into::into)
        .collect())
}

/// One text or a list of them.
fn texts(claims: &Object, claim: &'static str) -> Result<Box<[Box<str>]>, Refusal> {
    let wrong = || Refusal::WrongType { claim };
    let owned = |text: &str| -> Box<str> { text.into() };
    match claims.get(claim) {
        None => Ok(Box::default()),
        Some(Json::Text(text)) => Ok(Box::from([owned(text)])),
        Some(Json::List(list)) => {
            let texts = list
                .iter()
                .map(|item| item.text().map(owned).ok_or_else(wrong));
            texts.collect()
        }
        Some(_) => Err(wrong()),
    }
}
