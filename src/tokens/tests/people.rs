//! People who signed in: one refresh token each, as many access tokens as scope sets.

use futures_util::future::join_all;

use super::*;
use crate::config::Flow;

/// Writes down what it is given, and what could be had at that moment.
#[derive(Debug, Default)]
struct Kept {
    states: Mutex<Vec<PersonState>>,
    late: Mutex<Vec<Secret>>,
    watched: Mutex<Option<(TokenHandle, Clock)>>,
    seen: Mutex<Vec<Option<String>>>,
}

impl Keep for Kept {
    fn changed(&self, state: &PersonState) {
        if let Some((handle, clock)) = &*self.watched.lock() {
            let current = handle.current(clock.now(), ANY);
            self.seen
                .lock()
                .push(current.map(|ready| text(&ready).to_owned()));
        }
        self.states.lock().push(state.clone());
    }

    fn came_late(&self, refresh: &Secret) {
        self.late.lock().push(refresh.clone());
    }
}

struct Desk {
    world: World,
    credential: Arc<Credential>,
    kept: Arc<Kept>,
}

impl Desk {
    fn new(rule: impl FnMut(Moment) -> Answer + Send + 'static) -> Self {
        let mut credential = credential();
        credential.name = "web".into();
        credential.grant = Grant::AuthorizationCode { flow: Flow::Code };
        Self {
            world: World::new(rule),
            credential: Arc::new(credential),
            kept: Arc::default(),
        }
    }

    fn deposit(&self, refresh: Option<&str>, token: &str) -> Deposit {
        let header = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        Deposit {
            refresh: refresh.map(Secret::new),
            token: Some((header, self.world.clock.now(), HOUR)),
            scopes: self.credential.scopes.clone(),
        }
    }

    fn signed_in(&self, refresh: Option<&str>) -> Person {
        let deposit = self.deposit(refresh, "first");
        let service = &self.world.service;
        service.person(&self.credential, deposit, self.kept.clone())
    }

    fn returning(&self, state: PersonState) -> Person {
        let service = &self.world.service;
        service.returning(&self.credential, state, self.kept.clone())
    }

    fn main(&self, person: &Person) -> TokenHandle {
        person.handle(&self.credential.scopes)
    }

    /// The refresh tokens that were sent.
    fn sent(&self) -> Vec<String> {
        let shown = self.world.script.shown.lock();
        shown
            .iter()
            .map(|(_, token)| token.clone().unwrap_or_default())
            .collect()
    }

    fn rotates(&self) {
        *self.world.script.rotated.lock() = Some("r");
    }

    async fn until_ended(&self) {
        sleep(HOUR).await;
    }
}

fn is(state: &PersonState, refresh: &str) -> bool {
    state
        .refresh
        .as_ref()
        .is_some_and(|own| own.is(&Secret::new(refresh)))
}

#[tokio::test(start_paused = true)]
async fn the_token_of_the_sign_in_is_served_and_nothing_is_fetched_for_it() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let person = desk.signed_in(Some("r0"));
    let ready = desk.main(&person).current(desk.world.clock.now(), MINUTE);
    assert_eq!(text(&ready.expect("at once")), "first");
    assert_eq!((person.version(), person.is_over()), (1, false));
    sleep(30 * MINUTE).await;
    assert_eq!(desk.world.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_at_the_moment_of_expiry_cause_one_refresh() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    desk.until_ended().await;
    let handles: Vec<_> = (0..100).map(|_| desk.main(&person)).collect();
    let got = join_all(handles.iter().map(|handle| handle.get(ANY, WAIT))).await;
    assert!(
        got.iter()
            .all(|ready| text(ready.as_ref().unwrap()) == "t1")
    );
    assert_eq!(desk.sent(), ["r0"]);
}

