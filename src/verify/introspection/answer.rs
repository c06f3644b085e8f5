//! What a provider says of a token (RFC 7662 section 2.2), made into claims.
//!
//! Nearly all members are optional, and servers differ in which they leave out; what is there must
//! be of the right type and fit the provider. A token is good when `active` is the JSON value
//! `true`, and nothing else is.

use std::{sync::Arc, time::Duration};

use super::super::{
    Issuer,
    cache::{Proof, Verified},
    claims::Claims,
    json::{Json, Object},
    refusal::Refusal,
};
use crate::clock::Moment;

/// An answer that says nothing about the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("is not a JSON object that can be read")]
    NotAnObject,
    #[error("has a member twice")]
    Repeats,
    #[error("does not say whether the token is active")]
    NotSaid,
}

/// The token, if the provider says that it is good. `asked` is when the question was sent, `cache`
/// how long the answer may be believed.
///
/// # Errors
/// When the answer says nothing. An answer that the token is not good is none of these.
pub fn read(
    document: &[u8],
    issuer: &Issuer,
    asked: Moment,
    cache: Duration,
) -> Result<Result<Arc<Verified>, Refusal>, Unreadable> {
    let members = Object::read(document).map_err(|_| Unreadable::NotAnObject)?;
    if members.repeats() {
        return Err(Unreadable::Repeats);
    }
    match members.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Ok(Err(Refusal::Inactive)),
        _ => return Err(Unreadable::NotSaid),
    }
    Ok(verified(members, issuer, asked, cache))
}

fn verified(
    members: Object,
    issuer: &Issuer,
    asked: Moment,
    cache: Duration,
) -> Result<Arc<Verified>, Refusal> {
    refuse_other_types(&members)?;
    let claims = Claims::introspected(members, issuer.first_name(), asked, cache)?;
    let claims = issuer.is_from(claims)?;
    let left = claims.expires_in(asked).unwrap_or(cache);
    Ok(Arc::new(Verified {
        claims,
        proof: Proof::Answered {
            until: asked.plus(left.min(cache)),
        },
    }))
}

