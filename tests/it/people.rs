//! People who sign in with a browser: what they are answered, what the service sees, and what a
//! provider cannot make us believe.

use std::thread;

use itwin_auth_proxy::{
    clock::Clock,
    sandbox::{SignInFault, Times},
};
use serde_json::json;

use crate::support::{
    client::Answer,
    origin::{self, Origin},
    people::{self, Browser, NAVIGATION, PUBLIC, SCRIPT},
    wait,
};

fn hello() -> Origin {
    origin::serving(|mut connection| {
        while connection.request().is_some() {
            connection.send(origin::ok("hello"));
        }
    })
}

/// One that can be moved.
fn clock() -> Clock {
    Clock::for_tests(Clock::system().now().wall)
}

fn bearer(request: &origin::Request) -> String {
    request
        .field("authorization")
        .unwrap_or_default()
        .to_owned()
}

/// Refused by us, for a program.
fn is_challenged(answer: &Answer) {
    answer.is_refused(401, "SignInRequired");
    assert!(
        answer
            .field("www-authenticate")
            .unwrap()
            .starts_with("Session ")
    );
    assert!(answer.field("location").is_none());
}

fn location(answer: &Answer) -> String {
    answer.field("location").unwrap_or_default().to_owned()
}

#[test]
fn who_opens_a_page_signs_in_and_comes_back_to_it_by_two_redirects_of_ours() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    let first = ada.navigate("/app?a=b%2Fc&d");
    assert_eq!(first.status(), 302);
    assert!(location(&first).starts_with(provider.issuer()), "{first:?}");
    let mut to = url::Url::parse(&location(&first)).unwrap();
    // the provider's own steps
    let back = loop {
        let answer = ada.at_provider(&to);
        to = to.join(answer.field("location").unwrap()).unwrap();
        if to.as_str().starts_with(PUBLIC) {
            break to;
        }
    };
    let second = ada.navigate(&people::path_of(&back));
    assert_eq!(
        (second.status(), location(&second).as_str()),
        (303, "/app?a=b%2Fc&d")
    );
    let page = ada.navigate("/app?a=b%2Fc&d");
    page.is_the_upstreams(200);
    let seen = origin.request();
    assert!(bearer(&seen).starts_with("Bearer ey"), "{seen:?}");
    assert_eq!(seen.field("cookie"), None, "our cookies go no further");
    // neither here nor there
    assert_eq!(ada.names(), ["__Host-itwin-auth"]);
    assert!(!format!("{first:?}{second:?}{page:?}").contains(&bearer(&seen)[7..]));
    assert_eq!(provider.counts().code_exchanges, 1);
}

#[test]
fn only_a_navigation_is_sent_away() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut nobody = Browser::of(&proxy);
    is_challenged(&nobody.fetch("/api"));
    let socket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    is_challenged(&nobody.send("GET", "/socket", &format!("{SCRIPT}{socket}"), ""));
    // what was sent would be lost
    let form = nobody.send("POST", "/form", NAVIGATION, "a=b");
    assert_eq!(form.status(), 401);
    assert!(read(&form).contains("/.itwin-auth/login"), "{form:?}");
    let frame = NAVIGATION.replace("document", "iframe");
    assert_eq!(nobody.send("GET", "/frame", &frame, "").status(), 401);
    assert!(nobody.cookies.is_empty(), "{:?}", nobody.cookies);
    assert!(origin.requests().is_empty());
}

#[test]
fn whoever_is_signed_in_is_told_to_the_front_end_without_a_token() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    let before = ada.fetch("/.itwin-auth/session");
    assert_eq!(before.json()["signed_in"], false);
    ada.sign_in("/");
    let told = ada.fetch("/.itwin-auth/session");
    let told_ = told.json();
    assert_eq!(told_["signed_in"], true, "{told_}");
    assert_eq!(told_["email"], people::ADA);
    assert_eq!(told_["ends_in"].as_u64().unwrap() / 60, 719);
    assert!(!told.text().contains("ey"), "{told:?}");
    assert_eq!(told.field("cache-control"), Some("no-store"));
}

