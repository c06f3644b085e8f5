//! Orders, questions and lines that go on: who may, and what comes of it.

use std::os::unix::net::UnixListener;

use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::{net::UnixStream, sync::Notify};

use super::*;
use crate::audit::{Event, Steerer};
use crate::{
    health::{Change, Disobeyed, Unchanged},
    secret::Secret,
};

const KEY: &str = "0123456789abcdef";

/// Notes what it is told.
#[derive(Default)]
struct Told {
    all: Mutex<Vec<String>>,
    /// Of an order that takes its time.
    go_on: Notify,
    done: Notify,
}

struct Part(Arc<Told>);

impl Order for Part {
    fn path(&self) -> &'static str {
        "/tell"
    }

    fn obey(&self, body: Bytes) -> BoxFuture<'_, Result<Value, Disobeyed>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&body).into_owned();
            let faults = vec![format!("it says {text}")];
            match text.as_str() {
                "wrong" => return Err(Disobeyed::Wrong(faults)),
                "unknown" => return Err(Disobeyed::Unknown(faults)),
                "refuse" => return Err(Disobeyed::Refused(faults)),
                "panic" => panic!("a bug"),
                "slow" => self.0.go_on.notified().await,
                _ => {}
            }
            self.0.all.lock().push(text);
            self.0.done.notify_one();
            Ok(json!({ "told": true }))
        })
    }
}

impl Question for Part {
    fn path(&self) -> &'static str {
        "/tell"
    }

    fn answer(&self, query: &str) -> Result<Value, Vec<String>> {
        match query {
            "bad" => Err(vec!["bad: is no key".into()]),
            _ => Ok(json!(*self.0.all.lock())),
        }
    }
}

/// A line, and then silence, or lines without end.
struct Lines;

impl Followed for Lines {
    fn path(&self) -> &'static str {
        "/lines"
    }

    fn follow(&self, query: &str) -> Result<BoxStream<'static, Bytes>, Vec<String>> {
        let line = Bytes::from_static(b"a line\n");
        match query {
            "" => Ok(stream::iter([line]).chain(stream::pending()).boxed()),
            "flood" => Ok(stream::repeat(Bytes::from(vec![b'x'; 64 << 10])).boxed()),
            _ => Err(vec!["there is nothing to be asked".into()]),
        }
    }
}

/// What is told to others is less.
struct Private;

impl Report for Private {
    fn name(&self) -> &'static str {
        "log"
    }

    fn report(&self) -> Value {
        json!({ "level": "info", "recent": ["a line"] })
    }

    fn report_afar(&self) -> Value {
        json!({ "level": "info" })
    }
}

struct Steered {
    running: Running,
    told: Arc<Told>,
    directory: tempfile::TempDir,
}

fn steered(change: impl FnOnce(&mut AdminState)) -> Steered {
    let directory = tempfile::tempdir().unwrap();
    let sockets = Sockets {
        unix: Some((
            UnixListener::bind(directory.path().join("s")).unwrap(),
            directory.path().join("s"),
        )),
        ..Sockets::default()
    };
    let told = Arc::new(Told::default());
    let running = run_state(sockets, |state| {
        state.orders = vec![Arc::new(Part(told.clone()))];
        state.questions = vec![Arc::new(Part(told.clone()))];
        state.followed = vec![Arc::new(Lines)];
        state.reports = vec![Arc::new(Private)];
        change(state);
    });
    Steered {
        running,
        told,
        directory,
    }
}

fn key() -> SecretSource {
    SecretSource::Value {
        secret: Secret::new(KEY.to_owned()),
        variable: None,
    }
}

fn with_key(state: &mut AdminState) {
    state.key = Some(key());
}

impl Steered {
    async fn at_socket(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(self.directory.path().join("s"));
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        answer(stream.await.unwrap(), &text).await
    }

    /// Over TCP, with more header lines.
    async fn told(&self, body: &str, more: &str) -> Answer {
        let length = body.len();
        let more = format!("Content-Length: {length}\r\n{more}\r\n{body}");
        let host = self.running.address;
        let text = format!("POST /tell HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}");
        self.running.send(&text).await
    }
}

