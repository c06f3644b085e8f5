//! What holds for every input.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::config::{ClaimRule, ClaimTest, ClaimValue};

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

    #[test]
    fn no_octets_make_the_parsers_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = KeySet::read(&octets, &Algorithm::ALL);
        let part = encode(&octets);
        for token in [format!("{part}.{part}.{part}"), format!("eyJhbGciOiJFUzI1NiJ9.{part}.{part}")] {
            if let Ok(token) = Jws::parse(&token) {
                let _ = token.payload();
                let _ = EC_SET.verify(&token);
            }
        }
    }

    #[test]
    fn no_claims_make_the_reader_panic(name in "iss|sub|aud|exp|nbf|iat|scope|scp|client_id|azp|typ|events|htm", value in json_value()) {
        let claims = ims_with(&json!({(name.as_str()): value}));
        let issuer = issuer(&[&EC]);
        if let Ok(verified) = verify(&issuer, &issuer.keys(), &EC.token(&claims), clock_now()) {
            let _ = verified.claims.check(&rules(), clock_now());
        }
    }

    #[test]
    fn what_a_person_is_told_is_what_a_request_gets(
        changes in proptest::collection::vec((CLAIMS, json_value()), 0..3),
        typ in proptest::option::of("at\\+jwt|JWT|id_token\\+jwt|other"),
        rules in token_rules(),
    ) {
        let claims = changes.into_iter().fold(ims(), |mut claims, (name, value)| {
            claims[name] = value;
            claims
        });
        let mut header = EC.header();
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let token = EC.sign(&header, &claims);
        let issuer = issuer(&[&EC]);
        let admitted = admit(&issuer, &rules, &token);
        let told = examine(&issuer, &rules, &Revoked::default(), &token, clock_now()).now_or_never().unwrap();
        let bad: Vec<_> = told.iter().filter(|told| matches!(told.verdict, Verdict::Bad(_))).collect();
        // no proof would do for some
        let passes = admitted.as_ref().is_ok_and(|claims| claims.asks_for(&rules).is_ok());
        prop_assert_eq!(passes, bad.is_empty(), "{:?} {:?}", admitted, bad);
    }

    #[test]
    fn a_token_with_anything_changed_is_refused(pair in 0..3_usize, at in any::<prop::sample::Index>(), change in change()) {
        let pair = SIGNERS[pair];
        let issuer = issuer(&[pair]);
        let good = GOOD[SIGNERS.iter().position(|other| std::ptr::eq(*other, pair)).unwrap()].as_str();
        let changed = change.applied(good, at.index(good.len()));
        prop_assume!(changed != good);
        prop_assert!(verify(&issuer, &issuer.keys(), &changed, clock_now()).is_err(), "{}", changed);
    }

    #[test]
    fn parts_of_good_tokens_make_no_good_one(parts in proptest::array::uniform3((0..3_usize, 0..2_usize, 0..3_usize))) {
        let tokens = |pair: usize| [GOOD[pair].as_str(), OTHER[pair].as_str()];
        let part = |(pair, token, part): (usize, usize, usize)| {
            tokens(pair)[token].split('.').nth(part).unwrap().to_owned()
        };
        let made = parts.map(part).join(".");
        let issuer = issuer(&[SIGNERS[0], SIGNERS[1], SIGNERS[2]]);
        let is_one = (0..3).any(|pair| tokens(pair).contains(&made.as_str()));
        prop_assert_eq!(verify(&issuer, &issuer.keys(), &made, clock_now()).is_ok(), is_one);
    }

    #[test]
    fn the_order_of_a_key_set_is_of_no_matter(keys in Just(set_members()).prop_shuffle()) {
        let shuffled = read(&json!({"keys": keys})).unwrap().0;
        let first = read(&json!({"keys": set_members()})).unwrap().0;
        prop_assert!(shuffled.same(&first) && first.same(&shuffled));
        for token in GOOD.iter().chain(OTHER.iter()).map(String::as_str).chain(STRANGE.iter().map(String::as_str)) {
            let token = Jws::parse(token).unwrap();
            prop_assert_eq!(shuffled.verify(&token), first.verify(&token));
        }
    }
}

const CLAIMS: &str =
    "iss|sub|aud|exp|nbf|iat|auth_time|scope|scp|client_id|azp|typ|events|role|org|cnf|jti|sid";

