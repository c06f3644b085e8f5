//! Proofs of possession: which are taken, and why others are not.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;

use super::{super::dpop::BadProof, *};
use crate::config::{NonceUse, ProofRules};

const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";

const ASKED: Requested<'_> = Requested {
    method: "GET",
    scheme: "https",
    authority: "resource.example.org",
    path: "/protectedresource",
};

fn proofs(now: Moment) -> Proofs {
    Proofs::new(&[9; 32], Duration::from_secs(120), now)
}

fn expected<'r>(key: &'r Thumbprint, rules: &'r ProofRules) -> Expected<'r> {
    Expected {
        asked: ASKED,
        token: TOKEN,
        key,
        rules,
        skew: Duration::from_secs(60),
    }
}

fn public(pair: &Pair) -> Value {
    let names = ["kty", "crv", "x", "y", "n", "e"];
    let members = names.iter().filter(|name| pair.jwk[**name].is_string());
    members
        .map(|name| ((*name).to_owned(), pair.jwk[*name].clone()))
        .collect()
}

/// With `jsonwebtoken`'s thumbprint, so that ours is not checked by itself.
fn thumbprint(pair: &Pair) -> Thumbprint {
    let jwk: Jwk = serde_json::from_value(pair.jwk.clone()).unwrap();
    let text = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
    Thumbprint::parse(&text.unwrap()).unwrap()
}

fn header(pair: &Pair) -> Value {
    json!({"typ": "dpop+jwt", "alg": format!("{:?}", pair.algorithm), "jwk": public(pair)})
}

fn claims() -> Value {
    json!({
        "jti": "-BwC3ESc6acc2lTc",
        "htm": "GET",
        "htu": "https://resource.example.org/protectedresource",
        "iat": NOW,
        "ath": encode(digest(&SHA256, TOKEN.as_bytes())),
    })
}

/// One or the other, with members replaced; `null` takes one away.
fn with(mut base: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(base.as_object_mut().unwrap().remove(name)),
            value => base[name] = value.clone(),
        }
    }
    base
}

fn check(proof: &str, key: &Thumbprint, rules: &ProofRules) -> Result<Nonce, BadProof> {
    let now = clock().now();
    proofs(now).check(proof.as_bytes(), &expected(key, rules), now)
}

#[test]
fn the_examples_of_the_rfc_are_taken() {
    // RFC 9449 sections 4.1 and 7.1; the key's thumbprint is in section 6.1
    let token_endpoint = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let resource = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let key = Thumbprint::parse("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I").unwrap();
    let rules = ProofRules::default();
    let clock = Clock::for_tests(Duration::from_secs(1_562_262_618));
    let now = clock.now();
    let proofs = proofs(now);
    let taken = proofs.check(resource.as_bytes(), &expected(&key, &rules), now);
    assert_eq!(taken, Ok(Nonce::Current));
    let again = proofs.check(resource.as_bytes(), &expected(&key, &rules), now);
    assert_eq!(again, Err(BadProof::Used));
    // it is signed, but for a token endpoint: without `ath`
    let asked = Requested {
        method: "POST",
        scheme: "https",
        authority: "server.example.com",
        path: "/token",
    };
    let elsewhere = Expected {
        asked,
        ..expected(&key, &rules)
    };
    let refused = proofs.check(token_endpoint.as_bytes(), &elsewhere, now);
    assert_eq!(refused, Err(BadProof::Claim { claim: "ath" }));
}

#[test]
fn every_asymmetric_algorithm_proves() {
    for pair in [&*RSA, &*EC, &Pair::p384("p"), &Pair::edwards("e")] {
        let proof = pair.sign(&header(pair), &claims());
        let rules = ProofRules::default();
        let taken = check(&proof, &thumbprint(pair), &rules);
        assert_eq!(taken, Ok(Nonce::Current), "{}", pair.jwk);
    }
    let typ = with(header(&EC), &json!({"typ": "application/DPoP+JWT"}));
    let proof = EC.sign(&typ, &claims());
    assert!(check(&proof, &thumbprint(&EC), &ProofRules::default()).is_ok());
}

