//! The commands, as somebody at a terminal or a container runtime sees them.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "cli/asked.rs"]
mod asked;
#[path = "cli/begun.rs"]
mod begun;
#[path = "cli/terminal.rs"]
mod terminal;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

use itwin_auth_proxy::sandbox::{Sandbox, SandboxConfig};
use serde_json::Value;
use tempfile::TempDir;

/// What a finished command left.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let output = command(arguments, environment).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory with a configuration.
struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("proxy.yaml"), text).unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("proxy.yaml")
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let path = self.path().display().to_string();
        let arguments: Vec<&str> = arguments
            .iter()
            .copied()
            .chain(["--config", &path])
            .collect();
        run(&arguments, &[])
    }
}

const WRONG: &str = "
credentials:
  agent: {client_id: x, client_secrt: hunter2, scopes: openid}
listeners: ['0.0.0.0:0']
routes: [{inject: agnet}]
";

#[test]
fn a_wrong_configuration_is_told_whole_and_nothing_starts() {
    let file = File::new(WRONG);
    for arguments in [
        &["run"][..],
        &["check"],
        &["explain", "GET", "/"],
        &["token"],
    ] {
        let ended = file.run(arguments);
        assert_eq!(ended.code, 78, "{arguments:?} {}", ended.err);
        assert!(ended.out.is_empty(), "{}", ended.out);
        for part in [
            "credentials.agent.client_secrt",
            "'openid' cannot be asked for",
            "could act as the service",
            "did you mean 'agent'?",
        ] {
            assert!(ended.err.contains(part), "{part}: {}", ended.err);
        }
        assert!(!ended.err.contains("listening"), "{}", ended.err);
        assert!(
            !ended.err.contains("hunter2") && !ended.err.contains('\x1b'),
            "{}",
            ended.err
        );
    }
    let ended = run(&["run"], &[]);
    assert_eq!(ended.code, 78);
    assert!(
        ended.err.contains("there is no configuration"),
        "{}",
        ended.err
    );
}

#[test]
fn problems_can_be_read_by_programs() {
    let ended = File::new(WRONG).run(&["check", "--json"]);
    assert_eq!(ended.code, 78);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["errors"], 4, "{answer:#}");
    assert!(
        answer["problems"][0]["origin"]
            .as_str()
            .unwrap()
            .contains("proxy.yaml:3:")
    );

    let ended = File::new("routes: [{upstream: 'https://x.example'}]").run(&["check", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["errors"], 0);
}

#[test]
fn the_printed_configuration_can_be_used() {
    let environment = [("ITWIN_CLIENT_ID", "x"), ("ITWIN_CLIENT_SECRET", "hunter2")];
    let first = run(&["check", "--print"], &environment);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(!first.out.contains("hunter2"));
    let file = File::new(&first.out);
    let path = file.path().display().to_string();
    let again = run(&["check", "--print", "-c", &path], &environment[1..]);
    assert_eq!((again.code, again.out), (0, first.out), "{}", again.err);
}

#[test]
fn the_number_of_threads_is_told_with_its_reason() {
    let route = "routes: [{upstream: 'https://x.example'}]";
    let ended = File::new(route).run(&["check", "--print"]);
    let last = ended.out.lines().last().unwrap();
    assert!(last.starts_with("# ") && last.contains(" worker"), "{last}");
    let ended = File::new(&format!("{route}\nworkers: 3")).run(&["check"]);
    assert!(ended.err.contains("3 workers: configured"), "{}", ended.err);
}

#[test]
fn the_command_line_explains_itself() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["run", "--help"], 0),
        (&["rnu"], 64),
        (&[], 64),
        (&["explain"], 64),
    ] {
        assert_eq!(run(arguments, &[]).code, code, "{arguments:?}");
    }
    assert!(run(&["chekc"], &[]).err.contains("check"));
    assert!(
        run(&["completions", "bash"], &[])
            .out
            .contains("itwin-auth-proxy")
    );
    assert!(run(&["schema"], &[]).out.contains("$defs"));
    let init = run(&["init"], &[]);
    assert!(init.code == 0 && init.out.contains("client_secret_file"));
}

const INJECTOR: &str = "image: itwin-auth-proxy:0.1.0\n\
    certificate: { managed: { secret: s, namespace: n, service: v, webhook: w } }\n\
    defaults: { credential_secret: itwin-client }\n";