#[tokio::test]
async fn over_tcp_orders_take_the_key_and_at_the_socket_the_kernels_word() {
    let open = steered(|_| {});
    let refused = open.told("a", "").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("admin.socket"), "{}", refused.body);
    assert_eq!(open.at_socket("POST", "/tell", "b").await.status, 200);
    assert_eq!(*open.told.all.lock(), ["b"]);

    let keyed = steered(with_key);
    assert_eq!(keyed.told("c", "").await.status, 401);
    let wrong = "Authorization: Bearer fedcba9876543210\r\n";
    assert_eq!(keyed.told("d", wrong).await.status, 401);
    let right = format!("Authorization: Bearer {KEY}\r\n");
    let done = keyed.told("e", &right).await;
    assert_eq!((done.status, done.json()), (200, json!({ "told": true })));
    for page in [
        "Origin: http://127.0.0.1\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
    ] {
        let page = keyed.told("f", &format!("{right}{page}")).await;
        assert_eq!(page.status, 403, "a page gives no orders, not even ours");
    }
    assert_eq!(*keyed.told.all.lock(), ["e"]);
}

#[tokio::test]
async fn every_order_is_audited_with_who_gave_it_also_one_that_is_forbidden() {
    let (audit, captured) = crate::audit::Audit::captured(Clock::system());
    let keyed = steered(|state| {
        with_key(state);
        state.audit = audit;
    });
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    let ours = rustix::process::geteuid().as_raw();
    let right = format!("Authorization: Bearer {KEY}\r\n");
    let body = r#"{"credential":"agent","secret":"s"}"#;
    keyed.told(body, "").await;
    keyed.told(body, &right).await;
    keyed.at_socket("POST", "/drain", "").await;
    let ordered = |by, path: &str, about: &str, result| Event::Ordered {
        by,
        order: format!("POST {path}"),
        about: about.into(),
        result,
    };
    assert_eq!(
        captured.take(),
        [
            ordered(Steerer::Key(here), "/tell", "credential agent", "obeyed"),
            ordered(Steerer::Uid(ours), "/drain", "", "obeyed"),
            // counted, and told later
            ordered(Steerer::Anyone(here), "/tell", "", "forbidden"),
        ]
    );
}

/// A list that takes whatever it is told, but for nothing.
struct Listed;

impl Editable for Listed {
    fn path(&self) -> &'static str {
        "/listed"
    }

    fn page(&self, _: usize, _: Moment) -> Value {
        json!({})
    }

    fn change(&self, _: Change, body: &[u8], _: Moment) -> Result<Value, Unchanged> {
        match body {
            b"{}" => Err(Unchanged::Faults(vec!["nothing is named".into()])),
            b"[]" => Err(Unchanged::Full),
            _ => Ok(json!({ "entries": 1 })),
        }
    }

    fn survives(&self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(std::future::ready(true))
    }
}

