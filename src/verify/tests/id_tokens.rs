//! ID tokens: who signed in, and everything that is none.

use aws_lc_rs::digest::{self, digest};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const CLIENT: &str = "webapp-1";
const NONCE: &str = "n-0S6_WzA2Mj";
const ACCESS_TOKEN: &str = "ey.access.token";
const MONTH: u64 = 30 * 24 * 3600;

static SENT: LazyLock<HeaderValue> = LazyLock::new(|| bearer(ACCESS_TOKEN));

fn bearer(token: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("Bearer {token}")).unwrap()
}

/// A token of Bentley's users.
fn ann() -> Value {
    json!({
        "sub": "8a3b6b3e-0000-4000-8000-000000000001",
        "aud": CLIENT,
        "jti": "vHFA3HFqZ5",
        "iss": "https://ims.bentley.com",
        "iat": NOW - 2,
        "exp": NOW + 300,
        "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified",
        "auth_time": NOW - 300,
        "sid": "s-1",
        "name": "Ann Öst",
        "preferred_username": "ann@example.com",
        "email": "ann@example.com",
        "email_verified": "true",
        "nonce": NONCE,
        "pi.sri": "ann-session",
    })
}

fn changed(changes: &Value) -> Value {
    let mut claims = ann();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn expected() -> ExpectedIdToken<'static> {
    ExpectedIdToken {
        client_id: CLIENT,
        nonce: SentNonce::Was(NONCE),
        access_token: AtHash::IfPresent(&SENT),
        max_age: None,
    }
}

/// Without the network: the issuer's keys are here.
fn taken_by(
    issuer: &Issuer,
    token: &str,
    expected: &ExpectedIdToken<'_>,
) -> Result<IdToken, BadIdToken> {
    let clock = clock();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(issuer.id_token(token, expected, &clock))
}

fn taken(token: &str, expected: &ExpectedIdToken<'_>) -> Result<IdToken, BadIdToken> {
    taken_by(&issuer(&[&RSA, &EC]), token, expected)
}

