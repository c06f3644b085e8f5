//! Refresh tokens between runs, and what happens when a provider rotates one.
//!
//! The new one is saved before the access token that came with it is used: whoever stops in between
//! has lost nothing. A file that somebody else changed meanwhile is left alone; theirs is the newer
//! one. What cannot be saved costs nothing until the program stops: the token is kept here, and
//! saving is tried again. A person's sign-in has one owner at a time over all processes.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, info, warn};

use super::{
    kept::{Kept, KeptError, Keyring, Lock},
    material::MaterialError,
};
use crate::{
    atomic,
    config::{Credential, Grant, RefreshSource, SecretSource},
    secret::Secret,
};

const TARGET: &str = "itwin_auth_proxy::tokens";
/// Between looks whether another process has finished renewing.
const TURN: Duration = Duration::from_millis(50);

/// Where a refresh token is. Everything here blocks.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Kept(Kept),
}

/// Rotated tokens that could not be saved yet. Clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Rotations {
    unsaved: Arc<Mutex<HashMap<PathBuf, Unsaved>>>,
    keyring: Keyring,
}

#[derive(Debug, Clone)]
struct Unsaved {
    /// What the place held, and still holds if nobody changed it.
    saved: Secret,
    newest: Secret,
}

/// A refresh token that may be sent.
#[derive(Debug, Clone)]
pub(super) struct Sendable {
    pub(super) token: Secret,
    pub(super) place: Place,
    saved: Secret,
}

impl Place {
    /// For who has waited too long to own it.
    pub(super) fn busy(&self) -> KeptError {
        match self {
            // nobody waits for a file
            Self::File(path) => KeptError::Busy { path: path.clone() },
            Self::Kept(kept) => kept.busy(),
        }
    }

    /// What stands for it in a set of places.
    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Kept(kept) => kept.record_file(),
        }
    }

    fn read(&self) -> Result<Secret, MaterialError> {
        Ok(match self {
            Self::File(path) => SecretSource::File(path.clone()).read()?,
            Self::Kept(kept) => kept.refresh_token()?,
        })
    }

    fn write(&self, newest: &Secret) -> Result<(), KeptError> {
        match self {
            Self::File(path) => {
                atomic::replace_secret(path, newest).map_err(|source| KeptError::Io {
                    path: path.clone(),
                    source,
                })
            }
            Self::Kept(kept) => kept.replace(newest),
        }
    }
}

impl Rotations {
    /// The place of a credential that has a refresh token.
    pub(super) fn place(&self, credential: &Credential) -> Option<Place> {
        match &credential.grant {
            Grant::RefreshToken {
                from: RefreshSource::File(path),
            } => Some(Place::File(path.clone())),
            grant => {
                let login = grant.login()?;
                Some(Place::Kept(Kept::of(credential, login, &self.keyring)))
            }
        }
    }

    /// Makes this process the owner of a sign-in; waits for another one, which has it as long as its
    /// renewal takes. A file is somebody else's to share.
    pub(super) async fn own(&self, place: &Place) -> Result<Option<Lock>, MaterialError> {
        let Place::Kept(kept) = place else {
            return Ok(None);
        };
        loop {
            let trying = kept.clone();
            let tried = spawn_blocking(move || trying.try_lock());
            // the task does not panic, and nobody aborts it
            match tried.await.unwrap_or(Ok(None))? {
                Some(lock) => return Ok(Some(lock)),
                None => sleep(TURN).await,
            }
        }
    }

    /// The token to send. Blocking.
    pub(super) fn read(&self, place: Place) -> Result<Sendable, MaterialError> {
        let saved = place.read()?;
        let path = place.path();
        let mut unsaved = self.unsaved.lock();
        let token = match unsaved.get(&path) {
            Some(kept) if kept.saved.is(&saved) => kept.newest.clone(),
            _ => {
                unsaved.remove(&path);
                saved.clone()
            }
        };
        Ok(Sendable {
            token,
            place,
            saved,
        })
    }

    /// Another token than the one that was refused, if somebody has put one there meanwhile.
    /// Blocking.
    pub(super) fn newer(&self, refused: &Sendable) -> Option<Sendable> {
        let found = self.read(refused.place.clone()).ok()?;
        (!found.token.is(&refused.token)).then_some(found)
    }

    /// Saves `newest`, which came for `sent`. Blocking.
    pub(super) fn save(&self, sent: &Sendable, newest: &Secret) {
        if newest.is(&sent.saved) {
            return;
        }
        let path = sent.place.path();
        let shown = path.display();
        if sent.place.read().is_ok_and(|now| !now.is(&sent.saved)) {
            warn!(
                target: TARGET,
                file = %shown,
                "the refresh token was changed by somebody else during a renewal; their token is \
                 kept"
            );
            self.unsaved.lock().remove(&path);
            return;
        }
        match sent.place.write(newest) {
            Ok(()) => {
                info!(target: TARGET, file = %shown, "refresh token rotated");
                self.unsaved.lock().remove(&path);
            }
            // what was signed out of is not kept
            Err(KeptError::NobodySignedIn { .. }) => {
                self.unsaved.lock().remove(&path);
            }
            Err(error) => {
                error!(
                    target: TARGET,
                    file = %shown,
                    %error,
                    "the rotated refresh token cannot be written and is lost when the program \
                     stops; the file's directory must be writable"
                );
                let kept = Unsaved {
                    saved: sent.saved.clone(),
                    newest: newest.clone(),
                };
                self.unsaved.lock().insert(path.clone(), kept);
            }
        }
    }

    /// Tries again to save what could not be saved. Blocking.
    pub(super) fn save_again(&self, sent: &Sendable) {
        let path = sent.place.path();
        let pending = self.unsaved.lock().get(&path).map(|one| one.newest.clone());
        if let Some(newest) = pending {
            self.save(sent, &newest);
        }
    }
}

/// What changes when the token in a place does: a file that is cheap to read.
pub(super) fn watched(credential: &Credential) -> Option<PathBuf> {
    match &credential.grant {
        Grant::RefreshToken {
            from: RefreshSource::File(path),
        } => Some(path.clone()),
        Grant::RefreshToken {
            from: RefreshSource::Login(login),
        } => Some(Kept::of(credential, login, &Keyring::default()).record_file()),
        _ => None,
    }
}
