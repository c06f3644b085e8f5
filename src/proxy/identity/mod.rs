//! What a service learns of the caller, in fields that only we set.
//!
//! The fields of every route, in every spelling that a service could take for one of them, are taken
//! out of every request before ours go in (`outgoing`, which calls this last). What a token says is
//! put into field values once, and kept ([`Memory`]): each further request with it clones them. A
//! value that cannot be sent whole is not sent.

mod jwt;
mod memory;
mod signer;
mod value;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use self::jwt::{Issuing, Signed};
pub(super) use self::memory::Memory;
pub use self::signer::{Signer, SignerError};
use super::permit::Permit;
use crate::{
    caller::Caller,
    clock::Moment,
    config::{CallerIdentity, CallersToken, Name, Says},
    session::Facts,
    verify::{Claims, Json, Verified},
};

/// Octets of all fields together, as HTTP/1.1 sends them: half of what servers take that take
/// little.
const ALL: usize = 8 << 10;

/// What a route tells its service, prepared. Each thread has its own.
#[derive(Debug)]
pub struct Identity {
    /// Routes that tell the same have the same.
    number: usize,
    fields: Vec<(HeaderName, Says)>,
    jwt: Option<Issuing>,
    token: CallersToken,
}

/// The fields for one token.
#[derive(Debug)]
struct Told {
    /// Nothing else can have its address while this is kept.
    verified: Arc<Verified>,
    fields: Vec<(HeaderName, HeaderValue)>,
    signed: Option<Signed>,
}

impl Identity {
    /// `number`: the same for routes that tell the same.
    pub(in crate::proxy) fn new(
        number: usize,
        config: &CallerIdentity,
        signer: Option<&Arc<Signer>>,
    ) -> Self {
        let jwt = config.jwt.as_ref().zip(signer);
        let fields = config.headers.iter().filter_map(|header| {
            // checked when the configuration was read
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            Some((name, header.says.clone()))
        });
        Self {
            number,
            fields: fields.collect(),
            jwt: jwt.and_then(|(jwt, signer)| Issuing::new(jwt, signer)),
            token: config.token,
        }
    }

    /// The same, with names that count their references in a place of their own.
    pub(in crate::proxy) fn for_thread(&self) -> Self {
        let fields = self.fields.iter();
        Self {
            number: self.number,
            fields: fields
                .map(|(name, says)| (own(name), says.clone()))
                .collect(),
            jwt: self.jwt.as_ref().map(Issuing::for_thread),
            token: self.token,
        }
    }

    pub(in crate::proxy) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let jwt = self.jwt.iter().map(|jwt| &jwt.field);
        self.fields.iter().map(|(name, _)| name).chain(jwt)
    }

    /// Puts the fields in. Whatever a caller may have called so has been taken out.
    pub(in crate::proxy) fn tell(
        &self,
        headers: &mut HeaderMap,
        permit: &Permit,
        memory: &Memory,
        now: Moment,
    ) {
        if let Some(person) = permit.person() {
            let facts = &person.present.session.facts;
            for (name, says) in &self.fields {
                if let Some(value) = said_of(says, facts) {
                    headers.insert(name.clone(), value);
                }
            }
            return;
        }
        let Some(verified) = permit.verified() else {
            let caller = self.fields.iter().find(|(_, says)| *says == Says::Caller);
            if let Some((name, _)) = caller
                && let Some(value) = known_as(permit.caller())
            {
                headers.insert(name.clone(), value);
            }
            return;
        };
        let route = &permit.route().config.name;
        let told = memory.told(
            self.number,
            verified,
            |told| self.is_good(told, now),
            || self.prepare(verified, route, now),
        );
        for (name, value) in &told.fields {
            headers.insert(name.clone(), value.clone());
        }
        if let (Some(jwt), Some(signed)) = (&self.jwt, &told.signed) {
            headers.insert(jwt.field.clone(), signed.value.clone());
        }
    }

    /// Whether the caller's token, which was checked, goes on.
    pub(in crate::proxy) fn keeps_token(&self) -> bool {
        self.token == CallersToken::Kept
    }

    fn is_good(&self, told: &Told, now: Moment) -> bool {
        match (&self.jwt, &told.signed) {
            (Some(jwt), Some(signed)) => jwt.is_good(signed, now),
            _ => true,
        }
    }

    fn prepare(&self, verified: &Arc<Verified>, route: &Name, now: Moment) -> Told {
        let mut fields = Vec::with_capacity(self.fields.len());
        let mut room = ALL;
        for (name, says) in &self.fields {
            let value = match said(says, &verified.claims) {
                None => continue,
                Some(Ok(value)) => value,
                Some(Err(unsent)) => {
                    tracing::warn!(%route, header = %name, reason = %unsent, "not told to the service");
                    continue;
                }
            };
            let size = name.as_str().len() + value.len() + 4;
            let Some(left) = room.checked_sub(size) else {
                let reason = "no room is left for it";
                tracing::warn!(%route, header = %name, reason, "not told to the service");
                continue;
            };
            room = left;
            fields.push((name.clone(), value));
        }
        let signed = self.jwt.as_ref().and_then(|jwt| {
            let signed = jwt.sign(&verified.claims, now);
            signed
                .inspect_err(|reason| {
                    tracing::warn!(%route, header = %jwt.field, reason, "not told to the service");
                })
                .ok()
        });
        Told {
            verified: Arc::clone(verified),
            fields,
            signed,
        }
    }
}