#[test]
fn each_defect_of_a_header_is_a_refusal_of_its_own() {
    let other = Pair::ec("other");
    let jwk = public(&EC);
    let bad_key = |why| BadProof::Key { why };
    let table = [
        (json!({"typ": null}), BadProof::Type),
        (json!({"typ": "JWT"}), BadProof::Type),
        (json!({"typ": "at+jwt"}), BadProof::Type),
        (json!({"alg": "none"}), BadProof::Algorithm),
        (json!({"alg": "HS256"}), BadProof::Algorithm),
        (json!({"alg": "es256"}), BadProof::Algorithm),
        (
            json!({"alg": null}),
            BadProof::Jws(Refusal::HeaderMember { member: "alg" }),
        ),
        (
            json!({"alg": "ES384"}),
            bad_key("it is of another type than the algorithm's"),
        ),
        (
            json!({"alg": "EdDSA"}),
            bad_key("it is of another type than the algorithm's"),
        ),
        (json!({"jwk": null, "kid": "ec"}), bad_key("there is none")),
        (json!({"jwk": "text"}), bad_key("there is none")),
        (
            json!({"jwk": with(jwk.clone(), &json!({"d": "AA"}))}),
            bad_key("it shows its secret"),
        ),
        (
            json!({"jwk": {"kty": "oct", "k": "AA"}}),
            bad_key("it shows its secret"),
        ),
        (
            json!({"jwk": with(jwk.clone(), &json!({"x": null}))}),
            bad_key("a value is missing or not base64url"),
        ),
        (
            json!({"jwk": with(jwk.clone(), &json!({"x": "AA"}))}),
            bad_key("its coordinates are not as long as its curve's"),
        ),
        (
            json!({"jwk": with(jwk.clone(), &json!({"use": "enc"}))}),
            bad_key("its `use` is not `sig`"),
        ),
        (
            json!({"jwk": with(jwk.clone(), &json!({"key_ops": ["sign"]}))}),
            bad_key("its `key_ops` lack `verify`"),
        ),
        (
            json!({"jwk": with(jwk.clone(), &json!({"alg": "ES384"}))}),
            bad_key("it is for another algorithm"),
        ),
        (json!({"jwk": public(&other)}), BadProof::OtherKey),
        (
            json!({"crit": ["exp"]}),
            BadProof::Jws(Refusal::Extension { member: "crit" }),
        ),
        (
            json!({"b64": false}),
            BadProof::Jws(Refusal::Extension { member: "b64" }),
        ),
    ];
    let (key, rules) = (thumbprint(&EC), ProofRules::default());
    for (changes, expected) in table {
        let proof = EC.sign(&with(header(&EC), &changes), &claims());
        assert_eq!(check(&proof, &key, &rules), Err(expected), "{changes}");
    }
    // the token's key in the header, and another's signature
    let forged = other.sign(&header(&EC), &claims());
    assert_eq!(check(&forged, &key, &rules), Err(BadProof::Signature));
    let only_rsa = ProofRules {
        algorithms: vec![Algorithm::Rs256],
        ..ProofRules::default()
    };
    let proof = EC.sign(&header(&EC), &claims());
    assert_eq!(check(&proof, &key, &only_rsa), Err(BadProof::Algorithm));
    // each proof brings its own key: a large one costs us, not its owner
    let modulus = encode([0xff; 1024]);
    let large = json!({"kty": "RSA", "n": modulus, "e": "AQAB"});
    let large = with(header(&EC), &json!({"alg": "RS256", "jwk": large}));
    let refused = check(&EC.sign(&large, &claims()), &key, &rules);
    assert_eq!(refused, Err(bad_key("it has more than 4,096 bits")));
}

#[test]
fn each_defect_of_the_claims_is_a_refusal_of_its_own() {
    let claim = |claim| BadProof::Claim { claim };
    let table = [
        (json!({"htm": "POST"}), BadProof::Method),
        (json!({"htm": "get"}), BadProof::Method),
        (json!({"htm": null}), claim("htm")),
        (json!({"htu": null}), claim("htu")),
        (
            json!({"htu": ["https://resource.example.org/protectedresource"]}),
            claim("htu"),
        ),
        (
            json!({"htu": "https://resource.example.org/other"}),
            BadProof::Uri,
        ),
        (
            json!({"htu": "http://resource.example.org/protectedresource"}),
            BadProof::Uri,
        ),
        (json!({"htu": "/protectedresource"}), BadProof::Uri),
        (json!({"ath": null}), claim("ath")),
        (json!({"ath": TOKEN}), BadProof::Token),
        (
            json!({"ath": encode(digest(&SHA256, b"other"))}),
            BadProof::Token,
        ),
        (json!({"jti": null}), claim("jti")),
        (json!({"jti": ""}), claim("jti")),
        (json!({"jti": 1}), claim("jti")),
        (json!({"jti": "j".repeat(257)}), claim("jti")),
        (json!({"iat": null}), claim("iat")),
        (json!({"iat": NOW.to_string()}), claim("iat")),
        (json!({"iat": -1}), claim("iat")),
        (
            json!({"iat": NOW - 121}),
            BadProof::Old {
                age: Duration::from_secs(121),
            },
        ),
        (
            json!({"iat": NOW + 62}),
            BadProof::FromTheFuture {
                ahead: Duration::from_secs(61),
            },
        ),
        (
            json!({"nbf": NOW + 62}),
            BadProof::FromTheFuture {
                ahead: Duration::from_secs(61),
            },
        ),
        (
            json!({"exp": NOW - 60}),
            BadProof::Old {
                age: Duration::ZERO,
            },
        ),
        (json!({"nonce": 1}), claim("nonce")),
    ];
    let (key, rules) = (thumbprint(&EC), ProofRules::default());
    for (changes, expected) in table {
        let proof = EC.sign(&header(&EC), &with(claims(), &changes));
        assert_eq!(check(&proof, &key, &rules), Err(expected), "{changes}");
    }
    for changes in [
        json!({}),
        json!({"iat": NOW - 119}),
        json!({"iat": NOW + 60}),
        json!({"htu": "https://RESOURCE.example.org:443/protectedresource?x#y"}),
        json!({"nonce": "not ours, and not asked for"}),
        json!({"more": {"a": 1}}),
    ] {
        let proof = EC.sign(&header(&EC), &with(claims(), &changes));
        assert!(check(&proof, &key, &rules).is_ok(), "{changes}");
    }
    let twice = claims().to_string().replacen('{', "{\"jti\":\"a\",", 1);
    let twice = EC.sign_texts(&header(&EC).to_string(), &twice);
    let part = Part::Claims;
    let refused = check(&twice, &key, &rules);
    assert_eq!(refused, Err(BadProof::Jws(Refusal::Repeated { part })));
}

