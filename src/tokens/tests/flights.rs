//! Many requests, few fetches; requests that go away.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_first_calls_cost_one_token_request() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let calls = (0..1000).map(|_| handle.get(MINUTE, WAIT));
    let got: HashSet<u64> = join_all(calls)
        .await
        .into_iter()
        .map(|r| r.unwrap().id())
        .collect();
    assert_eq!((got.len(), world.fetches()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn handles_of_the_same_inputs_share_a_token_and_other_scopes_have_their_own() {
    let world = World::new(|_| Answer::Token(HOUR));
    let credential = Arc::new(credential());
    let handle = |scopes: &str| world.service.handle(&credential, &ScopeSet::new([scopes]));
    let one = handle("b a").get(ANY, WAIT).await.unwrap();
    let same = handle("a b").get(ANY, WAIT).await.unwrap();
    let other = handle("a").get(ANY, WAIT).await.unwrap();
    assert_eq!(one.id(), same.id());
    assert_ne!(one.id(), other.id());
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_does_not_stop_the_fetch_for_the_others() {
    let world = World::new(|_| Answer::Token(HOUR));
    let handle = world.handle();
    let hung_up = timeout(handle.get(ANY, WAIT)).await;
    assert!(hung_up.is_err());
    sleep(SECOND).await;
    assert!(
        handle.current(world.clock.now(), ANY).is_some(),
        "the answer was kept"
    );
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_that_hung_up_are_not_kept() {
    let world = World::new(|_| Answer::Hang);
    let handle = world.handle();
    for _ in 0..10_000 {
        assert!(timeout(handle.get(ANY, WAIT)).await.is_err());
    }
    let kept = Arc::strong_count(&handle.shared);
    assert!(kept < 100, "{kept} of 10,000 are still there");
}

async fn timeout<F: Future>(future: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(Duration::from_millis(1), future).await
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_share_the_error_and_those_who_come_later_get_it_at_once() {
    let world = World::new(|_| Answer::Fail(Class::Fatal));
    let handle = world.handle();
    let calls = join_all((0..100).map(|_| handle.get(ANY, WAIT))).await;
    assert!(
        calls
            .iter()
            .all(|r| r.as_ref().is_err_and(|e| e.kind == ErrorKind::Refused))
    );
    assert_eq!(world.fetches(), 1);
    let before = world.clock.now();
    for _ in 0..100 {
        handle.get(ANY, WAIT).await.unwrap_err();
    }
    assert_eq!(world.clock.now(), before, "nobody waited");
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn sixteen_fetches_run_at_once_over_all_credentials() {
    let world = World::new(|_| Answer::Token(HOUR));
    let credential = Arc::new(credential());
    let handles: Vec<TokenHandle> = (0..100)
        .map(|n| {
            world
                .service
                .handle(&credential, &ScopeSet::new([format!("s{n}")]))
        })
        .collect();
    let got = join_all(handles.iter().map(|handle| handle.get(ANY, WAIT))).await;
    assert!(got.iter().all(Result::is_ok));
    assert_eq!(world.fetches(), 100);
    assert_eq!(world.script.most_at_once.load(Ordering::SeqCst), 16);
}

#[tokio::test(start_paused = true)]
async fn one_refresh_token_is_never_sent_twice_at_once() {
    let world = World::new(|_| Answer::Token(HOUR));
    let mut person = credential();
    person.grant = Grant::RefreshToken {
        from: RefreshSource::File("/run/refresh".into()),
    };
    let person = Arc::new(person);
    let handles: Vec<TokenHandle> = (0..5)
        .map(|n| {
            world
                .service
                .handle(&person, &ScopeSet::new([format!("s{n}")]))
        })
        .collect();
    join_all(handles.iter().map(|handle| handle.get(ANY, WAIT))).await;
    assert_eq!(world.fetches(), 5);
    assert_eq!(world.script.most_at_once.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_is_a_failure_like_others() {
    let mut first = true;
    let world = World::new(move |_| {
        if std::mem::take(&mut first) {
            Answer::Panic
        } else {
            Answer::Token(HOUR)
        }
    });
    let handle = world.handle();
    assert!(handle.get(ANY, WAIT).await.is_ok(), "the second attempt");
    assert_eq!(world.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_service_answers_at_once() {
    let world = World::new(|_| Answer::Hang);
    let handle = world.handle();
    let call = handle.get(ANY, WAIT);
    world.stop.advance(crate::shutdown::Stage::Hard);
    assert_eq!(call.await.unwrap_err().kind, ErrorKind::Stopped);
    world.stop.finished().await;
}

#[test]
fn handles_work_on_other_runtimes_than_the_workers() {
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let world = control.block_on(async { World::new(|_| Answer::Token(HOUR)) });
    let handle = world.handle();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let data = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                data.unwrap().block_on(handle.get(ANY, WAIT)).unwrap().id()
            })
        })
        .collect();
    let ids: HashSet<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!((ids.len(), world.fetches()), (1, 1));
    world.stop.advance(crate::shutdown::Stage::Hard);
}