#[test]
fn a_hundred_requests_at_the_moment_of_expiry_cause_one_refresh() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider.in_front_of(&origin).start_by(clock.clone());
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/").is_the_upstreams(200);
    let first = bearer(&origin.request());
    clock.jump(3601 * 1000);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let tabs: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| ada.ask("GET", "/api", SCRIPT, "")))
            .collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    assert!(
        answers.iter().all(|answer| answer.status() == 200),
        "{answers:?}"
    );
    let counts = provider.counts();
    assert_eq!((counts.refreshes, counts.refresh_reuses), (1, 0));
    let seen = origin.requests();
    let tokens: std::collections::BTreeSet<String> = seen[1..].iter().map(bearer).collect();
    assert_eq!(tokens.len(), 1);
    assert!(!tokens.contains(&first));
    // each was given the newer session, and any of them does
    for answer in answers.iter().take(3) {
        assert!(answer.field("set-cookie").is_some(), "{answer:?}");
    }
    ada.fetch("/api").is_the_upstreams(200);
}

#[test]
fn a_cookie_is_enough_after_a_restart_and_its_newest_refresh_token_is_in_it() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider.in_front_of(&origin).start_by(clock.clone());
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    clock.jump(3601 * 1000);
    ada.fetch("/api").is_the_upstreams(200);
    drop(proxy);
    let proxy = provider.in_front_of(&origin).start_by(clock.clone());
    let mut ada = ada.at(&proxy);
    clock.jump(3601 * 1000);
    ada.fetch("/api").is_the_upstreams(200);
    let counts = provider.counts();
    assert_eq!(
        (
            counts.code_exchanges,
            counts.refreshes,
            counts.refresh_reuses
        ),
        (1, 2, 0)
    );
    // another key opens nothing, and takes it away
    drop(proxy);
    let proxy = provider
        .in_front_of(&origin)
        .with("sessions.web.key", "another key for cookies, just as long")
        .start();
    let mut ada = ada.at(&proxy);
    is_challenged(&ada.fetch("/api"));
    assert!(ada.cookies.is_empty(), "{:?}", ada.cookies);
}

#[test]
fn a_directory_keeps_sessions_and_the_cookie_is_a_handle() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let directory = tempfile::TempDir::new().unwrap();
    let start = || {
        let kept = provider
            .in_front_of(&origin)
            .with("sessions.web.store", "directory");
        let kept = kept.with("sessions.web.directory", directory.path().to_str().unwrap());
        kept.start_by(clock.clone())
    };
    let proxy = start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    assert!(ada.cookies["__Host-itwin-auth"].len() < 120);
    clock.jump(3601 * 1000);
    // on disk before it is used: so it is there when this has been answered
    ada.fetch("/api").is_the_upstreams(200);
    drop(proxy);
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files(), 1);
    let proxy = start();
    let mut ada = ada.at(&proxy);
    clock.jump(3601 * 1000);
    ada.fetch("/api").is_the_upstreams(200);
    assert_eq!(provider.counts().refresh_reuses, 0);
    ada.send(
        "POST",
        "/.itwin-auth/logout",
        &format!("{SCRIPT}Origin: {PUBLIC}\r\n"),
        "",
    );
    wait::until("the file is gone", || files() == 0);
}

#[test]
fn a_session_ends_when_it_is_not_used_and_when_it_is_old() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider
        .in_front_of(&origin)
        .with("sessions.web.idle", "30m")
        .with("sessions.web.absolute", "2h")
        .start_by(clock.clone());
    let minutes = |minutes: i64| clock.jump(minutes * 60 * 1000);
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    for _ in 0..3 {
        minutes(29);
        ada.fetch("/api").is_the_upstreams(200);
        // who only looks does not prolong it
        ada.fetch("/.itwin-auth/session");
    }
    let before = ada.clone();
    minutes(31);
    is_challenged(&ada.fetch("/api"));
    assert!(ada.cookies.is_empty());
    let mut copy = before;
    is_challenged(&copy.fetch("/api"));

    ada.sign_in("/");
    for _ in 0..4 {
        minutes(28);
        ada.fetch("/api").is_the_upstreams(200);
    }
    minutes(10);
    is_challenged(&ada.fetch("/api"));
}

