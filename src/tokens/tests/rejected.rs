//! The upstream answers 401 to a token of ours.

use futures_util::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hundred_401s_at_once_cause_one_renewal() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    let got = join_all((0..100).map(|_| handle.replace(&old, WAIT))).await;
    for ready in got {
        assert_eq!(text(&ready.unwrap()), "t2");
    }
    assert_eq!(world.fetches(), 2);
    assert_eq!(text(&handle.get(ANY, WAIT).await.unwrap()), "t2");
}

#[tokio::test(start_paused = true)]
async fn a_late_401_for_an_old_token_brings_the_newer_one_without_a_fetch() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    let new = handle.replace(&old, WAIT).await.unwrap();
    sleep(10 * MINUTE).await;
    let late = handle.replace(&old, WAIT).await.unwrap();
    assert_eq!(late.id(), new.id());
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_knows_no_token_of_ours_does_not_cause_a_fetch_per_call() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let mut refused = 0;
    for _ in 0..3600 {
        // every call gets a 401
        let ready = handle.get(ANY, WAIT).await.unwrap();
        match handle.replace(&ready, WAIT).await {
            Ok(second) => {
                // the one replay is rejected too, and the caller sees the 401
                assert_ne!(second.id(), ready.id());
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::RecentlyReplaced);
                assert!(error.retry_after.unwrap() <= 10 * MINUTE);
                refused += 1;
            }
        }
        sleep(SECOND).await;
    }
    assert!(refused > 3500, "{refused}");
    assert!(
        (5..=20).contains(&world.fetches()),
        "{} fetches",
        world.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn the_token_that_another_route_can_use_stays_in_use() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let first = handle.get(ANY, WAIT).await.unwrap();
    let second = handle.replace(&first, WAIT).await.unwrap();
    handle.replace(&second, WAIT).await.unwrap_err();
    let now = world.clock.now();
    assert_eq!(handle.current(now, MINUTE).unwrap().id(), second.id());
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_served_for_long_may_be_replaced_again() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let first = handle.get(ANY, WAIT).await.unwrap();
    let second = handle.replace(&first, WAIT).await.unwrap();
    sleep(25 * MINUTE).await;
    let third = handle.replace(&second, WAIT).await.unwrap();
    assert_ne!(third.id(), second.id());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_after_a_401_says_so() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    world.rule(|_| Answer::Fail(Class::Transient));
    let error = handle.replace(&old, WAIT).await.unwrap_err();
    assert_eq!(
        (error.kind, error.occasion),
        (ErrorKind::Unavailable, Occasion::Rejected)
    );
    assert_eq!(
        error.to_string(),
        "the upstream rejected the token and there is no other for credential `agent`: the \
         provider ims.example answered 503"
    );
    assert!(
        handle.current(world.clock.now(), ANY).is_some(),
        "still valid for other calls"
    );
}

#[tokio::test(start_paused = true)]
async fn a_401_during_a_background_renewal_waits_for_that_one() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    while world.fetches() == 1 {
        handle.current(world.clock.now(), ANY);
        sleep(Duration::from_millis(5)).await;
    }
    let new = handle.replace(&old, WAIT).await.unwrap();
    assert_ne!(new.id(), old.id());
    assert_eq!(world.fetches(), 2);
}
