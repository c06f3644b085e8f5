//! Network namespaces, and what is done in them.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace with a loopback interface; removed when dropped.
#[derive(Debug)]
pub(crate) struct Space {
    name: String,
}

/// Whether namespaces can be made. That they cannot is a failure, unless it was said that it is
/// not one here.
#[expect(clippy::disallowed_methods, reason = "how tests are run")]
pub(crate) fn permitted() -> bool {
    let probe = Command::new("unshare").args(["--net", "true"]).output();
    let found = probe.is_ok_and(|probe| probe.status.success());
    if !found {
        let passed_over = std::env::var("ITWIN_TESTS_WITHOUT_NETNS").is_ok_and(|word| word == "1");
        assert!(
            passed_over,
            "network namespaces cannot be made: run as root, or pass these tests over with ITWIN_TESTS_WITHOUT_NETNS=1"
        );
        // past the test runner, which shows nothing of a test that passes
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED: network namespaces cannot be made here"
        );
    }
    found
}

impl Space {
    pub(crate) fn new(what: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("iap-{}-{number}-{what}", std::process::id());
        done(Command::new("ip").args(["netns", "add", &name]));
        let space = Self { name };
        space.ip("link set lo up");
        space
    }

    /// Joins two with a pair of interfaces, each with the other's name.
    pub(crate) fn join(&self, here: &str, other: &Self, there: &str) {
        let words = format!(
            "link add {here} type veth peer name {there} netns {}",
            other.name
        );
        self.ip(&words);
        self.ip(&format!("link set {here} up"));
        other.ip(&format!("link set {there} up"));
    }

    pub(crate) fn address(&self, interface: &str, address: &str) {
        // nobody else has it, so that nothing has to be waited for
        let no_detection = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!(
            "address add {address} dev {interface}{no_detection}"
        ));
    }

    pub(crate) fn ip(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        done(Command::new("ip").args(["-netns", &self.name]).args(words));
    }

    /// Runs it there, on a thread of its own.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&space);
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread there.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        let space = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::spawn(move || {
            enter(&space);
            work();
        });
    }

    pub(crate) fn output(&self, command: &mut Command) -> Output {
        self.within(|| command.output().unwrap())
    }
}

fn enter(space: &File) {
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

impl Drop for Space {
    fn drop(&mut self) {
        let removed = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        if !thread::panicking() {
            assert!(removed.unwrap().success(), "{} stays", self.name);
        }
    }
}

pub(crate) fn done(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error} (tests/run installs it)"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
