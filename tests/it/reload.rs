//! Another configuration for the process that runs.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    certificates::Authority,
    client::{Answer, Client},
    idp::{self, Idp},
    origin::{self, Origin},
    program::{self, Program},
    proxy::{get, workers},
    wait, wire,
};

const REFUSED: &str = "the configuration is refused; the one before stays in use";
const APPLIED: &str = "another configuration is in use";

fn config(origin: &Origin) -> Value {
    json!({
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"name": "all", "upstream": {"url": origin.url()}}],
        "admin": {"bind": "127.0.0.1:0"},
        "limits": {"drain_delay": "60s", "drain_timeout": "60s"},
        "log": {"format": "json"},
        // told by a signal, so that a test knows when
        "reload": {"watch": false},
        "workers": workers(),
    })
}

fn injecting(mut config: Value, idp: &Idp, client: &str) -> Value {
    let url = idp.url();
    config["providers"] =
        json!({"test": {"issuer": url, "token_endpoint": format!("{url}/token")}});
    config["credentials"] = json!({"agent": {
        "provider": "test", "client_id": client, "client_secret": "a secret", "scopes": "a",
    }});
    config["routes"][0]["inject"] = json!("agent");
    config
}

fn admin(program: &Program, path: &str) -> Answer {
    Client::connect(program.address("admin listening"))
        .send(get(path))
        .answer()
}

fn status(program: &Program) -> Value {
    admin(program, "/status").json()["configuration"].take()
}

/// All that the log says of the refused configuration.
fn problems(program: &Program) -> String {
    let status = status(program);
    let problems = status["last_reload"]["problems"].as_array().cloned();
    let problems = problems.unwrap_or_default();
    let said = problems.iter().map(|problem| {
        let part = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part("path"), part("message"), part("hint"))
    });
    said.collect::<Vec<_>>().join("\n")
}

fn applied(program: &Program, config: &Value) {
    let said = program.reload(config);
    assert_eq!(said["message"], APPLIED, "{}", problems(program));
}

#[test]
fn callers_that_never_pause_lose_nothing_while_routes_change() {
    let (one, other) = (
        origin::answering([origin::ok("one")]),
        origin::answering([origin::ok("other")]),
    );
    let first = config(&one);
    let mut second = first.clone();
    second["routes"][0]["upstream"]["url"] = other.url().into();
    let program = program::run(&first);
    let address = program.address("listening");
    let (asked, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept = Client::connect(address);
                while !over.load(Ordering::Relaxed) {
                    let answer = kept.send(get("/")).answer();
                    answer.is_the_upstreams(200);
                    assert_eq!(answer.field("connection"), None, "connections stay");
                    Client::connect(address)
                        .send(get("/"))
                        .answer()
                        .is_the_upstreams(200);
                    asked.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let next = if round % 2 == 0 { &second } else { &first };
            let said = program.reload(next);
            assert_eq!(said["message"], APPLIED, "{said}");
            let before = asked.load(Ordering::Relaxed);
            wait::until("they ask", || asked.load(Ordering::Relaxed) > before + 50);
        }
        over.store(true, Ordering::Relaxed);
    });
    // the last one is what holds
    let body = Client::connect(address).send(get("/")).answer();
    assert_eq!(body.text(), "one");
    let status = status(&program);
    assert_eq!(status["generation"], 7, "{status}");
    let change = format!("routes.all.upstream.url: {} → {}", other.url(), one.url());
    assert_eq!(
        status["last_reload"]["difference"],
        json!([change]),
        "{status}"
    );
    assert_eq!(status["last_reload"]["cause"], "signal");
}

