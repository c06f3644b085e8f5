//! The admin listener as its users see it: over a socket.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, sync::watch};

use super::*;
use crate::health::Waiting;

mod steering;

struct Part;

impl Report for Part {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn report(&self) -> Value {
        json!([{ "credential": "agent", "state": "fresh" }])
    }
}

struct Broken;

impl Report for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn report(&self) -> Value {
        panic!("a bug")
    }
}

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    token: Option<Waiting>,
}

fn run(reports: Vec<Arc<dyn Report>>) -> Running {
    run_with(reports, false)
}

fn run_with(reports: Vec<Arc<dyn Report>>, allow_quit: bool) -> Running {
    run_state(Sockets::default(), |state| {
        state.reports = reports;
        state.allow_quit = allow_quit;
    })
}

fn state(shutdown: &Shutdown) -> AdminState {
    AdminState {
        readiness: Readiness::new(),
        metrics: Arc::new(Metrics::new()),
        reports: Vec::new(),
        documents: Vec::new(),
        editable: Vec::new(),
        orders: Vec::new(),
        questions: Vec::new(),
        followed: Vec::new(),
        key: None,
        uids: Vec::new(),
        allow_quit: false,
        audit: crate::audit::Audit::off(),
        shutdown: shutdown.clone(),
        clock: Clock::system(),
    }
}

/// With a socket of TCP beside those given.
fn run_state(mut sockets: Sockets, change: impl FnOnce(&mut AdminState)) -> Running {
    let shutdown = Shutdown::new();
    let mut state = state(&shutdown);
    let (readiness, metrics) = (state.readiness.clone(), state.metrics.clone());
    let token = Some(readiness.wait_for("credential agent"));
    change(&mut state);
    sockets.tcp = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = serve(sockets, state, watch::channel(true).1, &shutdown);
    let address = address.unwrap().unwrap();
    Running {
        address,
        readiness,
        metrics,
        shutdown,
        token,
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Answer {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

impl Running {
    async fn send(&self, text: &str) -> Answer {
        answer(TcpStream::connect(self.address).await.unwrap(), text).await
    }

    async fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
        let host = self.address;
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        ))
        .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}

#[tokio::test]
async fn probes_follow_start_readiness_and_stop() {
    let mut admin = run(vec![]);
    assert_eq!(admin.get("/live").await.status, 200);
    assert_eq!(admin.get("/startup").await.status, 503);
    admin.readiness.started();
    assert_eq!(admin.get("/startup").await.status, 200);

    let waiting = admin.get("/ready").await;
    assert_eq!(waiting.status, 503);
    assert_eq!(
        waiting.json(),
        json!({ "ready": false, "waiting_for": ["credential agent"] })
    );
    admin.token.take();
    let ready = admin.get("/ready").await;
    assert_eq!(
        (ready.status, ready.json()),
        (200, json!({ "ready": true, "waiting_for": [] }))
    );

    admin.readiness.drain();
    admin.shutdown.advance(crate::shutdown::Stage::Soft);
    assert_eq!(
        admin.get("/ready").await.status,
        503,
        "still answered while draining"
    );
    admin.shutdown.advance(crate::shutdown::Stage::Hard);
    admin.shutdown.finished().await;
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn status_shows_every_part_and_what_is_running() {
    let admin = run(vec![Arc::new(Part)]);
    let status = admin.get("/status").await;
    assert_eq!(status.status, 200);
    assert!(status.head.contains("content-type: application/json"));
    let status = status.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["ready"], false);
    assert_eq!(
        status["tokens"],
        json!([{ "credential": "agent", "state": "fresh" }])
    );
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let admin = run(vec![]);
    admin
        .metrics
        .route("imodels")
        .finished(Some(200), Duration::from_millis(1));
    let old = admin.get("/metrics").await;
    assert!(old.head.contains("content-type: text/plain; version=0.0.4"));
    assert!(
        old.body
            .contains("# TYPE itwin_auth_proxy_requests_total counter\n"),
        "{}",
        old.body
    );
    assert!(old.body.contains("\nprocess_resident_memory_bytes "));
    assert!(!old.body.contains("# EOF"));

    let new = admin
        .ask(
            "GET",
            "/metrics",
            "Accept: application/openmetrics-text\r\n",
        )
        .await;
    assert!(
        new.head
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    assert!(
        new.body
            .contains("# TYPE itwin_auth_proxy_requests counter\n")
    );
    assert!(new.body.contains("\nprocess_cpu_seconds_total "));
    assert!(new.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn nothing_can_be_changed_or_kept_and_unknown_pages_say_what_there_is() {
    let admin = run(vec![]);
    let index = admin.get("/").await;
    assert!(index.body.contains("/ready") && index.head.contains("cache-control: no-store"));
    let posted = admin.ask("POST", "/ready", "Content-Length: 0\r\n").await;
    assert_eq!(posted.status, 405);
    assert!(posted.head.contains("allow: get, head"));
    let missing = admin.get("/debug/pprof").await;
    assert_eq!(
        (missing.status, missing.json()["error"]["code"].as_str()),
        (404, Some("NotFound"))
    );
    let head = admin.ask("HEAD", "/live", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 14"));
}

#[tokio::test]
async fn a_web_page_with_its_own_name_is_refused() {
    let admin = run(vec![]);
    let answer = admin
        .send("GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (421, Some("ForeignHost"))
    );
}

#[tokio::test]
async fn a_part_that_panics_costs_one_answer_and_is_counted() {
    let admin = run(vec![Arc::new(Broken)]);
    let answer = admin.get("/status").await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (500, Some("InternalError"))
    );
    assert_eq!(admin.metrics.panics.get(), 1);
    assert_eq!(admin.get("/live").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_sends_half_a_header_is_cut_off() {
    let admin = run(vec![]);
    let mut stream = TcpStream::connect(admin.address).await.unwrap();
    stream
        .write_all(b"GET /live HTTP/1.1\r\nHost: local")
        .await
        .unwrap();
    let mut rest = Vec::new();
    // the paused clock goes on when everybody waits
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn orders_are_taken_from_programs_here_where_that_is_allowed_and_from_no_web_page() {
    let closed = run(vec![]);
    let refused = closed.ask("POST", "/quit", "").await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.body.contains("admin.allow_quit"),
        "{}",
        refused.body
    );

    let admin = run_with(vec![], true);
    for (what, method, more, expected) in [
        ("to read", "GET", "", 405),
        ("a page's", "POST", "Origin: https://evil.example\r\n", 403),
        (
            "a page's form",
            "POST",
            "Sec-Fetch-Site: cross-site\r\n",
            403,
        ),
    ] {
        for path in ["/quit", "/drain"] {
            let answer = admin.ask(method, path, more).await;
            assert_eq!(answer.status, expected, "{what}, {path}");
        }
    }
    admin.readiness.started();
    assert!(!admin.readiness.waiting().contains(&"shutting down".into()));
    let drained = admin.ask("POST", "/drain", "").await;
    assert_eq!(
        (drained.status, drained.json()),
        (202, json!({ "draining": true }))
    );
    assert!(admin.readiness.waiting().contains(&"shutting down".into()));

    let asked = admin.shutdown.clone();
    let quit = admin.ask("POST", "/quit", "").await;
    assert_eq!(
        (quit.status, quit.json()),
        (202, json!({ "stopping": true }))
    );
    asked.asked().await;
}