#[tokio::test(start_paused = true)]
async fn no_call_of_a_busy_person_fails_in_a_day_of_rotated_refresh_tokens() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    desk.world.calls_for(&desk.main(&person), 24 * HOUR).await;
    let sent = desk.sent();
    assert!((25..=45).contains(&sent.len()), "{}", sent.len());
    for (n, refresh) in sent.iter().enumerate() {
        assert_eq!(*refresh, format!("r{n}"), "each once, in their order");
    }
    assert_eq!(person.version(), 1 + sent.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_kept_before_its_access_token_is_used() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    let handle = desk.main(&person);
    desk.until_ended().await;
    *desk.kept.watched.lock() = Some((handle.clone(), desk.world.clock.clone()));
    assert_eq!(text(&handle.get(ANY, WAIT).await.unwrap()), "t1");
    assert_eq!(*desk.kept.seen.lock(), [None]);
    let states = desk.kept.states.lock();
    assert!(states.len() == 1 && is(&states[0], "r1"));
    assert_eq!(states[0].version, 2);
    let token = &states[0].tokens[0];
    assert_eq!(
        token.header, "Bearer t1",
        "what came with it is kept with it"
    );
    assert_eq!(token.scopes, desk.credential.scopes);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_gives_no_other_refresh_token_leaves_the_old_one_good() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let person = desk.signed_in(Some("r0"));
    desk.world.calls_for(&desk.main(&person), 3 * HOUR).await;
    assert!(desk.sent().len() >= 3);
    assert!(desk.sent().iter().all(|sent| sent == "r0"));
    assert!(desk.kept.states.lock().is_empty());
    assert!(is(&person.state(), "r0"));
    assert_eq!(person.version(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_scope_sets_of_one_person_never_use_the_refresh_token_at_the_same_time() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    let handles: Vec<_> = (0..5)
        .map(|n| person.handle(&ScopeSet::new([format!("s{n}")])))
        .collect();
    let got = join_all(handles.iter().map(|handle| handle.get(ANY, WAIT))).await;
    assert!(got.iter().all(Result::is_ok));
    assert_eq!(desk.world.script.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(desk.sent(), ["r0", "r1", "r2", "r3", "r4"]);
    assert_eq!(person.state().tokens.len(), 6);
    assert_eq!(
        person.handle(&ScopeSet::new(["s1"])).shared.number,
        handles[1].shared.number
    );
}

#[tokio::test(start_paused = true)]
async fn people_do_not_wait_for_each_other_nor_the_programs_credentials_for_them() {
    let desk = Desk::new(|_| Answer::Hang);
    let people: Vec<_> = (0..40).map(|_| desk.signed_in(Some("r0"))).collect();
    desk.until_ended().await;
    let handles: Vec<_> = people.iter().map(|person| desk.main(person)).collect();
    let waiting = join_all(handles.iter().map(|handle| handle.get(ANY, MINUTE)));
    let own = async {
        sleep(SECOND).await;
        assert_eq!(desk.world.fetches(), 32);
        desk.world.rule(|_| Answer::Token(HOUR));
        desk.world
            .handle()
            .get(ANY, SECOND)
            .await
            .expect("a place of its own");
    };
    let (got, ()) = tokio::join!(waiting, own);
    assert!(got.iter().filter(|got| got.is_ok()).count() >= 8);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_ends_the_person_and_an_outage_never_does() {
    for (answer, kind, over) in [
        (Answer::Fail(Class::Ended), ErrorKind::SignInAgain, true),
        (
            Answer::Fail(Class::Transient),
            ErrorKind::Unavailable,
            false,
        ),
        (Answer::Fail(Class::Slow), ErrorKind::Unavailable, false),
        (Answer::Fail(Class::Fatal), ErrorKind::Refused, false),
        (Answer::Busy(MINUTE), ErrorKind::Unavailable, false),
        (Answer::Hang, ErrorKind::Unavailable, false),
    ] {
        let desk = Desk::new(move |_| answer);
        let person = desk.signed_in(Some("r0"));
        desk.until_ended().await;
        let error = desk.main(&person).get(ANY, MINUTE).await.unwrap_err();
        assert_eq!((error.kind, person.is_over()), (kind, over), "{answer:?}");
        assert_eq!(error.retry_after.is_none(), over, "{answer:?}");
        if over {
            // the others are not tried with it
            let other = person.handle(&ScopeSet::new(["other"]));
            let error = other.get(ANY, WAIT).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::SignInAgain);
            assert_eq!(desk.world.fetches(), 1);
        } else {
            desk.world.rule(|_| Answer::Token(HOUR));
            sleep(15 * MINUTE).await;
            desk.main(&person).get(ANY, WAIT).await.expect("it goes on");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_refresh_token_the_token_serves_to_its_end_and_then_one_must_sign_in_again() {
    let desk = Desk::new(|_| panic!("there is nothing to ask with"));
    let person = desk.signed_in(None);
    let handle = desk.main(&person);
    desk.world.calls_for(&handle, 3_580 * SECOND).await;
    let ready = handle.get(30 * MINUTE, WAIT).await;
    assert!(ready.is_ok(), "no other can be had: it is good enough");
    assert!(!person.is_over());
    sleep(MINUTE).await;
    let error = handle.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (ErrorKind::SignInAgain, None)
    );
    assert!(person.is_over());
    assert_eq!(
        error.to_string(),
        "no token for credential `web`: the sign-in at ims.example has ended: the provider gave \
         no refresh token"
    );
    let other = person.handle(&ScopeSet::new(["other"]));
    let error = other.get(ANY, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignInAgain);
}

#[tokio::test(start_paused = true)]
async fn a_person_comes_back_after_a_restart_with_what_was_kept() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    let other = ScopeSet::new(["other"]);
    person.handle(&other).get(ANY, WAIT).await.unwrap();
    let state = person.state();
    drop(person);

    let person = desk.returning(state);
    assert_eq!(person.version(), 2);
    let now = desk.world.clock.now();
    let current = |scopes: &ScopeSet| {
        let ready = person.handle(scopes).current(now, MINUTE).unwrap();
        text(&ready).to_owned()
    };
    assert_eq!(current(&desk.credential.scopes), "first");
    assert_eq!(current(&other), "t1");
    desk.until_ended().await;
    let ready = desk.main(&person).get(ANY, WAIT).await.unwrap();
    assert!(["t2", "t3"].contains(&text(&ready)), "both were renewed");
    assert_eq!(desk.sent(), ["r0", "r1", "r2"]);
}

#[tokio::test(start_paused = true)]
async fn signing_in_again_revives_every_scope_set() {
    let desk = Desk::new(|_| Answer::Fail(Class::Ended));
    let person = desk.signed_in(Some("r0"));
    let (main, other) = (desk.main(&person), person.handle(&ScopeSet::new(["other"])));
    desk.until_ended().await;
    for handle in [&main, &other] {
        handle.get(ANY, WAIT).await.unwrap_err();
    }
    desk.world.rule(|_| Answer::Token(HOUR));
    person.deposit(desk.deposit(Some("n0"), "second"));
    assert_eq!((person.version(), person.is_over()), (2, false));
    assert_eq!(text(&main.get(ANY, WAIT).await.unwrap()), "second");
    assert_eq!(text(&other.get(ANY, WAIT).await.unwrap()), "t2");
    assert_eq!(desk.sent(), ["r0", "n0"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_states_the_newer_one_is_taken() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let person = desk.signed_in(Some("r0"));
    let state = |version, refresh: &str| PersonState {
        version,
        refresh: Some(Secret::new(refresh)),
        tokens: Vec::new(),
    };
    for (version, refresh, taken) in [
        (1, "x", false),
        (0, "x", false),
        (5, "r5", true),
        (4, "x", false),
    ] {
        assert_eq!(
            person.catch_up(&state(version, refresh)),
            taken,
            "{version}"
        );
    }
    assert_eq!((person.version(), is(&person.state(), "r5")), (5, true));
    desk.world.rule(|_| Answer::Fail(Class::Ended));
    desk.until_ended().await;
    desk.main(&person).get(ANY, WAIT).await.unwrap_err();
    assert!(!person.catch_up(&state(5, "r5")), "that one was refused");
    assert!(
        person.catch_up(&state(5, "theirs")),
        "as old, and perhaps good"
    );
    desk.world.rule(|_| Answer::Token(HOUR));
    desk.main(&person).get(ANY, WAIT).await.unwrap();
    assert_eq!(desk.sent(), ["r5", "theirs"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_for_a_refresh_token_that_was_replaced_meanwhile_changes_nothing() {
    for refused in [false, true] {
        let mut first = refused;
        let desk = Desk::new(move |_| {
            if std::mem::take(&mut first) {
                Answer::Fail(Class::Ended)
            } else {
                Answer::Token(HOUR)
            }
        });
        desk.rotates();
        let person = desk.signed_in(Some("r0"));
        desk.until_ended().await;
        let handle = desk.main(&person);
        let call = handle.get(ANY, WAIT);
        let again = async {
            sleep(Duration::from_millis(10)).await; // the fetch is under way
            person.deposit(desk.deposit(Some("n0"), "second"));
        };
        let (got, ()) = tokio::join!(call, again);
        got.unwrap();
        sleep(SECOND).await;
        assert!(is(&person.state(), "n0"), "{refused}");
        assert_eq!((person.version(), person.is_over()), (2, false));
        assert!(desk.kept.states.lock().is_empty());
        assert_eq!(desk.kept.late.lock().len(), usize::from(!refused));
        desk.until_ended().await;
        handle.get(ANY, WAIT).await.unwrap();
        let sent = desk.sent();
        assert_eq!((&*sent[0], &*sent[1]), ("r0", "n0"), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_signs_out_has_no_token_any_more() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    let (main, other) = (desk.main(&person), person.handle(&ScopeSet::new(["other"])));
    let under_way = async {
        sleep(Duration::from_millis(10)).await;
        let refresh = person.end().expect("to be revoked");
        assert!(refresh.is(&Secret::new("r0")));
    };
    let (waiting, ()) = tokio::join!(other.get(ANY, WAIT), under_way);
    assert_eq!(waiting.unwrap_err().kind, ErrorKind::SignInAgain);
    assert!(main.current(desk.world.clock.now(), ANY).is_none());
    assert_eq!(
        main.get(ANY, WAIT).await.unwrap_err().kind,
        ErrorKind::SignInAgain
    );
    let fresh = desk.main(&person).get(ANY, WAIT).await;
    assert_eq!(fresh.unwrap_err().kind, ErrorKind::SignInAgain);
    sleep(SECOND).await;
    let late = desk.kept.late.lock();
    assert!(
        late.len() == 1 && late[0].is(&Secret::new("r1")),
        "to be revoked, too"
    );
    assert!(desk.kept.states.lock().is_empty());
    person.deposit(desk.deposit(Some("n0"), "second"));
    assert!(
        person.is_over() && person.end().is_none(),
        "the end is the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_of_a_person_is_replaced_once() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    desk.rotates();
    let person = desk.signed_in(Some("r0"));
    let handle = desk.main(&person);
    let first = handle.get(ANY, WAIT).await.unwrap();
    let got = join_all((0..50).map(|_| handle.replace(&first, WAIT))).await;
    assert!(
        got.iter()
            .all(|ready| text(ready.as_ref().unwrap()) == "t1")
    );
    let second = got.into_iter().next().unwrap().unwrap();
    let error = handle.replace(&second, WAIT).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RecentlyReplaced);
    assert_eq!(desk.sent(), ["r0"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_people_who_have_gone() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let own = desk.world.handle();
    for _ in 0..1000 {
        let person = desk.signed_in(Some("r0"));
        let handle = desk.main(&person);
        handle.get(ANY, WAIT).await.unwrap();
        person.handle(&ScopeSet::new(["other"]));
        drop(person);
        let shared = Arc::downgrade(&handle.shared);
        drop(handle);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(shared.strong_count(), 0);
    }
    let late = desk
        .world
        .service
        .handle(&Arc::new(credential()), &ScopeSet::new(["late"]));
    assert_ne!(late.shared.number, own.shared.number);
    assert_eq!(text(&late.get(ANY, WAIT).await.unwrap()), "t1");
    assert_eq!(text(&own.get(ANY, WAIT).await.unwrap()), "t2");
    let report = desk.world.service.report();
    assert_eq!(report.as_array().unwrap().len(), 2, "people are not listed");
    let metrics = {
        let now = desk.world.clock.now();
        crate::metrics::text::open_metrics(&desk.world.metrics.scrape(now))
    };
    assert!(!metrics.contains("credential=\"web\""), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_people_who_do_nothing_cost_nothing() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let people: Vec<_> = (0..50_000).map(|_| desk.signed_in(Some("r0"))).collect();
    let busy = desk.main(&people[7]);
    for person in &people {
        desk.main(person);
    }
    sleep(SECOND).await;
    let looks = || desk.world.service.registry.looks.load(Ordering::Relaxed);
    let before = looks();
    desk.world.calls_for(&busy, 50 * MINUTE).await;
    let looked = looks() - before;
    assert!(looked <= 10, "{looked} looks in a hundred wakes");
    assert_eq!(desk.world.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_after_a_break_has_the_token_renewed_behind_the_calls() {
    let desk = Desk::new(|_| Answer::Token(HOUR));
    let person = desk.signed_in(Some("r0"));
    let handle = desk.main(&person);
    sleep(50 * MINUTE).await;
    let fetches = desk.world.fetches();
    let ready = handle.get(ANY, WAIT).await.unwrap();
    assert_eq!((text(&ready), fetches), ("first", 0), "nobody waits for it");
    sleep(SECOND).await;
    assert_eq!(text(&handle.get(ANY, WAIT).await.unwrap()), "t1");
}