#[test]
fn a_nonce_is_asked_for_and_checked_as_the_route_says() {
    let (key, clock) = (thumbprint(&EC), clock());
    let proofs = Proofs::new(&[9; 32], Duration::from_secs(120), clock.now());
    let rules = |nonce| ProofRules {
        nonce,
        ..ProofRules::default()
    };
    let mut number = 0;
    let mut check = |nonce: Option<&str>, wanted| {
        number += 1;
        let now = clock.now();
        let changes = json!({"jti": number.to_string(), "nonce": nonce, "iat": now.unix_seconds()});
        let proof = EC.sign(&header(&EC), &with(claims(), &changes));
        proofs.check(proof.as_bytes(), &expected(&key, &rules(wanted)), now)
    };
    let nonce = proofs.nonce(clock.now());
    let good = Some(nonce.as_str());
    assert_eq!(check(None, NonceUse::Required), Err(BadProof::Nonce));
    assert_eq!(check(Some("x"), NonceUse::Required), Err(BadProof::Nonce));
    assert_eq!(check(good, NonceUse::Required), Ok(Nonce::Current));
    assert_eq!(check(None, NonceUse::Optional), Ok(Nonce::Stale));
    assert_eq!(check(Some("x"), NonceUse::Optional), Err(BadProof::Nonce));
    assert_eq!(check(good, NonceUse::Optional), Ok(Nonce::Current));
    clock.jump(60_000);
    assert_eq!(check(good, NonceUse::Required), Ok(Nonce::Ageing));
    clock.jump(60_000);
    assert_eq!(check(good, NonceUse::Required), Err(BadProof::Nonce));
    assert_eq!(check(good, NonceUse::Off), Ok(Nonce::Current));
}

#[test]
fn what_is_refused_is_not_used_up() {
    let (key, rules, now) = (thumbprint(&EC), ProofRules::default(), clock().now());
    let proofs = proofs(now);
    let proof = EC.sign(&header(&EC), &claims());
    let check = |asked| {
        let expected = Expected {
            asked,
            ..expected(&key, &rules)
        };
        proofs.check(proof.as_bytes(), &expected, now)
    };
    let post = Requested {
        method: "POST",
        ..ASKED
    };
    assert_eq!(check(post), Err(BadProof::Method));
    assert_eq!(check(ASKED), Ok(Nonce::Current));
    assert_eq!(check(ASKED), Err(BadProof::Used));
}

#[test]
fn a_proof_and_an_access_token_are_never_taken_for_each_other() {
    let (key, rules) = (thumbprint(&EC), ProofRules::default());
    let mut both = ims();
    for (name, value) in claims().as_object().unwrap() {
        both[name] = value.clone();
    }
    let proof = EC.sign(&header(&EC), &both);
    assert!(check(&proof, &key, &rules).is_ok());
    let now = clock().now();
    assert!(verifier().verify(&issuer(&[&EC]), &proof, now).is_err());
    // a key in the header of an access token is not looked at
    let stranger = Pair::ec("stranger");
    let own = json!({"alg": "ES256", "jwk": public(&stranger)});
    let refused = verifier().verify(&issuer(&[&EC]), &stranger.sign(&own, &ims()), now);
    assert_eq!(refused.unwrap_err().refusal, Refusal::Signature);
}

proptest! {
    #[test]
    fn no_mutation_of_a_good_proof_passes(at in any::<prop::sample::Index>(), other in "[a-zA-Z0-9_.~-]") {
        let key = thumbprint(&EC);
        let proof = EC.sign(&header(&EC), &claims());
        let at = at.index(proof.len());
        prop_assume!(proof.as_bytes()[at] != other.as_bytes()[0]);
        let mut mutated = proof.clone();
        mutated.replace_range(at..=at, &other);
        prop_assert!(check(&mutated, &key, &ProofRules::default()).is_err());
        prop_assert!(check(&proof[..at], &key, &ProofRules::default()).is_err());
        prop_assert!(check(&proof, &key, &ProofRules::default()).is_ok());
    }

    #[test]
    fn no_text_is_a_proof(text in ".{0,60}") {
        prop_assert!(check(&text, &thumbprint(&EC), &ProofRules::default()).is_err());
    }
}
