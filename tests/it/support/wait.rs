//! Waiting for what another thread does, with a deadline.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use super::DEADLINE;

/// A value that one thread changes and others wait for.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
        result
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value.lock().unwrap())
    }

    /// What `found` finds in the value, as soon as it does.
    pub(crate) fn wait<R>(&self, what: &str, found: impl Fn(&T) -> Option<R>) -> R {
        let value = self.value.lock().unwrap();
        let (value, _) = self
            .changed
            .wait_timeout_while(value, DEADLINE, |value| found(value).is_none())
            .unwrap();
        found(&value).unwrap_or_else(|| panic!("waited in vain for {what}"))
    }
}

/// Waits for what cannot be waited for but by looking again and again.
#[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// A gate that is shut until it is opened; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Watched<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.update(|open| *open = true);
    }

    pub(crate) fn pass(&self) {
        self.0.wait("a gate to open", |open| open.then_some(()));
    }
}