#[test]
fn connections_to_an_upstream_that_stays_are_kept() {
    let origin = origin::answering([origin::ok("hello")]);
    let mut config = config(&origin);
    config["workers"] = 1.into();
    let program = program::run(&config);
    let mut client = Client::connect(program.address("listening"));
    client.send(get("/")).answer().is_the_upstreams(200);
    config["routes"][0]["timeouts"] = json!({"response": "7s"});
    applied(&program, &config);
    client.send(get("/")).answer().is_the_upstreams(200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_says_what_is_wrong() {
    let origin = origin::answering([origin::ok("hello")]);
    let good = config(&origin);
    let program = program::run(&good);
    let mut client = Client::connect(program.address("listening"));
    let mut bad = good.clone();
    bad["routes"][0]["upstreams"] = "https://example.com".into();
    bad["listeners"][0]["bind"] = "nowhere".into();
    let said = program.reload(&bad);
    assert_eq!(said["message"], REFUSED, "{said}");
    assert_eq!(said["level"], "error", "{said}");
    let problems = problems(&program);
    assert!(problems.contains("upstreams"), "{problems}");
    assert!(problems.contains("listeners[0].bind"), "{problems}");
    client.send(get("/")).answer().is_the_upstreams(200);
    // not even read
    program.write("routes: [");
    assert_eq!(program.reload(&Value::Null)["message"], REFUSED);
    client.send(get("/")).answer().is_the_upstreams(200);
    assert_eq!(status(&program)["generation"], 1);
    let metrics = admin(&program, "/metrics");
    for line in [
        "itwin_auth_proxy_reloads_total{result=\"refused\"} 2",
        "itwin_auth_proxy_last_reload_successful 0",
        "itwin_auth_proxy_configuration_generation 1",
    ] {
        assert!(metrics.text().contains(line), "{}", metrics.text());
    }
    assert_eq!(admin(&program, "/ready").status(), 200, "it serves");
    assert_eq!(
        program.reload(&good)["message"],
        "the configuration is as it was"
    );
    assert_eq!(status(&program)["last_reload"]["result"], "unchanged");
    let metrics = admin(&program, "/metrics");
    let good = "itwin_auth_proxy_last_reload_successful 1";
    assert!(metrics.text().contains(good), "{}", metrics.text());
}

#[test]
fn what_holds_as_long_as_the_process_runs_is_named_and_nothing_else_is_taken() {
    let (one, other) = (
        origin::answering([origin::ok("one")]),
        origin::answering([origin::ok("other")]),
    );
    let first = config(&one);
    let program = program::run(&first);
    let mut second = config(&other);
    second["workers"] = (workers() + 1).into();
    assert_eq!(program.reload(&second)["message"], REFUSED);
    let problems = problems(&program);
    assert!(
        problems.contains("workers") && problems.contains("upgrade"),
        "{problems}"
    );
    let answer = Client::connect(program.address("listening"))
        .send(get("/"))
        .answer();
    assert_eq!(answer.text(), "one");
}

#[test]
fn listeners_come_and_go() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("proxy.sock");
    let unix = json!({"bind": format!("unix:{}", socket.display())});
    let first = config(&origin);
    let mut both = first.clone();
    both["listeners"].as_array_mut().unwrap().push(unix.clone());
    // a process may make sockets where its configuration names one when it starts
    let program = program::run(&both);
    let address = program.address("listening");
    let mut kept = Client::connect(address);
    kept.send(get("/")).answer().is_the_upstreams(200);

    applied(&program, &first);
    assert!(!socket.exists(), "the file goes with its listener");
    kept.send(get("/")).answer().is_the_upstreams(200);
    applied(&program, &both);
    Client::over(UnixStream::connect(&socket).unwrap())
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
    kept.send(get("/")).answer().is_the_upstreams(200);
    // only who may open it changes
    both["listeners"][1]["socket_mode"] = "0660".into();
    applied(&program, &both);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    let mut alone = first.clone();
    alone["listeners"] = json!([unix]);
    applied(&program, &alone);
    assert!(kept.until_closed().is_empty(), "it was idle");
    wait::until("nobody listens", || TcpStream::connect(address).is_err());
    Client::over(UnixStream::connect(&socket).unwrap())
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn what_the_process_has_given_up_is_a_reason_with_a_way_out() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&origin);
    let program = program::run(&config);
    let path = directory.path().join("proxy.sock");
    let unix = json!({"bind": format!("unix:{}", path.display())});
    config["listeners"].as_array_mut().unwrap().push(unix);
    let said = program.reload(&config);
    if program.says("not confined") {
        assert_eq!(said["message"], APPLIED, "this kernel confines nobody");
    } else {
        let problems = problems(&program);
        assert!(problems.contains("when it started"), "{problems}");
    }
}

