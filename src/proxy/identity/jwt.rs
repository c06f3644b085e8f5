//! A short-lived JWT of our own that says who calls, for services that believe signatures only.
//!
//! It is for one service, no access token anywhere, and never outlives the token that it was made
//! from. It has no `jti`: one is sent with many requests, so that a service that took each once
//! would refuse the second.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{
    email,
    signer::{Keys, Signer},
};
use crate::{
    clock::{Deadline, Moment},
    config::IdentityJwt,
    verify::Claims,
};

/// Larger ones are refused by many servers.
const LONGEST: usize = 8 << 10;

/// What a route's JWTs are made with.
#[derive(Debug, Clone)]
pub(super) struct Issuing {
    pub(super) field: HeaderName,
    config: Arc<IdentityJwt>,
    signer: Arc<Signer>,
}

/// A JWT as it is sent.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) value: HeaderValue,
    keys: Arc<Keys>,
    /// When another is better; none where another would not live longer.
    renew: Option<Deadline>,
}

impl Issuing {
    pub(super) fn new(config: &IdentityJwt, signer: &Arc<Signer>) -> Option<Self> {
        Some(Self {
            // checked when the configuration was read
            field: HeaderName::from_bytes(config.header.as_bytes()).ok()?,
            config: Arc::new(config.clone()),
            signer: Arc::clone(signer),
        })
    }

    pub(super) fn for_thread(&self) -> Self {
        Self {
            field: super::own(&self.field),
            config: Arc::clone(&self.config),
            signer: Arc::clone(&self.signer),
        }
    }

    /// Whether this is what a request gets now.
    pub(super) fn is_good(&self, signed: &Signed, now: Moment) -> bool {
        signed.renew.is_none_or(|renew| !renew.passed(now)) && self.signer.has(&signed.keys)
    }

    /// # Errors
    /// In words for the log, when none can be sent.
    pub(super) fn sign(&self, claims: &Claims, now: Moment) -> Result<Signed, &'static str> {
        let keys = self.signer.keys();
        let (payload, renew) = self.claims(claims, now);
        let jwt = keys.sign(&payload).ok_or("it cannot be signed")?;
        if jwt.len() > LONGEST {
            return Err("it would be longer than 8 KiB");
        }
        let mut value = HeaderValue::try_from(jwt).map_err(|_| "it cannot be sent")?;
        value.set_sensitive(true);
        Ok(Signed { value, keys, renew })
    }

    fn claims(&self, claims: &Claims, now: Moment) -> (Value, Option<Deadline>) {
        let IdentityJwt {
            issuer,
            audience,
            lifetime,
            claims: selected,
            ..
        } = &*self.config;
        let issued = now.unix_seconds();
        let wanted = issued.saturating_add(lifetime.as_secs());
        let end = claims.expires().as_ref().map_or(wanted, Duration::as_secs);
        // half of its life is left at least, for the request to reach the service
        let renew = (wanted < end).then(|| now.plus(*lifetime / 2));
        let mut payload = Map::new();
        for name in selected {
            let found = match name.as_str() {
                "email" => email(claims).map(Value::from),
                name => claims
                    .find(name)
                    .and_then(|found| serde_json::to_value(found).ok()),
            };
            payload.extend(found.map(|found| (name.clone(), found)));
        }
        let scopes = (!claims.scopes.is_empty()).then(|| claims.scopes.join(" "));
        let ours = [
            ("iss", Some(issuer.as_str().into())),
            ("aud", Some(audience.as_str().into())),
            ("sub", claims.holder.subject.as_deref().map(Value::from)),
            ("subject_issuer", Some((*claims.issuer).into())),
            (
                "client_id",
                claims.holder.client.as_deref().map(Value::from),
            ),
            ("scope", scopes.map(Value::from)),
            ("iat", Some(issued.into())),
            ("exp", Some(wanted.min(end).into())),
        ];
        for (name, value) in ours {
            payload.extend(value.map(|value| (name.to_owned(), value)));
        }
        (payload.into(), renew)
    }
}