#[test]
fn who_signs_out_is_signed_out_at_the_provider_and_a_copy_of_the_cookie_is_nobody() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    let mut copy = ada.clone();
    // a link of another site asks first
    let other = NAVIGATION.replace("Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site");
    let asked = ada.send("GET", "/.itwin-auth/logout", &other, "");
    assert_eq!(asked.status(), 200, "{asked:?}");
    copy.fetch("/api").is_the_upstreams(200);
    // its form is refused
    let posted = format!("{other}Origin: https://evil.example\r\n");
    let refused = ada.send("POST", "/.itwin-auth/logout", &posted, "");
    assert_eq!(refused.status(), 403, "{refused:?}");

    let away = ada.send(
        "POST",
        "/.itwin-auth/logout",
        &format!("{NAVIGATION}Origin: {PUBLIC}\r\n"),
        "",
    );
    assert_eq!(away.status(), 303);
    let to = location(&away);
    assert!(
        to.starts_with(provider.issuer()) && to.contains("id_token_hint=ey"),
        "{to}"
    );
    assert!(ada.cookies.is_empty());
    is_challenged(&copy.fetch("/api"));
    wait::until("the refresh token is revoked", || {
        provider.counts().refresh_tokens_revoked == 1
    });
    let end = ada.follow(away);
    assert!(read(&end).contains("/.itwin-auth/login"), "{end:?}");
}

#[test]
fn what_a_page_of_another_site_asks_is_not_done() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider
        .in_front_of(&origin)
        .with("sessions.web.origins", json!(["https://spa.example"]))
        .start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    let before = origin.requests().len();
    let socket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let refused = [
        (
            "POST",
            "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n".to_owned(),
        ),
        (
            "DELETE",
            "Sec-Fetch-Site: same-site\r\nOrigin: https://evil.example\r\n".to_owned(),
        ),
        ("POST", "Origin: https://evil.example\r\n".to_owned()),
        ("POST", "Origin: null\r\n".to_owned()),
        ("GET", format!("{socket}Origin: https://evil.example\r\n")),
    ];
    for (method, fields) in refused {
        let answer = ada.send(method, "/api", &fields, "");
        answer.is_refused(403, "CrossSite");
    }
    assert_eq!(origin.requests().len(), before);
    ada.send("POST", "/api", &format!("{SCRIPT}Origin: {PUBLIC}\r\n"), "")
        .is_the_upstreams(200);
    let other = "Sec-Fetch-Site: cross-site\r\nOrigin: https://spa.example\r\n";
    let shared = ada.send("POST", "/api", other, "");
    shared.is_the_upstreams(200);
    assert_eq!(
        shared.field("access-control-allow-origin"),
        Some("https://spa.example")
    );
    // never challenged: it has no cookies
    let ask = |origin: &str| {
        let fields = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a\r\n"
        );
        Browser::of(&proxy).send("OPTIONS", "/api", &fields, "")
    };
    let yes = ask("https://spa.example");
    assert_eq!(yes.status(), 204);
    assert_eq!(yes.field("access-control-allow-credentials"), Some("true"));
    let no = ask("https://evil.example");
    assert!(no.status() < 400 || no.status() == 403, "{no:?}");
    assert_eq!(no.field("access-control-allow-origin"), None);
}

#[test]
fn a_refresh_token_that_is_refused_ends_the_session_and_a_page_signs_in_again() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider.in_front_of(&origin).start_by(clock.clone());
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    provider
        .faults()
        .sign_in(SignInFault::RefreshRefused, Times::Always);
    clock.jump(3601 * 1000);
    let mut tab = ada.clone();
    is_challenged(&tab.fetch("/api"));
    let page = ada.navigate("/app?x=1");
    assert_eq!(page.status(), 302, "{page:?}");
    provider.faults().clear().unwrap();
    provider.faults().visitor(people::ADA);
    let back = ada.follow(page);
    back.is_the_upstreams(200);
    assert_eq!(origin.requests().last().unwrap().request(), "GET /app?x=1");
}

