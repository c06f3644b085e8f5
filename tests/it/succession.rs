//! A process that comes after another: upgrades, reloads and socket activation.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::support::{
    client::Client,
    idp::{self, Idp},
    origin::{self, Origin},
    program::{self, Program},
    proxy::{get, workers},
    wait::{self, Gate},
    wire,
};

fn config(origin: &Origin, directory: &Path) -> Value {
    json!({
        "listeners": [{"bind": "127.0.0.1:0"}],
        "routes": [{"upstream": {"url": origin.url()}}],
        "admin": {"bind": "127.0.0.1:0"},
        "handover_socket": directory.join("handover.sock"),
        "limits": {"drain_delay": "60s", "drain_timeout": "60s"},
        "log": {"format": "json"},
        "workers": workers(),
    })
}

/// A provider that gives the first process its token, and others theirs when the gate is open.
fn giving_one_before(gate: &Gate) -> Idp {
    let gate = gate.clone();
    idp::answering(move |number, _| {
        if number > 1 {
            gate.pass();
        }
        idp::token(number)
    })
}

/// The same with tokens of this provider.
fn injecting(mut config: Value, idp: &Idp) -> Value {
    let url = idp.url();
    config["providers"] =
        json!({"test": {"issuer": url, "token_endpoint": format!("{url}/token")}});
    config["credentials"] = json!({"agent": {
        "provider": "test", "client_id": "agent", "client_secret": "a secret", "scopes": "a",
    }});
    config["routes"][0]["inject"] = json!({"credential": "agent"});
    config
}

fn ask(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.send(get("/")).answer().is_the_upstreams(200);
}

struct Reloaded {
    code: Option<i32>,
    out: String,
    err: String,
}

fn reload(program: &Program, more: &[&str]) -> Reloaded {
    // the new process keeps it open: its log goes there as well
    let err = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
        .arg("upgrade")
        .arg("--config")
        .arg(program.config())
        .args(more)
        .env_clear()
        .stderr(err.reopen().unwrap())
        .output()
        .unwrap();
    Reloaded {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: fs::read_to_string(err.path()).unwrap(),
    }
}

#[test]
fn callers_that_never_pause_lose_nothing_while_one_process_after_another_takes_over() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&origin, directory.path());
    let mut running = program::run(&config);
    let address = running.address("listening");
    let (asked, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let last = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // new connections and kept ones
                    let mut client = Client::connect(address);
                    for _ in 0..5 {
                        let answer = client.send(get("/")).answer();
                        answer.is_the_upstreams(200);
                        asked.fetch_add(1, Ordering::Relaxed);
                        if answer.field("connection") == Some("close") {
                            break;
                        }
                    }
                }
            });
        }
        // also with more threads, and fewer
        for workers in [workers() + 2, 1, 3] {
            config["workers"] = workers.into();
            let before = asked.load(Ordering::Relaxed);
            wait::until("they ask", || asked.load(Ordering::Relaxed) > before + 50);
            let next = program::taking_over(&config);
            next.line("took over");
            let (code, log) = running.ended();
            assert_eq!(code, Some(0), "{log}");
            running = next;
            assert_eq!(running.address("listening"), address);
        }
        let before = asked.load(Ordering::Relaxed);
        wait::until("they ask", || asked.load(Ordering::Relaxed) > before + 50);
        over.store(true, Ordering::Relaxed);
        running
    });
    let (code, log) = last.end_at_once();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn calls_under_way_are_finished_by_the_process_that_began_them() {
    let gate = Gate::default();
    let origin = origin::serving({
        let gate = gate.clone();
        move |mut connection| {
            while let Some(request) = connection.request() {
                if request.start_line().contains("/slow") {
                    gate.pass();
                }
                connection.send(origin::ok("in time"));
            }
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let config = config(&origin, directory.path());
    let first = program::run(&config);
    let mut slow = Client::connect(first.address("listening"));
    slow.send(get("/slow"));
    origin.wait_for(1);
    let second = program::taking_over(&config);
    first.line("another process has taken over: finishing");
    ask(second.address("listening"));
    gate.open();
    assert_eq!(slow.answer().text(), "in time");
    assert_eq!(first.ended().0, Some(0));
    second.end_at_once();
}

#[test]
fn a_process_that_gets_no_token_replaces_nobody() {
    let origin = origin::answering([origin::ok("hello")]);
    let gate = Gate::default();
    let idp = giving_one_before(&gate);
    let directory = tempfile::tempdir().unwrap();
    let config = injecting(config(&origin, directory.path()), &idp);
    let first = program::run(&config);
    let address = first.address("listening");
    ask(address);

    let second = program::taking_over(&config);
    idp.wait_for(2);
    for _ in 0..20 {
        ask(address);
    }
    let fields = origin.requests();
    let token = |request: &origin::Request| request.field("authorization").map(str::to_owned);
    assert!(
        fields
            .iter()
            .all(|one| token(one).as_deref() == Some("Bearer token-1"))
    );
    // it serves nothing, and its end changes nothing
    second.end_at_once();
    first.line("the process that was to replace this one is gone: this one goes on");
    let output = reload(&first, &["--timeout", "1"]);
    assert_eq!(output.code, Some(1), "{}", output.err);
    ask(address);

    gate.open();
    let third = program::taking_over(&config);
    third.line("took over");
    assert_eq!(first.ended().0, Some(0));
    ask(address);
    third.end_at_once();
}

#[test]
fn reload_replaces_the_process_by_one_with_the_configuration_of_now() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let config = config(&origin, directory.path());
    let first = program::run(&config);
    let address = first.address("listening");

    fs::write(first.config(), "listners: []").unwrap();
    let output = reload(&first, &[]);
    assert_eq!(output.code, Some(78));
    let said = output.err;
    assert!(
        said.contains("listners") && said.contains("listeners"),
        "{said}"
    );
    ask(address);

    let other = origin::answering([origin::answer("418 I'm a teapot", "", "other")]);
    let mut changed = config.clone();
    changed["routes"][0]["upstream"]["url"] = other.url().into();
    fs::write(first.config(), changed.to_string()).unwrap();
    let output = reload(&first, &[]);
    let said = output.out;
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert_eq!(first.ended().0, Some(0));
    let mut client = Client::connect(address);
    client.send(get("/")).answer().is_the_upstreams(418);
    drop(client);

    let process = said.split(' ').nth(1).and_then(|id| id.parse().ok());
    let process = Pid::from_raw(process.unwrap()).unwrap();
    // twice: without its drain delay
    kill_process(process, Signal::TERM).unwrap();
    wait::until("it has ended", || {
        let _ = kill_process(process, Signal::TERM);
        test_kill_process(process).is_err()
    });
}

#[test]
fn where_no_proxy_offers_its_sockets_reload_says_so() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&origin, directory.path());
    config["handover_socket"] = directory.path().join("other.sock").to_str().into();
    let elsewhere = program::run(&config);
    elsewhere.line("listening");
    config["handover_socket"] = directory.path().join("nobody.sock").to_str().into();
    fs::write(elsewhere.config(), config.to_string()).unwrap();
    let output = reload(&elsewhere, &[]);
    assert_eq!(output.code, Some(69), "{}", output.err);
    config.as_object_mut().unwrap().remove("handover_socket");
    fs::write(elsewhere.config(), config.to_string()).unwrap();
    assert_eq!(reload(&elsewhere, &[]).code, Some(78));
    elsewhere.end_at_once();
}