#[test]
fn manifests_are_given_the_sidecar_without_a_cluster() {
    let file = File::new(INJECTOR);
    let path = file.path().display().to_string();
    let print = |manifest: &str| {
        let mut child = command(&["inject", "--config", &path, "--print"], &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(manifest.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let manifest = |annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: other }}\n---\napiVersion: apps/v1\nkind: Deployment\n\
             metadata: {{ name: agent }}\nspec:\n  template:\n    metadata:\n      annotations: {{ {annotations} }}\n    \
             spec:\n      containers: [{{ name: agent, image: agent:1, env: [{{ name: MODE, value: 'yes' }}] }}]\n"
        )
    };
    let ended = print(&manifest("itwin-auth-proxy/inject: 'true'"));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    let expected = "        - name: agent\n          image: agent:1\n          env:\n            - name: MODE\n              value: \"yes\"\n            - name: ITWIN_AUTH_PROXY_URL\n              value: http://127.0.0.1:8080\n";
    assert!(ended.out.contains(expected), "{}", ended.out);
    assert!(ended.out.contains("restartPolicy: Always"), "{}", ended.out);
    assert!(
        ended.out.starts_with("apiVersion: v1\nkind: Secret\n"),
        "{}",
        ended.out
    );
    let again = print(&ended.out);
    assert_eq!((again.code, again.out), (0, ended.out), "{}", again.err);

    let none = print(&manifest("other: 'true'"));
    assert_eq!(none.code, 0);
    assert!(none.err.contains("no pod in it asks"), "{}", none.err);
    let wrong = print(&manifest(
        "itwin-auth-proxy/inject: 'true', itwin-auth-proxy/port: '80'",
    ));
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    assert!(
        wrong.err.contains("Deployment/agent cannot be given"),
        "{}",
        wrong.err
    );
}