/// Faults of a provider, and what a person is told.
fn hostile() -> Vec<(SignInFault, u16)> {
    use SignInFault as F;
    let duplicate = |name: &str| F::Duplicate {
        name: name.to_owned(),
    };
    vec![
        (F::WrongState, 400),
        (F::MissingState, 400),
        (F::MissingIss, 400),
        (F::ForeignIss, 400),
        (duplicate("code"), 400),
        (duplicate("state"), 400),
        (duplicate("iss"), 400),
        (F::HtmlInError, 503),
        (
            F::Refuse {
                error: "access_denied".to_owned(),
            },
            403,
        ),
        (F::WrongNonce, 502),
        (F::MissingNonce, 502),
        (F::WrongAtHash, 502),
        (F::MissingSubject, 502),
        (F::WrongIssuer, 502),
        (F::OtherClient, 502),
        (F::OtherParty, 502),
        (F::TwoAudiences, 502),
        (F::Expired, 502),
        (F::FromTheFuture, 502),
        (F::ForeignKey, 502),
        (F::AlgNone, 502),
        (F::Hs256, 502),
        (F::LogoutToken, 502),
        (F::AccessToken, 502),
        (F::PushRefused, 502),
    ]
}

#[test]
fn nothing_that_a_hostile_provider_says_signs_anybody_in() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider
        .in_front_of(&origin)
        .with("sessions.web.sign_ins_per_minute", 1000)
        .start();
    let mut others = Vec::new();
    for (fault, status) in hostile() {
        let mut ada = Browser::of(&proxy);
        provider.faults().sign_in(fault.clone(), Times::Next(1));
        let page = ada.sign_in("/app");
        if page.status() != status {
            others.push((fault.clone(), page.status()));
        }
        is_a_page_with_a_way_on(&page, &format!("{fault:?}"));
        let session = ada.names().into_iter().find(|name| !name.contains(".tx-"));
        assert_eq!(session, None, "{fault:?}");
        // and the next one is let in
        let page = ada.sign_in("/app");
        assert_eq!(page.status(), 200, "after {fault:?}: {page:?}");
    }
    assert_eq!(others, [], "answered with another status");
}

/// What a page says, with its slashes.
fn read(page: &Answer) -> String {
    page.text().replace("&#x2f;", "/")
}

fn is_a_page_with_a_way_on(page: &Answer, about: &str) {
    assert!(
        page.field("content-type")
            .unwrap_or_default()
            .starts_with("text/html"),
        "{about}: {page:?}"
    );
    let text = read(page);
    assert!(text.contains("/.itwin-auth/login"), "{about}: {text}");
    assert!(
        !text.contains("<script") && !text.contains("<img"),
        "{about}: {text}"
    );
    assert!(page.field("content-security-policy").is_some(), "{about}");
}

#[test]
fn a_registration_of_former_days_signs_in_by_a_form_and_is_renewed_without_anybody() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    let proxy = provider.of_former_days(&origin).start_by(clock.clone());
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/app").is_the_upstreams(200);
    let first = bearer(&origin.request());
    // in its last quarter a page is opened by way of the provider
    clock.jump(46 * 60 * 1000);
    ada.fetch("/api").is_the_upstreams(200);
    let page = ada.navigate("/app");
    assert!(location(&page).contains("prompt=none"), "{page:?}");
    ada.follow(page).is_the_upstreams(200);
    wait::until("the newer token is sent", || {
        ada.ask("GET", "/api", SCRIPT, "").is_the_upstreams(200);
        bearer(origin.requests().last().unwrap()) != first
    });
    let second = bearer(origin.requests().last().unwrap());
    assert_eq!(provider.counts().refreshes, 0);
    // and where the provider would ask, the page comes all the same
    clock.jump(46 * 60 * 1000);
    provider.faults().sign_in(
        SignInFault::Refuse {
            error: "login_required".to_owned(),
        },
        Times::Always,
    );
    ada.sign_in("/app").is_the_upstreams(200);
    assert_eq!(bearer(origin.requests().last().unwrap()), second);
    ada.navigate("/app").is_the_upstreams(200);
    for fault in [
        SignInFault::WrongAtHash,
        SignInFault::MissingAtHash,
        SignInFault::WrongNonce,
    ] {
        let mut new = Browser::of(&proxy);
        provider.faults().sign_in(fault.clone(), Times::Next(1));
        let page = new.sign_in("/app");
        assert_eq!(page.status(), 502, "{fault:?}: {page:?}");
    }
}

