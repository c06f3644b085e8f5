//! Files that the configuration names, and secrets in their three forms.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    super::{
        Identity, SecretPair, SecretSource,
        path::Path,
        problem::Place,
        raw::{self, HIDDEN, SecretText},
    },
    Check,
};
use crate::{config::secret::SecretError, secret::Secret};

/// A secret as it was written.
#[derive(Clone, Copy)]
pub(super) struct Forms<'a> {
    /// The key of the written form; the others are `…_file` and `…_env`.
    pub(super) key: &'static str,
    pub(super) value: Option<&'a SecretText>,
    pub(super) file: Option<&'a String>,
    pub(super) env: Option<&'a String>,
}

impl Forms<'_> {
    pub(super) fn given(&self) -> bool {
        self.value.is_some() || self.file.is_some() || self.env.is_some()
    }
}

impl Check<'_> {
    /// The secret, which is given in exactly one form; nothing when it is absent.
    pub(super) fn secret(&mut self, above: &Path, forms: Forms<'_>) -> Option<SecretSource> {
        let key = forms.key;
        match (forms.value, forms.file, forms.env) {
            (None, None, None) => None,
            (Some(value), None, None) => self.written_secret(&above.key(key), &value.0),
            (None, Some(file), None) => self.secret_file(&above.key(&format!("{key}_file")), file),
            (None, None, Some(name)) => {
                self.secret_variable(&above.key(&format!("{key}_env")), name)
            }
            _ => {
                let text = format!("{key} is given in more than one form");
                let hint = format!("keep one of {key}, {key}_file and {key}_env");
                let given = [
                    (forms.value.is_some(), key.to_owned()),
                    (forms.file.is_some(), format!("{key}_file")),
                    (forms.env.is_some(), format!("{key}_env")),
                ];
                let last = given.into_iter().rfind(|(given, _)| *given);
                let path = last.map_or_else(|| above.clone(), |(_, key)| above.key(&key));
                self.error(&path, text, hint);
                None
            }
        }
    }

    /// The secret and the one that it replaces.
    pub(super) fn secret_pair(
        &mut self,
        above: &Path,
        current: Forms<'_>,
        previous: Forms<'_>,
    ) -> Option<SecretPair> {
        let before = previous.given().then(|| self.secret(above, previous));
        let current = self.secret(above, current)?;
        Some(SecretPair {
            current,
            previous: before.flatten(),
        })
    }

    fn written_secret(&mut self, path: &Path, secret: &Secret) -> Option<SecretSource> {
        if secret.is_empty() {
            self.error(path, "the secret is empty", "");
            return None;
        }
        if secret.matches(HIDDEN.as_bytes()) {
            self.error(
                path,
                "the secret was left out when this configuration was printed",
                "give it with _file or _env",
            );
            return None;
        }
        let variable = match self.place(path) {
            Some(Place::Variable(name)) => Some(name.to_string()),
            _ => None,
        };
        Some(SecretSource::Value {
            secret: secret.clone(),
            variable,
        })
    }

    fn secret_variable(&mut self, path: &Path, name: &str) -> Option<SecretSource> {
        let Some(value) = self
            .environment
            .values
            .get(name)
            .filter(|value| !value.is_empty())
        else {
            // a secret that was written here by mistake must not be repeated
            let named = !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let text = if named {
                format!("the environment variable {name} is not set")
            } else {
                "the environment variable that is named here is not set".into()
            };
            self.error(path, text, "the value is a variable's name, not the secret");
            return None;
        };
        Some(SecretSource::Value {
            secret: Secret::new(value.as_str()),
            variable: Some(name.to_owned()),
        })
    }

    fn secret_file(&mut self, path: &Path, file: &str) -> Option<SecretSource> {
        let source = SecretSource::File(PathBuf::from(file));
        let not_the_secret = "the value is a file's path, not the secret";
        let (text, hint) = match source.read() {
            Ok(_) => {
                self.warn_if_open(path, file);
                return Some(source);
            }
            // a secret that was written here by mistake must not be repeated
            Err(_) if !file.contains('/') => (
                "the secret file that is named here cannot be read".into(),
                not_the_secret,
            ),
            Err(SecretError::Unreadable { path, source }) => {
                let hint = match source.kind() {
                    io::ErrorKind::NotFound if path.is_absolute() => "write the secret into it",
                    io::ErrorKind::NotFound => not_the_secret,
                    io::ErrorKind::IsADirectory => {
                        "name a file in it; container engines make a directory of a file to mount that is missing"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "make it readable for the user that the proxy runs as"
                    }
                    _ => "",
                };
                let path = path.display();
                (
                    format!("cannot read the secret file {path}: {source}"),
                    hint,
                )
            }
            Err(error) => (error.to_string(), ""),
        };
        self.error(path, text, hint);
        None
    }

    /// Warns of a secret file that every user of the machine can read. Volumes that hold secrets
    /// in containers are made so, and only the container sees them.
    fn warn_if_open(&mut self, path: &Path, file: &str) {
        let in_volume = ["/run/secrets/", "/var/run/secrets/"]
            .iter()
            .any(|volume| file.starts_with(volume))
            || PathBuf::from(file)
                .parent()
                .is_some_and(|directory| directory.join("..data").exists());
        let Ok(metadata) = fs::metadata(file) else {
            return;
        };
        if !in_volume && metadata.permissions().mode() & 0o004 != 0 {
            let text = format!("every user of this machine can read the secret file {file}");
            self.warn(
                path,
                text,
                format!("chmod 600 {file} (640 where the proxy reads it by its group)"),
            );
        }
    }

    /// A file that can be read and holds something.
    pub(super) fn readable(&mut self, path: &Path, file: &str) -> Option<PathBuf> {
        let text = match fs::File::open(file).and_then(|file| file.metadata()) {
            Ok(metadata) if !metadata.is_file() => format!("{file} is not a file"),
            Ok(metadata) if metadata.len() == 0 => format!("the file {file} is empty"),
            Ok(_) => return Some(file.into()),
            Err(error) => format!("cannot read the file {file}: {error}"),
        };
        self.error(path, text, "");
        None
    }

    /// Certificates of authorities.
    pub(super) fn authorities(&mut self, path: &Path, file: &str) -> Option<PathBuf> {
        let certificates = self.certificates(path, file)?;
        let mut store = rustls::RootCertStore::empty();
        for certificate in certificates {
            if store.add(certificate).is_err() {
                self.error(
                    path,
                    format!("the file {file} holds a certificate that cannot be used"),
                    "",
                );
                return None;
            }
        }
        Some(file.into())
    }

    /// A certificate chain and its key, which must belong together.
    pub(super) fn identity(&mut self, path: &Path, raw: &raw::Identity) -> Option<Identity> {
        let key_path = path.key("key");
        let chain = raw
            .certificate
            .as_ref()
            .and_then(|file| Some((file, self.certificates(&path.key("certificate"), file)?)));
        let key = raw
            .key
            .as_ref()
            .and_then(|file| Some((file, self.private_key(&key_path, file)?)));
        let ((certificate, chain), (key_file, key)) = (chain?, key?);
        let Ok(signer) = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) else {
            self.error(
                &key_path,
                format!("the key in {key_file} is of a kind that is not supported"),
                "RSA, ECDSA (P-256, P-384, P-521) and Ed25519 keys are",
            );
            return None;
        };
        let pair = rustls::sign::CertifiedKey::new(chain, Arc::clone(&signer));
        if let Err(error) = pair.keys_match() {
            // keys that do not tell their public half cannot be compared
            if !matches!(
                error,
                rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)
            ) {
                self.error(
                    &key_path,
                    format!(
                        "the key in {key_file} does not belong to the certificate in {certificate}"
                    ),
                    "the first certificate in the file must be that of the key",
                );
                return None;
            }
        }
        self.warn_if_open(&key_path, key_file);
        Some(Identity {
            certificate: certificate.into(),
            key: key_file.into(),
        })
    }

    /// At least one.
    pub(super) fn certificates(
        &mut self,
        path: &Path,
        file: &str,
    ) -> Option<Vec<CertificateDer<'static>>> {
        self.readable(path, file)?;
        let read: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
        match read {
            Ok(certificates) if !certificates.is_empty() => Some(certificates),
            _ => {
                self.error(
                    path,
                    format!("the file {file} holds no certificate in PEM"),
                    "it begins with -----BEGIN CERTIFICATE-----",
                );
                None
            }
        }
    }

    fn private_key(&mut self, path: &Path, file: &str) -> Option<PrivateKeyDer<'static>> {
        self.readable(path, file)?;
        if let Ok(key) = PrivateKeyDer::from_pem_file(file) {
            return Some(key);
        }
        self.error(
            path,
            format!("the file {file} holds no private key in PEM"),
            "an encrypted key must be decrypted first",
        );
        None
    }

    /// A file with a key that can sign with ES256.
    pub(super) fn p256_key(&mut self, path: &Path, file: &str) -> Option<PathBuf> {
        let key = self.private_key(path, file)?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        if EcdsaKeyPair::from_private_key_der(algorithm, key.secret_der()).is_err() {
            self.error(
                path,
                format!("the key in {file} is no ECDSA key of the curve P-256"),
                "openssl ecparam -name prime256v1 -genkey -noout makes a good one",
            );
            return None;
        }
        self.warn_if_open(path, file);
        Some(file.into())
    }

    /// A directory in which a file can be made; for files that are written.
    pub(super) fn writable_directory(&mut self, path: &Path, file: &str) -> bool {
        let directory = match std::path::Path::new(file).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        if let Err(error) = tempfile::tempfile_in(&directory) {
            let text = format!(
                "no file can be written in {}: {}",
                directory.display(),
                error.kind()
            );
            self.error(
                path,
                text,
                "the directory must exist and be writable: files are replaced, not overwritten",
            );
            return false;
        }
        true
    }
}
