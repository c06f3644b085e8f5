//! Each kind of failure, and when the next attempt comes.

use super::*;

/// Seconds between attempts while calls come in all the time.
async fn attempts(world: &World, handle: &TokenHandle, time: Duration) -> Vec<u64> {
    let end = world.clock.now().plus(time);
    let (mut seen, mut times) = (world.fetches(), Vec::new());
    let start = world.clock.now().wall;
    while !end.passed(world.clock.now()) {
        let _ = handle.get(ANY, WAIT).await;
        if world.fetches() != seen {
            seen = world.fetches();
            times.push(world.clock.now().wall.as_secs() - start.as_secs());
        }
        sleep(Duration::from_millis(100)).await;
    }
    times.windows(2).map(|two| two[1] - two[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn one_hiccup_is_not_told_to_anybody() {
    let mut first = true;
    let world = World::new(move |_| {
        if std::mem::take(&mut first) {
            Answer::Fail(Class::Transient)
        } else {
            Answer::Token(HOUR)
        }
    });
    assert!(world.handle().get(ANY, WAIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_with_growing_pauses_up_to_half_a_minute() {
    let world = World::new(|_| Answer::Fail(Class::Transient));
    let handle = world.handle();
    let pauses = attempts(&world, &handle, 10 * MINUTE).await;
    assert!(pauses.iter().all(|pause| *pause <= 31), "{pauses:?}");
    assert!((18..=60).contains(&pauses.len()), "{pauses:?}");
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn attempts_close_together_at_the_end_do_not_lengthen_the_pauses_after_it() {
    let world = World::new(|_| Answer::Token(30 * SECOND));
    let handle = world.handle();
    let ready = handle.get(ANY, WAIT).await.unwrap();
    world.rule(|_| Answer::Fail(Class::Transient));
    while !ready.expires().passed(world.clock.now()) {
        handle.get(ANY, WAIT).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(world.fetches() > 6, "{} attempts", world.fetches());
    sleep(SECOND).await;
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert!(error.retry_after.unwrap() < 9 * SECOND, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let world = World::new(|_| Answer::Busy(2 * MINUTE));
    let handle = world.handle();
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert!(error.retry_after.unwrap() > 119 * SECOND);
    let pauses = attempts(&world, &handle, 10 * MINUTE).await;
    assert!(pauses.iter().all(|pause| *pause >= 119), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_a_year_is_ten_minutes() {
    let world = World::new(|_| Answer::Busy(365 * 24 * HOUR));
    let error = world.handle().get(ANY, WAIT).await.unwrap_err();
    assert!(error.retry_after.unwrap() <= 10 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_tried_again_slowly() {
    let world = World::new(|_| Answer::Fail(Class::Fatal));
    let handle = world.handle();
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    let pauses = attempts(&world, &handle, 2 * HOUR).await;
    assert!(pauses.iter().all(|pause| *pause >= 59), "{pauses:?}");
    assert!((6..=20).contains(&pauses.len()), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_works_soon_after_its_secret_file_changed() {
    let world = World::new(|_| Answer::Fail(Class::Fatal));
    let handle = world.handle();
    handle.get(ANY, WAIT).await.unwrap_err();
    world.rule(|_| Answer::Token(HOUR));
    sleep(10 * SECOND).await;
    assert!(handle.get(ANY, WAIT).await.is_err(), "nothing changed yet");
    *world.script.fingerprint.lock() = [1; 32];
    sleep(6 * SECOND).await;
    assert!(handle.get(ANY, WAIT).await.is_ok());
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_used_up_refresh_token_is_not_sent_again_until_the_file_changes() {
    let world = World::new(|_| Answer::Fail(Class::Ended));
    let handle = world.handle();
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (ErrorKind::InvalidGrant, None)
    );
    let pauses = attempts(&world, &handle, 3 * HOUR).await;
    assert!(pauses.is_empty(), "{pauses:?}");
    world.rule(|_| Answer::Token(HOUR));
    *world.script.fingerprint.lock() = [1; 32];
    sleep(6 * SECOND).await;
    assert!(handle.get(ANY, WAIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_not_tried_often_enough_to_lock_the_account() {
    let world = World::new(|_| Answer::Fail(Class::InvalidGrant));
    let handle = world.handle();
    let pauses = attempts(&world, &handle, 6 * HOUR).await;
    assert!(pauses.len() <= 6, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause >= 1800), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_left_at_its_deadline_and_asked_again() {
    let world = World::new(|_| Answer::Hang);
    let handle = world.handle();
    let error = handle.get(ANY, HOUR).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "no token for credential `agent`: the provider ims.example did not answer in time"
    );
    world.rule(|_| Answer::Token(HOUR));
    sleep(2 * SECOND).await;
    assert!(handle.get(ANY, WAIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_it_may() {
    let world = World::new(|_| Answer::Hang);
    let before = world.clock.now();
    let error = world.handle().get(ANY, 3 * SECOND).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert_eq!(world.clock.now().wall, before.wall + 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_error_while_a_token_is_valid_reaches_no_call() {
    for class in [
        Class::Transient,
        Class::Slow,
        Class::Fatal,
        Class::InvalidGrant,
        Class::Ended,
    ] {
        let mut first = true;
        let world = World::new(move |_| {
            if std::mem::take(&mut first) {
                Answer::Token(HOUR)
            } else {
                Answer::Fail(class)
            }
        });
        let handle = world.handle();
        world.calls_for(&handle, 3_580 * SECOND).await;
        assert!(world.fetches() > 1, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_are_counted() {
    let world = World::new(|_| Answer::Token(HOUR));
    world.handle().get(ANY, WAIT).await.unwrap();
    let labels = crate::metrics::FetchLabels {
        credential: "agent".into(),
        result: "ok",
    };
    assert_eq!(world.metrics.token_fetches.get_or_create(&labels).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_metric_says_which_of_two_secrets_works() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let labels = crate::metrics::CredentialLabels {
        credential: "agent".into(),
        scopes: "itwin-platform".into(),
    };
    let gauge = || {
        world
            .metrics
            .previous_secret_in_use
            .get_or_create(&labels)
            .get()
    };
    *world.script.secret.lock() = SecretInUse::Previous;
    let old = handle.get(ANY, WAIT).await.unwrap();
    assert_eq!(gauge(), 1);
    *world.script.secret.lock() = SecretInUse::Current;
    handle.replace(&old, WAIT).await.unwrap();
    assert_eq!(gauge(), 0);
}
