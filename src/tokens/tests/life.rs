//! From the first token to the next, and through an outage.

use bytes::Bytes;

use super::*;
use crate::health::{Disobeyed, Order};

#[tokio::test(start_paused = true)]
async fn a_busy_proxy_renews_in_the_background_and_no_call_waits() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    handle.get(ANY, WAIT).await.unwrap();
    for _ in 0..4 * 3600 {
        let now = world.clock.now();
        assert!(handle.current(now, MINUTE).is_some(), "a call had to wait");
        sleep(SECOND).await;
    }
    let fetches = world.fetches();
    assert!(
        (5..=7).contains(&fetches),
        "{fetches} fetches in four hours"
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_down_until_a_second_before_the_end_costs_no_call() {
    let start = std::sync::Mutex::new(None);
    let world = World::new(move |now| {
        let start = *start.lock().unwrap().get_or_insert(now);
        // the token of an hour ends for us after 3,590 s
        let passed = now.wall.checked_sub(start.wall).unwrap();
        if passed > SECOND && passed < Duration::from_secs(3_589) {
            Answer::Fail(Class::Transient)
        } else {
            Answer::Token(HOUR)
        }
    });
    let handle = world.handle();
    world.calls_for(&handle, 2 * HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_never_served_past_its_end_and_the_call_learns_when_to_come_back() {
    let mut first = true;
    let world = World::new(move |_| {
        if std::mem::take(&mut first) {
            Answer::Token(HOUR)
        } else {
            Answer::Fail(Class::Transient)
        }
    });
    let handle = world.handle();
    let ready = handle.get(ANY, WAIT).await.unwrap();
    assert_eq!(ready.expires().remaining(world.clock.now()).as_secs(), 3589);
    while !ready.expires().passed(world.clock.now()) {
        assert!(handle.get(ANY, WAIT).await.is_ok());
        sleep(SECOND).await;
    }
    assert!(handle.current(world.clock.now(), ANY).is_none());
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.retry_after.unwrap() <= 30 * SECOND);
    assert_eq!(
        error.to_string(),
        "no token for credential `agent`: the provider ims.example answered 503"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_five_seconds_works() {
    let world = World::new(|_| Answer::Token(5 * SECOND));
    let handle = world.handle();
    for _ in 0..600 {
        let ready = handle.get(MINUTE, WAIT).await.unwrap();
        assert!(!ready.expires().passed(world.clock.now()));
        sleep(Duration::from_millis(100)).await;
    }
    let fetches = world.fetches();
    assert!(
        (12..=45).contains(&fetches),
        "{fetches} fetches in a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_needs_half_an_hour_gets_a_token_that_lives_so_long() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    for _ in 0..300 {
        let ready = handle.get(30 * MINUTE, WAIT).await.unwrap();
        let left = ready.expires().remaining(world.clock.now());
        assert!(left >= 30 * MINUTE, "{left:?} left");
        sleep(MINUTE).await;
    }
    assert!(
        world.fetches() <= 5 * 3,
        "{} fetches in five hours",
        world.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_near_the_end_waits_for_the_renewal_and_gets_the_old_token_if_that_fails() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    world.clock.jump(3_500_000); // a laptop slept through the time of renewal
    world.rule(|_| Answer::Fail(Class::Transient));
    let served = handle.get(5 * MINUTE, WAIT).await.unwrap();
    assert_eq!(served.id(), old.id());
    world.rule(|_| Answer::Token(HOUR));
    sleep(5 * SECOND).await;
    let served = handle.get(5 * MINUTE, WAIT).await.unwrap();
    assert_ne!(served.id(), old.id());
}

#[tokio::test(start_paused = true)]
async fn while_the_provider_hangs_a_valid_token_is_served_after_the_wait() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    world.clock.jump(3_500_000);
    world.rule(|_| Answer::Hang);
    let served = handle.get(5 * MINUTE, 2 * SECOND).await.unwrap();
    assert_eq!(served.id(), old.id());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_through_the_last_minutes_holds_up_one_call_at_most() {
    let mut first = true;
    let world = World::new(move |_| {
        if std::mem::take(&mut first) {
            Answer::Token(HOUR)
        } else {
            Answer::Hang
        }
    });
    let handle = world.handle();
    let mut late = 0;
    for _ in 0..3_500 {
        let before = world.clock.now();
        handle.get(5 * MINUTE, WAIT).await.unwrap();
        late += u32::from(world.clock.now() != before);
        sleep(SECOND).await;
    }
    assert!(world.fetches() > 20, "it is tried all the time");
    assert!(late <= 1, "{late} calls waited"); // the first call of all
}

#[tokio::test(start_paused = true)]
async fn an_idle_proxy_does_not_poll_the_provider_and_the_next_call_fetches_at_once() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    handle.get(ANY, WAIT).await.unwrap();
    sleep(48 * HOUR).await;
    assert!(
        world.fetches() <= 3,
        "{} fetches for nobody",
        world.fetches()
    );
    let before = world.fetches();
    handle.get(ANY, WAIT).await.unwrap();
    assert_eq!(world.fetches(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_nobody_uses_fetches_nothing() {
    let world = World::new(|_| Answer::Token(HOUR));
    let _handle = world.handle();
    sleep(HOUR).await;
    assert_eq!(world.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_laptop_that_slept_does_not_send_the_token_of_yesterday() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    world.clock.jump(8 * 3_600_000); // monotonic time stood still
    assert!(handle.current(world.clock.now(), ANY).is_none());
    let new = handle.get(ANY, WAIT).await.unwrap();
    assert_ne!(new.id(), old.id());
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_within_the_tokens_life_the_renewal_is_not_late() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    handle.get(ANY, WAIT).await.unwrap();
    world.clock.jump(50 * 60_000);
    handle.current(world.clock.now(), ANY).expect("still valid");
    sleep(31 * SECOND).await; // the worker looks at least every 30 s
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_neither_kills_a_token_nor_lengthens_its_life() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let old = handle.get(ANY, WAIT).await.unwrap();
    world.clock.jump(-7_200_000);
    assert!(handle.current(world.clock.now(), ANY).is_some());
    sleep(3_600 * SECOND).await;
    assert!(old.expires().passed(world.clock.now()));
    let new = handle.get(ANY, WAIT).await.unwrap();
    assert_ne!(new.id(), old.id());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hands_out_nearly_spent_tokens_is_not_flooded() {
    let world = World::new(|now| {
        // one cached token: what is left of it shrinks with every answer
        let left = 3600 - now.unix_seconds() % 3600;
        Answer::Token(Duration::from_secs(left))
    });
    let handle = world.handle();
    for _ in 0..7200 {
        let _ = handle.get(ANY, WAIT).await.unwrap();
        sleep(SECOND).await;
    }
    assert!(
        world.fetches() < 120,
        "{} fetches in two hours",
        world.fetches()
    );
}

#[tokio::test(start_paused = true)]
async fn ready_waits_without_end_until_the_provider_is_there() {
    let world = World::new(|_| Answer::Fail(Class::Transient));
    let readiness = Readiness::new();
    readiness.started();
    world.service.first_tokens(&readiness, [world.handle()]);
    sleep(3 * HOUR).await;
    assert_eq!(readiness.waiting(), ["credential agent"]);
    world.rule(|_| Answer::Token(HOUR));
    sleep(MINUTE).await;
    assert!(readiness.waiting().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_status_page_says_how_each_token_is() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    handle.get(ANY, WAIT).await.unwrap();
    let report = world.service.report();
    let shown = &report[0];
    assert_eq!(shown["credential"], "agent");
    assert_eq!(shown["scopes"], json!(["itwin-platform"]));
    assert_eq!(shown["zone"], "fresh");
    assert_eq!(shown["life_seconds"], 3600);
    assert_eq!(shown["remaining_seconds"], 3589);
    assert_eq!(shown["ends_in_seconds"], 3589);
    assert!(
        !report.to_string().contains("t1"),
        "no token in it: {report}"
    );

    world.rule(|_| Answer::Fail(Class::Transient));
    world.calls_for(&handle, 50 * MINUTE).await;
    let shown = &world.service.report()[0];
    assert_eq!(shown["zone"], "ageing");
    assert_eq!(shown["renewal"], "failing");
    let failure = &shown["last_failure"];
    assert_eq!(failure["message"], "the provider ims.example answered 503");
    assert_eq!(shown["last_error"], "the provider ims.example answered 503");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_when_somebody_orders_it_and_kept_when_that_fails() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let first = handle.get(ANY, WAIT).await.unwrap();
    let order = Bytes::from_static(b"{\"credential\": \"agent\"}");
    let said = world.service.obey(order.clone()).await.unwrap();
    assert_eq!(said["refreshed"][0]["remaining_seconds"], 3590);
    let second = handle.get(ANY, WAIT).await.unwrap();
    assert_ne!(first.id(), second.id());

    world.rule(|_| Answer::Fail(Class::Fatal));
    for _ in 0..2 {
        // also while it waits with its next attempt
        let refused = world.service.obey(order.clone()).await;
        assert!(
            matches!(&refused, Err(Disobeyed::Refused(why)) if why[0].starts_with("agent (")),
            "{refused:?}"
        );
    }
    assert_eq!(handle.get(ANY, WAIT).await.unwrap().id(), second.id());
    world.rule(|_| Answer::Token(HOUR));
    world.service.obey(order).await.unwrap();

    let unknown = Bytes::from_static(b"{\"credential\": \"other\"}");
    let Err(Disobeyed::Unknown(why)) = world.service.obey(unknown).await else {
        panic!("there is no such credential");
    };
    assert!(why[0].ends_with("there are tokens of: agent"), "{why:?}");
    let wrong = world.service.obey(Bytes::from_static(b"agent")).await;
    assert!(matches!(wrong, Err(Disobeyed::Wrong(_))));
}
