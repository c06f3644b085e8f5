//! Readiness, and what a status page is made of.
//!
//! A component that must be there before the program is ready takes a [`Waiting`] guard; dropping
//! it (or ending the task that holds it) is what makes the program ready, so that no component can
//! be forgotten and none has to be counted. Components describe themselves through [`Report`], so
//! that the admin listener needs to know none of them; what may be changed there is [`Editable`].

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::clock::Moment;

/// What is still waited for. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, String>,
    started: bool,
    draining: bool,
}

impl Readiness {
    /// Nothing to wait for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready until the guard is dropped.
    #[must_use = "dropping the guard is what reports readiness"]
    pub fn wait_for(&self, what: impl Into<String>) -> Waiting {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.waiting.insert(id, what.into());
        Waiting {
            readiness: self.clone(),
            id,
        }
    }

    /// All listeners are bound.
    pub fn started(&self) {
        self.state.lock().started = true;
        self.changed.notify_waiters();
    }

    /// The program is going to stop: not ready any more.
    pub fn drain(&self) {
        self.state.lock().draining = true;
    }

    /// Whether everything is bound (`/startup`).
    pub fn is_started(&self) -> bool {
        self.state.lock().started
    }

    /// Waits until nothing is waited for.
    pub async fn ready(&self) {
        loop {
            // from here on it hears of every change, also of one before it is polled
            let changed = self.changed.notified();
            if self.waiting().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// What is still waited for; empty when ready (`/ready`).
    pub fn waiting(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut all: Vec<String> = state.waiting.values().cloned().collect();
        if !state.started {
            all.push("listeners".into());
        }
        if state.draining {
            all.push("shutting down".into());
        }
        all
    }
}

/// Held by a component that is not ready yet.
#[derive(Debug)]
pub struct Waiting {
    readiness: Readiness,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.readiness.state.lock().waiting.remove(&self.id);
        self.readiness.changed.notify_waiters();
    }
}

/// A component that can say how it is, without secrets.
pub trait Report: Send + Sync {
    /// The key under which it appears in `/status`.
    fn name(&self) -> &'static str;
    /// Its state as JSON: no token, no secret, no query value.
    fn report(&self) -> Value;
    /// What of it may be told to others than programs of this machine and those who have the admin key.
    fn report_afar(&self) -> Value {
        self.report()
    }
}

/// A public document, such as keys, that a component has others read on the admin listener.
pub trait Document: Send + Sync {
    fn path(&self) -> &'static str;
    /// As JSON.
    /// `None`: there is none now.
    fn text(&self) -> Option<Bytes>;
}

/// A list that whoever has the admin key may change on the admin listener.
pub trait Editable: Send + Sync {
    fn path(&self) -> &'static str;
    /// A bounded part of it, from the entry with this number on.
    fn page(&self, from: usize, now: Moment) -> Value;
    /// Does all that `body` says, or nothing. It comes with what is to be said of it.
    ///
    /// # Errors
    /// When nothing was changed.
    fn change(&self, change: Change, body: &[u8], now: Moment) -> Result<Value, Unchanged>;
    /// Whether what was changed until now survives a restart, as soon as that is known.
    fn survives(&self) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

/// What may be told by `POST` to this path of the admin listener, by whoever may steer the program.
pub trait Order: Send + Sync {
    fn path(&self) -> &'static str;
    /// Obeys; `body` is what was sent, and may be empty. It comes with what is to be said of it.
    ///
    /// # Errors
    /// When nothing was done.
    fn obey(&self, body: Bytes) -> BoxFuture<'_, Result<Value, Disobeyed>>;
}

/// Why nothing was done; each with all there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disobeyed {
    /// The order cannot be understood (400).
    Wrong(Vec<String>),
    /// What it names is not there (404).
    Unknown(Vec<String>),
    /// It was understood, tried, and refused: what was before is as it was (422).
    Refused(Vec<String>),
}

/// What can be asked by `GET` of this path of the admin listener, with a query: no secret is in an answer.
pub trait Question: Send + Sync {
    fn path(&self) -> &'static str;
    /// As JSON.
    ///
    /// # Errors
    /// All that is wrong with the query.
    fn answer(&self, query: &str) -> Result<Value, Vec<String>>;
}

/// Lines that go on until whoever follows them goes away, at this path of the admin listener.
pub trait Followed: Send + Sync {
    fn path(&self) -> &'static str;
    /// Whole lines; it must not hold up who writes them.
    ///
    /// # Errors
    /// All that is wrong with the query.
    fn follow(&self, query: &str) -> Result<BoxStream<'static, Bytes>, Vec<String>>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
}

/// Why a list is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// All that is wrong with the order.
    Faults(Vec<String>),
    /// There is no room.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_guard_is_gone() {
        let readiness = Readiness::new();
        let token = readiness.wait_for("credential agent");
        readiness.started();
        assert_eq!(readiness.waiting(), ["credential agent"]);
        drop(token);
        assert!(readiness.waiting().is_empty());
        readiness.drain();
        assert_eq!(readiness.waiting(), ["shutting down"]);
    }

    #[tokio::test]
    async fn who_waits_for_it_is_woken_by_the_last_guard() {
        let readiness = Readiness::new();
        let token = readiness.wait_for("credential agent");
        let mut ready = std::pin::pin!(readiness.ready());
        assert!(futures_util::poll!(&mut ready).is_pending());
        readiness.started();
        assert!(futures_util::poll!(&mut ready).is_pending());
        drop(token);
        ready.await;
    }
}
