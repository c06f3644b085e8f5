//! The program as a service manager and a kernel see it: what it says to the one, what it asks of
//! the other.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{
        fs::symlink,
        net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use itwin_auth_proxy::sandbox::{Sandbox, SandboxConfig};
use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own, with a configuration.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("proxy.yaml"), config).unwrap();
        fs::create_dir(place.path("tmp")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Proxy {
        self.start("run", environment, arguments)
    }

    fn start(&self, command: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Proxy {
        let mut child = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .arg(command)
            .arg("--config")
            .arg(self.path("proxy.yaml"))
            .args(arguments)
            .env_clear()
            // not where the files of the tests are
            .env("TMPDIR", self.path("tmp"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Proxy { child, lines }
    }
}

/// The program, running; ended when the test is.
struct Proxy {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Proxy {
    /// The first log line from here on whose message begins so.
    fn line(&mut self, message: &str) -> Value {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).unwrap();
            assert!(length > 0, "no '{message}' in: {all}");
            all.push_str(&line);
            let fields: Value = serde_json::from_str(&line).unwrap_or_default();
            let found = fields["message"].as_str();
            if found.is_some_and(|found| found.starts_with(message)) {
                return fields;
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing that needs a token.
const PLAIN: &str = "\
    listeners: ['127.0.0.1:0']\n\
    routes: [{upstream: 'http://127.0.0.1:9'}]\n\
    admin: none\n\
    limits: {drain_delay: 0s}\n\
    log: {format: json}\n";

/// The next message for the service manager, without the signs of life.
fn told(manager: &UnixDatagram) -> String {
    loop {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).unwrap();
        let message = String::from_utf8_lossy(&message[..length]);
        if message != "WATCHDOG=1" {
            return message.into_owned();
        }
    }
}

#[test]
fn the_service_manager_hears_when_it_accepts_and_that_it_stops() {
    let place = Place::new(PLAIN);
    let socket = place.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let some_time = Some(Duration::from_secs(60));
    manager.set_read_timeout(some_time).unwrap();
    let socket = socket.to_str().unwrap();
    let environment = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "60000000")];
    let mut proxy = place.run(&environment, &[]);
    assert_eq!(told(&manager), "READY=1");
    assert_eq!(told(&manager), "STATUS=ready");
    let mut message = [0; 512];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"WATCHDOG=1");
    proxy.signal("-TERM");
    assert_eq!(told(&manager), "STOPPING=1");
    proxy.line("stopped");
}

/// What `/proc` says of every thread.
fn threads(proxy: &Proxy, key: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.child.id())).unwrap();
    let tasks = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    let value = |status: &str, key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    };
    tasks
        .map(|status| (value(&status, "Name"), value(&status, key)))
        .collect()
}

/// Whether this machine's kernel has Landlock: then nothing below may be left out.
fn has_landlock() -> bool {
    let place = Place::new(PLAIN);
    let line = place.run(&[], &[]).line("")["message"].to_string();
    assert!(line.contains("confined"), "{line}");
    !line.contains("not confined")
}

#[test]
fn every_thread_gives_up_new_privileges() {
    let place = Place::new(PLAIN);
    let mut proxy = place.run(&[], &[]);
    proxy.line("listening");
    for (name, privileges) in threads(&proxy, "NoNewPrivs") {
        assert_eq!(privileges, "1", "thread {name}");
    }
    let mut free = place.run(&[], &["--no-confine"]);
    free.line("not confined: --no-confine");
    free.line("listening");
    let all = threads(&free, "NoNewPrivs");
    assert!(
        all.iter().all(|(_, privileges)| privileges == "0"),
        "{all:?}"
    );
}

