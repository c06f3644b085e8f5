//! Tokens that must not pass, a line each.

use super::*;

#[tokio::test]
async fn a_header_decides_nothing() {
    let issuer = issuer(&[&RSA, &EC]);
    let header = |header: Value| RSA.sign(&header, &ims());
    let id = RSA.id();
    let member = |member| Refusal::HeaderMember { member };
    let extension = |member| Refusal::Extension { member };
    let wrong = |said| Refusal::WrongAlgorithm { said };
    let cases = [
        (
            "alg none",
            header(json!({"alg": "none", "kid": id})),
            Refusal::Unsigned,
        ),
        (
            "alg nOnE",
            header(json!({"alg": "nOnE", "kid": id})),
            Refusal::Unsigned,
        ),
        (
            "HMAC",
            header(json!({"alg": "HS256", "kid": id})),
            Refusal::Algorithm,
        ),
        (
            "lower case",
            header(json!({"alg": "rs256", "kid": id})),
            Refusal::Algorithm,
        ),
        ("no alg", header(json!({"kid": id})), member("alg")),
        (
            "alg is a list",
            header(json!({"alg": ["RS256"]})),
            member("alg"),
        ),
        (
            "PSS with a PKCS1 key",
            header(json!({"alg": "PS256", "kid": id})),
            wrong(Algorithm::Ps256),
        ),
        (
            "the EC key's id",
            header(json!({"alg": "RS256", "kid": "ec"})),
            wrong(Algorithm::Rs256),
        ),
        (
            "kid is a number",
            header(json!({"alg": "RS256", "kid": 1})),
            member("kid"),
        ),
        (
            "kid is long",
            header(json!({"alg": "RS256", "kid": "k".repeat(257)})),
            member("kid"),
        ),
        (
            "kid unknown",
            header(json!({"alg": "RS256", "kid": "other"})),
            Refusal::UnknownKey,
        ),
        (
            "crit",
            header(json!({"alg": "RS256", "kid": id, "crit": ["exp"]})),
            extension("crit"),
        ),
        (
            "b64",
            header(json!({"alg": "RS256", "kid": id, "b64": false})),
            extension("b64"),
        ),
        (
            "logout token",
            header(json!({"alg": "RS256", "kid": id, "typ": "logout+jwt"})),
            Refusal::Type,
        ),
        (
            "DPoP proof",
            header(json!({"alg": "RS256", "kid": id, "typ": "dpop+jwt"})),
            Refusal::Type,
        ),
        (
            "typ is null",
            header(json!({"alg": "RS256", "kid": id, "typ": null})),
            member("typ"),
        ),
    ];
    for (case, token, refusal) in cases {
        assert_eq!(admit(&issuer, &rules(), &token), Err(refusal), "{case}");
    }
    let twice = format!(r#"{{"alg":"none","alg":"RS256","kid":"{id}"}}"#);
    let refused = admit(
        &issuer,
        &rules(),
        &RSA.sign_texts(&twice, &ims().to_string()),
    );
    let part = Part::Header;
    assert_eq!(refused, Err(Refusal::Repeated { part }));
}

#[tokio::test]
async fn a_key_of_the_tokens_own_signs_nothing() {
    let issuer = issuer(&[&RSA]);
    let theirs = Pair::ec("theirs");
    let own = |id: &str| {
        theirs.sign(
            &json!({"alg": "ES256", "kid": id, "jwk": theirs.jwk, "jku": "https://evil.example/keys"}),
            &ims(),
        )
    };
    let said = Algorithm::Es256;
    let wrong = Refusal::WrongAlgorithm { said };
    assert_eq!(admit(&issuer, &rules(), &own(RSA.id())), Err(wrong));
    assert_eq!(
        admit(&issuer, &rules(), &own("theirs")),
        Err(Refusal::UnknownKey)
    );
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let issuer = issuer(&[&RSA]);
    let public = RSA.jwk["n"].as_str().unwrap();
    for secret in [public.as_bytes(), &URL_SAFE_NO_PAD.decode(public).unwrap()] {
        let signed = format!(
            "{}.{}",
            encode(json!({"alg": "HS256", "kid": RSA.id()}).to_string()),
            encode(ims().to_string())
        );
        let key = EncodingKey::from_secret(secret);
        let hmac = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, hmac).unwrap();
        let refused = admit(&issuer, &rules(), &format!("{signed}.{signature}"));
        assert_eq!(refused, Err(Refusal::Algorithm));
    }
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_as_that() {
    let issuer = issuer(&[&RSA]);
    let good = RSA.token(&ims());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!()
    };
    let encoding = |part| Refusal::Encoding { part };
    let unreadable = |part| Refusal::Unreadable { part };
    let limit = 16 * 1024;
    let list = encode("[]");
    let cases = [
        (String::new(), Refusal::NotJwt),
        ("opaque".into(), Refusal::NotJwt),
        (format!("{header}.{payload}"), Refusal::NotJwt),
        (format!("{good}.{signature}"), Refusal::NotJwt),
        (format!(".{payload}.{signature}"), Refusal::NotJwt),
        (format!("{header}..{signature}"), Refusal::NotJwt),
        (
            format!("{good}.{signature}.{signature}"),
            Refusal::Encrypted,
        ),
        (format!("{header}.{payload}."), Refusal::Unsigned),
        (format!("{good}="), encoding(Part::Signature)),
        (format!("{good} "), encoding(Part::Signature)),
        (
            format!("{header}=.{payload}.{signature}"),
            encoding(Part::Header),
        ),
        (
            format!("{list}.{payload}.{signature}"),
            unreadable(Part::Header),
        ),
        ("a".repeat(limit + 1), Refusal::TooLarge { limit }),
        (
            format!("{}.{payload}.{signature}", "a".repeat(8193)),
            Refusal::TooLarge { limit: 8192 },
        ),
        (
            format!("{header}.{payload}.{}", &signature[4..]),
            Refusal::Signature,
        ),
        (
            format!(
                "{header}.{}.{signature}",
                encode(ims_with(&json!({"sub": "me"})).to_string())
            ),
            Refusal::Signature,
        ),
    ];
    for (token, refusal) in cases {
        let start: String = token.chars().take(60).collect();
        assert_eq!(admit(&issuer, &rules(), &token), Err(refusal), "{start}");
    }
}