#[test]
fn a_sign_in_ends_once_and_in_the_browser_that_began_it() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    let mut to = url::Url::parse(&location(&ada.navigate("/app"))).unwrap();
    while !to.as_str().starts_with(PUBLIC) {
        let answer = ada.at_provider(&to);
        to = to.join(answer.field("location").unwrap()).unwrap();
    }
    let back = people::path_of(&to);
    let mut thief = Browser::of(&proxy);
    let page = thief.navigate(&back);
    assert_eq!(page.status(), 400);
    is_a_page_with_a_way_on(&page, "another browser");
    assert_eq!(ada.navigate(&back).status(), 303);
    let again = ada.navigate(&back);
    assert_eq!(again.status(), 400);
    is_a_page_with_a_way_on(&again, "twice");
    ada.fetch("/api").is_the_upstreams(200);
    assert_eq!(provider.counts().code_exchanges, 1);
    for odd in [
        "",
        "?code=x",
        "?state=x",
        "?code=a&state=b",
        "?error=x&state=b",
        "?code=a&code=b&state=c",
    ] {
        let page = ada.navigate(&format!("/.itwin-auth/callback{odd}"));
        assert!(matches!(page.status(), 400 | 502), "{odd}: {page:?}");
        is_a_page_with_a_way_on(&page, odd);
    }
}

#[test]
fn errors_of_sign_ins_lead_people_and_programs_to_the_page_that_explains_them() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin);
    let proxy = proxy
        .with("errors", json!({"help": "https://help.test/errors"}))
        .start();
    let mut ada = Browser::of(&proxy);
    let page = ada.navigate("/.itwin-auth/callback?code=x");
    let code = "<code>SignInFailed</code>, <a href=\"https:&#x2f;&#x2f;help.test&#x2f;errors#signinfailed\">";
    assert!(page.text().contains(code), "{}", page.text());
    let refused = ada.fetch("/api");
    is_challenged(&refused);
    let details = refused.json()["error"]["details"].clone();
    let help = json!({"code": "Help", "message": "https://help.test/errors#signinrequired"});
    assert!(details.as_array().unwrap().contains(&help), "{details}");
}

#[test]
fn a_browser_that_keeps_its_cookies_ends_no_sign_in_twice_and_asks_the_provider_once() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut eve = Browser::of(&proxy);
    let mut to = url::Url::parse(&location(&eve.navigate("/app"))).unwrap();
    while !to.as_str().starts_with(PUBLIC) {
        let answer = eve.at_provider(&to);
        to = to.join(answer.field("location").unwrap()).unwrap();
    }
    let back = people::path_of(&to);
    let before = eve.clone();
    assert_eq!(before.ask("GET", &back, NAVIGATION, "").status(), 303);
    for _ in 0..20 {
        assert_eq!(before.ask("GET", &back, NAVIGATION, "").status(), 400);
    }
    let other = back.replace("code=", "code=x");
    assert_eq!(before.ask("GET", &other, NAVIGATION, "").status(), 400);
    assert_eq!(provider.counts().code_exchanges, 1);
}

#[test]
fn a_session_that_was_replaced_does_not_come_back_after_a_restart() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let directory = tempfile::TempDir::new().unwrap();
    let store = directory.path().join("tokens");
    let start = || {
        let kept = json!({"path": store.to_str().unwrap(), "key": people::KEY});
        provider
            .in_front_of(&origin)
            .with("token_store", kept)
            .start()
    };
    let proxy = start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    let copy = ada.clone();
    provider.faults().visitor("emil@sandbox.example");
    let again = ada.navigate("/.itwin-auth/login");
    ada.follow(again).is_the_upstreams(200);
    is_challenged(&copy.clone().fetch("/api"));
    wait::until("that is written", || {
        store.with_extension("revoked").exists()
            || std::fs::read_dir(directory.path()).unwrap().count() > 1
    });
    drop(proxy);
    let proxy = start();
    is_challenged(&copy.at(&proxy).fetch("/api"));
    ada.at(&proxy).fetch("/api").is_the_upstreams(200);
}

#[test]
fn the_provider_may_be_down_when_the_proxy_starts_and_people_are_told_so() {
    let origin = hello();
    let nobody = origin::nobody();
    let provider = people::provider(&Clock::system());
    let proxy = provider
        .in_front_of(&origin)
        .with("providers.idp.issuer", format!("http://{nobody}"))
        .start();
    let page = Browser::of(&proxy).navigate("/app");
    assert_eq!(page.status(), 503, "{page:?}");
    is_a_page_with_a_way_on(&page, "down");
}

