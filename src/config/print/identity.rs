//! What services learn of callers.

use crate::config::{
    CallerIdentity, CallersToken, Says,
    raw::{self, IdentityHeaders},
};

pub(super) fn written(identity: &CallerIdentity) -> raw::CallerIdentity {
    let name = |says: &Says| {
        let mut all = identity.headers.iter();
        let found = all.find(|header| header.says == *says);
        Some(found.map_or_else(|| "off".into(), |header| header.name.clone()))
    };
    let claims = identity
        .headers
        .iter()
        .filter_map(|header| match &header.says {
            Says::Claim(claim) => Some((claim.clone(), header.name.clone())),
            _ => None,
        });
    raw::CallerIdentity {
        headers: Some(if identity.headers.is_empty() {
            IdentityHeaders {
                set: Some(false),
                ..IdentityHeaders::default()
            }
        } else {
            IdentityHeaders {
                set: Some(true),
                caller: name(&Says::Caller),
                subject: name(&Says::Subject),
                client_id: name(&Says::Client),
                issuer: name(&Says::Issuer),
                scopes: name(&Says::Scopes),
                email: name(&Says::Email),
                claims: claims.collect(),
            }
        }),
        token: Some(match identity.token {
            CallersToken::Kept => raw::CallersToken::Keep,
            CallersToken::Removed => raw::CallersToken::Remove,
        }),
    }
}