/// Some servers answer questions about refresh tokens as well, which a caller may try to pass off
/// as an access token.
fn refuse_other_types(members: &Object) -> Result<(), Refusal> {
    let of = |member| members.get(member).and_then(Json::text);
    let refuse = |kind| Err(Refusal::Kind { kind });
    // Ory Hydra
    if of("token_use").is_some_and(|kind| !kind.eq_ignore_ascii_case("access_token")) {
        return refuse("another token than one for access, by its `token_use`");
    }
    let known = ["bearer", "dpop", "access_token"];
    match members.get("token_type") {
        None | Some(Json::Null) => Ok(()),
        // RFC 9449 section 6.2: the key would be in `cnf`
        Some(Json::Text(kind)) if kind.eq_ignore_ascii_case("dpop") && !members.has("cnf") => {
            refuse("bound to a key that the provider does not name")
        }
        Some(Json::Text(kind)) if known.iter().any(|k| kind.eq_ignore_ascii_case(k)) => Ok(()),
        Some(_) => refuse("another token than one for access, by its `token_type`"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        clock::Clock,
        config::{ClientTls, Endpoints, Provider, ProviderKeys, ProviderTimeouts},
    };

    const NOW: u64 = 1_700_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    fn issuer() -> Issuer {
        let second = Duration::from_secs(1);
        let provider = Provider {
            name: "ids".into(),
            issuer: "https://ids.example".parse().unwrap(),
            endpoints: Endpoints::Discover { also: Vec::new() },
            tls: ClientTls::default(),
            timeouts: ProviderTimeouts {
                connect: second,
                total: second,
            },
            keys: ProviderKeys::default(),
            introspection: None,
        };
        Issuer::new(1, &provider)
    }

    fn said(document: &str) -> Result<Result<Arc<Verified>, Refusal>, Unreadable> {
        let now = Clock::for_tests(Duration::from_secs(NOW)).now();
        read(document.as_bytes(), &issuer(), now, MINUTE)
    }

    #[test]
    fn only_the_boolean_true_means_that_a_token_is_good() {
        assert!(said(r#"{"active":true}"#).unwrap().is_ok());
        assert_eq!(
            said(r#"{"active":false}"#).unwrap().unwrap_err(),
            Refusal::Inactive
        );
        for (document, why) in [
            (r#"{"active":"true"}"#, Unreadable::NotSaid),
            (r#"{"active":1}"#, Unreadable::NotSaid),
            (r#"{"active":null}"#, Unreadable::NotSaid),
            (r#"{"active":[true]}"#, Unreadable::NotSaid),
            (r#"{"Active":true}"#, Unreadable::NotSaid),
            ("{}", Unreadable::NotSaid),
            (r#"{"active":true,"active":false}"#, Unreadable::Repeats),
            (r#"{"active":true,"x":{"a":1,"a":2}}"#, Unreadable::Repeats),
            ("true", Unreadable::NotAnObject),
            (r#"[{"active":true}]"#, Unreadable::NotAnObject),
            (r#"{"active":true} x"#, Unreadable::NotAnObject),
            ("", Unreadable::NotAnObject),
        ] {
            assert_eq!(said(document).unwrap_err(), why, "{document}");
        }
    }

    #[test]
    fn a_token_that_is_bound_must_say_to_what() {
        let bound = r#"{"active":true,"token_type":"DPoP"}"#;
        let refused = said(bound).unwrap().unwrap_err();
        assert!(matches!(refused, Refusal::Kind { .. }), "{refused}");
        let named = r#"{"active":true,"token_type":"DPoP","cnf":{"jkt":"x"}}"#;
        assert!(said(named).unwrap().is_ok());
    }

    #[test]
    fn an_answer_of_identity_server_is_read() {
        // IdentityServer4 4.1: the claims of a reference token, `scope` of this API only
        let document = json!({
            "iss": "https://ids.example", "nbf": NOW - 10, "exp": NOW + 3590,
            "aud": ["imodels", "https://ids.example/resources"], "client_id": "service-1",
            "jti": "A1", "iat": NOW - 10, "active": true, "scope": "imodels:read imodels:modify",
        });
        let token = said(&document.to_string()).unwrap().unwrap();
        assert_eq!(&*token.claims.issuer, "https://ids.example");
        assert_eq!(token.claims.holder.client.as_deref(), Some("service-1"));
        assert_eq!(token.claims.scopes.len(), 2);
        assert_eq!(token.claims.audiences.len(), 2);
    }

    #[test]
    fn it_is_believed_for_the_shorter_of_the_bound_and_the_tokens_life() {
        let now = Clock::for_tests(Duration::from_secs(NOW)).now();
        for (document, seconds) in [
            (json!({"active": true}), 60.0),
            (json!({"active": true, "exp": NOW + 3600}), 60.0),
            (json!({"active": true, "exp": NOW + 7}), 7.0),
            (json!({"active": true, "exp": NOW - 7}), 0.0),
        ] {
            let token = read(document.to_string().as_bytes(), &issuer(), now, MINUTE);
            let Proof::Answered { until } = token.unwrap().unwrap().proof else {
                panic!("{document}")
            };
            // `now` has a fraction
            let left = until.remaining(now).as_secs_f32().ceil();
            assert!((left - seconds).abs() < 0.1, "{document}");
        }
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(document in any::<Vec<u8>>()) {
            let now = Clock::for_tests(Duration::from_secs(NOW)).now();
            let _ = read(&document, &issuer(), now, MINUTE);
        }

        #[test]
        fn no_answer_is_believed_for_longer_than_the_bound(exp in any::<u64>(), cache in 0..4000_u64) {
            let now = Clock::for_tests(Duration::from_secs(NOW)).now();
            let document = json!({"active": true, "exp": exp}).to_string();
            let cache = Duration::from_secs(cache);
            if let Ok(Ok(token)) = read(document.as_bytes(), &issuer(), now, cache) {
                let Proof::Answered { until } = token.proof else { panic!() };
                prop_assert!(until.remaining(now) <= cache);
            }
        }
    }
}
