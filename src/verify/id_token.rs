//! ID tokens: who signed in, by the provider's word to one client (OpenID Connect Core sections
//! 3.1.3.7 and 3.2.2.9).
//!
//! An ID token is taken for nothing else, and nothing else for one: access tokens, logout tokens and
//! those of other clients are refused, whatever key signed them. It belongs to one sign-in by its
//! nonce, and to the access token that came with it by a hash of that.

use std::time::Duration;

use aws_lc_rs::digest::{self, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;

use super::{
    claims::{date, nonempty as text},
    issuer::Issuer,
    json::{Json, Object},
    jwt::Jws,
    keys::{KeySet, KeySetError},
    refusal::{Refusal, shown},
};
use crate::{
    clock::{Clock, Moment},
    config::{Algorithm, KeysLocation, Provider},
    oauth::{DiscoveryError, HttpClient, JwksError, discover_keys, fetch_jwks},
};

/// What a client knows of the sign-in that a token must belong to.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedIdToken<'a> {
    pub client_id: &'a str,
    pub nonce: SentNonce<'a>,
    pub access_token: AtHash<'a>,
    /// As it was asked for: then the token says when the person signed in.
    pub max_age: Option<Duration>,
}

/// The `nonce` of the request.
#[derive(Debug, Clone, Copy)]
pub enum SentNonce<'a> {
    Was(&'a str),
    /// None was sent, or it is not known any more: a device, a refreshed token. The token came
    /// straight from the provider.
    None,
}

/// The access token that came with it, as it is sent: `Bearer …`.
#[derive(Debug, Clone, Copy)]
pub enum AtHash<'a> {
    /// Through a browser (section 3.2.2.9).
    Required(&'a HeaderValue),
    /// Straight from the provider (section 3.1.3.8).
    IfPresent(&'a HeaderValue),
}

/// Who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdToken {
    /// As the token names it; one of the provider's names.
    pub issuer: Box<str>,
    /// With the issuer: who it is, and the only claim that says so.
    pub subject: Box<str>,
    /// `sid`: the session at the provider, which a logout token may name.
    pub session: Option<Box<str>>,
    /// When the person gave a password, or what there is instead.
    pub auth_time: Option<Duration>,
    pub issued: Duration,
    pub expires: Duration,
    pub acr: Option<Box<str>>,
    /// For people to read; no two need differ.
    pub name: Option<Box<str>>,
    pub preferred_username: Option<Box<str>>,
    pub email: Option<Box<str>>,
}

/// An ID token that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadIdToken {
    #[error("the ID token is refused")]
    Refused(#[from] Refusal),
    #[error("the ID token's `typ` is of another kind of token")]
    Type,
    #[error("{0} is no ID token")]
    Kind(&'static str),
    #[error("the ID token is for another client, {found}")]
    Audience { found: String },
    #[error(
        "the ID token is for several clients, and does not say for which it was issued (`azp`)"
    )]
    NoParty,
    #[error("the ID token was issued for another client, {found} (`azp`)")]
    Party { found: String },
    #[error("the ID token belongs to another sign-in (`nonce`)")]
    Nonce,
    #[error("the ID token belongs to another access token (`at_hash`)")]
    AccessToken,
    #[error("the ID token's `{claim}` is longer than {LONGEST_NAME} octets")]
    TooLong { claim: &'static str },
    #[error("the person signed in {age:?} ago, which is longer than was asked for")]
    SignedInLongAgo { age: Duration },
}

