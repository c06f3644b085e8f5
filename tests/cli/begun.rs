//! Each configuration that `init` writes, checked and run as its first lines say, against the sandbox.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use itwin_auth_proxy::sandbox::{Sandbox, SandboxConfig};

use super::{File, Proxy, command, run};

/// What `init` wrote for a kind, with the sandbox in Bentley's place, kernel-chosen ports, and files
/// in a directory of its own.
async fn begun(kind: &str, client_id: &str) -> (Sandbox, File) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let file = File::new("");
    let directory = file.directory.path();
    fs::write(directory.join("secret"), sandbox.client_secret()).unwrap();
    fs::write(directory.join("callers"), "a key that nobody guesses").unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    fs::write(directory.join("tls.crt"), pair.cert.pem()).unwrap();
    fs::write(directory.join("tls.key"), pair.signing_key.serialize_pem()).unwrap();
    for name in ["secret", "callers", "tls.key"] {
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let secret = directory.join("secret").display().to_string();
    let written = run(
        &[
            "init",
            kind,
            "--client-id",
            client_id,
            "--secret-file",
            &secret,
        ],
        &[],
    );
    assert_eq!(written.code, 0, "{}", written.err);
    let mut text = written.out;
    let place = directory.display().to_string();
    for (ours, theirs) in [
        ("provider: bentley ", "provider: sandbox "),
        (
            "upstream: https://api.bentley.com",
            &format!("upstream: {}", sandbox.hub()),
        ),
        (
            "upstream: https://ims.bentley.com",
            &format!("upstream: {}", sandbox.issuer()),
        ),
        ("/etc/itwin-auth-proxy", &place),
        ("/run/secrets/callers", &format!("{place}/callers")),
        ("bind: 127.0.0.1:8080", "bind: 127.0.0.1:0"),
        ("bind: 127.0.0.1:3128", "bind: 127.0.0.1:0"),
        ("bind: 127.0.0.1:9901", "bind: 127.0.0.1:0"),
        ("bind: 0.0.0.0:8443", "bind: 127.0.0.1:0"),
        (
            "certificate: ca.crt",
            &format!("certificate: {place}/ca.crt"),
        ),
        ("key: ca.key", &format!("key: {place}/ca.key")),
    ] {
        text = text.replace(ours, theirs);
    }
    text = format!(
        "{text}\nproviders: {{sandbox: {{issuer: '{}'}}}}\nlog: {{format: json}}\n",
        sandbox.issuer()
    );
    fs::write(file.path(), text).unwrap();
    (sandbox, file)
}