#[tokio::test]
async fn every_change_of_a_list_is_audited_with_what_came_of_it() {
    let (audit, captured) = crate::audit::Audit::captured(Clock::system());
    let keyed = steered(|state| {
        with_key(state);
        state.editable = vec![Arc::new(Listed)];
        state.audit = audit;
    });
    let right = format!("Authorization: Bearer {KEY}\r\n");
    let json = format!("{right}Content-Type: application/json\r\n");
    let host = keyed.running.address;
    for (method, more, body, status) in [
        ("POST", "", "{}", 401),
        ("DELETE", "", "{}", 401),
        ("DELETE", "", "{}", 401),
        ("GET", "", "", 401),
        ("POST", &*right, "{}", 415),
        ("POST", &*json, "{}", 400),
        ("POST", &*json, "[]", 507),
        (
            "POST",
            &*json,
            r#"[{"sid":"a"},{"sid":"b","issuer":"c"}]"#,
            200,
        ),
        ("DELETE", &*json, r#"{"sid":"a"}"#, 200),
        ("GET", &*right, "", 200),
    ] {
        let length = body.len();
        let text = format!(
            "{method} /listed HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        );
        let answer = keyed.running.send(&text).await;
        assert_eq!(answer.status, status, "{method} {more} {body}");
    }
    let told = captured.take().into_iter().filter(
        // those are counted
        |event| {
            !matches!(
                event,
                Event::Ordered {
                    result: "forbidden",
                    ..
                }
            )
        },
    );
    let told = told.map(|event| match event {
        Event::Ordered {
            by,
            order,
            about,
            result,
        } => (matches!(by, Steerer::Key(_)), order, about, result),
        other => panic!("{other:?}"),
    });
    let expected = [
        (true, "POST", "", "wrong"),
        (true, "POST", "", "wrong"),
        (true, "POST", "", "refused"),
        (true, "POST", "sid a; sid b, issuer c", "obeyed"),
        (true, "DELETE", "sid a", "obeyed"),
    ];
    let expected = expected.map(|(key, method, about, result)| {
        (key, format!("{method} /listed"), about.to_owned(), result)
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn who_may_give_no_orders_cannot_fill_the_audit() {
    let (audit, captured) = crate::audit::Audit::captured(Clock::system());
    let open = steered(|_| {});
    let mut admin = Admin::new(AdminState {
        audit,
        ..state(&open.running.shutdown)
    });
    admin.operators = BTreeSet::new();
    let made_up = (0..1000).map(|number| format!("/{number}"));
    for path in made_up.chain(["/quit".to_owned()]) {
        let request = Request::builder().method("POST").uri(path);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let lease = Lease::default();
        let answer = admin.serve(request, Peer::User(Some(4243)), &lease).await;
        assert_eq!(answer.status(), 403);
    }
    let told = captured.take().into_iter().map(|event| match event {
        Event::Ordered { order, result, .. } => (order, result),
        other => panic!("{other:?}"),
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    let expected = ["POST /quit", "POST another path"].map(|order| (order.to_owned(), "forbidden"));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn at_the_socket_drain_and_quit_need_no_other_permission() {
    let open = steered(|_| {});
    assert_eq!(open.running.ask("POST", "/drain", "").await.status, 403);
    assert_eq!(open.at_socket("POST", "/drain", "").await.status, 202);
    let waiting = open.running.readiness.waiting();
    assert!(waiting.contains(&"shutting down".into()));
    assert_eq!(open.at_socket("POST", "/quit", "").await.status, 202);
    open.running.shutdown.asked().await;
}

#[tokio::test]
async fn whom_the_socket_is_not_for_learns_nothing_there() {
    let open = steered(|_| {});
    let mut admin = Admin::new(AdminState {
        followed: vec![Arc::new(Lines)],
        uids: vec![4242],
        allow_quit: true,
        ..state(&open.running.shutdown)
    });
    let ours = rustix::process::geteuid().as_raw();
    assert_eq!(admin.operators, BTreeSet::from([0, ours, 4242]));
    admin.operators = BTreeSet::from([4242]);
    for (peer, expected) in [
        (Some(4242), [200, 200, 202, 200]),
        (Some(4243), [403; 4]),
        // the kernel does not say
        (None, [403; 4]),
    ] {
        for ((method, path), expected) in [
            ("GET", "/live"),
            ("GET", "/status"),
            ("POST", "/drain"),
            ("GET", "/lines"),
        ]
        .into_iter()
        .zip(expected)
        {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Full::<Bytes>::default()).unwrap();
            let lease = Lease::default();
            let answer = admin.serve(request, Peer::User(peer), &lease).await;
            assert_eq!(answer.status(), expected, "{peer:?} {path}");
        }
    }
}

#[tokio::test]
async fn an_order_that_fails_says_how() {
    let open = steered(|_| {});
    for (body, status, code) in [
        ("wrong", 400, "InvalidRequest"),
        ("unknown", 404, "NotFound"),
        ("refuse", 422, "OrderRefused"),
    ] {
        let failed = open.at_socket("POST", "/tell", body).await;
        let error = &failed.json()["error"];
        assert_eq!((failed.status, &error["code"]), (status, &json!(code)));
        assert_eq!(error["details"][0]["message"], format!("it says {body}"));
        let help = &error["details"][1];
        assert!(help["message"].as_str().unwrap().contains(code), "{help}");
    }
    assert_eq!(open.at_socket("POST", "/tell", "panic").await.status, 500);
    assert_eq!(open.running.metrics.panics.get(), 1);
    assert_eq!(open.at_socket("PUT", "/tell", "").await.status, 405);
    let large = "x".repeat(65 << 10);
    assert_eq!(open.at_socket("POST", "/tell", &large).await.status, 413);
    assert!(open.told.all.lock().is_empty());
}

#[tokio::test]
async fn an_order_is_carried_out_though_its_sender_has_gone() {
    let open = steered(|_| {});
    let path = open.directory.path().join("s");
    let mut stream = UnixStream::connect(path).await.unwrap();
    let order = "POST /tell HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nslow";
    stream.write_all(order.as_bytes()).await.unwrap();
    // so that the first one has begun
    open.at_socket("POST", "/tell", "next").await;
    open.told.done.notified().await;
    drop(stream);
    assert_eq!(open.at_socket("GET", "/live", "").await.status, 200);
    open.told.go_on.notify_one();
    open.told.done.notified().await;
    assert_eq!(*open.told.all.lock(), ["next", "slow"]);
}

#[tokio::test]
async fn a_question_is_for_programs_here_and_for_no_foreign_page() {
    let open = steered(|_| {});
    open.at_socket("POST", "/tell", "x").await;
    let answer = open.running.get("/tell").await;
    assert_eq!((answer.status, answer.json()), (200, json!(["x"])));
    let wrong = open.running.get("/tell?bad").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("bad: is no key"));
    let page = "Sec-Fetch-Site: cross-site\r\n";
    assert_eq!(open.running.ask("GET", "/tell", page).await.status, 403);
    let page = "Sec-Fetch-Site: same-origin\r\n";
    assert_eq!(open.running.ask("GET", "/tell", page).await.status, 200);
}

#[tokio::test]
async fn others_than_this_machine_see_no_log_without_the_key() {
    let ask = async |admin: &Admin, path: &str, key: Option<&str>| {
        let mut request = Request::builder().uri(path).header("host", "10.0.0.1");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let peer = Peer::Address([10, 0, 0, 9].into());
        let answer = admin.serve(request, peer, &Lease::default()).await;
        let status = answer.status().as_u16();
        match status {
            200 if path != "/lines" => {
                let body = http_body_util::BodyExt::collect(answer.into_body()).await;
                let body = body.unwrap().to_bytes();
                (status, String::from_utf8_lossy(&body).into_owned())
            }
            _ => (status, String::new()),
        }
    };
    for with in [None, Some(KEY)] {
        let open = steered(|_| {});
        let admin = Admin::new(AdminState {
            key: with.map(|_| key()),
            questions: vec![Arc::new(Part(open.told.clone()))],
            followed: vec![Arc::new(Lines)],
            reports: vec![Arc::new(Private)],
            allow_quit: true,
            ..state(&open.running.shutdown)
        });
        let (status, text) = ask(&admin, "/status", None).await;
        assert!(status == 200 && text.contains("\"level\"") && !text.contains("recent"));
        let without = if with.is_some() { 401 } else { 403 };
        assert_eq!(ask(&admin, "/lines", None).await.0, without);
        assert_eq!(ask(&admin, "/tell", None).await.0, without);
        if with.is_some() {
            assert!(ask(&admin, "/status", with).await.1.contains("recent"));
            assert_eq!(ask(&admin, "/lines", with).await.0, 200);
            assert_eq!(ask(&admin, "/tell", with).await.0, 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_go_on_for_as_long_as_somebody_reads() {
    let open = steered(|_| {});
    let request = "GET /lines HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = TcpStream::connect(open.running.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = vec![0; 4096];
    let mut got = String::new();
    while !got.contains("a line\n") {
        let n = stream.read(&mut text).await.unwrap();
        assert_ne!(n, 0, "{got}");
        got.push_str(&String::from_utf8_lossy(&text[..n]));
    }
    assert!(
        got.to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
    );
    // far longer than any other connection lives
    let more = tokio::time::timeout(Duration::from_secs(3600), stream.read(&mut text)).await;
    assert!(more.is_err(), "still open");

    let mut lazy = TcpStream::connect(open.running.address).await.unwrap();
    let request = "GET /lines?flood HTTP/1.1\r\nHost: localhost\r\n\r\n";
    lazy.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), lazy.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "cut off, because it did not read");
}

#[tokio::test]
async fn followers_have_places_of_their_own_and_leave_them() {
    let open = steered(|_| {});
    let request = "GET /lines HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut all = Vec::new();
    for _ in 0..follow::FOLLOWERS {
        let mut stream = TcpStream::connect(open.running.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
        all.push(stream);
    }
    assert_eq!(open.running.get("/lines").await.status, 503);
    assert_eq!(open.running.get("/live").await.status, 200);
    let wrong = open.running.get("/lines?x").await;
    assert_eq!(wrong.status, 503);
    drop(all.pop());
    // the place is free as soon as its end was noticed
    let free = async {
        while open.running.get("/lines?x").await.status != 400 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free)
        .await
        .unwrap();
    assert_eq!(open.running.ask("POST", "/lines", "").await.status, 404);
}