#[test]
fn a_service_that_gets_no_token_is_told_who_asks_and_callers_cannot_say_it() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider
        .in_front_of(&origin)
        .with(
            "routes",
            json!([{"admit": {"session": "web"}, "upstream": origin.url()}]),
        )
        .start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/");
    ada.send(
        "GET",
        "/app",
        &format!("{NAVIGATION}X-Itwin-Email: eve@evil.example\r\nX_Itwin_Subject: eve\r\n"),
        "",
    );
    let seen = origin.requests();
    let seen = seen.last().unwrap();
    assert_eq!(seen.field("authorization"), None);
    assert_eq!(seen.all("x-itwin-email"), [people::ADA]);
    assert_eq!(seen.field("x-itwin-caller"), Some("person"));
    assert!(!format!("{seen:?}").contains("eve"));
}

#[test]
fn what_streams_ends_with_the_session() {
    let clock = clock();
    let provider = people::provider(&clock);
    let origin = origin::serving(|mut connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun");
        }
    });
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    // its answer never ends; the redirects before do
    let mut answer = ada.navigate("/stream");
    while location(&answer) != "/stream" {
        let to = url::Url::parse(&location(&answer)).unwrap();
        answer = if to.as_str().starts_with(PUBLIC) {
            ada.navigate(&people::path_of(&to))
        } else {
            ada.at_provider(&to)
        };
    }
    let cookie = &ada.cookies["__Host-itwin-auth"];
    let mut stream = proxy.connect();
    stream.send(format!(
        "GET /stream HTTP/1.1\r\nHost: localhost:8080\r\nCookie: __Host-itwin-auth={cookie}\r\n\r\n"
    ));
    assert_eq!(stream.head().status(), 200);
    assert_eq!(stream.exactly(5), b"begun");
    ada.send(
        "POST",
        "/.itwin-auth/logout",
        &format!("{SCRIPT}Origin: {PUBLIC}\r\n"),
        "",
    );
    assert_eq!(stream.until_closed(), b"");
}

#[test]
fn sign_ins_of_one_address_are_counted() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider
        .in_front_of(&origin)
        .with("sessions.web.sign_ins_per_minute", 3)
        .start();
    let mut nobody = Browser::of(&proxy);
    for _ in 0..3 {
        assert_eq!(nobody.navigate("/").status(), 302);
    }
    let page = nobody.navigate("/");
    assert_eq!(page.status(), 429);
    assert!(page.field("retry-after").is_some());
}

#[test]
fn people_stay_signed_in_when_the_rules_of_their_session_change() {
    let clock = clock();
    let (provider, origin) = (people::provider(&clock), hello());
    for store in ["cookie", "memory"] {
        let proxy = provider.in_front_of(&origin);
        let proxy = proxy.with("sessions.web.store", store);
        let proxy = proxy.start_by(clock.clone());
        let mut ada = Browser::of(&proxy);
        ada.sign_in("/app").is_the_upstreams(200);
        let before = provider.counts().code_exchanges;
        let said = proxy.reload(|config| {
            config["sessions"]["web"]["store"] = store.into();
            config["sessions"]["web"]["idle"] = "2h".into();
        });
        assert_eq!(said.unwrap()["result"], "applied");
        ada.navigate("/app").is_the_upstreams(200);
        assert_eq!(provider.counts().code_exchanges, before, "{store}");
        // and the new rules hold
        clock.jump(2 * 3_600_000 + 1000);
        is_challenged(&ada.fetch("/app"));
    }
}

#[test]
fn sessions_that_are_configured_no_longer_end() {
    let (provider, origin) = (people::provider(&Clock::system()), hello());
    let proxy = provider.in_front_of(&origin).start();
    let mut ada = Browser::of(&proxy);
    ada.sign_in("/app").is_the_upstreams(200);
    let without = |config: &mut serde_json::Value| {
        config["sessions"] = json!({});
        config["routes"][0]["admit"] = json!("anyone");
        config["routes"][0]["inject"] = serde_json::Value::Null;
    };
    proxy.reload(without).unwrap();
    ada.navigate("/app").is_the_upstreams(200);
    assert_eq!(
        origin.requests().last().unwrap().field("authorization"),
        None
    );
    // they come back, and nobody who signed in before
    proxy.reload(|_| {}).unwrap();
    is_challenged(&ada.fetch("/app"));
}
