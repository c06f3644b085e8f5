//! The task that follows an issuer's keys, with a provider by script and a clock that is moved.

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    super::{
        follow::{Follower, KeysError, Source},
        kept::{Kept, Place},
    },
    *,
};
use crate::{health::Readiness, shutdown::Shutdown, trace::Tracer};

/// What the provider answers to the next fetches; none means that it does not answer.
struct Script {
    answers: UnboundedReceiver<Answer>,
    fetches: UnboundedSender<()>,
}

type Answer = Option<String>;

impl Source for Script {
    fn fetch(&mut self) -> BoxFuture<'_, Result<Bytes, KeysError>> {
        async {
            self.fetches.send(()).unwrap();
            let answer = self.answers.recv().await.unwrap();
            answer.map(Bytes::from).ok_or(KeysError::Broken)
        }
        .boxed()
    }
}

/// As a request waits.
async fn waited(keys: NewerKeys) {
    let until = clock().mono() + LONGEST_WAIT;
    keys.ended(until).await;
}

struct Followed {
    issuer: Arc<Issuer>,
    answers: UnboundedSender<Answer>,
    fetches: UnboundedReceiver<()>,
    readiness: Readiness,
    clock: Clock,
    _shutdown: Shutdown,
}

impl Followed {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(kept: Option<Place>) -> Self {
        let issuer = Arc::new(Issuer::new(1, &provider()));
        let (answers, script) = unbounded_channel();
        let (fetched, seen) = unbounded_channel();
        let (clock, readiness, shutdown) = (clock(), Readiness::new(), Shutdown::new());
        readiness.started();
        let follower = Follower {
            issuer: Arc::clone(&issuer),
            source: Script {
                answers: script,
                fetches: fetched,
            },
            clock: clock.clone(),
            tracer: Tracer::off(),
            metrics: Arc::default(),
            rng: StdRng::seed_from_u64(1),
            algorithms: Algorithm::ALL.to_vec(),
            max_stale: Duration::from_secs(24 * 3600),
            kept,
            waiting: Some(readiness.wait_for("keys of provider bentley")),
        };
        shutdown.spawn(follower.run());
        Self {
            issuer,
            answers,
            fetches: seen,
            readiness,
            clock,
            _shutdown: shutdown,
        }
    }

    /// The next fetch gets this answer, and what came of it is seen.
    async fn answer(&mut self, answer: Answer) {
        let mut progress = self.issuer.progress.subscribe();
        let rounds = progress.borrow().rounds;
        self.answers.send(answer).unwrap();
        self.fetches.recv().await.unwrap();
        progress.wait_for(|now| now.rounds > rounds).await.unwrap();
    }

    fn fetched_since(&mut self) -> usize {
        let mut count = 0;
        while self.fetches.try_recv().is_ok() {
            count += 1;
        }
        count
    }

    fn takes(&self, token: &str) -> bool {
        let now = self.clock.now();
        verifier().verify(&self.issuer, token, now).is_ok()
    }

