//! The claims of a token whose signature is right.
//!
//! A claim that matters here is refused when it is of a wrong type, never taken for absent. All
//! others are kept as they are, for the rules of routes and for the service.

use std::{sync::Arc, time::Duration};

use super::{
    bound::{self, Confirmations},
    json::{Json, Object},
    refusal::Refusal,
    rules::at,
};
use crate::{
    caller::Holder,
    clock::{Deadline, Moment},
    config::LONGEST_SKEW,
};

/// An answer about a token takes no longer to arrive.
const JUST_COME: Duration = Duration::from_secs(60);

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub issuer: Box<str>,
    pub holder: Arc<Holder>,
    pub audiences: Box<[Box<str>]>,
    pub scopes: Box<[Box<str>]>,
    /// The header's `typ`, in lower case and without `application/`.
    pub(super) typ: Option<Box<str>>,
    /// `exp` and [`LONGEST_SKEW`], on both clocks.
    pub(super) gone: Deadline,
    /// What was asked about without its provider saying when it ends has none.
    pub(super) expires: Option<Duration>,
    pub(super) not_before: Option<Duration>,
    pub(super) issued: Option<Duration>,
    /// When its user signed in.
    pub(super) signed_in: Option<Duration>,
    pub(super) confirmations: Confirmations,
    members: Object,
}

impl Claims {
    /// Reads the claims of an access token; `now` is when that is done.
    ///
    /// # Errors
    /// When a claim that matters is missing or of a wrong type, or the token is of another kind.
    pub(super) fn read(
        members: Object,
        typ: Option<Box<str>>,
        now: Moment,
    ) -> Result<Self, Refusal> {
        let expires = date(&members, "exp")?.ok_or(Refusal::Missing { claim: "exp" })?;
        let gone = gone(expires, now);
        Self::of(members, typ, None, (Some(expires), gone))
    }

    /// Reads what the issuer of this name says of a token; when that was asked, and how long it is
    /// believed. It may say neither who it is nor when the token ends (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// As above.
    pub(super) fn introspected(
        members: Object,
        issuer: &str,
        asked: Moment,
        cache: Duration,
    ) -> Result<Self, Refusal> {
        let expires = date(&members, "exp")?;
        // whoever remembers the answer keeps to `cache`; one that has just come must still count
        let believed = asked.wall.saturating_add(cache).saturating_add(JUST_COME);
        let gone = gone(expires.unwrap_or(believed), asked);
        Self::of(members, None, Some(issuer), (expires, gone))
    }

    fn of(
        members: Object,
        typ: Option<Box<str>>,
        issuer: Option<&str>,
        (expires, gone): (Option<Duration>, Deadline),
    ) -> Result<Self, Refusal> {
        let claims = &members;
        refuse_other_kinds(claims, typ.as_deref())?;
        let named = text(claims, "iss")?.or_else(|| issuer.map(Into::into));
        let issuer = named.ok_or(Refusal::Missing { claim: "iss" })?;
        // RFC 9068 and IMS say client_id, OpenID Connect azp
        let client = match text(claims, "client_id")? {
            Some(client) => Some(client),
            None => text(claims, "azp")?,
        };
        Ok(Self {
            issuer,
            holder: Arc::new(Holder {
                subject: text(claims, "sub")?,
                client,
            }),
            audiences: texts(claims, "aud")?,
            scopes: scopes(claims)?,
            gone,
            expires,
            not_before: date(claims, "nbf")?,
            issued: date(claims, "iat")?,
            signed_in: date(claims, "auth_time")?,
            typ,
            confirmations: bound::confirmations(claims)?,
            members,
        })
    }

    /// How long it lives, where that is known.
    pub fn expires_in(&self, now: Moment) -> Option<Duration> {
        let expires = self.expires?;
        Some(expires.saturating_sub(now.wall))
    }

    /// When no rule can take it any more.
    pub(super) fn gone(&self) -> Deadline {
        self.gone
    }

    /// Octets that it takes in memory, about.
    pub fn size(&self) -> usize {
        let one = |text: &str| text.len() + size_of::<Box<str>>();
        let lists = self.audiences.iter().chain(&self.scopes);
        let single = self.holder.subject.iter().chain(&self.holder.client);
        let texts = lists.chain(single).chain([&self.issuer]);
        let texts: usize = texts.map(|text| one(text)).sum();
        size_of::<Self>()
            + size_of::<Holder>()
            + texts
            + size_of_val(&*self.confirmations)
            + self.members.size()
    }

    /// When it ends, by its issuer's clock, if it says so.
    pub fn expires(&self) -> Option<Duration> {
        self.expires
    }

    /// The claim of this name, whatever it is.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.members.get(name)
    }

    /// The claim of this name, else the member that a path with dots leads to.
    pub fn find(&self, name: &str) -> Option<&Json> {
        at(&self.members, name)
    }

    /// All claims, as the token has them.
    pub fn members(&self) -> &Object {
        &self.members
    }
}

/// When no rule can take any more what expires then.
fn gone(expires: Duration, now: Moment) -> Deadline {
    let gone = expires.saturating_add(LONGEST_SKEW);
    now.plus(gone.saturating_sub(now.wall))
}

/// Other tokens of the same issuer, signed with the same keys (RFC 8725 section 2.8).
fn refuse_other_kinds(claims: &Object, declared: Option<&str>) -> Result<(), Refusal> {
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
    let says_access = declared == Some("at+jwt") || typ == "Bearer";
    let hashes = claims.has("at_hash") || claims.has("c_hash");
    if hashes || (claims.has("nonce") && !says_access) {
        return refuse("an ID token");
    }
    Ok(())
}

/// RFC 7519 section 2, `NumericDate`: seconds, with a fraction perhaps; never text.
pub(super) fn date(claims: &Object, claim: &'static str) -> Result<Option<Duration>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Number(seconds)) => seconds
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map(Some)
            .ok_or(Refusal::WrongType { claim }),
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

/// Text that says something; an empty one is of a wrong type.
pub(super) fn nonempty<'c>(
    claims: &'c Object,
    claim: &'static str,
) -> Result<Option<&'c str>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Text(text)) if !text.is_empty() => Ok(Some(text)),
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
