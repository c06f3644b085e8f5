//! The program as a service manager and a kernel see it: what it says to the one, what it asks of
//! the other.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own, with a configuration.
struct Place(TempDir);

impl Place {
    fn new(config: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("proxy.yaml"), config).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Proxy {
        let mut child = Command::new(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .arg("run")
            .arg("--config")
            .arg(self.path("proxy.yaml"))
            .args(arguments)
            .env_clear()
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
