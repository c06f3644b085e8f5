//! Tokens that survive a restart.

use super::*;
use crate::shutdown::Stage;

async fn stop(world: World) {
    // the file is written behind the calls
    for _ in 0..200 {
        tokio::task::yield_now().await;
        sleep(Duration::from_millis(1)).await;
    }
    world.stop.advance(Stage::Hard);
    world.stop.finished().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_an_outage_still_serves() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
    let world = World::with_store(|_| Answer::Token(HOUR), clock.clone(), Some(&file));
    world.handle().get(ANY, WAIT).await.unwrap();
    stop(world).await;

    let down = |_| Answer::Fail(Class::Transient);
    let world = World::with_store(down, clock.clone(), Some(&file));
    let handle = world.handle();
    let ready = handle.current(clock.now(), MINUTE).expect("at once");
    assert_eq!(text(&ready), "t1");
    world.calls_for(&handle, 3_580 * SECOND).await;
    sleep(MINUTE).await;
    assert!(handle.get(ANY, WAIT).await.is_err(), "not past its end");
}

#[tokio::test(start_paused = true)]
async fn a_restored_token_is_renewed_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
    let world = World::with_store(|_| Answer::Token(HOUR), clock.clone(), Some(&file));
    world.handle().get(ANY, WAIT).await.unwrap();
    stop(world).await;
    let world = World::with_store(|_| Answer::Token(HOUR), clock, Some(&file));
    let handle = world.handle();
    world.calls_for(&handle, 55 * MINUTE).await;
    assert_eq!(world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
    let world = World::with_store(|_| Answer::Token(HOUR), clock.clone(), Some(&file));
    world.handle().get(ANY, WAIT).await.unwrap();
    stop(world).await;
    clock.jump(3_600_000);
    let world = World::with_store(|_| Answer::Token(HOUR), clock.clone(), Some(&file));
    assert!(world.handle().current(clock.now(), ANY).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_store_is_put_aside_and_the_program_starts_without() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    std::fs::write(&file, "not a store").unwrap();
    let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
    let world = World::with_store(|_| Answer::Token(HOUR), clock, Some(&file));
    world.handle().get(ANY, WAIT).await.unwrap();
    stop(world).await;
    assert_eq!(
        std::fs::read(directory.path().join("tokens.unusable")).unwrap(),
        b"not a store"
    );
    assert_ne!(std::fs::read(&file).unwrap(), b"not a store");
}
