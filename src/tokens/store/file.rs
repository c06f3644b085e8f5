//! The file of tokens, sealed. One that cannot be opened is put aside, never repaired and never a
//! reason to stop.

use std::{fs, io, path::PathBuf, time::Duration};

use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::{Stored, Tokens};
use crate::{
    atomic,
    config::{TokenStore, secret::SecretError},
    sealed::{self, Purpose},
    secret::Secret,
};

const TARGET: &str = "itwin_auth_proxy::tokens";
/// Thousands of tokens.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a token store of this version, was sealed with another key, or is damaged")]
    Foreign,
    #[error("sealing failed")]
    Seal,
}

/// What the file holds; nothing, when there is none or it cannot be used.
pub(super) fn load(config: &TokenStore) -> Tokens {
    let path = config.path.display();
    match read(config) {
        Ok(tokens) => {
            info!(target: TARGET, file = %path, tokens = tokens.len(), "token store opened");
            tokens
        }
        Err(StoreError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Tokens::new(),
        Err(StoreError::Foreign) => {
            let aside = aside(config);
            let moved = fs::rename(&config.path, &aside).is_ok();
            warn!(
                target: TARGET,
                file = %path,
                moved_to = %if moved { aside.display().to_string() } else { "nowhere".into() },
                error = %StoreError::Foreign,
                "the token store cannot be opened; starting without"
            );
            Tokens::new()
        }
        Err(error) => {
            warn!(
                target: TARGET,
                file = %path,
                %error,
                "the token store cannot be read; starting without"
            );
            Tokens::new()
        }
    }
}

/// Replaces the file.
pub(super) fn save(config: &TokenStore, tokens: &Tokens) {
    if let Err(error) = write(config, tokens) {
        error!(
            target: TARGET,
            file = %config.path.display(),
            %error,
            "the token store cannot be written; tokens do not survive a restart"
        );
    }
}

fn aside(config: &TokenStore) -> PathBuf {
    let mut name = config.path.clone().into_os_string();
    name.push(".unusable");
    name.into()
}

fn read(config: &TokenStore) -> Result<Tokens, StoreError> {
    if fs::metadata(&config.path)?.len() > FILE_MAX_BYTES {
        return Err(StoreError::Foreign);
    }
    let file = fs::read(&config.path)?;
    open(&file, &config.key.read()?)
}

fn write(config: &TokenStore, tokens: &Tokens) -> Result<(), StoreError> {
    let sealed = seal(tokens, &config.key.read()?)?;
    Ok(atomic::replace(&config.path, &sealed)?)
}

fn seal(tokens: &Tokens, secret: &Secret) -> Result<Vec<u8>, StoreError> {
    sealed::seal(Purpose::Tokens, secret, encode(tokens)).map_err(|_| StoreError::Seal)
}

fn open(file: &[u8], secret: &Secret) -> Result<Tokens, StoreError> {
    let payload = sealed::open(Purpose::Tokens, secret, file).map_err(|_| StoreError::Foreign)?;
    decode(&payload).ok_or(StoreError::Foreign)
}

/// Every field has its length before it, or a fixed one.
fn encode(tokens: &Tokens) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    for (key, stored) in tokens {
        let token = stored.token.expose().as_bytes();
        let Ok(length) = u32::try_from(token.len()) else {
            continue;
        };
        out.extend_from_slice(key);
        out.extend_from_slice(&stored.since.as_secs().to_be_bytes());
        out.extend_from_slice(&stored.life.as_secs().to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(token);
    }
    out
}

fn decode(mut bytes: &[u8]) -> Option<Tokens> {
    let mut tokens = Tokens::new();
    while !bytes.is_empty() {
        let (key, rest) = bytes.split_first_chunk::<32>()?;
        let (since, rest) = rest.split_first_chunk::<8>()?;
        let (life, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (token, rest) = rest.split_at_checked(length)?;
        let stored = Stored {
            token: Secret::new(std::str::from_utf8(token).ok()?),
            since: Duration::from_secs(u64::from_be_bytes(*since)),
            life: Duration::from_secs(u64::from_be_bytes(*life)),
        };
        tokens.insert(*key, stored);
        bytes = rest;
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(texts: &[&str]) -> Tokens {
        let stored = |(n, text): (u8, &&str)| {
            let stored = Stored {
                token: Secret::new(*text),
                since: Duration::from_secs(u64::from(n) + 1_700_000_000),
                life: Duration::from_secs(3600),
            };
            ([n; 32], stored)
        };
        (0..).zip(texts).map(stored).collect()
    }

    fn texts(tokens: &Tokens) -> Vec<&str> {
        let mut texts: Vec<&str> = tokens.values().map(|s| s.token.expose()).collect();
        texts.sort_unstable();
        texts
    }

    #[test]
    fn what_was_sealed_is_opened_with_the_same_secret_only() {
        let secret = Secret::new("the key");
        let sealed = seal(&tokens(&["Bearer a", "Bearer b"]), &secret).unwrap();
        let opened = open(&sealed, &secret).unwrap();
        assert_eq!(texts(&opened), ["Bearer a", "Bearer b"]);
        assert_eq!(opened[&[1; 32]].since.as_secs(), 1_700_000_001);
        assert_eq!(opened[&[1; 32]].life.as_secs(), 3600);
        assert!(open(&sealed, &Secret::new("another key")).is_err());
    }

    #[test]
    fn the_file_shows_nothing_of_the_tokens() {
        let sealed = seal(&tokens(&["Bearer canary"]), &Secret::new("k")).unwrap();
        assert!(!sealed.windows(6).any(|six| six == b"canary"));
        let again = seal(&tokens(&["Bearer canary"]), &Secret::new("k")).unwrap();
        assert_ne!(sealed, again, "never the same key and nonce");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = open(&bytes, &Secret::new("k"));
        }

        #[test]
        fn what_is_encoded_is_decoded(all in prop::collection::vec(".{0,40}", 0..5)) {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let tokens = tokens(&all);
            let again = decode(&encode(&tokens)).unwrap();
            prop_assert_eq!(texts(&again), texts(&tokens));
        }
    }
}
