//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, section 2.4): a provider says that a
//! session has ended, or all of a user's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    claims::{self, nonempty as text},
    issuer::Issuer,
    json::{Json, Object},
    jwt::Jws,
    refusal::{Refusal, shown},
    revoked::{Claim, Entry, Full, LONGEST_NAME, Name, Revoked},
};
use crate::clock::{Clock, Moment};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// They are sent at once; clocks may differ.
const OLDEST: Duration = Duration::from_secs(600);
const SKEW: Duration = Duration::from_secs(60);
/// Tokens that are remembered, so that none logs a user out again who has signed in anew.
const MOST_SEEN: usize = 10_000;

/// Takes the logout tokens of one provider.
#[derive(Debug)]
pub struct Logouts {
    issuer: Arc<Issuer>,
    /// Whom the tokens are for.
    clients: BTreeSet<String>,
    /// How long what they say is kept: as long as access tokens live.
    keep: Duration,
    revoked: Arc<Revoked>,
    clock: Clock,
    seen: Mutex<HashMap<Box<str>, Duration>>,
}

/// Who was logged out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedOut {
    /// A session, by its `sid`.
    Session(Box<str>),
    /// All sessions of a user, by `sub`.
    Subject(Box<str>),
}

/// A logout token that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLogout {
    #[error("the logout token is refused")]
    Refused(#[from] Refusal),
    #[error("the logout token's `typ` is of another kind of token")]
    Type,
    #[error("the logout token is for another client")]
    Audience,
    #[error("the logout token has no `events` of a logout")]
    Event,
    #[error("the logout token has a `nonce`, as ID tokens have")]
    Nonce,
    #[error("the logout token names neither a session nor a user")]
    Nobody,
    #[error("the logout token's `sid` or `sub` is longer than {LONGEST_NAME} octets")]
    TooLong,
    #[error("the logout token is too old, or from the future")]
    Time,
    #[error("the logout token was used before")]
    Used,
    #[error("too many logouts are remembered to take a further one")]
    Full,
}

impl From<Full> for BadLogout {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl Logouts {
    pub fn new(
        issuer: Arc<Issuer>,
        clients: BTreeSet<String>,
        keep: Duration,
        revoked: Arc<Revoked>,
        clock: Clock,
    ) -> Self {
        Self {
            issuer,
            clients,
            keep,
            revoked,
            clock,
            seen: Mutex::default(),
        }
    }

    /// Revokes what the token says has ended; the answer comes when that holds for all threads.
    ///
    /// # Errors
    /// When the token is not a good one of the provider, or comes again.
    pub async fn take(&self, token: &str) -> Result<LoggedOut, BadLogout> {
        let jws = Jws::of_any_kind(token)?;
        match jws.typ.as_deref() {
            None | Some("logout+jwt" | "jwt") => {}
            Some(_) => return Err(BadLogout::Type),
        }
        self.issuer.signed(token, &jws, &self.clock).await?;
        let (claims, now) = (jws.payload()?, self.clock.now());
        let (name, before) = self.check(&claims, now)?;
        let jti = text(&claims, "jti")?.ok_or(Refusal::Missing { claim: "jti" })?;
        self.is_new(jti, now)?;
        let (claim, value) = (name.claim, shown(&name.value));
        // its tokens may call it otherwise than its logout token does
        for issuer in self.issuer.names() {
            let entry = Entry {
                issuer: Some(issuer.into()),
                before,
                until: Some(now.wall.saturating_add(self.keep)),
            };
            self.revoked.add(name.clone(), entry, now)?;
        }
        // only now: what found no room may come again. Two at once revoke the same
        self.seen
            .lock()
            .insert(jti.into(), now.wall + OLDEST + SKEW);
        let provider = &*self.issuer.name;
        tracing::info!(provider, ?claim, value, "logged out by the provider");
        let value = name.value;
        Ok(match claim {
            Claim::Sid => LoggedOut::Session(value),
            Claim::Sub | Claim::Jti => LoggedOut::Subject(value),
        })
    }

    /// Whose tokens are revoked: those of a session, or those that a user has until now.
    fn check(&self, claims: &Object, now: Moment) -> Result<(Name, Option<Duration>), BadLogout> {
        let missing = |claim| Refusal::Missing { claim };
        let named_issuer = text(claims, "iss")?.ok_or(missing("iss"))?;
        self.issuer.is_named(named_issuer)?;
        let audiences = claims.get("aud").map(Json::items).unwrap_or_default();
        let mut audiences = audiences.iter().filter_map(Json::text);
        if !audiences.any(|audience| self.clients.contains(audience)) {
            return Err(BadLogout::Audience);
        }
        let event = match claims.get("events") {
            Some(Json::Object(events)) => matches!(events.get(EVENT), Some(Json::Object(_))),
            _ => false,
        };
        if !event {
            return Err(BadLogout::Event);
        }
        if claims.has("nonce") {
            return Err(BadLogout::Nonce);
        }
        let issued = claims::date(claims, "iat")?.ok_or(missing("iat"))?;
        let ended = claims::date(claims, "exp")?.is_some_and(|ends| ends + SKEW <= now.wall);
        if issued > now.wall + SKEW || issued + OLDEST <= now.wall || ended {
            return Err(BadLogout::Time);
        }
        let named = |claim, value: &str| Name {
            claim,
            value: value.into(),
        };
        let (name, before) = match (text(claims, "sid")?, text(claims, "sub")?) {
            (Some(sid), _) => (named(Claim::Sid, sid), None),
            // the provider's clock may be ahead of ours
            (None, Some(sub)) => (named(Claim::Sub, sub), Some(now.wall.max(issued))),
            (None, None) => return Err(BadLogout::Nobody),
        };
        if name.value.len() > LONGEST_NAME {
            return Err(BadLogout::TooLong);
        }
        Ok((name, before))
    }

    fn is_new(&self, jti: &str, now: Moment) -> Result<(), BadLogout> {
        let mut seen = self.seen.lock();
        seen.retain(|_, until| *until > now.wall);
        if seen.contains_key(jti) {
            return Err(BadLogout::Used);
        }
        if seen.len() >= MOST_SEEN {
            return Err(BadLogout::Full);
        }
        Ok(())
    }
}
