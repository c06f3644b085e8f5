//! What `login` keeps: a person's refresh token, and beside it who that is.
//!
//! For each issuer, client and credential there is a record in the user's state directory. It says
//! who signed in and where the token is: in the system's keyring, or in a sealed file where there is
//! none. A lock makes one process the owner while it renews; the record changes with every new
//! token, so that other processes see it. What cannot be written where it was goes to the other
//! place: a token that a provider has rotated is the only one there is.

mod keyring;
mod lock;
mod record;
mod vault;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tracing::warn;

pub use self::{
    keyring::{Keyring, KeyringError},
    lock::Lock,
    record::{Place, Record, Who},
};
use crate::{
    config::{Credential, Login, Name, SecretSource, secret::SecretError},
    sealed::Foreign,
    secret::Secret,
};

/// One credential's kept sign-in. Everything here blocks.
#[derive(Debug, Clone)]
pub struct Kept {
    credential: Name,
    directory: PathBuf,
    /// The name of all that belongs to it.
    entry: String,
    key: Option<SecretSource>,
    keyring: Keyring,
    issuer: String,
    client_id: String,
}

/// Where a new sign-in is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The keyring if there is one, otherwise the file.
    Any,
    Keyring,
    File,
}

/// A sign-in that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("nobody is signed in: run `itwin-auth-proxy login --credential {credential}`")]
    NobodySignedIn { credential: Name },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is not of this version or is damaged; `itwin-auth-proxy login --credential {credential}` makes a new one",
        .path.display()
    )]
    Record { path: PathBuf, credential: Name },
    #[error(
        "{} cannot be opened: {source}; with the key of that time in ITWIN_LOGIN_KEY it can, or run `itwin-auth-proxy login --credential {credential}`",
        .path.display()
    )]
    Sealed {
        path: PathBuf,
        source: Foreign,
        credential: Name,
    },
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("sealing failed")]
    Seal,
    #[error("another program has been renewing this sign-in for too long ({})", .path.display())]
    Busy { path: PathBuf },
}

impl Kept {
    /// The sign-in of this credential, whether there is one or not.
    pub fn of(credential: &Credential, login: &Login, keyring: &Keyring) -> Self {
        let issuer = credential.provider.issuer.to_string();
        let client_id = credential.client_id.clone();
        let name = [&*issuer, &*client_id, &*credential.name].join("\0");
        let name = digest(&SHA256, name.as_bytes());
        let digits = URL_SAFE_NO_PAD.encode(&name.as_ref()[..9]);
        Self {
            entry: format!("{}-{digits}", credential.name),
            credential: credential.name.clone(),
            directory: login.directory.clone(),
            key: login.key.clone(),
            keyring: keyring.clone(),
            issuer,
            client_id,
        }
    }

    /// What changes whenever the token does.
    pub fn record_file(&self) -> PathBuf {
        self.file("json")
    }

