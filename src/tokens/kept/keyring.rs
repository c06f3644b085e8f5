//! The system's keyring: the Secret Service over D-Bus on Linux, the Keychain on macOS.
//!
//! Each use makes a connection of its own, because the keyring of a long-lived process may come
//! later than it, and be replaced. To unlock it, it asks the person, and that has a time limit.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::secret::Secret;

/// For a person to find the window that asks for a password, and to type it.
const PATIENCE: Duration = Duration::from_secs(60);
/// An entry that is made and removed to see whether there is room.
const EXAMINED: &str = "examination";

/// Secrets by entry. Clones share.
#[derive(Clone)]
pub struct Keyring {
    vault: Arc<dyn Vault>,
    turn: Arc<Turn>,
}

/// A keyring that cannot be used. Its text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error("there is no keyring: {0}")]
    None(String),
    #[error("the keyring is locked: {0}; unlock it and try again, or use `login --keep file`")]
    Locked(String),
    #[error(
        "the keyring does not do it: {0}; `login --keep file` keeps a sign-in in a sealed file"
    )]
    Failed(String),
    #[error(
        "the keyring has been asking to be unlocked for {}",
        humantime::format_duration(PATIENCE)
    )]
    NoAnswer,
}

/// What a keyring does. All of it blocks.
pub(super) trait Vault: Send + Sync {
    fn get(&self, entry: &str) -> Result<Option<Secret>, KeyringError>;
    fn set(&self, entry: &str, secret: &Secret) -> Result<(), KeyringError>;
    fn delete(&self, entry: &str) -> Result<(), KeyringError>;
}

impl Default for Keyring {
    fn default() -> Self {
        Self::of(system::System)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    pub(super) fn of(vault: impl Vault + 'static) -> Self {
        Self {
            vault: Arc::new(vault),
            turn: Arc::default(),
        }
    }

    pub(super) fn get(&self, entry: &str) -> Result<Option<Secret>, KeyringError> {
        let entry = entry.to_owned();
        self.patiently(move |vault| vault.get(&entry))
    }

    pub(super) fn set(&self, entry: &str, secret: &Secret) -> Result<(), KeyringError> {
        let (entry, secret) = (entry.to_owned(), secret.clone());
        self.patiently(move |vault| vault.set(&entry, &secret))
    }

    /// It is no failure that there was none.
    pub(super) fn delete(&self, entry: &str) -> Result<(), KeyringError> {
        let entry = entry.to_owned();
        self.patiently(move |vault| vault.delete(&entry))
    }

    /// Whether it takes a secret and gives it back.
    pub(super) fn examine(&self) -> Result<(), KeyringError> {
        self.patiently(|vault| {
            let probe = Secret::new(EXAMINED);
            vault.set(EXAMINED, &probe)?;
            let found = vault.get(EXAMINED)?;
            vault.delete(EXAMINED)?;
            match found {
                Some(found) if found.is(&probe) => Ok(()),
                _ => Err(KeyringError::Failed("it lost what it was given".into())),
            }
        })
    }

    fn patiently<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Vault) -> Result<T, KeyringError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let turn = Turn::take(&self.turn).ok_or(KeyringError::NoAnswer)?;
        let vault = Arc::clone(&self.vault);
        let (sender, answer) = mpsc::channel();
        thread::spawn(move || {
            let result = work(&*vault);
            drop(turn);
            // who asked may have given up
            let _ = sender.send(result);
        });
        answer
            .recv_timeout(PATIENCE)
            .unwrap_or(Err(KeyringError::NoAnswer))
    }
}

/// One question at a time: the person sees one window.
#[derive(Default)]
struct Turn {
    taken: Mutex<bool>,
    given_back: Condvar,
}

/// Given back when the question's thread ends, however it ends.
struct Taken(Arc<Turn>);

impl Turn {
    fn take(turn: &Arc<Self>) -> Option<Taken> {
        let mut taken = turn.taken.lock();
        let waited = turn
            .given_back
            .wait_while_for(&mut taken, |taken| *taken, PATIENCE);
        if waited.timed_out() {
            return None;
        }
        *taken = true;
        Some(Taken(Arc::clone(turn)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.given_back.notify_one();
    }
}

#[cfg(all(feature = "keyring", any(target_os = "linux", target_os = "macos")))]
mod system {
    use std::sync::Arc;

    use keyring_core::{Entry, Error, api::CredentialStoreApi};

    use super::{KeyringError, Vault};
    use crate::secret::Secret;

    /// Whose entries they are.
    const SERVICE: &str = "itwin-auth-proxy";

    /// The keyring of whoever runs this program.
    pub(super) struct System;

    #[cfg(target_os = "linux")]
    fn store() -> keyring_core::Result<Arc<impl CredentialStoreApi>> {
        zbus_secret_service_keyring_store::Store::new()
    }

    #[cfg(target_os = "macos")]
    fn store() -> keyring_core::Result<Arc<impl CredentialStoreApi>> {
        apple_native_keyring_store::keychain::Store::new()
    }

    fn open(entry: &str) -> Result<Entry, KeyringError> {
        let store = store().map_err(|error| KeyringError::None(error.to_string()))?;
        store
            .build(SERVICE, entry, None)
            .map_err(|error| refused(&error))
    }

    fn refused(error: &Error) -> KeyringError {
        match error {
            Error::NoStorageAccess(_) => KeyringError::Locked(error.to_string()),
            // its text is about the bytes
            Error::BadEncoding(_) | Error::BadDataFormat(..) => {
                KeyringError::Failed("the entry is not one of ours".into())
            }
            _ => KeyringError::Failed(error.to_string()),
        }
    }

    impl Vault for System {
        fn get(&self, entry: &str) -> Result<Option<Secret>, KeyringError> {
            match open(entry)?.get_password() {
                Ok(text) => Ok(Some(Secret::new(text))),
                Err(Error::NoEntry) => Ok(None),
                Err(error) => Err(refused(&error)),
            }
        }

        fn set(&self, entry: &str, secret: &Secret) -> Result<(), KeyringError> {
            open(entry)?
                .set_password(secret.expose())
                .map_err(|error| refused(&error))
        }

        fn delete(&self, entry: &str) -> Result<(), KeyringError> {
            match open(entry)?.delete_credential() {
                Ok(()) | Err(Error::NoEntry) => Ok(()),
                Err(error) => Err(refused(&error)),
            }
        }
    }
}

#[cfg(not(all(feature = "keyring", any(target_os = "linux", target_os = "macos"))))]
mod system {
    use super::{KeyringError, Vault};
    use crate::secret::Secret;

    /// A system whose keyring this program does not speak to.
    pub(super) struct System;

    fn none() -> KeyringError {
        KeyringError::None("this program was built without".into())
    }

    impl Vault for System {
        fn get(&self, _: &str) -> Result<Option<Secret>, KeyringError> {
            Err(none())
        }

        fn set(&self, _: &str, _: &Secret) -> Result<(), KeyringError> {
            Err(none())
        }

        fn delete(&self, _: &str) -> Result<(), KeyringError> {
            Err(none())
        }
    }
}