fn sent(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = request.replace("HOST", address);
    write!(stream, "{request}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    sent(address, &request)
}

fn checked(file: &File, state: &Path) {
    let (path, state) = (
        file.path().display().to_string(),
        state.display().to_string(),
    );
    let environment = [("XDG_STATE_HOME", state.as_str())];
    let output = command(&["check", "--config", &path], &environment).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    // that there is a better key; that the sandbox is not api.bentley.com
    let expected = |line: &&str| line.contains("has no key") || line.contains("no route serves it");
    let warnings = told.lines().filter(|line| line.starts_with("warning"));
    assert_eq!(warnings.filter(|line| !expected(line)).count(), 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_service_calls_the_api() {
    let (sandbox, file) = begun("service", "service-sandbox").await;
    checked(&file, file.directory.path());
    let mut proxy = Proxy::start(&file);
    let address = proxy.address("listening");
    let answer = get(
        &address,
        &format!("/imodels?iTwinId={}", sandbox.itwin_id()),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_shared_serves_over_tls_and_answers_live() {
    let (_sandbox, file) = begun("shared", "service-sandbox").await;
    checked(&file, file.directory.path());
    let live = file.run(&["check", "--live"]);
    assert_eq!(live.code, 0, "{}", live.err);
    let mut proxy = Proxy::start(&file);
    proxy.address("listening");
}

#[tokio::test(flavor = "multi_thread")]
async fn init_web_sends_people_to_the_provider() {
    let (sandbox, file) = begun("web", "webapp-sandbox").await;
    checked(&file, file.directory.path());
    let mut proxy = Proxy::start(&file);
    let address = proxy.address("listening");
    let page = "GET / HTTP/1.1\r\nHost: localhost:8080\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n\
        Sec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\nConnection: close\r\n\r\n";
    let answer = sent(&address, page);
    assert!(answer.contains("\r\nlocation: "), "{answer}");
    let login = answer.split("\r\nlocation: ").nth(1).unwrap();
    let login = login.split("\r\n").next().unwrap();
    let login = if login.starts_with('/') {
        let answer = sent(&address, &page.replacen("/ ", &format!("{login} "), 1));
        let next = answer.split("\r\nlocation: ").nth(1);
        next.unwrap_or_else(|| panic!("{answer}"))
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned()
    } else {
        login.to_owned()
    };
    assert!(login.starts_with(sandbox.issuer()), "{login}");
    // it was pushed (RFC 9126), so that the provider has taken the redirect URI
    assert!(
        login.contains("client_id=webapp-sandbox&request_uri="),
        "{login}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn init_desktop_calls_as_the_person_who_signed_in() {
    let (sandbox, file) = begun("desktop", "native-sandbox").await;
    let state = file.directory.path().join("state");
    fs::create_dir(&state).unwrap();
    checked(&file, &state);
    sandbox.faults().visitor("ada@sandbox.example");
    let state = state.display().to_string();
    let environment = [("XDG_STATE_HOME", state.as_str())];
    let path = file.path().display().to_string();
    let mut login = command(&["login", "--no-browser", "--config", &path], &environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(login.stderr.take().unwrap());
    let mut url = String::new();
    while !url.trim().starts_with("http://") {
        url.clear();
        assert!(told.read_line(&mut url).unwrap() > 0, "no address to open");
    }
    // what a browser would do
    let url = url.trim().strip_prefix(sandbox.issuer()).unwrap();
    let provider = sandbox.issuer().replace("http://", "");
    let answer = get(
        provider.trim_end_matches('/'),
        &format!("/{}", url.trim_start_matches('/')),
    );
    let back = answer.split("\r\nlocation: ").nth(1);
    let back = back
        .unwrap_or_else(|| panic!("{answer}"))
        .split("\r\n")
        .next()
        .unwrap();
    let mut typed = login.stdin.take().unwrap();
    writeln!(typed, "{back}").unwrap();
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert!(login.wait().unwrap().success(), "{rest}");

    let mut proxy = Proxy::start_with(&file, &environment);
    let address = proxy.address("listening");
    let answer = get(&address, "/itwins/");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_that_nobody_is_signed_in_at_names_the_command_that_signs_in() {
    let (_sandbox, file) = begun("desktop", "native-sandbox").await;
    let state = file.directory.path().join("state");
    fs::create_dir(&state).unwrap();
    let state = state.display().to_string();
    let environment = [("XDG_STATE_HOME", state.as_str())];
    let mut proxy = Proxy::start_with(&file, &environment);
    let admin = proxy.address("admin listening");
    proxy.line("token refused; a new refresh token is needed");
    let seen = run(&["status", "--admin", &admin], &[]);
    assert_eq!(seen.code, 1, "{}", seen.out);
    for part in [
        "is missing: nobody is signed in",
        "To do: itwin-auth-proxy login me,",
    ] {
        assert!(seen.out.contains(part), "{part}: {}", seen.out);
    }
    let path = file.path().display().to_string();
    let seen = run(
        &["doctor", "--config", &path, "--admin", &admin],
        &environment,
    );
    assert_eq!(seen.code, 1, "{}", seen.out);
    for part in [
        "→ itwin-auth-proxy login me\n",
        "→ itwin-auth-proxy login me, as",
    ] {
        assert!(seen.out.contains(part), "{part}: {}", seen.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_legacy_stands_in_for_all_that_an_agent_asks() {
    let (sandbox, file) = begun("legacy", "service-sandbox").await;
    let made = file.run(&["ca", "init"]);
    assert_eq!(made.code, 0, "{}", made.err);
    checked(&file, file.directory.path());
    let mut proxy = Proxy::start(&file);
    let address = proxy.address("listening");
    let answer = get(&address, "/WebService/GetUrl/?url=iModelHubApi&region=0");
    assert!(answer.contains("/imodelhub"), "{answer}");
    let form =
        "grant_type=client_credentials&client_id=any&client_secret=thing&scope=itwin-platform";
    let answer = sent(
        &address,
        &format!(
            "POST /authority/connect/token HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        ),
    );
    assert!(answer.contains("access_token"), "{answer}");
    let answer = get(
        &address,
        &format!("/imodels?iTwinId={}", sandbox.itwin_id()),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