fn missing(claim: &'static str) -> Refusal {
    Refusal::Missing { claim }
}

fn wrong(claim: &'static str) -> Refusal {
    Refusal::WrongType { claim }
}

fn kind(kind: &'static str) -> Refusal {
    Refusal::Kind { kind }
}

fn issuer_is(found: &str) -> Refusal {
    let found = found.into();
    Refusal::Issuer { found }
}

fn audience_is(found: &str) -> Refusal {
    let found = found.into();
    Refusal::Audience { found }
}

fn lacks(missing: &str) -> Refusal {
    let missing = missing.into();
    Refusal::Scopes { missing }
}

/// Each change makes a good token one that is refused.
fn refuse_each<const N: usize>(cases: [(Value, Refusal); N]) {
    let issuer = issuer(&[&RSA]);
    let strict = TokenRules {
        clients: ["webapp-1".to_owned()].into(),
        max_lifetime: Some(Duration::from_secs(7200)),
        ..rules()
    };
    assert!(admit(&issuer, &strict, &RSA.token(&ims())).is_ok());
    for (changes, refusal) in cases {
        let token = RSA.token(&ims_with(&changes));
        assert_eq!(admit(&issuer, &strict, &token), Err(refusal), "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn times_are_numbers_and_hold() {
    let ahead = Duration::from_secs(61);
    let limit = Duration::from_secs(7200);
    let expired = |seconds| Refusal::Expired {
        ago: Duration::from_secs(seconds),
    };
    refuse_each([
        (json!({"exp": null}), missing("exp")),
        (json!({"exp": "1900000000"}), wrong("exp")),
        (json!({"exp": [NOW + 60]}), wrong("exp")),
        (json!({"exp": -1}), wrong("exp")),
        (json!({"exp": 1e300}), wrong("exp")),
        (json!({"exp": NOW - 60}), expired(60)),
        (json!({"exp": 0}), expired(NOW)),
        (json!({"nbf": "0"}), wrong("nbf")),
        (json!({"nbf": NOW + 61}), Refusal::TooEarly { ahead }),
        (json!({"iat": true}), wrong("iat")),
        (json!({"iat": NOW + 61}), Refusal::FromTheFuture { ahead }),
        (json!({"exp": NOW + 7261}), Refusal::LivesTooLong { limit }),
        (
            json!({"iat": NOW - 4000, "exp": NOW + 3600}),
            Refusal::LivesTooLong { limit },
        ),
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_others_is_refused() {
    refuse_each([
        (json!({"iss": null}), missing("iss")),
        (json!({"iss": ["https://ims.bentley.com"]}), wrong("iss")),
        (
            json!({"iss": "https://ims.bentley.com.evil.example"}),
            issuer_is("https://ims.bentley.com.evil.example"),
        ),
        (
            json!({"iss": "HTTPS://IMS.BENTLEY.COM"}),
            issuer_is("HTTPS://IMS.BENTLEY.COM"),
        ),
        (
            json!({"iss": "https://ims.bentley.com//"}),
            issuer_is("https://ims.bentley.com//"),
        ),
        (json!({"aud": null}), audience_is("")),
        (json!({"aud": {"a": 1}}), wrong("aud")),
        (json!({"aud": ["bentley-api-management", 1]}), wrong("aud")),
        (
            json!({"aud": "bentley-api-management2"}),
            audience_is("bentley-api-management2"),
        ),
        (
            json!({"aud": "bentley-api-management other"}),
            audience_is("bentley-api-management other"),
        ),
        (
            json!({"client_id": "other"}),
            Refusal::Client {
                found: "other".into(),
            },
        ),
        (json!({"client_id": null}), missing("client_id")),
        (json!({"client_id": 1}), wrong("client_id")),
        (json!({"scope": null}), lacks("itwin-platform")),
        (json!({"scope": "itwin-platforms"}), lacks("itwin-platform")),
        (json!({"scope": 1}), wrong("scope")),
        (json!({"nonce": "1"}), kind("an ID token")),
        (
            json!({"at_hash": "1", "typ": "Bearer"}),
            kind("an ID token"),
        ),
        (json!({"typ": "ID"}), kind("an ID token")),
        (json!({"typ": "Refresh"}), kind("a refresh token")),
        (
            json!({"events": {}}),
            kind("a logout token or another event"),
        ),
        (
            json!({"htm": "GET", "htu": "https://a"}),
            kind("a DPoP proof"),
        ),
    ]);
}

#[tokio::test]
async fn a_claim_that_is_there_twice_is_refused() {
    let issuer = issuer(&[&RSA]);
    let twice = ims().to_string().replacen('{', r#"{"exp":1,"#, 1);
    let token = RSA.sign_texts(&RSA.header().to_string(), &twice);
    let part = Part::Claims;
    let refused = admit(&issuer, &rules(), &token);
    assert_eq!(refused, Err(Refusal::Repeated { part }));
}

#[tokio::test]
async fn no_newer_key_is_asked_for_on_behalf_of_a_token_that_is_refused_with_any() {
    let issuer = issuer(&[&RSA]);
    let strange = |changes| EC.token(&ims_with(&changes));
    let refused = |changes| admit(&issuer, &rules(), &strange(changes)).unwrap_err();
    assert_eq!(refused(json!({})), Refusal::UnknownKey);
    let foreign = refused(json!({"iss": "https://evil.example"}));
    assert!(matches!(foreign, Refusal::Issuer { .. }));
    assert_eq!(
        refused(json!({"exp": null})),
        Refusal::Missing { claim: "exp" }
    );
}
