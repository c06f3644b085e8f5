//! Sealed files: AES-256-GCM with a key derived from a configured secret.
//!
//! `magic ‖ version ‖ salt ‖ nonce ‖ sealed content`; what stands before the nonce is authenticated
//! too. The salt is new with every sealing, so no key is ever used twice; and another purpose
//! derives another key, so that one file cannot be taken for another.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use zeroize::Zeroizing;

use crate::secret::Secret;

const MAGIC: &[u8; 8] = b"itwin-ap";
const VERSION: u8 = 1;
const SALT: usize = 32;
const HEAD: usize = MAGIC.len() + 1 + SALT;

/// What a file holds, so that its key is no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Tokens,
    KeySets,
    Revocations,
    SignIn,
    Sessions,
}

/// A file that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a file of this kind and version, was sealed with another key, or is damaged")]
pub struct Foreign;

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Tokens => b"itwin-auth-proxy token store, AES-256-GCM",
            Self::KeySets => b"itwin-auth-proxy key sets, AES-256-GCM",
            Self::Revocations => b"itwin-auth-proxy revocations, AES-256-GCM",
            Self::SignIn => b"itwin-auth-proxy sign-in, AES-256-GCM",
            Self::Sessions => b"itwin-auth-proxy session, AES-256-GCM",
        }
    }
}

/// The file.
///
/// # Errors
/// When there is no randomness, which does not happen.
pub fn seal(
    purpose: Purpose,
    secret: &Secret,
    mut content: Zeroizing<Vec<u8>>,
) -> Result<Vec<u8>, Unspecified> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
    rand::fill(&mut salt)?;
    rand::fill(&mut nonce)?;
    let mut file = Vec::from(MAGIC);
    file.push(VERSION);
    file.extend_from_slice(&salt);
    let key = key(purpose, secret, &salt)?;
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&file),
        &mut *content,
    )?;
    file.extend_from_slice(&nonce);
    file.extend_from_slice(&content);
    Ok(file)
}

/// The content.
///
/// # Errors
/// When it was not sealed for this purpose with this secret.
pub fn open(purpose: Purpose, secret: &Secret, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Foreign> {
    let (head, rest) = file.split_at_checked(HEAD).ok_or(Foreign)?;
    let salt = head
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(&[VERSION]));
    let salt = salt.ok_or(Foreign)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(Foreign)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Foreign)?;
    let mut content = Zeroizing::new(sealed.to_vec());
    let opened = key(purpose, secret, salt)
        .and_then(|key| {
            key.open_in_place(nonce, Aad::from(head), &mut content)
                .map(|content| content.len())
        })
        .map_err(|_| Foreign)?;
    content.truncate(opened);
    Ok(content)
}

fn key(purpose: Purpose, secret: &Secret, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
    let root = Salt::new(HKDF_SHA256, salt).extract(secret.expose().as_bytes());
    let label = [purpose.label()];
    let key = root.expand(&label, &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(content: &[u8], secret: &str) -> Vec<u8> {
        let content = Zeroizing::new(content.to_vec());
        seal(Purpose::Tokens, &Secret::new(secret), content).unwrap()
    }

    fn opened(file: &[u8], secret: &str) -> Option<Vec<u8>> {
        let opened = open(Purpose::Tokens, &Secret::new(secret), file);
        opened.ok().map(|content| content.to_vec())
    }

    #[test]
    fn what_was_sealed_is_opened_with_the_same_secret_and_purpose_only() {
        let file = sealed(b"content", "the key");
        assert_eq!(opened(&file, "the key").unwrap(), b"content");
        assert_eq!(opened(&file, "another key"), None);
        let secret = Secret::new("the key");
        assert_eq!(open(Purpose::KeySets, &secret, &file), Err(Foreign));
    }

    #[test]
    fn the_file_shows_nothing_and_no_key_is_used_twice() {
        let file = sealed(b"canary", "k");
        assert!(!file.windows(6).any(|six| six == b"canary"));
        assert_ne!(file, sealed(b"canary", "k"));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let file = sealed(b"a", "k");
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(opened(&changed, "k"), None, "byte {at}");
            assert_eq!(opened(&file[..at], "k"), None, "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = opened(&bytes, "k");
        }

        #[test]
        fn what_is_sealed_is_opened(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(opened(&sealed(&bytes, "k"), "k"), Some(bytes));
        }
    }
}
