//! Who may see and order what at the admin listener, by every way to it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread};

use rustix::{process::geteuid, thread::Uid, thread::set_thread_uid};
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Client},
    idp::{self, Idp},
    origin::{self, Origin},
    program::{self, Program},
    proxy::{get, workers},
    wait, wire,
};

const KEY: &str = "0123456789abcdef";
const OPERATOR: u32 = 4000;
const STRANGER: u32 = 4001;

/// What may be asked for or ordered, and what is answered to whoever may.
const ALL: [(&str, &str, &str, u16); 14] = [
    ("GET", "/ready", "", 200),
    ("GET", "/metrics", "", 200),
    ("GET", "/status", "", 200),
    ("GET", "/configuration", "", 200),
    ("GET", "/explain?url=/", "", 200),
    ("GET", "/log?lines=1", "", 200),
    ("GET", "/revocations", "", 200),
    ("POST", "/revocations", r#"[{"jti": "t"}]"#, 200),
    ("DELETE", "/revocations", r#"[{"jti": "t"}]"#, 200),
    ("POST", "/tokens/refresh", r#"{"credential": "agent"}"#, 200),
    (
        "POST",
        "/tokens/refresh",
        r#"{"credential": "nobody"}"#,
        404,
    ),
    ("POST", "/log", r#"{"level": "info"}"#, 200),
    ("POST", "/reload", "", 200),
    ("POST", "/drain", "", 202),
];

fn config(origin: &Origin, idp: &Idp, admin: &Value) -> Value {
    let url = idp.url();
    json!({
        "listeners": [{"bind": "127.0.0.1:0"}],
        "providers": {"test": {"issuer": url, "token_endpoint": format!("{url}/token")}},
        "credentials": {"agent": {"provider": "test", "client_id": "service", "client_secret": "a secret"}},
        "routes": [{"inject": "agent", "upstream": origin.url()}],
        "admin": admin,
        "log": {"format": "json"},
        "reload": {"watch": false},
        "workers": workers(),
    })
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Over TCP, with these field lines.
fn over_tcp(program: &Program, fields: &str) -> impl Fn(&str, &str, &str) -> Answer {
    let (address, fields) = (program.address("admin listening"), fields.to_owned());
    move |method, path, body| {
        Client::connect(address)
            .send(request(method, path, &fields, body))
            .answer()
    }
}

/// At the socket, as this user; the kernel asks who the thread is that connects.
fn at_socket(path: &Path, uid: u32) -> impl Fn(&str, &str, &str) -> Answer {
    move |method, what, body| {
        let asked = request(method, what, "Host: localhost\r\n", body);
        let asking = || {
            if geteuid().as_raw() != uid {
                set_thread_uid(Uid::from_raw(uid)).unwrap();
            }
            Client::over(wire::unix(path)).send(asked).answer()
        };
        thread::scope(|scope| scope.spawn(asking).join().unwrap())
    }
}

/// Whoever asks so may do everything.
fn may_all(who: &str, ask: impl Fn(&str, &str, &str) -> Answer) {
    for (method, path, body, status) in ALL {
        let answer = ask(method, path, body);
        // not ready any more, once it was told to drain
        let drained = path == "/ready" && answer.status() == 503;
        assert!(
            answer.status() == status || drained,
            "{who}: {method} {path}: {} {}",
            answer.head,
            answer.text()
        );
    }
}

/// Whoever asks so is answered this, in the order of the table: status and code, or 200.
fn is_told(
    who: &str,
    ask: impl Fn(&str, &str, &str) -> Answer,
    told: &dyn Fn(&str, &str) -> (u16, &'static str),
) {
    for (method, path, body, _) in ALL {
        let answer = ask(method, path, body);
        let (status, code) = told(method, path);
        let said = format!("{who}: {method} {path}: {} {}", answer.head, answer.text());
        assert_eq!(answer.status(), status, "{said}");
        assert!(answer.text().contains(code), "{said}");
    }
}

/// Ready, as far as it matters here: a call has had its token.
fn has_a_token(program: &Program) {
    Client::connect(program.address("listening"))
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
    let admin = program.address("admin listening");
    wait::until("it is ready", || {
        let ready = request("GET", "/ready", "Host: localhost\r\n", "");
        Client::connect(admin).send(ready).answer().status() == 200
    });
}

fn refreshes(idp: &Idp) -> usize {
    let all = idp.requests();
    all.iter()
        .filter(|one| one.request() == "POST /token")
        .count()
}

#[test]
fn every_order_is_for_operators_by_whichever_way_they_come() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let directory = tempfile::tempdir().unwrap();
    // others have to get to where the kernel says who they are
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("admin.sock");
    let socket = json!({"path": path, "uids": [OPERATOR]});
    let admin = json!({"bind": "127.0.0.1:0", "key": KEY, "socket": socket});
    let program = program::run(&config(&origin, &idp, &admin));
    has_a_token(&program);
    let key = |key: &str| format!("Host: localhost\r\nAuthorization: Bearer {key}\r\n");
    let is_order = |method: &str, path: &str| method != "GET" || path == "/revocations";

    for (who, fields) in [
        ("no key", "Host: localhost\r\n".to_owned()),
        ("wrong key", key("fedcba9876543210")),
    ] {
        is_told(who, over_tcp(&program, &fields), &|method, path| {
            if is_order(method, path) {
                (401, "Unauthorized")
            } else {
                (200, "")
            }
        });
    }
    let page = key(KEY) + "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    is_told(
        "web page",
        over_tcp(&program, &page),
        &|_, path| match path {
            // it may lead there; what it is answered, it cannot read
            "/ready" | "/metrics" | "/status" => (200, ""),
            _ => (403, "CrossSite"),
        },
    );
    let elsewhere = key(KEY).replace("localhost", "evil.example");
    is_told(
        "a page's own name",
        over_tcp(&program, &elsewhere),
        &|_, _| (421, "ForeignHost"),
    );
    // nobody but root is several users
    if geteuid().is_root() {
        is_told("stranger", at_socket(&path, STRANGER), &|_, _| {
            (403, "NotAllowed")
        });
    }
    assert_eq!(refreshes(&idp), 1, "nothing was ordered yet");
    assert_eq!(
        over_tcp(&program, &key(KEY))("GET", "/ready", "").status(),
        200
    );

    may_all("key", over_tcp(&program, &key(KEY)));
    may_all("own user", at_socket(&path, geteuid().as_raw()));
    if geteuid().is_root() {
        may_all("operator", at_socket(&path, OPERATOR));
    }
    assert!(refreshes(&idp) >= 3);
    let quit = at_socket(&path, geteuid().as_raw())("POST", "/quit", "");
    assert_eq!(quit.status(), 202, "{}", quit.text());
    let (code, log) = program.ended();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn without_a_key_and_a_socket_programs_here_see_all_and_order_nothing() {
    let (origin, idp) = (origin::answering([origin::ok("hello")]), idp::issuing());
    let none = "Host: localhost\r\n".to_owned();
    let key = format!("{none}Authorization: Bearer {KEY}\r\n");
    for (freely, fields) in [(false, &none), (false, &key), (true, &none)] {
        let admin = json!({"bind": "127.0.0.1:0", "allow_quit": freely});
        let program = program::run(&config(&origin, &idp, &admin));
        has_a_token(&program);
        let told = |method: &str, path: &str| match (method, path) {
            (_, "/revocations") => (404, "admin.key_file"),
            ("GET", _) => (200, ""),
            (_, "/drain") if freely => (202, ""),
            _ => (403, "admin.socket"),
        };
        is_told("here", over_tcp(&program, fields), &told);
    }
}
