//! The sealed file of a sign-in, where there is no keyring.
//!
//! The key comes from the environment, or is made once and lies beside the files, for our user's eyes
//! only. Such a key guards a copy of one file, not the whole directory.

use std::{fs, io, path::PathBuf};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{Kept, KeptError, io_error};
use crate::{
    atomic,
    config::SecretSource,
    sealed::{self, Purpose},
    secret::Secret,
};

/// In the directory, for all of its sealed files.
const KEY_FILE: &str = "key";

impl Kept {
    pub(super) fn unseal(&self) -> Result<Option<Secret>, KeptError> {
        let path = self.sealed_file();
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        let foreign = |source| KeptError::Sealed {
            path,
            source,
            credential: self.credential.clone(),
        };
        let content = match sealed::open(Purpose::SignIn, &self.sealing_key()?, &file) {
            Ok(content) => content,
            Err(source) => return Err(foreign(source)),
        };
        match std::str::from_utf8(&content) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(_) => Err(foreign(sealed::Foreign)),
        }
    }

    pub(super) fn seal(&self, token: &Secret) -> Result<(), KeptError> {
        let content = Zeroizing::new(token.expose().as_bytes().to_vec());
        let key = self.sealing_key()?;
        let sealed = sealed::seal(Purpose::SignIn, &key, content).map_err(|_| KeptError::Seal)?;
        let path = self.sealed_file();
        atomic::replace(&path, &sealed).map_err(io_error(&path))
    }

    /// The file that the sealing key is in, if it is in one.
    pub fn key_file(&self) -> Option<PathBuf> {
        match &self.key {
            Some(SecretSource::File(path)) => Some(path.clone()),
            Some(SecretSource::Value { .. }) => None,
            None => Some(self.directory.join(KEY_FILE)),
        }
    }

    fn sealing_key(&self) -> Result<Secret, KeptError> {
        if let Some(given) = &self.key {
            return Ok(given.read()?);
        }
        let path = self.directory.join(KEY_FILE);
        if !path.exists() {
            let mut random = Zeroizing::new([0; 32]);
            rand::fill(&mut *random).map_err(|_| KeptError::Seal)?;
            let key = Secret::new(URL_SAFE_NO_PAD.encode(*random));
            atomic::create_whole(&path, &key).map_err(io_error(&path))?;
        }
        Ok(SecretSource::File(path).read()?)
    }
}
