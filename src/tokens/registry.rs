//! All keys that have a handle. The same key is always the same cell, across reloads too.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    handle::{Shared, TokenHandle},
    key::{Key, KeyDigest},
    store::Stored,
};
use crate::config::{Credential, ScopeSet};

/// Keys, the tokens that a store kept for them, and the numbers given to tokens.
#[derive(Debug, Default)]
pub(super) struct Registry {
    keys: Mutex<Keys>,
    /// Keys that the worker has not seen yet.
    changed: Notify,
    tokens: AtomicU64,
}

#[derive(Debug, Default)]
struct Keys {
    by_key: HashMap<Key, Arc<Shared>>,
    by_number: BTreeMap<u64, Arc<Shared>>,
    fresh: Vec<Arc<Shared>>,
    stored: HashMap<KeyDigest, Stored>,
}

impl Registry {
    pub(super) fn new(stored: HashMap<KeyDigest, Stored>) -> Self {
        Self {
            keys: Mutex::new(Keys {
                stored,
                ..Keys::default()
            }),
            ..Self::default()
        }
    }

    /// The one cell of this key, which shows the token of `shown`, if any. `first` is called for a key that was not there yet, with the
    /// token that was stored for it.
    pub(super) fn shared(
        &self,
        credential: &Arc<Credential>,
        scopes: &ScopeSet,
        shown: Option<TokenHandle>,
        first: impl FnOnce(&Shared, &Stored),
    ) -> Arc<Shared> {
        let key = Key::new(credential, scopes);
        let mut keys = self.keys.lock();
        if let Some(shared) = keys.by_key.get(&key) {
            shared.credential.store(credential.clone());
            return shared.clone();
        }
        let number = keys.by_key.len() as u64;
        let digest = key.digest();
        let shared = Arc::new(Shared::new(
            number,
            digest,
            credential.clone(),
            scopes.clone(),
            shown,
        ));
        if let Some(stored) = keys.stored.remove(&digest) {
            first(&shared, &stored);
        }
        keys.by_key.insert(key, shared.clone());
        keys.by_number.insert(number, shared.clone());
        keys.fresh.push(shared.clone());
        self.changed.notify_one();
        shared
    }

    /// Keys that were not taken yet.
    pub(super) fn take_fresh(&self) -> Vec<Arc<Shared>> {
        std::mem::take(&mut self.keys.lock().fresh)
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A number that no other token has.
    pub(super) fn token_number(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.keys.lock().by_number.values().cloned().collect()
    }
}
