//! The program as its own process, with everything that it writes.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::wait::Watched;

/// The running program; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: Arc<Watched<String>>,
    readers: Vec<JoinHandle<()>>,
    directory: tempfile::TempDir,
}

pub(crate) fn run(config: &Value) -> Program {
    run_after(":", config)
}

/// Starts it in a shell that has done `preparation`, such as `ulimit -n 64`.
pub(crate) fn run_after(preparation: &str, config: &Value) -> Program {
    start(preparation, &[], Stdio::null(), config)
}

/// Starts it to take the place of one that runs.
pub(crate) fn taking_over(config: &Value) -> Program {
    start(":", &["--take-over"], Stdio::null(), config)
}

/// Starts it as systemd does, with a socket that listens already.
pub(crate) fn activated(socket: impl Into<OwnedFd>, config: &Value) -> Program {
    let preparation = "exec 3<&0 0</dev/null && export LISTEN_FDS=1 LISTEN_PID=$$";
    start(preparation, &[], socket.into().into(), config)
}

fn start(preparation: &str, arguments: &[&str], input: Stdio, config: &Value) -> Program {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    // JSON is YAML
    std::fs::write(&file, config.to_string()).unwrap();
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!(r#"{preparation} && exec "$@""#))
        .args(["sh", env!("CARGO_BIN_EXE_itwin-auth-proxy")])
        .args(["run", "--config"])
        .arg(&file)
        .args(arguments)
        .env_clear()
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log: Arc<Watched<String>> = Arc::default();
    let readers = vec![
        collect(child.stdout.take().unwrap(), &log),
        collect(child.stderr.take().unwrap(), &log),
    ];
    Program {
        child,
        log,
        readers,
        directory,
    }
}

fn is_attempt(line: &str) -> bool {
    let messages = [
        "another configuration is in use",
        "the configuration is as it was",
        "the configuration is refused; the one before stays in use",
    ];
    messages.iter().any(|message| line.contains(message))
}

fn collect(from: impl Read + Send + 'static, log: &Arc<Watched<String>>) -> JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            log.update(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    })
}

impl Program {
    /// The first line of the log that says `message`.
    pub(crate) fn line(&self, message: &str) -> Value {
        self.log.wait(message, |text| {
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line: &Value| line["message"] == message)
        })
    }

    /// The first line of the log of which this is so.
    pub(crate) fn line_that(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(what, |text| {
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.find(|line| holds(line))
        })
    }

    /// Writes another configuration and has it read; what is said of it.
    pub(crate) fn reload(&self, config: &Value) -> Value {
        // from then on it hears signals
        self.line("listening");
        let before = self.attempts();
        self.write(&config.to_string());
        self.hang_up();
        self.log.wait("the end of a reload", |text| {
            let mut lines = text.lines().filter(|line| is_attempt(line));
            serde_json::from_str(lines.nth(before)?).ok()
        })
    }

    fn attempts(&self) -> usize {
        self.log
            .read(|text| text.lines().filter(|line| is_attempt(line)).count())
    }

    /// In place of its configuration, in one step.
    pub(crate) fn write(&self, text: &str) {
        let next = self.directory.path().join("next.yaml");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.config()).unwrap();
    }

    /// Whether the log has this text by now.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.log.read(|log| log.contains(text))
    }

    /// The address in the line that says `message`.
    pub(crate) fn address(&self, message: &str) -> SocketAddr {
        self.line(message)["address"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits until it has ended; its exit code, and all that it wrote.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let code = self.child.wait().unwrap().code();
        (code, self.log.read(Clone::clone))
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn end(self) -> (Option<i32>, String) {
        self.terminate();
        self.ended()
    }
}

impl Program {
    /// Ends it without waiting for its drain delay: by two signals.
    pub(crate) fn end_at_once(self) -> (Option<i32>, String) {
        self.terminate();
        self.line("stopping");
        self.end()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