/// Rules of which each may or may not be there.
fn token_rules() -> impl Strategy<Value = TokenRules> {
    let some = |word: &'static str| {
        let set = move |there: bool| there.then(|| word.to_owned()).into_iter().collect();
        any::<bool>().prop_map(set)
    };
    let time = || proptest::option::of((0..8000_u64).prop_map(Duration::from_secs));
    let role = ClaimRule {
        claim: "role".into(),
        test: ClaimTest::Contains(vec![ClaimValue::Text("BENTLEY_EMPLOYEE".into())]),
    };
    let lists = (
        some("webapp-1"),
        some("email"),
        some("at+jwt"),
        some("missing"),
    );
    let others = (time(), time(), 0..400_u64, proptest::option::of(Just(role)));
    (lists, others).prop_map(|((clients, any_scopes, types, missing), others)| {
        let (max_age, max_lifetime, skew, role) = others;
        let mut rules = TokenRules {
            clients,
            any_scopes,
            max_age,
            max_lifetime,
            clock_skew: Duration::from_secs(skew),
            claims: role.into_iter().collect(),
            ..rules()
        };
        if !types.is_empty() {
            rules.types = types;
        }
        rules.any_scopes.extend(missing);
        rules
    })
}

static EDWARDS: LazyLock<Pair> = LazyLock::new(|| Pair::edwards("edwards"));
static SIGNERS: LazyLock<[&'static Pair; 3]> = LazyLock::new(|| [&RSA, &EC, &EDWARDS]);
static EC_SET: LazyLock<KeySet> = LazyLock::new(|| set(&[&EC]));
/// A token of each, and another.
static GOOD: LazyLock<[String; 3]> = LazyLock::new(|| SIGNERS.map(|pair| pair.token(&ims())));
static OTHER: LazyLock<[String; 3]> = LazyLock::new(|| {
    let claims = ims_with(&json!({"sub": "somebody else", "scope": ["itwin-platform", "admin"]}));
    SIGNERS.map(|pair| pair.token(&claims))
});
/// By a key with an id of the set's, without an id, and by a stranger.
static STRANGE: LazyLock<[String; 4]> = LazyLock::new(|| {
    let header = json!({"alg": "ES256"});
    [
        Pair::ec("ec").token(&ims()),
        EC.sign(&header, &ims()),
        Pair::ec("nobody").sign(&header, &ims()),
        Pair::ec("nobody").token(&ims()),
    ]
});

/// Keys with ids of their own and shared ones, one twice, and some that cannot be used.
fn set_members() -> Vec<Value> {
    static SHARED: LazyLock<Value> = LazyLock::new(|| Pair::ec("ec").jwk.clone());
    let mut keys: Vec<Value> = SIGNERS.iter().map(|pair| pair.jwk.clone()).collect();
    keys.extend([
        EC.jwk.clone(),
        SHARED.clone(),
        json!({"kty": "oct", "kid": "ec", "k": "AAAA"}),
        json!({"kty": "RSA", "kid": RSA.id(), "n": "AQAB", "e": "AQAB"}),
        json!("key"),
    ]);
    keys
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// What may happen to a text.
#[derive(Debug, Clone)]
enum Change {
    Replace(String),
    Insert(String),
    Remove(usize),
    Repeat(usize),
    Swap,
    Append(String),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        "[A-Za-z0-9_.=+/-]{1,4}".prop_map(Change::Replace),
        "[ A-Za-z0-9_.=+/\n\u{e9}-]{1,4}".prop_map(Change::Insert),
        (1..40_usize).prop_map(Change::Remove),
        (1..40_usize).prop_map(Change::Repeat),
        Just(Change::Swap),
        "[A-Za-z0-9_.=-]{1,90}".prop_map(Change::Append),
    ]
}

impl Change {
    fn applied(&self, text: &str, at: usize) -> String {
        let (before, after) = text.split_at(at);
        let until = |length: usize| length.min(after.len());
        match self {
            Self::Replace(other) => format!("{before}{other}{}", &after[until(other.len())..]),
            Self::Insert(other) => format!("{before}{other}{after}"),
            Self::Remove(length) => format!("{before}{}", &after[until(*length)..]),
            Self::Repeat(length) => format!("{before}{}{after}", &after[..until(*length)]),
            Self::Swap => format!("{after}{before}"),
            Self::Append(other) => format!("{text}{other}"),
        }
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
