//! Tokens for which another credential's token is shown (RFC 7523 section 2.1).

use super::*;

fn user() -> Arc<Credential> {
    let mut user = credential();
    user.name = "user".into();
    Arc::new(user)
}

/// Who fetched, and what was shown.
fn fetched(world: &World) -> Vec<(String, String)> {
    let shown = world.script.shown.lock();
    shown
        .iter()
        .map(|(name, token)| (name.to_string(), token.clone().unwrap_or_default()))
        .collect()
}

fn said<const N: usize>(rows: [(&str, &str); N]) -> Vec<(String, String)> {
    rows.map(|(name, token)| (name.to_owned(), token.to_owned()))
        .to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_got_with_the_other_credentials_token_and_each_is_kept() {
    let world = World::new(|_| Answer::Token(HOUR));
    let delegated = showing("delegated", &user());
    let handle = world.service.handle(&delegated, &delegated.scopes);
    assert_eq!(text(&handle.get(ANY, WAIT).await.unwrap()), "t2");
    assert_eq!(fetched(&world), said([("user", ""), ("delegated", "t1")]));
    world.calls_for(&handle, 3 * HOUR).await;
    // a renewal shows a token that is valid then, which may be a newer one
    let all = fetched(&world);
    let of = |name: &str| all.iter().filter(|(who, _)| who == name).count();
    assert!((4..=6).contains(&of("delegated")), "{all:?}");
    assert!((3..=6).contains(&of("user")), "{all:?}");
    assert!(
        all.iter()
            .all(|(who, shown)| (who == "user") == shown.is_empty())
    );
}

#[tokio::test(start_paused = true)]
async fn any_number_of_them_may_wait_for_one_token() {
    let world = World::new(|_| Answer::Token(HOUR));
    let (user, begun) = (user(), world.clock.now());
    let handles: Vec<_> = (0..100)
        .map(|n| showing(&format!("delegated-{n}"), &user))
        .map(|one| world.service.handle(&one, &one.scopes))
        .collect();
    let gets = handles.iter().map(|handle| handle.get(ANY, WAIT));
    for got in futures_util::future::join_all(gets).await {
        got.unwrap();
    }
    assert_eq!(world.fetches(), 101);
    // they do not take the places of what they wait for
    let took = world.clock.now().mono - begun.mono;
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_as_an_assertion_is_replaced_once() {
    let mut number = 0;
    let world = World::new(move |_| {
        number += 1;
        match number {
            2 => Answer::Refuse,
            _ => Answer::Token(HOUR),
        }
    });
    let delegated = showing("delegated", &user());
    let handle = world.service.handle(&delegated, &delegated.scopes);
    handle.get(ANY, WAIT).await.unwrap();
    let expected = [
        ("user", ""),
        ("delegated", "t1"),
        ("user", ""),
        ("delegated", "t3"),
    ];
    assert_eq!(fetched(&world), said(expected));

    let mut number = 0;
    let world = World::new(move |_| {
        number += 1;
        match number {
            1 | 3 => Answer::Token(HOUR),
            _ => Answer::Refuse,
        }
    });
    let handle = world.service.handle(&delegated, &delegated.scopes);
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused);
    assert_eq!(world.fetches(), 4, "and no more than once");
}

#[tokio::test(start_paused = true)]
async fn without_the_other_token_there_is_none_and_the_reason_is_the_others() {
    let world = World::new(|_| Answer::Fail(Class::Fatal));
    let delegated = showing("delegated", &user());
    let handle = world.service.handle(&delegated, &delegated.scopes);
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no token for credential `delegated`: its assertion is the token of `user`, and there is \
         none: the provider ims.example answered 503"
    );
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(
        fetched(&world),
        said([("user", "")]),
        "the provider was asked once"
    );

    // it recovers with the other one, soon
    world.rule(|_| Answer::Token(HOUR));
    *world.script.fingerprint.lock() = [1; 32];
    let begun = world.clock.now();
    while handle.get(ANY, WAIT).await.is_err() {
        sleep(SECOND).await;
    }
    let took = world.clock.now().mono - begun.mono;
    assert!(took < MINUTE, "{took:?}");
}

#[test]
fn what_another_credential_shows_belongs_to_the_key() {
    let user = user();
    let mut other = (*user).clone();
    other.client_id = "other".into();
    let (one, two) = (showing("a", &user), showing("a", &Arc::new(other)));
    let key = |one: &Credential| super::super::key::Key::new(one, &one.scopes).digest();
    assert_ne!(key(&one), key(&two));
}