    /// Where the token is when there is no keyring.
    pub fn sealed_file(&self) -> PathBuf {
        self.file("sealed")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.entry))
    }

    /// Makes the directory, for our user's eyes only.
    pub fn prepare(&self) -> Result<(), KeptError> {
        let path = &self.directory;
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            // it may have been made by another program, or another hand
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)));
        made.map_err(io_error(path))
    }

    /// Makes this process the owner, if nobody else is.
    pub fn try_lock(&self) -> Result<Option<Lock>, KeptError> {
        self.prepare()?;
        let path = self.file("lock");
        Lock::try_on(&path).map_err(io_error(&path))
    }

    /// Who has been taking the lock for too long.
    pub fn busy(&self) -> KeptError {
        KeptError::Busy {
            path: self.file("lock"),
        }
    }

    /// Who is signed in; `None` if nobody is.
    pub fn record(&self) -> Result<Option<Record>, KeptError> {
        let path = self.record_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        let credential = self.credential.clone();
        let record = Record::read(&text).ok_or(KeptError::Record { path, credential })?;
        Ok(Some(record))
    }

    /// The token as it is kept now.
    pub fn refresh_token(&self) -> Result<Secret, KeptError> {
        let record = self.record()?;
        let found = match record.map(|record| record.place) {
            None => None,
            Some(Place::Keyring) => self.keyring.get(&self.entry)?,
            Some(Place::File) => self.unseal()?,
        };
        found.ok_or_else(|| KeptError::NobodySignedIn {
            credential: self.credential.clone(),
        })
    }

    /// Keeps a new sign-in in place of one that may be there.
    pub fn keep(&self, token: &Secret, who: Who, wanted: Wanted) -> Result<Record, KeptError> {
        self.prepare()?;
        let before = self.record().ok().flatten();
        let place = self.put(token, wanted)?;
        let record = Record {
            credential: self.credential.to_string(),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            who,
            place,
            changed: before.map_or(1, |before| before.changed + 1),
        };
        self.note(&record)?;
        self.leave_only(place);
        Ok(record)
    }

    /// Keeps the newer token of the same sign-in.
    pub fn replace(&self, token: &Secret) -> Result<(), KeptError> {
        let Some(mut record) = self.record()? else {
            // somebody signed out in between: the token that came then is not kept
            return Err(KeptError::NobodySignedIn {
                credential: self.credential.clone(),
            });
        };
        let before = record.place;
        record.place = match before {
            Place::File => self.put(token, Wanted::File)?,
            Place::Keyring => match self.put(token, Wanted::Keyring) {
                Ok(place) => place,
                Err(error) => {
                    warn!(
                        target: "itwin_auth_proxy::tokens",
                        credential = %self.credential,
                        %error,
                        "the keyring does not take the newer refresh token; it is kept in a sealed \
                         file, until the next login"
                    );
                    self.put(token, Wanted::File)?
                }
            },
        };
        record.changed += 1;
        self.note(&record)?;
        if record.place != before {
            self.leave_only(record.place);
        }
        Ok(())
    }

    /// Forgets it, wherever it is.
    pub fn forget(&self) -> Result<(), KeptError> {
        let place = self.record().ok().flatten().map(|record| record.place);
        // first, so that nobody reads what is being removed
        remove(&self.record_file())?;
        remove(&self.sealed_file())?;
        match (place, self.keyring.delete(&self.entry)) {
            (Some(Place::Keyring), Err(error)) => Err(error.into()),
            // nothing of it is there
            _ => Ok(()),
        }
    }

    /// Whether a sign-in could be kept: to be asked before anybody signs in.
    pub fn examine(&self, wanted: Wanted) -> Result<Place, KeptError> {
        self.prepare()?;
        tempfile::tempfile_in(&self.directory).map_err(io_error(&self.directory))?;
        if wanted == Wanted::File {
            return Ok(Place::File);
        }
        match (wanted, self.keyring.examine()) {
            (_, Ok(())) => Ok(Place::Keyring),
            (Wanted::Any, Err(KeyringError::None(_))) => Ok(Place::File),
            (_, Err(error)) => Err(error.into()),
        }
    }

    fn put(&self, token: &Secret, wanted: Wanted) -> Result<Place, KeptError> {
        match wanted {
            Wanted::File => self.seal(token).map(|()| Place::File),
            Wanted::Keyring => {
                self.keyring.set(&self.entry, token)?;
                Ok(Place::Keyring)
            }
            Wanted::Any => match self.keyring.set(&self.entry, token) {
                Ok(()) => Ok(Place::Keyring),
                Err(KeyringError::None(_)) => self.put(token, Wanted::File),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// An old token elsewhere is of no use to us, and may be to others.
    fn leave_only(&self, place: Place) {
        let left = match place {
            Place::Keyring => remove(&self.sealed_file()).err(),
            Place::File => match self.keyring.delete(&self.entry) {
                Ok(()) | Err(KeyringError::None(_)) => None,
                Err(error) => Some(error.into()),
            },
        };
        if let Some(error) = left {
            warn!(
                target: "itwin_auth_proxy::tokens",
                credential = %self.credential,
                %error,
                "an older refresh token could not be removed"
            );
        }
    }

    fn note(&self, record: &Record) -> Result<(), KeptError> {
        let path = self.record_file();
        crate::atomic::replace(&path, &record.write()).map_err(io_error(&path))
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    |source| KeptError::Io { path, source }
}

fn remove(path: &Path) -> Result<(), KeptError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
