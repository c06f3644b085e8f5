//! Refresh tokens in files, and what happens when a provider rotates one.
//!
//! The new one is on disk before the access token that came with it is used: whoever stops in
//! between has lost nothing. A file that somebody else changed meanwhile is left alone; theirs is
//! the newer one. A file that cannot be written costs nothing until the program stops: the token
//! is kept here, and writing is tried again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::material::MaterialError;
use crate::{atomic, config::SecretSource, secret::Secret};

const TARGET: &str = "itwin_auth_proxy::tokens";

/// Rotated tokens that could not be written yet. Clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Rotations(Arc<Mutex<HashMap<PathBuf, Unsaved>>>);

#[derive(Debug, Clone)]
struct Unsaved {
    /// What the file held, and still holds if nobody changed it.
    on_disk: Secret,
    newest: Secret,
}

/// A refresh token that may be sent.
#[derive(Debug, Clone)]
pub(super) struct Sendable {
    pub(super) token: Secret,
    on_disk: Secret,
}

impl Rotations {
    /// The token to send. Blocking.
    pub(super) fn read(&self, path: &Path) -> Result<Sendable, MaterialError> {
        let on_disk = SecretSource::File(path.into()).read()?;
        let mut unsaved = self.0.lock();
        let token = match unsaved.get(path) {
            Some(kept) if kept.on_disk.is(&on_disk) => kept.newest.clone(),
            _ => {
                unsaved.remove(path);
                on_disk.clone()
            }
        };
        Ok(Sendable { token, on_disk })
    }

    /// Saves `newest`, which came for `sent`. Blocking.
    pub(super) fn save(&self, path: &Path, sent: &Sendable, newest: &Secret) {
        if newest.is(&sent.on_disk) {
            return;
        }
        let shown = path.display();
        let now = SecretSource::File(path.into()).read();
        if now.is_ok_and(|now| !now.is(&sent.on_disk)) {
            warn!(
                target: TARGET,
                file = %shown,
                "the refresh token's file was changed by somebody else during a renewal; their \
                 token is kept"
            );
            self.0.lock().remove(path);
            return;
        }
        match atomic::replace_secret(path, newest) {
            Ok(()) => {
                info!(target: TARGET, file = %shown, "refresh token rotated");
                self.0.lock().remove(path);
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
                    on_disk: sent.on_disk.clone(),
                    newest: newest.clone(),
                };
                self.0.lock().insert(path.into(), kept);
            }
        }
    }

    /// Tries again to write what could not be written. Blocking.
    pub(super) fn save_again(&self, path: &Path, sent: &Sendable) {
        let pending = self.0.lock().get(path).map(|kept| kept.newest.clone());
        if let Some(newest) = pending {
            self.save(path, sent, &newest);
        }
    }
}
