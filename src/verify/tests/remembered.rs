//! What the cache remembers, and when it forgets.

use super::{super::cache::Cache, *};

/// The cache alone: what it knows of a token.
struct Memory {
    cache: Cache,
    issuer: Issuer,
    clock: Clock,
}

impl Memory {
    fn of(token: &str) -> Self {
        let (issuer, clock) = (issuer(&[&EC]), clock());
        let mut cache = Cache::new(&[7; 32]).unwrap();
        let verified = Arc::new(verify(&issuer, &issuer.keys(), token, clock.now()).unwrap());
        let digest = cache.digest(1, token).unwrap();
        cache.put(digest, &issuer.keys(), &verified);
        Self {
            cache,
            issuer,
            clock,
        }
    }

    fn knows(&mut self, token: &str) -> bool {
        let digest = self.cache.digest(1, token).unwrap();
        let keys = self.issuer.keys();
        self.cache.get(digest, &keys, self.clock.now()).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_forgotten_with_its_key_and_only_then() {
    let token = EC.token(&ims());
    let mut memory = Memory::of(&token);
    assert!(memory.knows(&token));
    let other = Pair::ec("other");
    memory.issuer.replace(set(&[&other, &EC]));
    assert!(memory.knows(&token), "its key is still there");
    memory.issuer.replace(set(&[&other]));
    assert!(!memory.knows(&token));
    memory.issuer.replace(set(&[&EC]));
    assert!(!memory.knows(&token), "what was forgotten stays forgotten");

    let mut memory = Memory::of(&token);
    memory.issuer.replace(set(&[&Pair::ec(EC.id())]));
    assert!(!memory.knows(&token), "another key under the same id");

    let mut memory = Memory::of(&token);
    memory.issuer.replace(KeySet::none());
    assert!(!memory.knows(&token), "no key is good any more");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_remembered_past_its_end_on_either_clock() {
    let token = EC.token(&ims_with(&json!({"exp": NOW + 100})));
    let end = 100 + 300; // and the longest skew that a route may allow
    let mut memory = Memory::of(&token);
    memory.clock.jump(i64::from(end) * 1000 - 1);
    assert!(memory.knows(&token));
    memory.clock.jump(1); // the laptop slept
    assert!(!memory.knows(&token));

    let mut memory = Memory::of(&token);
    memory.clock.jump(-1_000_000); // somebody set the clock back
    tokio::time::advance(Duration::from_secs(399)).await;
    assert!(memory.knows(&token));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!memory.knows(&token));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_is_asked_for_the_rules_again() {
    let (verifier, issuer, clock) = (verifier(), issuer(&[&EC]), clock());
    let token = EC.token(&ims_with(&json!({"exp": NOW + 100})));
    let check = |rules: &TokenRules| {
        let now = clock.now();
        let seen = verifier.verify(&issuer, &token, now)?;
        seen.claims.check(rules, now)
    };
    let other = TokenRules {
        scopes: ["imodels:modify".to_owned()].into(),
        ..rules()
    };
    let refused = Refusal::Scopes {
        missing: "imodels:modify".into(),
    };
    assert_eq!(check(&rules()), Ok(()));
    assert_eq!(check(&other), Err(refused), "another route");
    tokio::time::advance(Duration::from_secs(159)).await;
    assert_eq!(check(&rules()), Ok(()));
    clock.jump(-50_000);
    tokio::time::advance(Duration::from_secs(1)).await;
    let ago = Duration::from_secs(60);
    assert_eq!(
        check(&rules()),
        Err(Refusal::Expired { ago }),
        "a clock that was set back makes nothing young again"
    );
}

#[tokio::test(start_paused = true)]
async fn what_one_issuer_signed_is_not_anothers() {
    let token = EC.token(&ims());
    let (verifier, clock) = (verifier(), clock());
    let ours = issuer(&[&EC]);
    assert!(verifier.verify(&ours, &token, clock.now()).is_ok());
    let theirs = Issuer::new(2, &provider());
    let refused = verifier.verify(&theirs, &token, clock.now()).unwrap_err();
    assert_eq!(refused.refusal, Refusal::UnknownKey);
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_keeps_what_is_used() {
    let (issuer, clock) = (issuer(&[&EC]), clock());
    let keys = issuer.keys();
    let mut cache = Cache::with(&[7; 32], 8).unwrap();
    let token = |n: u64| EC.token(&ims_with(&json!({"sub": n.to_string()})));
    let used = token(0);
    let put = |cache: &mut Cache, token: &str| {
        let verified = Arc::new(verify(&issuer, &keys, token, clock.now()).unwrap());
        cache.put(cache.digest(1, token).unwrap(), &keys, &verified);
    };
    let get = |cache: &mut Cache, token: &str| {
        let digest = cache.digest(1, token).unwrap();
        cache.get(digest, &keys, clock.now()).is_some()
    };
    let (first, last) = (token(1), token(49));
    put(&mut cache, &used);
    for n in 1..50 {
        assert!(get(&mut cache, &used), "after {n}");
        put(&mut cache, &token(n));
        assert!(cache.len() <= 8);
    }
    put(&mut cache, &last);
    assert!(get(&mut cache, &last) && !get(&mut cache, &first));
    let large = |n: usize| ims_with(&json!({"sub": format!("{n}{}", "s".repeat(8000))}));
    let mut cache = Cache::with(&[7; 32], 100_000).unwrap();
    for n in 0..600 {
        put(&mut cache, &EC.token(&large(n)));
    }
    assert!(cache.len() < 600, "octets are bounded as well");
}