#[test]
fn a_wrong_injector_is_told_whole_and_nothing_starts() {
    let file = File::new("imagee: a\nbind: 1\n");
    let path = file.path().display().to_string();
    let ended = run(&["inject", "--config", &path], &[]);
    assert_eq!(ended.code, 78);
    for part in [
        "imagee",
        "did you mean 'image'",
        "bind",
        "certificate",
        ":2:",
    ] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    let file = File::new(INJECTOR);
    let path = file.path().display().to_string();
    assert_eq!(run(&["inject", "--config", &path, "--check"], &[]).code, 0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(&["schema"], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(err, "");
}

#[test]
fn init_never_overwrites() {
    let file = File::new("mine");
    let path = file.path().display().to_string();
    assert_eq!(run(&["init", "--output", &path], &[]).code, 73);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "mine");
}

/// A sandbox, and the configuration of a proxy in front of it.
async fn sandbox() -> (Sandbox, File) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let text = format!(
        "
providers: {{sandbox: {{issuer: '{}'}}}}
credentials: {{agent: {{client_id: '{}', client_secret: '{}', scopes: itwin-platform}}}}
listeners: ['127.0.0.1:0']
routes: [{{inject: agent, upstream: '{}'}}]
admin: 127.0.0.1:0
log: {{format: json}}
",
        sandbox.issuer(),
        sandbox.client_id(),
        sandbox.client_secret(),
        sandbox.hub()
    );
    (sandbox, File::new(&text))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_live_contacts_provider_and_upstream() {
    let (sandbox, file) = sandbox().await;
    let ended = file.run(&["check", "--live"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    for part in [
        "ok       token for credential agent (scopes: itwin-platform)",
        "valid for 3",
        "ok       upstream http://127.0.0.1",
    ] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }

    sandbox.set_client_secrets(sandbox.client_id(), vec!["another".into()]);
    let ended = file.run(&["check", "--live", "--json"]);
    assert_eq!(ended.code, 69, "{}", ended.err);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    let found = |check: &str| {
        let all = answer["live"].as_array().unwrap();
        let found = all.iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("{check}: {answer:#}"))
    };
    assert_eq!(found("token")["verdict"], "failure");
    let seen = found("token")["seen"].as_str().unwrap();
    assert!(seen.contains("invalid_client"), "{answer:#}");
    let rest = &found("upstream")["verdict"];
    assert_eq!(rest, "ok", "the rest is still tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_live_asks_whether_the_api_is_known() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (api, secret) = sandbox.api().unwrap();
    for (secret, code, said) in [
        (
            secret,
            0,
            "ok       introspection at provider ids as imodels-api: ",
        ),
        (
            "wrong",
            69,
            "refuses the API's own client (401 Unauthorized)",
        ),
    ] {
        let file = File::new(&format!(
            "
providers: {{ids: {{issuer: '{}', introspection: {{client_id: {api}, client_secret: {secret}}}}}}}
listeners: ['127.0.0.1:0']
routes: [{{upstream: '{}', admit: {{bearer: {{audiences: a}}}}}}]
",
            sandbox.issuer(),
            sandbox.hub()
        ));
        let ended = file.run(&["check", "--live"]);
        assert_eq!(ended.code, code, "{}", ended.err);
        assert!(ended.err.contains(said), "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_prints_a_token_and_nothing_else() {
    let (sandbox, file) = sandbox().await;
    let ended = file.run(&["token"]);
    assert_eq!(
        (
            ended.code,
            ended.out.matches('.').count(),
            ended.out.lines().count()
        ),
        (0, 2, 1),
        "{}",
        ended.err
    );
    assert!(
        file.run(&["token", "agent", "--header"])
            .out
            .starts_with("Bearer ey")
    );
    let ended = file.run(&["token", "other"]);
    assert!(
        ended.code == 64 && ended.err.contains("agent"),
        "{}",
        ended.err
    );
    drop(sandbox);
}

/// The proxy, running; ended when the test is.
struct Proxy {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Proxy {
    fn start(file: &File) -> Self {
        Self::start_with(file, &[])
    }

    fn start_with(file: &File, environment: &[(&str, &str)]) -> Self {
        let mut child = command(
            &["run", "--config", &file.path().display().to_string()],
            environment,
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// The first log line with this message from here on.
    fn line(&mut self, message: &str) -> Value {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "no '{message}' in: {all}"
            );
            all.push_str(&line);
            let Ok(fields) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if fields["message"] == message {
                return fields;
            }
        }
    }

    /// The next line of the log, whatever it says.
    fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended");
        line
    }

    fn address(&mut self, message: &str) -> String {
        self.line(message)["address"].as_str().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_serves_until_it_is_told_to_stop() {
    let (sandbox, file) = sandbox().await;
    let mut proxy = Proxy::start(&file);
    let listener = proxy.address("listening");
    let admin = proxy.address("admin listening");
    let mut stream = TcpStream::connect(&listener).unwrap();
    write!(
        stream,
        "GET /imodels?iTwinId={} HTTP/1.1\r\nHost: {listener}\r\nConnection: close\r\n\r\n",
        sandbox.itwin_id()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // the token is there, so that it is ready
    let probe = run(&["probe", "--admin", &admin], &[]);
    assert_eq!(probe.code, 0, "{}", probe.err);
    proxy.signal("-TERM");
    proxy.line("stopped");
    assert_eq!(proxy.child.wait().unwrap().code(), Some(0));
    assert_eq!(
        run(&["probe", "--admin", &admin], &[]).code,
        1,
        "nobody is there any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_running_proxy_is_changed_and_read_at_its_socket() {
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
    let place = format!("unix:{}", socket.display());
    let told = run(&["log", "debug", "--for", "1m", "--admin", &place], &[]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(
        told.out.starts_with("level debug, ") && told.out.contains("until"),
        "{}",
        told.out
    );
    let read = run(&["logs", "--lines", "5", "--admin", &place], &[]);
    assert_eq!(read.code, 0, "{}", read.err);
    let lines = read.out.lines().count();
    assert!((1..=5).contains(&lines), "{}", read.out);
    // also over TCP, and line by line while it goes on
    let mut follow = command(&["logs", "--follow", "--admin", &address], &[]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(follow.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with('{') && line.ends_with('\n'), "{line}");
    assert_eq!(follow.try_wait().unwrap(), None, "it goes on");
    follow.kill().unwrap();
    follow.wait().unwrap();
    let told = run(&["log", "debug", "--admin", &address], &[]);
    assert_eq!(told.code, 77, "{}", told.err);
    assert_eq!(run(&["log", "loud", "--admin", &place], &[]).code, 64);
    proxy.signal("-TERM");
    proxy.line("stopped");
    proxy.child.wait().unwrap();
    assert_eq!(run(&["logs", "--admin", &place], &[]).code, 69);
}

#[test]
fn a_second_signal_cuts_what_is_under_way() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = silent.local_addr().unwrap();
    let file = File::new(&format!(
        "listeners: ['127.0.0.1:0']\nroutes: [{{upstream: 'http://{upstream}'}}]\nadmin: none\nlog: {{format: json}}\n"
    ));
    let mut proxy = Proxy::start(&file);
    let listener = proxy.address("listening");
    let mut stream = TcpStream::connect(&listener).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {listener}\r\n\r\n").unwrap();
    let (mut arrived, _) = silent.accept().unwrap();
    let mut byte = [0];
    arrived.read_exact(&mut byte).unwrap(); // the request is under way, and stays so
    proxy.signal("-INT");
    proxy.line("stopping");
    proxy.signal("-INT");
    proxy.line("cutting what is under way");
    assert_eq!(proxy.child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = File::new(&format!(
        "listeners: ['{address}']\nroutes: [{{upstream: 'https://x.example'}}]\nadmin: none\n"
    ))
    .run(&["run"]);
    assert_eq!(ended.code, 69, "{}", ended.err);
    assert!(ended.err.contains(&address.to_string()), "{}", ended.err);
}

/// A sandbox, a configuration with three routes that ask for its tokens, and a token.
async fn with_token() -> (Sandbox, File, String) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let rule_with =
        |rest: &str| format!("{{bearer: {{audiences: [bentley-api-management], {rest}}}}}");
    let file = File::new(&format!(
        "
providers: {{sandbox: {{issuer: '{}'}}}}
credentials: {{agent: {{client_id: '{}', client_secret: '{}', scopes: itwin-platform}}}}
listeners: ['127.0.0.1:0']
routes:
  - {{name: good, path: /good, admit: {}, upstream: 'http://127.0.0.1:1'}}
  - {{name: scope, path: /scope, admit: {}, upstream: 'http://127.0.0.1:1'}}
  - {{name: role, path: /role, admit: {}, upstream: 'http://127.0.0.1:1'}}
admin: none
",
        sandbox.issuer(),
        sandbox.client_id(),
        sandbox.client_secret(),
        rule_with("scopes: [itwin-platform]"),
        rule_with("scopes: [storage:read, storage:modify]"),
        rule_with("claims: {role: Admin}, types: [at+jwt]"),
    ));
    let token = file.run(&["token"]).out.trim().to_owned();
    (sandbox, file, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_claim_by_claim_what_each_route_would_make_of_a_token() {
    let (_sandbox, file, token) = with_token().await;
    let ended = file.run(&["verify", &token]);
    assert_eq!(ended.code, 0, "{} {}", ended.out, ended.err);
    let mut parts = ended.out.split("route ").skip(1);
    let (good, scope, role) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    for (part, lines) in [
        (
            good,
            &[
                "would pass",
                "ok  signature",
                "ok  exp",
                "in ",
                "ok  scope",
                "-   sub",
            ][..],
        ),
        (
            scope,
            &[
                "would be refused",
                "no  scope",
                "lacks the scopes storage:modify storage:read",
            ],
        ),
        (
            role,
            &[
                "would be refused",
                "no  typ",
                "no  role",
                "none: the token's `role` is not what",
            ],
        ),
    ] {
        for line in lines {
            assert!(part.contains(line), "{line} in {part}");
        }
    }
    let secret = token.rsplit('.').next().unwrap();
    assert!(
        !ended.out.contains(secret) && !ended.err.contains(secret),
        "{}",
        ended.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_takes_a_token_as_it_is_copied_and_tells_what_it_is_not() {
    let (_sandbox, file, token) = with_token().await;
    // from standard input, as a header; one route; as JSON
    let mut child = command(&["verify", "--route", "scope", "--json", "--config"], &[])
        .arg(file.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    write!(input, "Authorization: Bearer {token}\r\n").unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let all: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(all[0]["route"], "scope");
    assert_eq!(all[0]["passes"], false);
    assert_eq!(all.as_array().unwrap().len(), 1);

    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = file.run(&["verify", &format!("{head}.AAAA")]);
    assert_eq!(forged.code, 1);
    assert!(forged.out.contains("no  signature"), "{}", forged.out);
    assert!(
        forged.out.contains("ok  aud"),
        "the rest is told all the same: {}",
        forged.out
    );
    let nonsense = file.run(&["verify", "nonsense"]);
    assert_eq!(nonsense.code, 1);
    assert!(
        nonsense.out.contains("no  form  the token is no JWT"),
        "{}",
        nonsense.out
    );
    assert_eq!(file.run(&["verify", ""]).code, 64);
    assert_eq!(file.run(&["verify", "--route", "other", &token]).code, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_that_a_token_is_revoked() {
    let (_sandbox, file, token) = with_token().await;
    let good = file.run(&["verify", "--route", "good", &token]);
    assert_eq!(good.code, 0, "{}", good.out);
    let subject = good.out.split_whitespace().last().unwrap();
    let list = file.directory.path().join("revoked.txt");
    fs::write(&list, format!("sub {subject}\n")).unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    let list = list.display();
    fs::write(
        file.path(),
        format!("{text}revocation: {{file: '{list}'}}\n"),
    )
    .unwrap();
    let ended = file.run(&["verify", "--route", "good", &token]);
    assert_eq!(ended.code, 1, "{}", ended.out);
    let line = "no  revoked     the token's `sub` is on the list of those that are revoked";
    let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(spaced(&ended.out).contains(&spaced(line)), "{}", ended.out);
}