#[test]
fn an_address_that_is_taken_refuses_the_whole() {
    let origin = origin::answering([origin::ok("hello")]);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken: SocketAddr = other.local_addr().unwrap();
    let first = config(&origin);
    let program = program::run(&first);
    let mut second = first.clone();
    second["routes"][0]["upstream"] = "http://127.0.0.1:9".into();
    let more = json!({"bind": taken.to_string()});
    second["listeners"].as_array_mut().unwrap().push(more);
    assert_eq!(program.reload(&second)["message"], REFUSED);
    let problems = problems(&program);
    assert!(problems.contains(&taken.to_string()), "{problems}");
    Client::connect(program.address("listening"))
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn a_listener_that_is_to_speak_tls_keeps_its_place() {
    let origin = origin::answering([origin::ok("hello")]);
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let mut config = config(&origin);
    let program = program::run(&config);
    let address = program.address("listening");
    let mut kept = Client::connect(address);
    kept.send(get("/")).answer().is_the_upstreams(200);
    config["listeners"][0]["tls"] = json!({"certificate": issued.certificate, "key": issued.key});
    applied(&program, &config);
    assert!(kept.until_closed().is_empty(), "it was plain, and idle");
    // of what came before, nothing is accepted any more
    wait::until("TLS is spoken", || {
        wire::tls(address, authority.client(None, &["http/1.1"])).is_ok()
    });
    let tls = wire::tls(address, authority.client(None, &["http/1.1"])).unwrap();
    Client::over(tls)
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn another_client_has_its_token_before_its_requests_come() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let first = injecting(config(&origin), &idp, "first");
    let program = program::run(&first);
    let mut client = Client::connect(program.address("listening"));
    client.send(get("/")).answer().is_the_upstreams(200);
    let second = injecting(config(&origin), &idp, "second");
    applied(&program, &second);
    assert_eq!(idp.requests().len(), 2, "it has not waited for a request");
    client.send(get("/")).answer().is_the_upstreams(200);
    let sent = origin.requests();
    let token = |number: usize| sent[number].field("authorization").map(str::to_owned);
    assert_ne!(token(0), token(1));
}

#[test]
fn a_file_that_is_replaced_is_read_by_itself() {
    let origin = origin::answering([origin::ok("hello")]);
    let mut config = config(&origin);
    config["reload"] = json!({"watch": true});
    let program = program::run(&config);
    program.line("listening");
    config["routes"][0]["timeouts"] = json!({"response": "7s"});
    program.write(&config.to_string());
    let said = program.line_that("a reload", |line| line["message"] == APPLIED);
    assert_eq!(said["cause"], "file");
    program.write("routes: [");
    let said = program.line_that("a refusal", |line| line["message"] == REFUSED);
    assert_eq!(said["cause"], "file");
    // what runs is what is written again
    program.write(&config.to_string());
    let said = program.line_that("the end of it", |line| {
        line["message"] == "the configuration is as it was"
    });
    assert_eq!(said["cause"], "file");
    assert_eq!(status(&program)["last_reload"]["result"], "unchanged");
}
#[test]
fn who_asks_is_told_what_really_runs() {
    let origin = origin::answering([origin::ok("hello")]);
    let config = config(&origin);
    let program = program::run(&config);
    // written, and not read
    program.line("listening");
    program.write("routes: []");
    let running = admin(&program, "/configuration").json();
    assert_eq!(running["generation"], 1);
    assert_eq!(running["configuration"]["routes"][0]["name"], "all");
    let explained = admin(&program, "/explain?method=get&url=/x").json();
    assert_eq!(explained["served"], true, "{explained}");
    assert_eq!(explained["lines"][0]["text"], "all", "{explained}");
}

#[test]
fn what_is_no_file_keeps_nobody_waiting() {
    let origin = origin::answering([origin::ok("hello")]);
    let good = config(&origin);
    let program = program::run(&good);
    program.line("listening");
    let file = program.config();
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    program.hang_up();
    program.line_that("a refusal", |line| line["message"] == REFUSED);
    assert!(problems(&program).contains("no regular file"));
    assert_eq!(
        program.reload(&good)["message"],
        "the configuration is as it was"
    );
}

#[test]
fn what_passes_is_shown_by_route_and_listener() {
    let origin = origin::answering([origin::ok("hello")]);
    let program = program::run(&config(&origin));
    let address = program.address("listening");
    let mut client = Client::connect(address);
    for _ in 0..3 {
        client.send(get("/")).answer().is_the_upstreams(200);
    }
    let status = admin(&program, "/status").json();
    let route = &status["routes"][0];
    assert_eq!(route["name"], "all", "{status}");
    assert_eq!(route["upstream"], origin.url(), "{status}");
    assert_eq!(
        (&route["requests"], &route["errors"]),
        (&json!(3), &json!(0))
    );
    assert!(route["p50_ms"].is_number(), "{status}");
    let listener = &status["listeners"][0];
    assert_eq!(listener["connections"], 1, "{status}");
    assert_eq!(listener["requests"], 3, "{status}");
}

#[test]
fn what_was_missing_is_found_without_an_edit_and_said_once() {
    let origin = origin::answering([origin::ok("hello")]);
    let idp = idp::issuing();
    let authority = Authority::new();
    let issued = authority.issue("localhost");
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["tls.crt", "tls.key", "secret"] {
        // named when the process starts, so that it may read them later
        fs::write(at(name), "").unwrap();
    }
    fs::copy(&issued.certificate, at("tls.crt")).unwrap();
    fs::copy(&issued.key, at("tls.key")).unwrap();
    fs::write(at("secret"), "a secret").unwrap();
    let mut wanted = injecting(config(&origin), &idp, "service");
    let credential = &mut wanted["credentials"]["agent"];
    credential.as_object_mut().unwrap().remove("client_secret");
    credential["client_secret_file"] = at("secret").display().to_string().into();
    let tls = json!({"certificate": at("tls.crt"), "key": at("tls.key")});
    wanted["listeners"] = json!([{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "tls": tls}]);
    let program = program::run(&wanted);
    program.line("listening");

    for name in ["tls.crt", "secret"] {
        fs::rename(at(name), at(&format!("{name}.away"))).unwrap();
    }
    wanted["routes"][0]["timeouts"] = json!({"response": "7s"});
    assert_eq!(program.reload(&wanted)["message"], REFUSED);
    let told = status(&program)["last_reload"].take();
    assert_eq!(told["cause"], "signal");
    let next = told["next_try_in_seconds"].as_u64();
    assert!(next.is_some_and(|next| next <= 10), "{told}");
    assert!(problems(&program).contains("secret"), "{told}");

    fs::rename(at("secret.away"), at("secret")).unwrap();
    let said = program.line_that("another reason", |line| {
        line["message"] == REFUSED && line["cause"] == "again"
    });
    assert_eq!(said["problems"], 1, "{said}");
    fs::rename(at("tls.crt.away"), at("tls.crt")).unwrap();
    let said = program.line_that("the end of it", |line| line["message"] == APPLIED);
    assert_eq!(said["cause"], "again");
    let metrics = admin(&program, "/metrics");
    let twice = "itwin_auth_proxy_reloads_total{result=\"refused\"} 2";
    assert!(metrics.text().contains(twice), "{}", metrics.text());
    assert_eq!(
        status(&program)["last_reload"]["next_try_in_seconds"],
        Value::Null
    );
}

#[test]
fn an_address_that_is_let_go_is_taken() {
    let origin = origin::answering([origin::ok("hello")]);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let mut config = config(&origin);
    let program = program::run(&config);
    program.line("listening");
    config["listeners"]
        .as_array_mut()
        .unwrap()
        .push(json!({"bind": taken.to_string()}));
    assert_eq!(program.reload(&config)["message"], REFUSED);
    drop(other);
    let said = program.line_that("the end of it", |line| line["message"] == APPLIED);
    assert_eq!(said["cause"], "again");
    Client::connect(taken)
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
}

#[test]
fn a_configuration_that_waits_for_its_first_tokens_can_be_seen() {
    let origin = origin::answering([origin::ok("hello")]);
    let gate = wait::Gate::default();
    let idp = idp::behind(&gate);
    let program = program::run(&config(&origin));
    program.line("listening");
    let next = injecting(config(&origin), &idp, "service");
    program.write(&next.to_string());
    program.hang_up();
    wait::until("it waits", || {
        status(&program)["pending_reload"]["doing"] == "waiting for first tokens"
    });
    let pending = status(&program)["pending_reload"].take();
    assert_eq!(pending["cause"], "signal", "{pending}");
    assert!(pending["since"].is_string(), "{pending}");
    Client::connect(program.address("listening"))
        .send(get("/"))
        .answer()
        .is_the_upstreams(200);
    gate.open();
    program.line_that("the end of it", |line| line["message"] == APPLIED);
    assert_eq!(status(&program)["pending_reload"], Value::Null);
}
