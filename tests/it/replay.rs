//! A 401 for a token of ours: a new token, the call once more, once.

use std::thread;

use crate::support::{
    idp::{self, Idp},
    origin::{self, Origin},
    proxy::{self, Builder, get, with_body, with_fields},
};

const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 7\r\n\r\nexpired";

/// Refuses every token but this one.
fn wanting(token: &'static str) -> Origin {
    origin::serving(move |mut connection| {
        while let Some(request) = connection.request() {
            let good = request.field("authorization") == Some(&format!("Bearer {token}"));
            let answer = if good {
                origin::ok("hello")
            } else {
                UNAUTHORIZED.to_owned()
            };
            connection.send(answer);
        }
    })
}

fn between(origin: &Origin, idp: &Idp) -> Builder {
    proxy::to(origin).injecting(idp)
}

fn tokens(origin: &Origin) -> Vec<String> {
    let token =
        |request: &origin::Request| request.field("authorization").unwrap_or("-").to_owned();
    origin.requests().iter().map(token).collect()
}

#[test]
fn a_refused_token_is_replaced_and_the_call_succeeds() {
    let (origin, idp) = (wanting("token-2"), idp::issuing());
    let proxy = between(&origin, &idp).start();
    let answer = proxy.get("/imodels?a=b");
    answer.is_the_upstreams(200);
    assert_eq!(answer.text(), "hello");
    assert_eq!(tokens(&origin), ["Bearer token-1", "Bearer token-2"]);
    assert!(
        origin
            .requests()
            .iter()
            .all(|r| r.request() == "GET /imodels?a=b")
    );
    proxy.get("/").is_the_upstreams(200);
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn the_body_is_sent_again_from_memory_or_from_a_file() {
    for size in [1_usize, 1000, 5000, 70_000] {
        for framing in ["length", "chunks"] {
            let (origin, idp) = (wanting("token-2"), idp::issuing());
            let proxy = between(&origin, &idp)
                .route("replay.memory", "1KiB")
                .route("replay.total", "128KiB")
                .start();
            let body: String = (0..size)
                .map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap()))
                .collect();
            let request = if framing == "length" {
                with_body("POST", "/", &body)
            } else {
                let head = with_fields("POST", "/", "Transfer-Encoding: chunked\r\n");
                format!("{head}{size:x}\r\n{body}\r\n0\r\n\r\n")
            };
            proxy.send(request).is_the_upstreams(200);
            let bodies: Vec<_> = origin
                .requests()
                .iter()
                .map(|r| r.body == body.as_bytes())
                .collect();
            assert_eq!(bodies, [true, true], "{size} {framing}");
        }
    }
}

#[test]
fn a_body_past_the_bound_is_not_sent_again_and_the_401_says_why() {
    for framing in ["length", "chunks"] {
        let (origin, idp) = (wanting("token-2"), idp::issuing());
        let proxy = between(&origin, &idp)
            .route("replay.memory", "1KiB")
            .route("replay.total", "4KiB")
            .start();
        let body = "x".repeat(5000);
        let request = if framing == "length" {
            with_body("POST", "/", &body)
        } else {
            with_fields("POST", "/", "Transfer-Encoding: chunked\r\n")
                + &format!("1388\r\n{body}\r\n0\r\n\r\n")
        };
        let answer = proxy.send(request);
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.text(), "expired");
        let why = answer.field("proxy-status").expect("a reason");
        assert!(
            why.starts_with("itwin-auth-proxy") && why.contains("too large"),
            "{why}"
        );
        assert_eq!(
            answer.field("www-authenticate"),
            Some("Bearer error=\"invalid_token\"")
        );
        assert_eq!(tokens(&origin), ["Bearer token-1"]);
        // the token was replaced all the same
        proxy.get("/").is_the_upstreams(200);
    }
}

