//! The service manager, systemd for one: hears when requests are accepted, what is still waited for,
//! that the program stops, and, where it asks for that, that every thread still answers.
//!
//! `READY=1` says that requests are accepted, not that there are tokens: a provider that is down must
//! not make the start fail. What is missing stands in the status. A thread that stands still is
//! named in the log, and the manager hears nothing more until it moves: what then happens is the
//! manager's to decide.

use std::time::Duration;

use crate::{config::source, health::Readiness, notify::Notify, pulse::Pulse};

/// Who hears what, and how often.
pub(super) struct Manager {
    notify: Notify,
    pulse: Pulse,
    /// Between two signs of life.
    every: Duration,
}

/// Between two looks at what is still waited for.
const EVERY: Duration = Duration::from_secs(1);

impl Manager {
    /// Of this process, if it has one.
    pub(super) fn of_this_process() -> Self {
        let Some(told) = source::service_manager() else {
            return Self::new(Notify::nobody(), None);
        };
        let notify = Notify::to(&told.socket).unwrap_or_else(|error| {
            let socket = told.socket;
            tracing::warn!(%error, socket, "the service manager cannot be told anything");
            Notify::nobody()
        });
        Self::new(notify, told.watchdog)
    }

    fn new(notify: Notify, watchdog: Option<Duration>) -> Self {
        let heard = watchdog.filter(|_| notify.is_heard());
        Self {
            notify,
            // twice in its time, as sd_watchdog_enabled(3) advises
            every: heard.map_or(EVERY, |time| time / 2),
            pulse: heard.map_or_else(Pulse::unwatched, |time| Pulse::watched(time / 2)),
        }
    }

    pub(super) fn notify(&self) -> &Notify {
        &self.notify
    }

    /// What the threads of the program are to keep moving.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Says how it goes, without end.
    pub(super) async fn attend(&self, readiness: &Readiness) {
        if !self.notify.is_heard() {
            return std::future::pending().await;
        }
        tokio::join!(self.tell(readiness), self.live());
    }

    async fn tell(&self, readiness: &Readiness) {
        let mut told = None;
        loop {
            let waiting = readiness.waiting();
            if told.as_ref() != Some(&waiting) {
                self.notify.status(&status(&waiting));
                told = Some(waiting);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn live(&self) {
        if self.pulse.is_watched() {
            let mut said = Vec::new();
            loop {
                let still = self.pulse.still();
                if still.is_empty() {
                    self.notify.alive();
                } else if still != said {
                    let threads = still.join(", ");
                    tracing::error!(
                        threads,
                        "a thread does not answer: no sign of life for the watchdog"
                    );
                }
                said = still;
                tokio::time::sleep(self.every).await;
            }
        }
    }
}

fn status(waiting: &[String]) -> String {
    match waiting {
        [] => "ready".into(),
        _ => format!("not ready: {}", waiting.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, os::unix::net::UnixDatagram};

    use tempfile::TempDir;

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(20);

    /// A manager that listens, and all that it was told until it is asked.
    struct Heard {
        socket: UnixDatagram,
        _directory: TempDir,
    }

    impl Heard {
        fn by(watchdog: Option<Duration>) -> (Self, Manager) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let notify = Notify::to(path.to_str().unwrap()).unwrap();
            let heard = Self {
                socket,
                _directory: directory,
            };
            (heard, Manager::new(notify, watchdog))
        }

        fn all(&self) -> Vec<String> {
            let next = || {
                let mut message = [0; 512];
                match self.socket.recv(&mut message) {
                    Ok(length) => Some(String::from_utf8_lossy(&message[..length]).into_owned()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        None
                    }
                }
            };
            std::iter::from_fn(next).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_says_what_is_waited_for() {
        let (heard, manager) = Heard::by(None);
        let readiness = Readiness::new();
        readiness.started();
        let token = readiness.wait_for("credential agent");
        let some_time = Duration::from_secs(5);
        let _ = tokio::time::timeout(some_time, manager.attend(&readiness)).await;
        assert_eq!(heard.all(), ["STATUS=not ready: credential agent"]);
        drop(token);
        let _ = tokio::time::timeout(some_time, manager.attend(&readiness)).await;
        assert_eq!(heard.all(), ["STATUS=ready"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_while_a_thread_stands_still() {
        let (heard, manager) = Heard::by(Some(WATCHDOG));
        let readiness = Readiness::new();
        readiness.started();
        let moving = manager.pulse().keep("worker-0");
        let hangs = manager.pulse().keep("worker-1");
        let signs = |all: Vec<String>| all.iter().filter(|one| *one == "WATCHDOG=1").count();

        let all = async { tokio::join!(moving, hangs, manager.attend(&readiness)) };
        let _ = tokio::time::timeout(Duration::from_secs(55), all).await;
        assert_eq!(signs(heard.all()), 6, "two in each span");

        // both went with their futures: from here on no thread moves
        let _ = tokio::time::timeout(WATCHDOG * 3, manager.attend(&readiness)).await;
        assert!(signs(heard.all()) <= 1);
        let _again = manager.pulse().keep("worker-2");
        let _ = tokio::time::timeout(WATCHDOG * 3, manager.attend(&readiness)).await;
        assert_eq!(signs(heard.all()), 0);
    }
}
