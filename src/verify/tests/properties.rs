//! What holds for every input.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,200}", parts in proptest::collection::vec(".{0,80}", 0..6)) {
        let _ = Jws::parse(&text);
        let _ = Jws::parse(&parts.join("."));
        let encoded: Vec<String> = parts.iter().map(encode).collect();
        if let Ok(token) = Jws::parse(&encoded.join(".")) {
            let _ = token.payload();
        }
        let _ = KeySet::read(text.as_bytes(), &Algorithm::ALL);
    }

    #[test]
    fn no_key_makes_the_key_set_panic(name in "n|e|x|y|kty|crv|alg|use|kid|key_ops", value in "\\PC{0,40}", rsa in any::<bool>()) {
        let mut jwk = if rsa { RSA.jwk.clone() } else { EC.jwk.clone() };
        jwk[name] = json!(value);
        let _ = read(&json!({"keys": [jwk]}));
    }
}

#[test]
fn a_token_with_any_one_bit_changed_is_refused() {
    let now = clock_now();
    let issuer = issuer(&[&EC]);
    let good = EC.token(&ims());
    assert!(verify(&issuer, &issuer.keys(), &good, now).is_ok());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone().into_bytes();
            changed[at] ^= 1 << bit;
            // what is no UTF-8 is no header value that would come this far
            if let Ok(changed) = String::from_utf8(changed) {
                let verified = verify(&issuer, &issuer.keys(), &changed, now);
                assert!(verified.is_err(), "bit {bit} of octet {at}");
            }
        }
    }
}

#[test]
fn a_token_that_is_cut_off_anywhere_is_refused() {
    let now = clock_now();
    let issuer = issuer(&[&EC]);
    let good = EC.token(&ims());
    for at in 0..good.len() {
        assert!(verify(&issuer, &issuer.keys(), &good[..at], now).is_err());
    }
}

fn clock_now() -> crate::clock::Moment {
    clock().now()
}