/// Why a command has no ID token that it can believe.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    #[error(transparent)]
    Bad(#[from] BadIdToken),
    #[error("the provider's keys cannot be had")]
    Discovery(#[from] DiscoveryError),
    #[error("the provider's keys cannot be had")]
    Fetch(#[from] JwksError),
    #[error("the provider's keys cannot be had")]
    Keys(#[from] KeySetError),
}

/// Clocks may differ.
const SKEW: Duration = Duration::from_secs(60);
/// Section 2, of `sub`; what else is kept of a person has to fit into a cookie.
const LONGEST_NAME: usize = 255;

impl Issuer {
    /// Who signed in. Newer keys are asked for once where they may set it right.
    ///
    /// # Errors
    /// When the token is not what is expected, or not a good one of the provider.
    pub async fn id_token(
        &self,
        token: &str,
        expected: &ExpectedIdToken<'_>,
        clock: &Clock,
    ) -> Result<IdToken, BadIdToken> {
        let jws = parsed(token)?;
        self.signed(token, &jws, clock).await?;
        check(self, &jws, expected, clock.now())
    }
}

/// As [`Issuer::id_token`], for a command that follows no keys: they are fetched once.
///
/// # Errors
/// As there; or when the keys cannot be had.
pub async fn id_token_once(
    http: &HttpClient,
    provider: &Provider,
    token: &str,
    expected: &ExpectedIdToken<'_>,
    clock: &Clock,
) -> Result<IdToken, IdTokenError> {
    let issuer = Issuer::new(u32::MAX, provider);
    let jws = parsed(token)?;
    let url = match &provider.keys.location {
        KeysLocation::Given(url) => url.clone(),
        KeysLocation::Discover => discover_keys(http, &provider.issuer, provider.also()).await?,
    };
    let document = fetch_jwks(http, &url).await?;
    let (keys, _) = KeySet::read(&document, &provider.keys.algorithms)?;
    keys.verify(&jws).map_err(BadIdToken::from)?;
    Ok(check(&issuer, &jws, expected, clock.now())?)
}

fn parsed(token: &str) -> Result<Jws<'_>, BadIdToken> {
    let jws = Jws::of_any_kind(token)?;
    match jws.typ.as_deref() {
        None | Some("jwt" | "id_token+jwt") => Ok(jws),
        Some(_) => Err(BadIdToken::Type),
    }
}

/// All that is left to check when the signature is right.
fn check(
    issuer: &Issuer,
    jws: &Jws<'_>,
    expected: &ExpectedIdToken<'_>,
    now: Moment,
) -> Result<IdToken, BadIdToken> {
    let claims = &jws.payload()?;
    refuse_other_kinds(claims)?;
    let named_issuer = text(claims, "iss")?.ok_or(Refusal::Missing { claim: "iss" })?;
    issuer.is_named(named_issuer)?;
    is_for(claims, expected.client_id)?;
    let (begun, expires) = is_of_now(claims, now)?;
    if let SentNonce::Was(nonce) = expected.nonce
        && text(claims, "nonce")? != Some(nonce)
    {
        return Err(BadIdToken::Nonce);
    }
    belongs_to(claims, jws.algorithm, expected.access_token)?;
    let auth_time = date(claims, "auth_time")?;
    if let Some(max_age) = expected.max_age {
        let signed_in = auth_time.ok_or(Refusal::Missing { claim: "auth_time" })?;
        let age = now.wall.saturating_sub(signed_in);
        if age > max_age + SKEW {
            return Err(BadIdToken::SignedInLongAgo { age });
        }
    }
    let kept = |claim| match text(claims, claim)? {
        Some(text) if text.len() > LONGEST_NAME => Err(BadIdToken::TooLong { claim }),
        other => Ok(other.map(Box::from)),
    };
    Ok(IdToken {
        issuer: named_issuer.into(),
        subject: kept("sub")?.ok_or(Refusal::Missing { claim: "sub" })?,
        session: kept("sid")?,
        auth_time,
        issued: begun,
        expires,
        acr: kept("acr")?,
        name: told(claims, "name"),
        preferred_username: told(claims, "preferred_username"),
        email: told(claims, "email").filter(|_| is_proven(claims)),
    })
}

/// An issuer signs other things with the same keys, and for the same client.
fn refuse_other_kinds(claims: &Object) -> Result<(), BadIdToken> {
    if claims.has("events") {
        return Err(BadIdToken::Kind("a logout token or another event"));
    }
    if claims.has("htm") && claims.has("htu") {
        return Err(BadIdToken::Kind("a DPoP proof"));
    }
    // Keycloak says it in a claim
    match claims.get("typ") {
        None => {}
        Some(Json::Text(typ)) if typ == "ID" => {}
        Some(_) => return Err(BadIdToken::Kind("a token that says it is of another type")),
    }
    // RFC 9068 section 2.2, and IMS: no ID token says what it may be used for
    let is_access = ["scope", "scp", "client_id"].into_iter();
    if is_access.filter(|claim| claims.has(claim)).count() > 1 {
        return Err(BadIdToken::Kind("an access token"));
    }
    Ok(())
}

/// Section 3.1.3.7, points 3 to 5.
fn is_for(claims: &Object, client_id: &str) -> Result<(), BadIdToken> {
    let wrong = || Refusal::WrongType { claim: "aud" };
    let audiences = claims.get("aud").ok_or(Refusal::Missing { claim: "aud" })?;
    let audiences: Option<Vec<&str>> = audiences.items().iter().map(Json::text).collect();
    let audiences = audiences.ok_or_else(wrong)?;
    if !audiences.contains(&client_id) {
        let found = shown(&audiences.join(" "));
        return Err(BadIdToken::Audience { found });
    }
    match text(claims, "azp")? {
        Some(party) if party == client_id => Ok(()),
        Some(party) => Err(BadIdToken::Party {
            found: shown(party),
        }),
        None if audiences.iter().all(|one| *one == client_id) => Ok(()),
        None => Err(BadIdToken::NoParty),
    }
}

/// When it was issued and when it ends.
fn is_of_now(claims: &Object, now: Moment) -> Result<(Duration, Duration), Refusal> {
    let now = now.wall;
    let expires = date(claims, "exp")?.ok_or(Refusal::Missing { claim: "exp" })?;
    if expires.saturating_add(SKEW) <= now {
        let ago = now.saturating_sub(expires);
        return Err(Refusal::Expired { ago });
    }
    let issued = date(claims, "iat")?.ok_or(Refusal::Missing { claim: "iat" })?;
    if issued > now + SKEW {
        let ahead = issued.saturating_sub(now);
        return Err(Refusal::FromTheFuture { ahead });
    }
    if let Some(begins) = date(claims, "nbf")?
        && begins > now + SKEW
    {
        let ahead = begins.saturating_sub(now);
        return Err(Refusal::TooEarly { ahead });
    }
    Ok((issued, expires))
}

/// Section 3.1.3.6: the left half of a hash, which the signature's algorithm says.
fn belongs_to(
    claims: &Object,
    algorithm: Algorithm,
    access_token: AtHash<'_>,
) -> Result<(), BadIdToken> {
    let (header, said) = match (access_token, text(claims, "at_hash")?) {
        (AtHash::Required(header) | AtHash::IfPresent(header), Some(said)) => (header, said),
        (AtHash::Required(_), None) => return Err(Refusal::Missing { claim: "at_hash" }.into()),
        (AtHash::IfPresent(_), None) => return Ok(()),
    };
    let octets = header.as_bytes();
    let token = octets.strip_prefix(b"Bearer ").unwrap_or(octets);
    let hash = digest(hash_of(algorithm), token);
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    if URL_SAFE_NO_PAD.encode(left) == said {
        return Ok(());
    }
    Err(BadIdToken::AccessToken)
}

fn hash_of(algorithm: Algorithm) -> &'static digest::Algorithm {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => &digest::SHA256,
        Algorithm::Rs384 | Algorithm::Ps384 | Algorithm::Es384 => &digest::SHA384,
        // Ed25519 hashes with SHA-512 itself (RFC 8032 section 5.1)
        Algorithm::Rs512 | Algorithm::Ps512 | Algorithm::Es512 | Algorithm::EdDsa => {
            &digest::SHA512
        }
    }
}

/// What is only for people to read: no reason to refuse anybody. Without what moves a cursor or
/// turns the direction of writing, and not longer than a line.
fn told(claims: &Object, claim: &str) -> Option<Box<str>> {
    let text = claims.get(claim)?.text()?;
    let plain = text
        .chars()
        .filter(|c| !c.is_control() && !is_direction(*c))
        .take(100);
    let plain: String = plain.collect();
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.into())
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
/// Whether the address may be the person's: unless the provider says that nobody has proved it (Core
/// section 5.1).
fn is_proven(claims: &Object) -> bool {
    match claims.get("email_verified") {
        Some(Json::Bool(proven)) => *proven,
        Some(Json::Text(text)) => !text.eq_ignore_ascii_case("false"),
        _ => true,
    }
}
