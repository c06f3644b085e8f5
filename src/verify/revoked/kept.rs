//! What was said, so that it survives a restart: beside the token store and sealed like it.
//!
//! Sealed it is because whoever could write the file could otherwise take back what was revoked.
//! Whatever is wrong with the file, the program runs without, and says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    List, Revoked,
    edit::{read_again, written},
};
use crate::{
    atomic,
    clock::Moment,
    config::{SecretSource, TokenStore},
    sealed::{self, Purpose},
    shutdown::Shutdown,
};

/// More than as many entries take as there may be.
const LONGEST: u64 = 256 << 20;

/// What was written last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// How many changes it has.
    pub(super) changes: u64,
    pub(super) well: bool,
}

impl Revoked {
    /// Reads what is there, and starts the task that writes.
    pub(in crate::verify) fn keep(
        self: &Arc<Self>,
        store: &TokenStore,
        now: Moment,
        shutdown: &Shutdown,
    ) {
        let (path, key) = (beside(store), store.key.clone());
        match read(&path, &key, now) {
            Ok(list) if list.0.is_empty() => {}
            Ok(list) => {
                let entries = list.len();
                tracing::info!(path = %path.display(), entries, "what was revoked before the start is known");
                self.restore(list);
            }
            Err(error) => {
                tracing::error!(
                    path = %path.display(), %error,
                    "what was revoked before the start cannot be read: such tokens are taken until they end or are revoked again"
                );
            }
        }
        let (tell, kept) = watch::channel(Written {
            changes: 0,
            well: true,
        });
        if self.kept.set(kept).is_err() {
            return; // it is kept already
        }
        let (revoked, mut told) = (Arc::clone(self), self.changes.subscribe());
        shutdown.spawn(async move {
            while told.changed().await.is_ok() {
                // first the number: what comes in between is written, and once more
                let changes = *told.borrow_and_update();
                let said = Arc::clone(&revoked.now.load().said);
                let (path, key) = (path.clone(), key.clone());
                let write = tokio::task::spawn_blocking(move || {
                    write(&path, &key, &said).map_err(|error| {
                        tracing::error!(path = %path.display(), %error, "revoked tokens do not survive a restart");
                    })
                });
                let well = matches!(write.await, Ok(Ok(())));
                tell.send_replace(Written { changes, well });
            }
        });
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
    #[error("it cannot be understood")]
    Unreadable,
    #[error("sealing failed")]
    Seal,
}

fn beside(store: &TokenStore) -> PathBuf {
    let mut name = store.path.clone().into_os_string();
    name.push(".revoked");
    name.into()
}

fn read(path: &Path, key: &SecretSource, now: Moment) -> Result<List, KeptError> {
    let file = match fs::metadata(path) {
        Ok(about) if about.len() > LONGEST => return Err(sealed::Foreign.into()),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(List::default()),
        Err(error) => return Err(error.into()),
    };
    let content = sealed::open(Purpose::Revocations, &key.read()?, &file)?;
    read_again(&content, now).ok_or(KeptError::Unreadable)
}

fn write(path: &Path, key: &SecretSource, said: &List) -> Result<(), KeptError> {
    let entries = said.entries().map(|(name, entry)| written(name, entry));
    let content = Value::Array(entries.collect()).to_string();
    let content = Zeroizing::new(content.into_bytes());
    let sealed = sealed::seal(Purpose::Revocations, &key.read()?, content);
    Ok(atomic::replace(
        path,
        &sealed.map_err(|_| KeptError::Seal)?,
    )?)
}
