//! What services learn of callers.

use crate::config::{
    CallerIdentity, CallersToken, Credential, Says, Signing,
    raw::{self, IdentityHeaders, Texts, Words},
};

use super::{duration, text};

pub(super) fn written(
    identity: &CallerIdentity,
    exchange: Option<&Credential>,
) -> raw::CallerIdentity {
    let goes = |goes| raw::CallersToken {
        goes: Some(goes),
        exchange: None,
    };
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
        jwt: identity.jwt.as_ref().map(|jwt| raw::IdentityJwt {
            header: Some(jwt.header.clone()),
            issuer: Some(jwt.issuer.clone()),
            audience: Some(jwt.audience.clone()),
            lifetime: Some(duration(jwt.lifetime)),
            claims: Some(Words(jwt.claims.clone())),
        }),
        token: Some(match (identity.token, exchange) {
            (CallersToken::Exchanged, exchange) => raw::CallersToken {
                goes: None,
                exchange: exchange.map(|credential| credential.name.to_string()),
            },
            (CallersToken::Kept, _) => goes(raw::CallersTokenGoes::Keep),
            (CallersToken::Removed, _) => goes(raw::CallersTokenGoes::Remove),
        }),
    }
}

pub(super) fn signing(signing: &Signing) -> raw::Signing {
    let files = signing.key_files.iter().map(|file| text(file));
    raw::Signing {
        key_files: Some(Texts(files.collect())).filter(|files| !files.0.is_empty()),
        path: Some(signing.path.clone().unwrap_or_else(|| "none".into())),
    }
}