    fn asks(&self, token: &str) -> Option<NewerKeys> {
        let now = self.clock.now();
        let unverified = verifier().verify(&self.issuer, token, now).unwrap_err();
        match self.issuer.newer(token, &unverified, now) {
            Newer::Coming(coming) => Some(coming),
            Newer::Here | Newer::No => None,
        }
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

fn serving(pairs: &[&Pair]) -> String {
    let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.jwk).collect();
    json!({"keys": keys}).to_string()
}

#[tokio::test(start_paused = true)]
async fn ready_when_the_first_keys_are_there() {
    let mut followed = Followed::start();
    followed.answer(None).await;
    assert_eq!(followed.readiness.waiting(), ["keys of provider bentley"]);
    followed.answer(Some(serving(&[&EC]))).await;
    assert!(followed.readiness.waiting().is_empty());
    assert!(followed.takes(&EC.token(&ims())));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_set_never_replaces_a_good_one() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let token = EC.token(&ims_with(&json!({"exp": NOW + 1_000_000})));
    for bad in [
        None,
        Some(String::new()),
        Some(r#"{"keys":[]}"#.into()),
        Some("<html>".into()),
        Some(r#"{"keys":[{"kty":"oct","k":"AA"}]}"#.into()),
    ] {
        followed.answer(bad.clone()).await;
        assert!(followed.takes(&token), "{bad:?}");
    }
    let other = Pair::ec("other");
    followed.answer(Some(serving(&[&other]))).await;
    assert!(!followed.takes(&token), "a good one does");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_too_old_are_taken_away_and_come_back() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let token = EC.token(&ims_with(&json!({"exp": NOW + 1_000_000})));
    // the provider is down from now on
    for _ in 0..10_000 {
        followed.answers.send(None).unwrap();
    }
    followed.pass(24 * 3600 - 60).await;
    assert!(followed.takes(&token));
    followed.pass(61).await;
    assert!(!followed.takes(&token));
    while followed.answers.send(Some(serving(&[&EC]))).is_ok() && !followed.takes(&token) {
        followed.pass(3600).await;
    }
    assert!(followed.takes(&token));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_fetched_once_and_then_known() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let new = Pair::ec("new");
    let token = new.token(&ims());
    assert!(followed.asks(&token).is_none(), "just fetched");
    followed.pass(11).await;
    let (first, second) = (followed.asks(&token), followed.asks(&token));
    let waits = async { tokio::join!(waited(first.unwrap()), waited(second.unwrap())) };
    tokio::join!(waits, followed.answer(Some(serving(&[&EC, &new]))));
    assert!(followed.takes(&token));
    assert_eq!(followed.fetched_since(), 0, "one for both");
}

#[tokio::test(start_paused = true)]
async fn the_same_id_with_a_new_key_recovers() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let new = Pair::ec(EC.id());
    let token = new.token(&ims());
    followed.pass(11).await;
    let coming = followed.asks(&token).unwrap();
    tokio::join!(waited(coming), followed.answer(Some(serving(&[&new]))));
    assert!(followed.takes(&token));
    assert!(!followed.takes(&EC.token(&ims())));
}

#[tokio::test(start_paused = true)]
async fn the_same_id_with_a_key_of_another_kind_recovers() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let new = Pair::edwards(EC.id());
    let token = new.token(&ims());
    followed.pass(11).await;
    let coming = followed.asks(&token).unwrap();
    tokio::join!(waited(coming), followed.answer(Some(serving(&[&new]))));
    assert!(followed.takes(&token));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_strange_keys_cause_one_fetch_in_ten_seconds() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    for _ in 0..100 {
        followed.answers.send(Some(serving(&[&EC]))).unwrap();
    }
    let strange = Pair::ec("strange");
    let mut asked = 0;
    for second in 0..100 {
        for n in 0..100 {
            let kid = format!("{second}-{n}");
            let token = strange.sign(&json!({"alg": "ES256", "kid": kid}), &ims());
            if let Some(coming) = followed.asks(&token) {
                asked += 1;
                drop(coming); // who goes away cancels nothing
            }
        }
        followed.pass(1).await;
    }
    assert!(asked >= 9, "{asked}");
    let fetches = followed.fetched_since();
    assert!((9..=10).contains(&fetches), "{fetches}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_stays_unknown_is_not_asked_for_again() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let token = Pair::ec("strange").token(&ims());
    let another = Pair::ec("another").token(&ims());
    followed.pass(11).await;
    followed.issuer.stays_unknown(&token, followed.clock.now());
    assert!(followed.asks(&token).is_none());
    assert!(followed.asks(&another).is_some());
    followed.pass(60).await;
    assert!(followed.asks(&token).is_some(), "after a minute");
    // what is remembered is bounded
    for n in 0..1000 {
        let token = EC.sign(&json!({"alg": "ES256", "kid": n.to_string()}), &ims());
        followed.issuer.stays_unknown(&token, followed.clock.now());
    }
    assert!(followed.issuer.unknown_ids() <= 128);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_provider_that_does_not_answer() {
    let mut followed = Followed::start();
    followed.answer(Some(serving(&[&EC]))).await;
    let token = Pair::ec("strange").token(&ims());
    followed.pass(11).await;
    let begun = followed.clock.now();
    let all: Vec<NewerKeys> = (0..1000).filter_map(|_| followed.asks(&token)).collect();
    assert_eq!(all.len(), 256, "more are refused at once");
    futures_util::future::join_all(all.into_iter().map(waited)).await;
    let waited = followed.clock.now().wall.saturating_sub(begun.wall);
    assert_eq!(waited.as_secs(), 5);
    assert!(followed.takes(&EC.token(&ims())), "others were not delayed");
}

#[tokio::test(start_paused = true)]
async fn keys_that_came_while_a_token_was_looked_at_are_seen() {
    let mut followed = Followed::start();
    let token = EC.token(&ims());
    let unverified = verifier().verify(&followed.issuer, &token, followed.clock.now());
    followed.answer(Some(serving(&[&EC]))).await;
    let now = followed.clock.now();
    let newer = followed.issuer.newer(&token, &unverified.unwrap_err(), now);
    assert!(matches!(newer, Newer::Here));
}

#[tokio::test(start_paused = true)]
async fn keys_survive_a_restart_but_grow_no_younger_by_it() {
    let old = |seconds: u64| {
        let kept = Kept::for_tests();
        let place = kept.place(&provider());
        let mut then = clock().now();
        then.wall -= Duration::from_secs(seconds);
        place.keep(serving(&[&EC]).as_bytes(), then);
        Followed::start_with(Some(place))
    };
    let token = EC.token(&ims_with(&json!({"exp": NOW + 1_000_000})));
    // the provider is down all the time
    let mut young = old(23 * 3600);
    young.answer(None).await;
    assert!(young.readiness.waiting().is_empty());
    assert!(young.takes(&token));
    for _ in 0..1000 {
        young.answers.send(None).unwrap();
    }
    young.pass(3600 - 60).await;
    assert!(young.takes(&token));
    young.pass(61).await;
    assert!(!young.takes(&token));

    let mut aged = old(24 * 3600);
    aged.answer(None).await;
    assert_eq!(aged.readiness.waiting(), ["keys of provider bentley"]);
    assert!(!aged.takes(&token));
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_is_kept_and_what_is_no_key_set_is_not() {
    let place = Kept::for_tests().place(&provider());
    let mut followed = Followed::start_with(Some(place.clone()));
    let kept = || place.last(clock().now()).map(|(document, _)| document);
    followed.answer(Some("<html>".into())).await;
    assert_eq!(kept(), None);
    let set = serving(&[&EC]);
    followed.answer(Some(set.clone())).await;
    assert_eq!(kept().unwrap(), set);
    followed.answer(Some(r#"{"keys":[]}"#.into())).await;
    assert_eq!(kept().unwrap(), set);
}