impl Told {
    /// Octets that it takes in memory, about.
    fn size(&self) -> usize {
        let one = |(_, value): &(HeaderName, HeaderValue)| {
            size_of::<(HeaderName, HeaderValue)>() + value.len()
        };
        let fields: usize = self.fields.iter().map(one).sum();
        let signed = self.signed.as_ref().map_or(0, |signed| signed.value.len());
        size_of::<Self>() + fields + signed + self.verified.claims.size()
    }
}

/// The same name, which counts its references in a place of its own.
pub(in crate::proxy) fn own(name: &HeaderName) -> HeaderName {
    HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone())
}

/// Whether the request shows an access token, of whatever worth.
pub(super) fn has_token(headers: &HeaderMap) -> bool {
    let is_token = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii();
        let scheme = value.split(u8::is_ascii_whitespace).next();
        let scheme = scheme.unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop")
    };
    headers.get_all(AUTHORIZATION).iter().any(is_token)
}

/// Takes away a bearer token that nobody checked: behind a route that checks them, whoever is told
/// of one takes it for checked. Other schemes pass.
pub(super) fn remove_unchecked_token(headers: &mut HeaderMap) {
    if has_token(headers) {
        headers.remove(AUTHORIZATION);
    }
}

fn known_as(caller: &Caller) -> Option<HeaderValue> {
    match caller {
        Caller::Stranger => Some(HeaderValue::from_static("stranger")),
        Caller::Local => Some(HeaderValue::from_static("local")),
        Caller::Bearer(_) => Some(HeaderValue::from_static("bearer")),
        other => value::text(&other.to_string()).ok(),
    }
}

/// What the field says of a token with these claims; nothing where they say nothing.
fn said(says: &Says, claims: &Claims) -> Option<Result<HeaderValue, value::Unsent>> {
    let text = |text: &str| Some(value::text(text));
    match says {
        Says::Caller => Some(Ok(HeaderValue::from_static("bearer"))),
        Says::Subject => text(claims.holder.subject.as_deref()?),
        Says::Client => text(claims.holder.client.as_deref()?),
        Says::Issuer => text(&claims.issuer),
        Says::Scopes if claims.scopes.is_empty() => None,
        Says::Scopes => text(&claims.scopes.join(" ")),
        Says::Email => text(email(claims)?),
        Says::Claim(name) => value::claim(claims.find(name)?),
    }
}

/// The same of a person who is signed in; what cannot be sent whole is not sent.
fn said_of(says: &Says, facts: &Facts) -> Option<HeaderValue> {
    let text = match says {
        Says::Caller => return Some(HeaderValue::from_static("person")),
        Says::Subject => &facts.subject,
        Says::Client => &facts.client,
        Says::Issuer => &facts.issuer,
        Says::Email => facts.email.as_ref()?,
        Says::Scopes => return None,
        Says::Claim(name) => match name.as_str() {
            "name" => facts.name.as_ref()?,
            "preferred_username" => facts.username.as_ref()?,
            "sid" => facts.sid.as_ref()?,
            _ => return None,
        },
    };
    value::text(text).ok()
}

/// The address, unless the provider says that nobody has proved that it is the caller's.
fn email(claims: &Claims) -> Option<&str> {
    match claims.get("email_verified") {
        Some(Json::Bool(false)) => return None,
        Some(Json::Text(text)) if text.eq_ignore_ascii_case("false") => return None,
        _ => {}
    }
    claims.get("email").and_then(Json::text)
}
