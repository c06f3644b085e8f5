//! Where a secret comes from: a value, a file or an environment variable, exactly one of them.
//!
//! Files are read again whenever the secret is needed, so that a rotated one is used without a
//! restart. A trailing line end is not part of a secret.

use std::{fs, path::PathBuf};

use crate::secret::Secret;

/// One secret.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// Written in the configuration or taken from the environment when it was read; the name of
    /// the variable is for messages only.
    Value {
        secret: Secret,
        variable: Option<String>,
    },
    /// Read each time.
    File(PathBuf),
}

/// Whether both are the same source; of a written one, that it is the same secret.
impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Value { secret, variable },
                Self::Value {
                    secret: others,
                    variable: from,
                },
            ) => secret.is(others) && variable == from,
            (Self::File(path), Self::File(other)) => path == other,
            _ => false,
        }
    }
}

impl Eq for SecretSource {}

/// A secret that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret file {path}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the secret file {path} is empty")]
    Empty { path: PathBuf },
    #[error("the secret file {path} is not UTF-8 text")]
    NotText { path: PathBuf },
    #[error("the secret file {path} is larger than {SECRET_MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
}

/// No secret is larger: a private key of RSA 8,192 bits in PEM has about 6,400 bytes.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;

impl SecretSource {
    /// The secret as it is now. Reads the file, if it is one; blocking, but local and small.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, is not text or is larger than
    /// [`SECRET_MAX_BYTES`].
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Value { secret, .. } => Ok(secret.clone()),
            Self::File(path) => read_file(path),
        }
    }
}

fn read_file(path: &PathBuf) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        path: path.clone(),
        source,
    };
    let known = fs::metadata(path).map_err(unreadable)?;
    if !known.is_file() && !known.is_dir() {
        // a pipe would keep the reader waiting, and hold nothing the next time
        let kind = std::io::ErrorKind::InvalidInput;
        return Err(unreadable(std::io::Error::new(
            kind,
            "it is no regular file",
        )));
    }
    if known.len() > SECRET_MAX_BYTES {
        return Err(SecretError::TooLarge { path: path.clone() });
    }
    let bytes = zeroize::Zeroizing::new(fs::read(path).map_err(unreadable)?);
    let text =
        std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText { path: path.clone() })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(SecretError::Empty { path: path.clone() });
    }
    Ok(Secret::new(text))
}

/// The secret in use and, during a rotation, the one it replaces: `current` is tried first,
/// `previous` once when the provider refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPair {
    pub current: SecretSource,
    pub previous: Option<SecretSource>,
}
