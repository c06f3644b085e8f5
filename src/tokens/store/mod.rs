//! Where tokens survive a restart, so that one in the middle of a provider's outage still serves.
//!
//! What is stored is a convenience: whatever is wrong with it, the program runs without.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::sync::watch;

use super::key::KeyDigest;
use crate::{
    clock::{Clock, Moment},
    config::TokenStore,
    secret::Secret,
    shutdown::Shutdown,
};

pub(super) mod file;

/// A token as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// The header's value: `Bearer …`.
    pub(super) token: Secret,
    /// On the wall clock.
    pub(super) since: Duration,
    pub(super) life: Duration,
}

pub(super) type Tokens = HashMap<KeyDigest, Stored>;

impl Stored {
    /// When it began, on both clocks. A wall clock that went back makes it no older than new.
    pub(super) fn since(&self, now: Moment) -> Moment {
        begun(self.since, now)
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.token.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn is_over(&self, now: Moment) -> bool {
        self.since.saturating_add(self.life) <= now.wall
    }
}

/// What began then on the wall clock, on both clocks.
pub(super) fn begun(since: Duration, now: Moment) -> Moment {
    let age = now.wall.saturating_sub(since);
    match now.mono.checked_sub(age) {
        Some(mono) => Moment {
            wall: since.min(now.wall),
            mono,
        },
        None => Moment {
            wall: Duration::ZERO,
            mono: now.mono,
        },
    }
}

/// Keeps what is to survive, and writes it in the background.
#[derive(Debug)]
pub(super) struct Keeper {
    tokens: Tokens,
    file: Option<watch::Sender<Arc<Tokens>>>,
}

impl Keeper {
    /// Nothing survives.
    pub(super) fn memory() -> Self {
        Self {
            tokens: Tokens::new(),
            file: None,
        }
    }

    /// Reads what is there, and starts the task that writes.
    pub(super) fn file(config: &TokenStore, clock: &Clock, shutdown: &Shutdown) -> Self {
        let mut tokens = file::load(config);
        let now = clock.now();
        tokens.retain(|_, stored| !stored.is_over(now));
        let (sender, mut changes) = watch::channel(Arc::new(Tokens::new()));
        let config = config.clone();
        shutdown.spawn(async move {
            while changes.changed().await.is_ok() {
                let tokens = changes.borrow_and_update().clone();
                let config = config.clone();
                // the whole file each time: a few tokens of a few kilobytes
                let _ = tokio::task::spawn_blocking(move || file::save(&config, &tokens)).await;
            }
        });
        Self {
            tokens,
            file: Some(sender),
        }
    }

    pub(super) fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    pub(super) fn keep(&mut self, key: KeyDigest, stored: Stored, now: Moment) {
        let Some(file) = &self.file else { return };
        self.tokens.retain(|_, stored| !stored.is_over(now));
        self.tokens.insert(key, stored);
        file.send_replace(Arc::new(self.tokens.clone()));
    }
}
