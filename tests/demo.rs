//! The demonstration and the sandbox, as somebody who has just built the program starts them.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// A running sandbox and its line; killed when it is dropped.
struct Sandbox {
    child: Child,
    line: Value,
}

impl Sandbox {
    fn start() -> Self {
        let mut child = program(&["sandbox", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        Self {
            child,
            line: serde_json::from_str(&line).unwrap(),
        }
    }

    fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_demo_goes_as_it_is_told() {
    let ended = program(&["demo", "--once"]).output().unwrap();
    let out = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{out}");
    assert!(out.contains("All as told") && !out.contains('✗'), "{out}");
    assert!(out.contains("\n8  "), "all acts are played: {out}");
    assert!(!out.contains('\x1b'), "plain where there is no terminal");
    assert!(ended.stderr.is_empty(), "nothing disturbs the story");
}

#[test]
fn software_that_nobody_changes_gets_its_tokens_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    for (path, shown) in [
        (
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "redirect --apply",
        ),
        (
            "/nowhere",
            "Not shown: connections that the kernel redirects",
        ),
    ] {
        let mut demo = program(&["demo", "--legacy"]);
        demo.env("PATH", path).env("TMPDIR", temporary.path());
        let ended = demo.output().unwrap();
        let out = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success(), "{out}");
        assert!(out.contains("All as told") && !out.contains('✗'), "{out}");
        let passed_over = without_namespaces() && shown.starts_with("redirect");
        assert!(passed_over || out.contains(shown), "{out}");
        assert!(ended.stderr.is_empty(), "nothing disturbs the story");
    }
    assert_eq!(temporary.path().read_dir().unwrap().count(), 0);
}

/// Whether it was said that namespaces cannot be made here.
#[expect(clippy::disallowed_methods, reason = "how tests are run")]
fn without_namespaces() -> bool {
    std::env::var("ITWIN_TESTS_WITHOUT_NETNS").is_ok_and(|word| word == "1")
}

#[test]
fn people_sign_in_to_a_page_that_has_no_token() {
    let ended = program(&["demo", "--browser", "--once"]).output().unwrap();
    let out = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{out}");
    assert!(out.contains("All as told") && !out.contains('✗'), "{out}");
    assert!(out.contains("\n4  "), "all acts are played: {out}");
    assert!(!out.contains('\x1b'), "plain where there is no terminal");
    assert!(ended.stderr.is_empty(), "nothing disturbs the story");
}

#[test]
fn the_page_stays_up_for_those_who_may_sign_in_and_shows_itself_to_nobody_else() {
    let mut demo = program(&["demo", "--browser"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let told: Vec<String> = lines
        .map(Result::unwrap)
        .take_while(|line| !line.contains("Ctrl-C"))
        .collect();
    let people = told
        .iter()
        .filter(|line| line.ends_with("sandbox-password"));
    assert_eq!(people.count(), 3, "{told:?}");
    let page = told.iter().find_map(|line| line.strip_prefix("   http://"));
    let address = page.unwrap().trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {address}\r\naccept: text/html\r\nsec-fetch-mode: navigate\r\n\
         sec-fetch-dest: document\r\nconnection: close\r\n\r\n"
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains("/connect/authorize?"), "{answer}");

    let id = demo.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(demo.wait().unwrap().success());
}

#[test]
fn the_demo_stays_up_for_two_lines_of_curl() {
    let mut demo = program(&["demo"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let curl: Vec<String> = lines
        .by_ref()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .filter_map(|line| Some(line.trim_start().strip_prefix("curl ")?.to_owned()))
        .collect();
    assert_eq!(curl.len(), 2);
    let url = curl[0].trim_matches('\'');
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"iModels\""), "{answer}");

    let id = demo.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert!(demo.wait().unwrap().success());
}

#[test]
fn the_sandbox_names_its_addresses_and_ends_with_its_input() {
    let mut sandbox = Sandbox::start();
    for key in ["issuer", "hub", "storage"] {
        let url = sandbox.line[key].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        assert!(std::net::TcpStream::connect(address).is_ok(), "{key} {url}");
    }
    let environment = sandbox.line["environment"].as_object().unwrap();
    assert!(environment.keys().all(|name| name.starts_with("ITWIN_")));
    drop(sandbox.input());
    assert!(sandbox.child.wait().unwrap().success());
}

#[test]
fn a_port_that_is_taken_is_no_place_for_a_sandbox() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = program(&["sandbox", "--port", &port]).output().unwrap();
    assert_eq!(ended.status.code(), Some(69));
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(error.contains(&port), "{error}");
}