#[test]
fn a_unix_socket_stays_where_it_is() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let mut config = config(&origin, directory.path());
    config["listeners"] = json!([{"bind": format!("unix:{}", path.display())}]);
    let first = program::run(&config);
    first.line("listening");
    let ask = || {
        let mut client = Client::over(wire::unix(&path));
        client.send(get("/")).answer().is_the_upstreams(200);
    };
    ask();
    let second = program::taking_over(&config);
    second.line("took over");
    assert_eq!(first.ended().0, Some(0));
    ask();
    second.end_at_once();
}

#[test]
fn a_unix_socket_stays_when_the_process_is_ended_while_another_waits_to_replace_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let gate = Gate::default();
    let idp = giving_one_before(&gate);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let mut config = injecting(config(&origin, directory.path()), &idp);
    config["listeners"] = json!([{"bind": format!("unix:{}", path.display())}]);
    let first = program::run(&config);
    first.line("listening");
    idp.wait_for(1);
    let second = program::taking_over(&config);
    idp.wait_for(2);
    first.end_at_once();
    gate.open();
    second.line("the process before this one is gone");
    let mut client = Client::over(wire::unix(&path));
    client.send(get("/")).answer().is_the_upstreams(200);
    drop(client);
    // and it can be replaced in its turn
    let third = program::taking_over(&config);
    third.line("took over");
    assert_eq!(second.ended().0, Some(0));
    third.end_at_once();
}

#[test]
fn nobody_replaces_a_process_without_saying_so() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let config = config(&origin, directory.path());
    let first = program::run(&config);
    let address = first.address("listening");
    let (code, log) = program::run(&config).ended();
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("itwin-auth-proxy upgrade"), "{log}");
    ask(address);
    first.end_at_once();
}

#[test]
fn of_two_processes_that_want_to_replace_one_a_single_one_does() {
    let origin = origin::answering([origin::ok("hello")]);
    let gate = Gate::default();
    let idp = giving_one_before(&gate);
    let directory = tempfile::tempdir().unwrap();
    let config = injecting(config(&origin, directory.path()), &idp);
    let first = program::run(&config);
    let address = first.address("listening");
    ask(address);
    let (second, third) = (program::taking_over(&config), program::taking_over(&config));
    idp.wait_for(3);
    gate.open();
    assert_eq!(first.ended().0, Some(0));
    ask(address);
    let told = "another process has taken over: this one is not needed";
    wait::until("one is not needed", || {
        second.says(told) || third.says(told)
    });
    let (winner, loser) = if second.says(told) {
        (third, second)
    } else {
        (second, third)
    };
    loser.ended();
    winner.line("took over");
    ask(address);
    winner.end_at_once();
}

#[test]
fn a_socket_of_systemds_is_served_and_left_to_it() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut config = config(&origin, directory.path());
    config["listeners"] = json!([{"bind": address.to_string()}]);
    config["limits"]["drain_delay"] = "0s".into();

    // who calls before there is a process waits, and so does who calls between two
    let mut early = Client::connect(address);
    early.send(get("/"));
    let first = program::activated(socket.try_clone().unwrap(), &config);
    early.answer().is_the_upstreams(200);
    drop(early);
    assert_eq!(first.end().0, Some(0));
    let mut between = Client::connect(address);
    between.send(get("/"));
    let second = program::activated(socket, &config);
    between.answer().is_the_upstreams(200);
    drop(between);
    assert_eq!(second.end().0, Some(0));
}

#[test]
fn a_socket_that_no_listener_is_for_is_an_error() {
    let origin = origin::answering([origin::ok("hello")]);
    let directory = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = socket.local_addr().unwrap();
    let program = program::activated(socket, &config(&origin, directory.path()));
    let (code, log) = program.ended();
    assert_eq!(code, Some(69), "{log}");
    assert!(
        log.contains(&address.to_string()) && log.contains("ListenStream"),
        "{log}"
    );
}
