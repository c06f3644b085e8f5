//! Key sets that survive a restart, beside the token store and sealed like it.
//!
//! They are public; sealed they are because whoever could write the file could otherwise add a key
//! of its own. A set is as old as its last fetch, so that a restart makes none younger. Whatever is
//! wrong with the file, the program runs without.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    atomic,
    clock::Moment,
    config::{KeysLocation, Provider, SecretSource, TokenStore},
    sealed::{self, Purpose},
    shutdown::Shutdown,
};

const TARGET: &str = "itwin_auth_proxy::verify";
/// Larger than any set of keys that is fetched, times the providers of a configuration.
const LONGEST: u64 = 32 << 20;

/// What is kept of all issuers. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    sets: Arc<Mutex<BTreeMap<String, Set>>>,
    changed: watch::Sender<()>,
}

/// A document and when it was had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    /// Seconds since 1970-01-01T00:00:00Z.
    fetched: u64,
    document: String,
}

/// One issuer's part of it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    kept: Kept,
    name: String,
}

impl Kept {
    /// Reads what is there, and starts the task that writes.
    pub(super) fn open(store: &TokenStore, shutdown: &Shutdown) -> Self {
        let path = beside(store);
        let sets = read(&path, &store.key).unwrap_or_else(|error| {
            warn!(target: TARGET, file = %path.display(), %error, "kept keys cannot be used; starting without");
            BTreeMap::new()
        });
        let (changed, mut told) = watch::channel(());
        let kept = Self {
            sets: Arc::new(Mutex::new(sets)),
            changed,
        };
        let (sets, key) = (Arc::clone(&kept.sets), store.key.clone());
        shutdown.spawn(async move {
            while told.changed().await.is_ok() {
                let (path, key, sets) = (path.clone(), key.clone(), sets.lock().clone());
                let written = tokio::task::spawn_blocking(move || {
                    let written = write(&path, &key, &sets);
                    written.map_err(|error| (path, error))
                });
                if let Ok(Err((path, error))) = written.await {
                    warn!(target: TARGET, file = %path.display(), %error, "keys do not survive a restart");
                }
            }
        });
        kept
    }

    /// In memory only.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            sets: Arc::default(),
            changed: watch::Sender::default(),
        }
    }

    pub(super) fn place(&self, provider: &Provider) -> Place {
        let location = match &provider.keys.location {
            KeysLocation::Discover => String::new(),
            KeysLocation::Given(url) => url.to_string(),
        };
        Place {
            kept: self.clone(),
            // what says where they are from: another configuration has other keys
            name: format!("{} {location}", provider.issuer),
        }
    }
}

impl Place {
    /// The last document, and how old it is.
    pub(super) fn last(&self, now: Moment) -> Option<(Bytes, Duration)> {
        let sets = self.kept.sets.lock();
        let set = sets.get(&self.name)?;
        let age = now.wall.saturating_sub(Duration::from_secs(set.fetched));
        Some((Bytes::from(set.document.clone()), age))
    }

    pub(super) fn keep(&self, document: &[u8], now: Moment) {
        let Ok(document) = std::str::from_utf8(document) else {
            return;
        };
        let set = Set {
            fetched: now.wall.as_secs(),
            document: document.to_owned(),
        };
        self.kept.sets.lock().insert(self.name.clone(), set);
        self.kept.changed.send_replace(());
    }
}

#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error(transparent)]
    Key(#[from] crate::config::secret::SecretError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Foreign(#[from] sealed::Foreign),
    #[error("it cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("sealing failed")]
    Seal,
}

fn beside(store: &TokenStore) -> PathBuf {
    let mut name = store.path.clone().into_os_string();
    name.push(".keys");
    name.into()
}

fn read(path: &Path, key: &SecretSource) -> Result<BTreeMap<String, Set>, KeptError> {
    let file = match fs::metadata(path) {
        Ok(about) if about.len() > LONGEST => return Err(sealed::Foreign.into()),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let content = sealed::open(Purpose::KeySets, &key.read()?, &file)?;
    Ok(serde_json::from_slice(&content)?)
}

fn write(path: &Path, key: &SecretSource, sets: &BTreeMap<String, Set>) -> Result<(), KeptError> {
    let content = Zeroizing::new(serde_json::to_vec(sets)?);
    let sealed = sealed::seal(Purpose::KeySets, &key.read()?, content);
    Ok(atomic::replace(
        path,
        &sealed.map_err(|_| KeptError::Seal)?,
    )?)
}
