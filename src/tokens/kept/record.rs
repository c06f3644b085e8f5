//! The record of a sign-in: who, since when, and where the token is. It holds no secret.

use std::fmt;

use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// What is known of a sign-in without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub credential: String,
    pub issuer: String,
    pub client_id: String,
    #[serde(flatten)]
    pub who: Who,
    pub place: Place,
    /// Grows with every new token.
    pub changed: u64,
}

/// Who signed in, for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The person's identifier at the provider (`sub`); none where it tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// As people know each other: a name or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Scopes that were granted.
    pub scopes: String,
    /// Seconds since 1970.
    pub since: u64,
}

/// Where the token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    Keyring,
    File,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyring => "the system's keyring",
            Self::File => "a sealed file",
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u8,
    #[serde(flatten)]
    record: T,
}

impl Record {
    /// Nothing, where it is of another version or none of ours.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let found: Versioned<Self> = serde_json::from_slice(text).ok()?;
        (found.version == VERSION).then_some(found.record)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let version = VERSION;
        let record = self;
        // text and numbers only
        serde_json::to_vec_pretty(&Versioned { version, record }).unwrap_or_default()
    }
}
