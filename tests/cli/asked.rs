//! Asking and steering a running proxy whose file has become wrong, and how a place is written.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
};

use serde_json::Value;

use super::{Ended, File, Proxy, command, run, sandbox, terminal::at_terminal};

/// A proxy that is asked at a socket; its file may be spoilt.
async fn running() -> (itwin_auth_proxy::sandbox::Sandbox, File, Proxy) {
    let (sandbox, file) = sandbox().await;
    let socket = file.directory.path().join("admin.sock");
    let text = fs::read_to_string(file.path()).unwrap();
    let admin = format!(
        "admin:\n  bind: 127.0.0.1:0\n  socket:\n    path: '{}'\nreload: {{watch: false}}",
        socket.display()
    );
    fs::write(file.path(), text.replace("admin: 127.0.0.1:0", &admin)).unwrap();
    let mut proxy = Proxy::start(&file);
    proxy.line("token fetched");
    (sandbox, file, proxy)
}

/// Once, and nothing else is said of the file.
fn warned(ended: &Ended, problems: &str) {
    let warning = format!("the configuration that is written has {problems} (");
    assert_eq!(ended.err.matches(&warning).count(), 1, "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_proxy_is_asked_although_the_file_has_become_wrong() {
    let (_sandbox, file, mut proxy) = running().await;
    let good = fs::read_to_string(file.path()).unwrap();
    for (spoilt, problems) in [
        ("nonsense: true\n", "1 problem"),
        ("nonsense: true\nmore: [\n", "1 problem"),
        ("limits: {requests: -1}\nnonsense: true\n", "2 problems"),
    ] {
        fs::write(file.path(), format!("{good}{spoilt}")).unwrap();
        for (arguments, code, part) in [
            (&["status"][..], 0, "agent       fresh"),
            (&["probe"], 0, ""),
            (&["log", "debug"], 0, "level debug, format json"),
            (
                &["log", "itwin_auth_proxy::tokens=trace"],
                0,
                "level debug,itwin_auth_proxy::tokens=trace, ",
            ),
            (&["logs", "--lines", "3"], 0, "{"),
            (&["token", "refresh", "agent"], 0, "valid until"),
            (&["explain", "--live", "GET", "/imodels"], 0, "route"),
            (&["reload"], 1, ""),
        ] {
            let ended = file.run(arguments);
            assert_eq!(ended.code, code, "{arguments:?} {}{}", ended.err, ended.out);
            assert!(ended.out.contains(part), "{arguments:?} {}", ended.out);
            warned(&ended, problems);
        }
        let seen = file.run(&["doctor"]);
        assert_eq!(seen.code, 78, "{}", seen.out);
        for part in [
            "failure  configuration ",
            "ok       the process: it runs",
            "it is another than the one here, which is wrong",
            "ok       credential agent in the process: ",
        ] {
            assert!(seen.out.contains(part), "{part}: {}", seen.out);
        }
    }
    let told = file.run(&["drain"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("is drained"), "{}", told.out);
    let seen = file.run(&["doctor"]);
    assert!(seen.out.contains("it was drained"), "{}", seen.out);
    assert_eq!(file.run(&["status"]).code, 1, "it is not ready any more");
    let told = file.run(&["quit"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("stops"), "{}", told.out);
    proxy.line("stopped");
    proxy.child.wait().unwrap();
    let ended = file.run(&["status"]);
    assert_eq!(ended.code, 69, "nobody is there: {}", ended.err);
    warned(&ended, "2 problems");
}

#[test]
fn explain_refuses_what_the_proxy_would_and_says_by_which_rule() {
    let reverse = File::new(
        "credentials: {agent: {client_id: a, client_secret: b}}
routes: [{name: api, path: /imodels/**, inject: agent}]
",
    );
    let forward = File::new(
        "credentials: {agent: {client_id: a, client_secret: b}}
routes: [{name: api, inject: agent}]
listeners: [{bind: '127.0.0.1:3128', mode: forward, hosts: '*.example.com'}]
",
    );
    for (file, url, code, parts) in [
        (&reverse, "http://127.0.0.1:8080/imodels/1", 0, &["api"][..]),
        (&reverse, "https://api.bentley.com/imodels/1", 0, &["api"]),
        (
            &reverse,
            "http://evil.example/imodels/1",
            1,
            &[
                "no rule of route api admits the caller by the host evil.example",
                "(NotAdmitted)",
            ],
        ),
        (
            &reverse,
            "/imodels/..%2fusers",
            1,
            &["more than one way", "(AmbiguousPath)"],
        ),
        (&reverse, "/users", 1, &["no route", "(RouteNotFound)"]),
        (
            &forward,
            "https://a.example.com/x",
            0,
            &["passed on untouched"],
        ),
        (
            &forward,
            "https://nobody.example/x",
            1,
            &["CONNECT is refused", "(HostNotAllowed)"],
        ),
        (
            &forward,
            "https://a.example.com:8443/x",
            1,
            &["port 8443", "(PortNotAllowed)"],
        ),
    ] {
        let ended = file.run(&["explain", "GET", url]);
        assert_eq!(ended.code, code, "{url} {}{}", ended.out, ended.err);
        for part in parts {
            assert!(ended.out.contains(part), "{url} {part}: {}", ended.out);
        }
    }
}

#[test]
fn what_a_provider_answers_is_explained() {
    for (asked, part) in [
        ("invalid_client", "usually a secret that is wrong"),
        ("INVALID_SCOPE", "itwin-platform"),
        ("unsupported_grant_type", "choose another"),
    ] {
        let ended = run(&["explain", asked], &[]);
        assert_eq!(ended.code, 0, "{asked}: {}", ended.err);
        let words = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part), "{asked}: {}", ended.out);
        assert!(words.contains("What to do:"), "{}", ended.out);
    }
    let ended = run(&["explain", "invalid"], &[]);
    assert!(ended.err.contains("invalid_grant"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_could_be_a_pages_is_named_in_answer_and_log() {
    let (_sandbox, file) = sandbox().await;
    let mut proxy = Proxy::start(&file);
    let (listener, admin) = (proxy.address("listening"), proxy.address("admin listening"));
    let ask = |address: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let host = "evil.example:8080";
        let request = "GET /status HTTP/1.1\r\nConnection: close\r\nHost: ";
        write!(stream, "{request}{host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask(&listener);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("called by the host evil.example"),
        "{answer}"
    );
    let answer = ask(&admin);
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(answer.contains("asked for as evil.example"), "{answer}");
    // in whichever order the log has them
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let line = proxy.next_line();
        if line.contains("evil.example") {
            lines.push(line);
        }
    }
    let all = lines.concat();
    assert!(
        all.contains("by the host evil.example, which is neither"),
        "{all}"
    );
    assert!(
        all.contains("does not answer: asked for as evil.example"),
        "{all}"
    );
}

#[test]
fn who_reads_the_log_as_json_reads_problems_so() {
    let wrong = "nonsense: true\nroutes: [{upstream: 'https://x.example'}]\n";
    let as_json = format!("{wrong}log: {{format: json}}\n");
    for (text, environment) in [
        (wrong, &[("ITWIN_LOG_FORMAT", "json")][..]),
        (&*as_json, &[]),
    ] {
        let file = File::new(text);
        let path = file.path().display().to_string();
        let ended = run(&["run", "--config", &path], environment);
        assert_eq!(ended.code, 78, "{}", ended.err);
        let lines: Vec<Value> = ended
            .err
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["level"], "error");
        assert_eq!(lines[0]["key"], "nonsense");
        let origin = lines[0]["origin"].as_str().unwrap();
        assert!(origin.contains("proxy.yaml:1:"), "{origin}");
        let last = lines.last().unwrap();
        assert_eq!(last["errors"], 1, "{last}");
    }
    let ended = File::new(wrong).run(&["run"]);
    assert!(ended.err.starts_with("error"), "{}", ended.err);
}

#[test]
fn check_says_which_variables_stand_over_the_file() {
    let file = File::new("routes: [{upstream: 'https://x.example'}]\n");
    let path = file.path().display().to_string();
    let environment = [
        ("ITWIN_LOG_FORMAT", "human"),
        ("ITWIN_AUTH_PROXY__ADMIN__BIND", "none"),
        ("ITWIN_CONFIG", "/nowhere"),
    ];
    let ended = run(&["check", "--config", &path], &environment);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let told = "environment variables stand over the file: ITWIN_AUTH_PROXY__ADMIN__BIND, ITWIN_LOG_FORMAT\n";
    assert!(ended.err.contains(told), "{}", ended.err);
    let ended = run(&["check", "--config", &path], &[]);
    assert!(!ended.err.contains("environment"), "{}", ended.err);
}

#[test]
fn what_init_left_to_fill_in_is_a_problem() {
    for kind in ["service", "web", "desktop", "shared", "legacy"] {
        let written = run(&["init", kind], &[]);
        assert_eq!(written.code, 0, "{}", written.err);
        let ended = File::new(&written.out).run(&["check"]);
        assert_eq!(ended.code, 78, "{}", ended.err);
        let told = "-your-client-id' is what init wrote to be filled in";
        assert!(ended.err.contains(told), "{kind}: {}", ended.err);
    }
}

#[test]
fn where_to_ask_is_not_guessed() {
    for text in ["admin: 127.0.0.1:nine\n", "'admin': 127.0.0.1:9\nmore: [\n"] {
        let ended = File::new(text).run(&["status"]);
        assert_eq!(ended.code, 78, "{text}: {}", ended.err);
        assert!(ended.err.contains("--admin"), "{}", ended.err);
    }
    let ended = run(&["status", "--config", "/nowhere.yaml"], &[]);
    assert_eq!(ended.code, 78, "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_written_as_people_write_it() {
    let (_sandbox, file) = sandbox().await;
    let socket = file.directory.path().join("admin.sock");
    let text = fs::read_to_string(file.path()).unwrap();
    let admin = format!(
        "admin: {{bind: '127.0.0.1:0', socket: '{}'}}",
        socket.display()
    );
    fs::write(file.path(), text.replace("admin: 127.0.0.1:0", &admin)).unwrap();
    let mut proxy = Proxy::start(&file);
    let address = proxy.address("admin listening");
    proxy.line("token fetched");
    let port = address.rsplit_once(':').unwrap().1;
    let socket = socket.display().to_string();
    for place in [
        address.clone(),
        format!("localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}/"),
        socket.clone(),
        format!("unix:{socket}"),
    ] {
        let ended = run(&["status", "--admin", &place], &[]);
        assert_eq!(ended.code, 0, "{place}: {}", ended.err);
    }
    // each picture has the time on top
    let mut watched = command(&["status", "--watch", "--admin", &address], &[]);
    let mut watched = watched.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(watched.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    watched.kill().unwrap();
    watched.wait().unwrap();
    let first = first.trim_end();
    assert!(humantime::parse_rfc3339(first).is_ok(), "{first}");
    for place in ["admin", "https://127.0.0.1:9901", "proxy.example:9901"] {
        let ended = run(&["status", "--admin", place], &[]);
        assert_eq!(ended.code, 64, "{place}");
        assert!(ended.err.contains("localhost:9901"), "{}", ended.err);
    }
    // over TCP nobody steers without a key, and each way out is named
    let ended = run(&["reload", "--admin", &address], &[]);
    assert_eq!(ended.code, 77, "{}", ended.err);
    for way in ["admin.socket", "admin.key", "SIGHUP"] {
        assert!(ended.err.contains(way), "{way}: {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_terminal_is_told_what_is_wrong_and_what_to_do() {
    let (sandbox, file) = sandbox().await;
    let text = fs::read_to_string(file.path()).unwrap();
    let wrong = text.replace(sandbox.client_secret(), "not the right one");
    fs::write(file.path(), wrong).unwrap();
    let mut proxy = Proxy::start(&file);
    let address = proxy.address("admin listening");
    proxy.line("token refused");
    let line = format!("status --admin {address}");
    let seen = at_terminal(&line, &[("NO_COLOR", "1")], "", 60);
    assert_eq!(seen.code, 1, "{}", seen.out);
    let words = seen.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "not ready: waits for credential agent",
        "CREDENTIAL TOKEN LEFT LIFE",
        "failure: The token of “agent” is missing: the provider does not take its client id and secret",
        "To do: Put the right secret where the configuration points; it is read again by itself.",
    ] {
        assert!(words.contains(part), "{part}: {}", seen.out);
    }
    for line in seen.out.lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line}");
    }
}