#[test]
fn a_401_before_the_body_was_read_is_still_replayed_whole() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.head() {
            if request.field("authorization") == Some("Bearer token-2") {
                let body = connection.body(&request);
                connection.send(origin::ok(&format!("{} bytes", body.len())));
            } else {
                connection.send(
                    UNAUTHORIZED.replace("Content-Length", "Connection: close\r\nContent-Length"),
                );
                // as RFC 9112 section 9.6 wants it: a reset would destroy the answer
                connection.finish();
                connection.until_closed();
                return;
            }
        }
    });
    let idp = idp::issuing();
    let proxy = between(&origin, &idp).start();
    let mut client = proxy.connect();
    client.send(with_fields("POST", "/", "Content-Length: 40000\r\n") + &"x".repeat(20_000));
    origin.wait_for(1);
    client.send("x".repeat(20_000));
    let answer = client.answer();
    answer.is_the_upstreams(200);
    assert_eq!(answer.text(), "40000 bytes");
}

#[test]
fn a_body_that_waits_for_100_is_sent_once_with_the_good_token() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.head() {
            if request.field("authorization") == Some("Bearer token-2") {
                connection.send("HTTP/1.1 100 Continue\r\n\r\n");
                let body = connection.body(&request);
                connection.send(origin::ok(&format!("{} bytes", body.len())));
            } else {
                connection.send(UNAUTHORIZED);
                assert!(
                    connection.until_closed().is_empty(),
                    "the body was sent with a bad token"
                );
                return;
            }
        }
    });
    let idp = idp::issuing();
    let proxy = between(&origin, &idp).start();
    let mut client = proxy.connect();
    client.send(with_fields(
        "POST",
        "/",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ));
    assert_eq!(client.head().status(), 100);
    let answer = client.send("12345").answer();
    answer.is_the_upstreams(200);
    assert_eq!(answer.text(), "5 bytes");
}

#[test]
fn only_a_401_is_answered_with_a_new_token() {
    for status in [
        "403 Forbidden",
        "429 Too Many Requests",
        "400 Bad Request",
        "503 Service Unavailable",
        "407 Proxy Authentication Required",
    ] {
        let origin = origin::answering([origin::answer(status, "Retry-After: 3\r\n", "no")]);
        let idp = idp::issuing();
        let answer = between(&origin, &idp).start().get("/");
        answer.is_the_upstreams(status[..3].parse().unwrap());
        assert_eq!(answer.text(), "no");
        assert_eq!(answer.field("retry-after"), Some("3"));
        assert_eq!(origin.requests().len(), 1, "{status}");
        assert_eq!(idp.requests().len(), 1);
    }
}

#[test]
fn a_client_that_is_not_registered_is_told_so_and_fetches_no_token_per_call() {
    let (origin, idp) = (wanting("another"), idp::issuing());
    let proxy = between(&origin, &idp).start();
    for _ in 0..20 {
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.text(), "expired");
    }
    let asked = idp.requests().len();
    assert!(asked <= 3, "{asked} token requests");
    let sent = origin.requests().len();
    assert!(sent <= 23, "{sent} requests for 20 calls");
}

#[test]
fn a_401_for_a_token_that_is_not_ours_is_the_callers_affair() {
    let (origin, idp) = (wanting("none"), idp::issuing());
    let proxy = between(&origin, &idp)
        .route("inject.presented_bearer", "keep")
        .start();
    let answer = proxy.send(with_fields("GET", "/", "Authorization: Bearer own\r\n"));
    answer.is_the_upstreams(401);
    assert_eq!(tokens(&origin), ["Bearer own"]);
    assert!(
        idp.requests().len() <= 1,
        "the token of our own is as good as it was"
    );
}

#[test]
fn a_hundred_refused_calls_cost_one_new_token() {
    let (origin, idp) = (wanting("token-2"), idp::issuing());
    let proxy = between(&origin, &idp).start();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let mut client = proxy.connect();
                scope.spawn(move || client.send(get("/")).answer().status())
            })
            .collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), 200);
        }
    });
    assert_eq!(idp.requests().len(), 2);
}

#[test]
fn a_401_while_the_provider_is_down_is_passed_on_with_the_reason() {
    let origin = wanting("token-2");
    let idp = idp::answering(|number, _| match number {
        1 => idp::token(1),
        _ => origin::answer("503 Service Unavailable", "", ""),
    });
    let proxy = between(&origin, &idp).route("inject.wait", "300ms").start();
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.text(), "expired");
    assert!(
        answer
            .field("proxy-status")
            .expect("a reason")
            .contains("token")
    );
}