#[test]
fn the_injector_gives_them_up_as_well() {
    let made = rcgen::generate_simple_self_signed(["injector.example".into()]).unwrap();
    let place = Place::new("");
    fs::write(place.path("tls.crt"), made.cert.pem()).unwrap();
    fs::write(place.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let config = format!(
        "bind: '127.0.0.1:0'\n\
         admin: '127.0.0.2:0'\n\
         image: itwin-auth-proxy\n\
         certificate: {{files: {{certificate: '{}', key: '{}'}}}}\n\
         native_sidecars: always\n\
         log: {{format: json}}\n",
        place.path("tls.crt").display(),
        place.path("tls.key").display()
    );
    fs::write(place.path("proxy.yaml"), config).unwrap();
    let mut injector = place.start("inject", &[], &[]);
    injector.line("webhook listening");
    for (name, privileges) in threads(&injector, "NoNewPrivs") {
        assert_eq!(privileges, "1", "thread {name}");
    }
    let mut free = place.start("inject", &[], &["--no-confine"]);
    free.line("not confined: --no-confine");
}

/// The status of the answer to a GET of the admin listener with this key.
fn with_key(admin: &str, key: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(
        stream,
        "GET /revocations HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].to_owned()
}

#[test]
fn a_secret_may_be_replaced_but_not_lead_elsewhere() {
    let (first, second, third) = (
        "first-key-0123456789",
        "second-key-0123456789",
        "third-key-0123456789",
    );
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("key"), third).unwrap();
    // as Kubernetes mounts a secret
    let place = Place::new("");
    fs::create_dir_all(place.path("mount/..1")).unwrap();
    fs::write(place.path("mount/..1/key"), first).unwrap();
    symlink("..1", place.path("mount/..data")).unwrap();
    symlink("..data/key", place.path("mount/key")).unwrap();
    let config = format!(
        "listeners: ['127.0.0.1:0']\n\
         routes: [{{upstream: 'http://127.0.0.1:9'}}]\n\
         admin: {{bind: '127.0.0.1:0', key_file: '{}'}}\n\
         log: {{format: json}}\n",
        place.path("mount/key").display()
    );
    fs::write(place.path("proxy.yaml"), config).unwrap();
    let confined = has_landlock();
    let mut proxy = place.run(&[], &[]);
    let admin = proxy.line("admin listening")["address"].clone();
    let admin = admin.as_str().unwrap();
    assert_eq!(with_key(admin, first), "200");

    // as the kubelet replaces it
    fs::create_dir(place.path("mount/..2")).unwrap();
    fs::write(place.path("mount/..2/key"), second).unwrap();
    symlink("..2", place.path("mount/..new")).unwrap();
    fs::rename(place.path("mount/..new"), place.path("mount/..data")).unwrap();
    assert_eq!(with_key(admin, second), "200");

    let key = elsewhere.path().join("key");
    symlink(key, place.path("mount/new")).unwrap();
    fs::rename(place.path("mount/new"), place.path("mount/key")).unwrap();
    let refused = with_key(admin, third);
    assert_eq!(refused != "200", confined, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confined_proxy_resolves_names_and_keeps_tokens_and_sockets() {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let place = Place::new("");
    fs::create_dir(place.path("state")).unwrap();
    fs::create_dir(place.path("run")).unwrap();
    let (store, socket) = (place.path("state/tokens"), place.path("run/proxy.sock"));
    // names and the system's authorities are looked up when the process is confined already
    let config = format!(
        "providers: {{sandbox: {{issuer: '{}'}}}}\n\
         credentials: {{agent: {{client_id: '{}', client_secret: '{}', scopes: itwin-platform}}}}\n\
         listeners: ['unix:{}']\n\
         routes: [{{path: /other/, upstream: 'https://x.example'}}, {{inject: agent, upstream: '{}'}}]\n\
         token_store: {{path: '{}', key: a-key-0123456789ab}}\n\
         admin: none\n\
         limits: {{drain_delay: 0s}}\n\
         log: {{format: json}}\n",
        sandbox.issuer(),
        sandbox.client_id(),
        sandbox.client_secret(),
        socket.display(),
        sandbox.hub().replace("127.0.0.1", "localhost"),
        store.display()
    );
    fs::write(place.path("proxy.yaml"), config).unwrap();
    let mut proxy = place.run(&[], &[]);
    proxy.line("listening");
    let mut stream = UnixStream::connect(&socket).unwrap();
    write!(
        stream,
        "GET /imodels?iTwinId={} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        sandbox.itwin_id()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    proxy.signal("-TERM");
    proxy.line("stopped");
    assert!(proxy.child.wait().unwrap().success());
    assert!(store.exists(), "tokens survive a restart");
    assert!(!socket.exists());
}
