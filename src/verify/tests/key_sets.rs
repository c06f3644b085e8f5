//! Key sets as they should not be.

use jsonwebtoken::Algorithm::{PS256, RS256};

use super::*;

#[test]
fn a_bad_key_costs_the_set_nothing_else() {
    let n = |octets: Vec<u8>| encode(octets);
    let rsa = |n: &str, e: &str| json!({"kty": "RSA", "kid": "bad", "n": n, "e": e});
    let good_n = RSA.jwk["n"].as_str().unwrap();
    let with = |of: &Pair, changes: Value| {
        let mut jwk = of.jwk.clone();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let cases = [
        (
            "symmetric",
            json!({"kty": "oct", "kid": "bad", "k": "AAAA"}),
        ),
        ("its secret shown", with(&EC, json!({"d": "AAAA"}))),
        ("for encryption", with(&EC, json!({"use": "enc"}))),
        ("for signing only", with(&EC, json!({"key_ops": ["sign"]}))),
        ("alg of HMAC", with(&EC, json!({"alg": "HS256"}))),
        ("alg of another type", with(&EC, json!({"alg": "RS256"}))),
        (
            "another curve",
            with(&EC, json!({"crv": "P-384", "alg": "ES384"})),
        ),
        ("secp256k1", with(&EC, json!({"crv": "secp256k1"}))),
        ("not on the curve", with(&EC, json!({"y": EC.jwk["x"]}))),
        (
            "a coordinate too long",
            with(
                &EC,
                json!({"x": format!("AAAA{}", EC.jwk["x"].as_str().unwrap())}),
            ),
        ),
        ("kid is a number", with(&EC, json!({"kid": 1}))),
        ("1,024 bits", rsa(&n(vec![0xff; 128]), "AQAB")),
        (
            "2,047 bits",
            rsa(&n([vec![0x7f], vec![0xff; 255]].concat()), "AQAB"),
        ),
        ("16,384 bits", rsa(&n(vec![0xff; 2048]), "AQAB")),
        ("exponent 1", rsa(good_n, "AQ")),
        ("exponent even", rsa(good_n, "BA")),
        ("exponent huge", rsa(good_n, &n(vec![0xff; 256]))),
        ("no modulus", json!({"kty": "RSA", "e": "AQAB"})),
        ("base64 with padding", rsa(&format!("{good_n}=="), "AQAB")),
        ("no kty", json!({"kid": "bad"})),
        ("no object", json!("key")),
    ];
    for (case, bad) in cases {
        let (keys, unusable) = read(&json!({"keys": [bad, RSA.jwk]})).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), [RSA.id()], "{case}");
        assert_eq!(unusable.len(), 1, "{case}");
        let alone = read(&json!({"keys": [bad]}));
        assert!(matches!(alone, Err(KeySetError::Empty(_))), "{case}");
    }
    let twice = format!(r#"{{"keys":[{{"kty":"RSA","kty":"EC"}},{}]}}"#, RSA.jwk);
    let (keys, _) = KeySet::read(twice.as_bytes(), &Algorithm::ALL).unwrap();
    assert_eq!(keys.ids().count(), 1);
}

#[test]
fn a_document_without_a_usable_key_is_no_key_set() {
    for text in [
        "",
        "null",
        "{}",
        r#"{"keys":{}}"#,
        "<html>",
        r#"{"keys":[]"#,
    ] {
        let read = KeySet::read(text.as_bytes(), &Algorithm::ALL);
        assert_eq!(read.unwrap_err(), KeySetError::Unreadable, "{text}");
    }
    let empty = read(&json!({"keys": []})).unwrap_err();
    assert_eq!(empty, KeySetError::Empty(Vec::new()));
    let one = read(&json!({"keys": [{"kty": "oct", "kid": "a\nb"}]})).unwrap_err();
    assert_eq!(
        one.to_string(),
        "the key set has no key that can be used (a?b: no algorithm that is allowed fits it)"
    );
}

#[test]
fn a_key_is_for_one_algorithm() {
    let mut unnamed = RSA.jwk.clone();
    unnamed.as_object_mut().unwrap().remove("alg");
    let verifies = |allowed: &[Algorithm], algorithm| {
        let document = json!({"keys": [unnamed]}).to_string();
        let Ok((keys, _)) = KeySet::read(document.as_bytes(), allowed) else {
            return false;
        };
        let pair = Pair::new(RSA.private.clone(), algorithm, RSA.id());
        keys.verify(&Jws::parse(&pair.token(&ims())).unwrap())
            .is_ok()
    };
    assert!(verifies(&Algorithm::ALL, RS256));
    assert!(!verifies(&Algorithm::ALL, PS256));
    assert!(verifies(&[Algorithm::Ps256], PS256));
    assert!(!verifies(&[Algorithm::Ps256], RS256));
    assert!(!verifies(&[Algorithm::Es256], RS256));
}

#[tokio::test]
async fn keys_with_the_same_id_are_each_tried() {
    let (old, new) = (Pair::ec("k"), Pair::ec("k"));
    let both = issuer(&[&old, &new]);
    assert!(admit(&both, &rules(), &old.token(&ims())).is_ok());
    assert!(admit(&both, &rules(), &new.token(&ims())).is_ok());
    // but not without end
    let many: Vec<Pair> = (0..5).map(|_| Pair::ec("k")).collect();
    let many: Vec<&Pair> = many.iter().collect();
    let refused = admit(&issuer(&many), &rules(), &many[4].token(&ims()));
    assert_eq!(refused, Err(Refusal::Signature));
}

#[test]
fn a_thousand_keys_are_not_kept() {
    let keys: Vec<Value> = (0..1000)
        .map(|n| {
            let mut jwk = EC.jwk.clone();
            jwk["kid"] = json!(format!("k{n}"));
            jwk
        })
        .collect();
    let (set, unusable) = read(&json!({"keys": keys})).unwrap();
    assert_eq!(set.ids().count(), 64);
    assert_eq!(unusable.len(), 64, "what is told of it is bounded as well");
}
