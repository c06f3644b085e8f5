//! All keys that have a handle. The same key is always the same cell, across reloads too; a
//! person's cells are known by number alone, and go when the person does.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    handle::{Owner, Shared, TokenHandle},
    key::{Key, KeyDigest},
    person::PersonToken,
    store::Stored,
};
use crate::config::{Credential, ScopeSet};

/// Keys, the tokens that a store kept for them, and the numbers given to keys and tokens.
#[derive(Debug, Default)]
pub(super) struct Registry {
    keys: Mutex<Keys>,
    /// There are changes that the worker has not seen yet.
    changed: Notify,
    numbers: AtomicU64,
    tokens: AtomicU64,
    /// How often the worker has looked at one of them.
    #[cfg(test)]
    pub(super) looks: AtomicU64,
}

#[derive(Debug, Default)]
struct Keys {
    by_key: HashMap<Key, Arc<Shared>>,
    by_number: BTreeMap<u64, Arc<Shared>>,
    changes: Changes,
    stored: HashMap<KeyDigest, Stored>,
}

/// What the worker has to hear of.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) fresh: Vec<Arc<Shared>>,
    pub(super) renewed: Vec<Renewed>,
    /// Comes last: a key that is in here is gone, whatever else is said of it.
    pub(super) retired: Vec<u64>,
}

/// A person's key for which there is another refresh token, and perhaps a token.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) number: u64,
    pub(super) token: Option<PersonToken>,
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
        let number = self.number();
        let digest = key.digest();
        let shared = Arc::new(Shared::new(
            number,
            Owner::Program(digest),
            credential.clone(),
            scopes.clone(),
            shown,
        ));
        if let Some(stored) = keys.stored.remove(&digest) {
            first(&shared, &stored);
        }
        keys.by_key.insert(key, shared.clone());
        keys.by_number.insert(number, shared.clone());
        keys.changes.fresh.push(shared.clone());
        self.changed.notify_one();
        shared
    }

    /// A person's cell, for the worker.
    pub(super) fn add(&self, shared: Arc<Shared>) {
        self.keys.lock().changes.fresh.push(shared);
        self.changed.notify_one();
    }

    /// A person's cells have more to go on than before.
    pub(super) fn renew(&self, renewed: impl Iterator<Item = Renewed>) {
        self.keys.lock().changes.renewed.extend(renewed);
        self.changed.notify_one();
    }

    /// A person's cells have nobody any more.
    pub(super) fn retire(&self, numbers: impl Iterator<Item = u64>) {
        self.keys.lock().changes.retired.extend(numbers);
        self.changed.notify_one();
    }

    /// Forgets the program's keys that are not among these numbers; what is stored of them stays,
    /// in case they come back after a restart.
    pub(super) fn keep_only(&self, needed: &HashSet<u64>) {
        let mut keys = self.keys.lock();
        keys.by_key
            .retain(|_, shared| needed.contains(&shared.number));
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut keys.by_number)
            .into_iter()
            .partition(|(number, _)| needed.contains(number));
        keys.by_number = kept;
        keys.changes.retired.extend(gone.into_keys());
        self.changed.notify_one();
    }

    /// What was not taken yet.
    pub(super) fn take_changes(&self) -> Changes {
        std::mem::take(&mut self.keys.lock().changes)
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A number that no other key has.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no other token has.
    pub(super) fn token_number(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn looked(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// The program's own; people's are not listed.
    pub(super) fn all(&self) -> Vec<Arc<Shared>> {
        self.keys.lock().by_number.values().cloned().collect()
    }
}
