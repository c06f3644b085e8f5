//! The program as its own process, with everything that it writes.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
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
    _directory: tempfile::TempDir,
}

pub(crate) fn run(config: &Value) -> Program {
    run_after(":", config)
}

/// Starts it in a shell that has done `preparation`, such as `ulimit -n 64`.
pub(crate) fn run_after(preparation: &str, config: &Value) -> Program {
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
        .env_clear()
        .stdin(Stdio::null())
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
        _directory: directory,
    }
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

    /// The address in the line that says `message`.
    pub(crate) fn address(&self, message: &str) -> SocketAddr {
        self.line(message)["address"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
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

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