fn left_half(algorithm: &'static digest::Algorithm, token: &str) -> String {
    let hash = digest(algorithm, token.as_bytes());
    encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

#[test]
fn an_id_token_says_who_signed_in() {
    let token = taken(&EC.token(&ann()), &expected()).unwrap();
    assert_eq!(
        token,
        IdToken {
            issuer: "https://ims.bentley.com".into(),
            subject: "8a3b6b3e-0000-4000-8000-000000000001".into(),
            session: Some("s-1".into()),
            auth_time: Some(Duration::from_secs(NOW - 300)),
            issued: Duration::from_secs(NOW - 2),
            expires: Duration::from_secs(NOW + 300),
            acr: Some("urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified".into()),
            name: Some("Ann Öst".into()),
            preferred_username: Some("ann@example.com".into()),
            email: Some("ann@example.com".into()),
        }
    );
}

#[test]
fn the_least_that_an_id_token_has_is_enough() {
    for changes in [
        json!({"sid": null, "acr": null, "auth_time": null, "name": null, "email": null}),
        json!({"aud": [CLIENT]}),
        json!({"aud": [CLIENT, CLIENT]}),
        json!({"aud": CLIENT, "azp": CLIENT}),
        json!({"aud": [CLIENT, "https://api.example"], "azp": CLIENT}),
        json!({"iss": "https://imsoidc.bentley.com"}),
        json!({"iss": "https://ims.bentley.com/"}),
        json!({"exp": NOW - 58}),
        json!({"iat": NOW + 59, "nbf": NOW + 59}),
        json!({"iat": NOW - MONTH}),
        json!({"exp": 1.7e9 + 0.5}),
        json!({"typ": "ID"}),
        json!({"client_id": CLIENT}),
        json!({"name": 5, "email": [], "preferred_username": {}}),
    ] {
        let outcome = taken(&EC.token(&changed(&changes)), &expected());
        assert!(outcome.is_ok(), "{changes}: {outcome:?}");
    }
}

#[test]
fn an_id_token_is_from_this_provider_about_somebody_for_this_client() {
    let missing = |claim| BadIdToken::from(Refusal::Missing { claim });
    let wrong = |claim| BadIdToken::from(Refusal::WrongType { claim });
    let other = || BadIdToken::Audience {
        found: "webapp-2".into(),
    };
    let party = || BadIdToken::Party {
        found: "webapp-2".into(),
    };
    let foreign = |found: &str| {
        let found = found.into();
        BadIdToken::from(Refusal::Issuer { found })
    };
    for (changes, because) in [
        (json!({"iss": null}), missing("iss")),
        (json!({"iss": 5}), wrong("iss")),
        (
            json!({"iss": "https://evil.example"}),
            foreign("https://evil.example"),
        ),
        (
            json!({"iss": "https://ims.bentley.com//"}),
            foreign("https://ims.bentley.com//"),
        ),
        (json!({"sub": null}), missing("sub")),
        (json!({"sub": ""}), wrong("sub")),
        (json!({"sub": ["ann"]}), wrong("sub")),
        (
            json!({"sub": "s".repeat(256)}),
            BadIdToken::TooLong { claim: "sub" },
        ),
        (
            json!({"sid": "s".repeat(256)}),
            BadIdToken::TooLong { claim: "sid" },
        ),
        (json!({"sid": 5}), wrong("sid")),
        (json!({"aud": null}), missing("aud")),
        (json!({"aud": "webapp-2"}), other()),
        (json!({"aud": ["webapp-2"]}), other()),
        (json!({"aud": "webapp-2", "azp": CLIENT}), other()),
        (
            json!({"aud": []}),
            BadIdToken::Audience {
                found: String::new(),
            },
        ),
        (json!({"aud": {"webapp-1": 1}}), wrong("aud")),
        (json!({"aud": [CLIENT, 5]}), wrong("aud")),
        (json!({"aud": [CLIENT, "webapp-2"]}), BadIdToken::NoParty),
        (
            json!({"aud": [CLIENT, "webapp-2"], "azp": "webapp-2"}),
            party(),
        ),
        (json!({"azp": "webapp-2"}), party()),
        (json!({"azp": [CLIENT]}), wrong("azp")),
    ] {
        refused(&changes, &because);
    }
}

#[test]
fn an_id_token_is_of_now() {
    let missing = |claim| BadIdToken::from(Refusal::Missing { claim });
    let wrong = |claim| BadIdToken::from(Refusal::WrongType { claim });
    for (changes, because) in [
        (json!({"exp": null}), missing("exp")),
        (json!({"exp": "tomorrow"}), wrong("exp")),
        (
            json!({"exp": NOW - 61}),
            Refusal::Expired {
                ago: Duration::from_secs(61),
            }
            .into(),
        ),
        (json!({"iat": null}), missing("iat")),
        (
            json!({"iat": NOW + 62}),
            Refusal::FromTheFuture {
                ahead: Duration::from_secs(62),
            }
            .into(),
        ),
        (
            json!({"nbf": NOW + 62}),
            Refusal::TooEarly {
                ahead: Duration::from_secs(62),
            }
            .into(),
        ),
    ] {
        refused(&changes, &because);
    }
}

#[test]
fn an_id_token_is_for_this_sign_in_and_of_no_other_kind() {
    let wrong = |claim| BadIdToken::from(Refusal::WrongType { claim });
    let event = "http://schemas.openid.net/event/backchannel-logout";
    for (changes, because) in [
        (json!({"nonce": null}), BadIdToken::Nonce),
        (json!({"nonce": "another"}), BadIdToken::Nonce),
        (json!({"nonce": ""}), wrong("nonce")),
        (json!({"nonce": [NONCE]}), wrong("nonce")),
        (json!({"at_hash": "AAAA"}), BadIdToken::AccessToken),
        (json!({"at_hash": 5}), wrong("at_hash")),
        (
            json!({"events": {event: {}}}),
            BadIdToken::Kind("a logout token or another event"),
        ),
        (
            json!({"events": null, "typ": "Logout"}),
            BadIdToken::Kind("a token that says it is of another type"),
        ),
        (
            json!({"typ": "Bearer"}),
            BadIdToken::Kind("a token that says it is of another type"),
        ),
        (
            json!({"typ": ["ID"]}),
            BadIdToken::Kind("a token that says it is of another type"),
        ),
        (
            json!({"htm": "POST", "htu": "https://a.example"}),
            BadIdToken::Kind("a DPoP proof"),
        ),
        (
            json!({"scope": ["openid"], "client_id": CLIENT}),
            BadIdToken::Kind("an access token"),
        ),
    ] {
        refused(&changes, &because);
    }
}

fn refused(changes: &Value, because: &BadIdToken) {
    let outcome = taken(&EC.token(&changed(changes)), &expected());
    assert_eq!(&rounded(outcome.unwrap_err()), because, "{changes}");
}

/// The clock of tests goes on.
fn rounded(bad: BadIdToken) -> BadIdToken {
    let seconds = |time: Duration| Duration::from_secs_f64(time.as_secs_f64().round());
    match bad {
        BadIdToken::Refused(refusal) => BadIdToken::Refused(match refusal {
            Refusal::Expired { ago } => Refusal::Expired { ago: seconds(ago) },
            Refusal::TooEarly { ahead } => Refusal::TooEarly {
                ahead: seconds(ahead),
            },
            Refusal::FromTheFuture { ahead } => Refusal::FromTheFuture {
                ahead: seconds(ahead),
            },
            other => other,
        }),
        BadIdToken::SignedInLongAgo { age } => BadIdToken::SignedInLongAgo { age: seconds(age) },
        other => other,
    }
}

#[test]
fn the_header_must_not_say_that_it_is_another_kind_of_token() {
    for (typ, good) in [
        ("JWT", true),
        ("jwt", true),
        ("application/jwt", true),
        ("at+jwt", false),
        ("logout+jwt", false),
        ("dpop+jwt", false),
        ("secevent+jwt", false),
        ("itwin-identity+jwt", false),
        ("", false),
    ] {
        let mut header = EC.header();
        header["typ"] = json!(typ);
        let outcome = taken(&EC.sign(&header, &ann()), &expected());
        assert_eq!(outcome.is_ok(), good, "{typ}: {outcome:?}");
    }
}

#[test]
fn only_a_key_of_the_provider_signs_an_id_token() {
    let stranger = Pair::ec("ec");
    let forged = taken(&stranger.token(&ann()), &expected()).unwrap_err();
    assert_eq!(forged, Refusal::Signature.into());
    let unsigned = format!(
        "{}.{}.",
        encode(json!({"alg": "none"}).to_string()),
        encode(ann().to_string())
    );
    assert!(matches!(
        taken(&unsigned, &expected()),
        Err(BadIdToken::Refused(_))
    ));
    // by the client's secret, which is no key of the provider
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let symmetric = jsonwebtoken::encode(&header, &ann(), &key).unwrap();
    assert_eq!(
        taken(&symmetric, &expected()).unwrap_err(),
        Refusal::Algorithm.into()
    );
    let twice = ann().to_string().replacen('{', r#"{"sub":"bob","#, 1);
    let twice = EC.sign_texts(&EC.header().to_string(), &twice);
    let part = Part::Claims;
    assert_eq!(
        taken(&twice, &expected()).unwrap_err(),
        Refusal::Repeated { part }.into()
    );
}

#[test]
fn an_access_token_belongs_to_its_id_token_by_the_hash_of_its_algorithm() {
    let p384 = Pair::p384("p384");
    let edwards = Pair::edwards("ed");
    let keys: [(&Pair, &'static digest::Algorithm); 4] = [
        (&RSA, &digest::SHA256),
        (&EC, &digest::SHA256),
        (&p384, &digest::SHA384),
        (&edwards, &digest::SHA512),
    ];
    let required = ExpectedIdToken {
        access_token: AtHash::Required(&SENT),
        ..expected()
    };
    for (pair, algorithm) in keys {
        let issuer = issuer(&[pair]);
        let with = |hash: Value| pair.token(&changed(&json!({"at_hash": hash})));
        let good = with(json!(left_half(algorithm, ACCESS_TOKEN)));
        assert!(taken_by(&issuer, &good, &required).is_ok());
        assert!(taken_by(&issuer, &good, &expected()).is_ok());
        let of_another = with(json!(left_half(algorithm, "another")));
        for other in [&digest::SHA256, &digest::SHA384, &digest::SHA512] {
            if other != algorithm {
                let wrong = with(json!(left_half(other, ACCESS_TOKEN)));
                let refused = taken_by(&issuer, &wrong, &required).unwrap_err();
                assert_eq!(refused, BadIdToken::AccessToken);
            }
        }
        for expected in [required, expected()] {
            let refused = taken_by(&issuer, &of_another, &expected).unwrap_err();
            assert_eq!(refused, BadIdToken::AccessToken);
        }
        let none = with(Value::Null);
        let claim = "at_hash";
        let refused = taken_by(&issuer, &none, &required).unwrap_err();
        assert_eq!(refused, Refusal::Missing { claim }.into());
    }
}

/// OpenID Connect Core, appendix A.3: its signature is of another key, its hash is right.
#[test]
fn the_hash_is_that_of_the_specification() {
    let sent = bearer("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
    let required = ExpectedIdToken {
        access_token: AtHash::Required(&sent),
        ..expected()
    };
    let token = EC.token(&changed(&json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"})));
    assert!(taken(&token, &required).is_ok());
}

#[test]
fn who_must_have_signed_in_lately_did_so() {
    let lately = ExpectedIdToken {
        max_age: Some(Duration::from_secs(60)),
        ..expected()
    };
    let at = |auth_time: Value| EC.token(&changed(&json!({"auth_time": auth_time})));
    assert!(taken(&at(json!(NOW - 60)), &lately).is_ok());
    assert!(
        taken(&at(json!(NOW - 119)), &lately).is_ok(),
        "clocks differ"
    );
    assert_eq!(
        rounded(taken(&at(json!(NOW - 121)), &lately).unwrap_err()),
        BadIdToken::SignedInLongAgo {
            age: Duration::from_secs(121)
        }
    );
    let claim = "auth_time";
    let silent = taken(&at(Value::Null), &lately).unwrap_err();
    assert_eq!(silent, Refusal::Missing { claim }.into());
    let text = taken(&at(json!("yesterday")), &expected()).unwrap_err();
    assert_eq!(text, Refusal::WrongType { claim }.into());
}

#[test]
fn a_sign_in_without_a_nonce_takes_a_token_with_or_without_one() {
    let device = ExpectedIdToken {
        nonce: SentNonce::None,
        ..expected()
    };
    for changes in [json!({}), json!({"nonce": null})] {
        assert!(taken(&EC.token(&changed(&changes)), &device).is_ok());
    }
}

#[test]
fn names_are_what_a_page_and_a_terminal_can_show() {
    for (name, shown) in [
        ("Ann \u{1b}[31mÖst\r\n", Some("Ann [31mÖst")),
        ("\u{202e}tsÖ nnA\u{2069}", Some("tsÖ nnA")),
        ("<b>Ann</b>", Some("<b>Ann</b>")),
        (" \u{0}\u{7} ", None),
        ("", None),
    ] {
        let token = taken(&EC.token(&changed(&json!({"name": name}))), &expected());
        assert_eq!(token.unwrap().name.as_deref(), shown);
    }
    let long = taken(
        &EC.token(&changed(&json!({"name": "ä".repeat(5000)}))),
        &expected(),
    );
    assert_eq!(long.unwrap().name.unwrap().chars().count(), 100);
}

#[test]
fn an_access_token_of_bentley_is_no_id_token() {
    for changes in [
        json!({}),
        json!({"aud": [CLIENT], "nonce": NONCE, "iat": NOW}),
    ] {
        let outcome = taken(&RSA.token(&ims_with(&changes)), &expected());
        assert_eq!(
            outcome.unwrap_err(),
            BadIdToken::Kind("an access token"),
            "{changes}"
        );
    }
}

#[test]
fn an_id_token_is_no_access_token() {
    let token = EC.token(&changed(&json!({"aud": "bentley-api-management"})));
    assert!(admit(&issuer(&[&EC]), &rules(), &token).is_err());
}

proptest! {
    #[test]
    fn nothing_but_the_expected_client_and_nonce_is_taken(
        aud in prop::collection::vec("webapp-[12]|[a-c]", 0..3),
        azp in prop::option::of("webapp-[12]"),
        nonce in prop::option::of("n-0S6_WzA2Mj|n-[a-z]{0,3}"),
    ) {
        let claims = changed(&json!({"aud": aud, "azp": azp, "nonce": nonce}));
        let outcome = taken(&EC.token(&claims), &expected());
        let ours = aud.iter().any(|one| one == CLIENT);
        let only = aud.iter().all(|one| one == CLIENT);
        let party = azp.as_deref().map_or(only, |party| party == CLIENT);
        prop_assert_eq!(outcome.is_ok(), ours && party && nonce.as_deref() == Some(NONCE));
    }

    #[test]
    fn any_claims_are_taken_or_refused(name in "iss|sub|aud|azp|exp|iat|nbf|nonce|at_hash|auth_time|sid|typ|events|acr|name", value in any_value()) {
        let _ = taken(&EC.token(&changed(&json!({name: value}))), &expected());
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
