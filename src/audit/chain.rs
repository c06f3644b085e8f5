//! Lines that hang together: each holds its number, the hash of the one before, its own, and, where
//! there is a key, a code that only who has the key can make.
//!
//! A line is JSON: `{"seq":7,"at":…,…,"prev":"…","hash":"…","mac":"…"}`. The hash is SHA-256 over the
//! line's bytes before `,"hash"`, so that anybody can check it with a shell; the code is HMAC-SHA-256
//! (RFC 2104) over the same bytes. Without a key, who may write the file can make a new chain: then
//! only a copy of the newest hash, kept elsewhere, tells.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use serde_json::Value;

use crate::{secret::Secret, telemetry::text};

/// The hash before the first line.
pub(super) const BEGINNING: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// Digits of a hash.
const DIGITS: usize = 64;

/// What lines are made authentic with.
#[derive(Debug, Clone)]
pub struct Key {
    key: hmac::Key,
    id: String,
}

impl Key {
    pub fn new(secret: &Secret) -> Self {
        let bytes = secret.expose().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        // says which key it was without telling anything of it
        let id = hmac::sign(&key, b"itwin-auth-proxy audit key");
        Self {
            id: hex(&id.as_ref()[..8]),
            key,
        }
    }

    /// Names the key, and tells nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Of the last line; 0: there is none.
    pub seq: u64,
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: BEGINNING.into(),
        }
    }
}

impl Head {
    /// Appends the next line, with its line feed. `fields` begin with a comma, and are JSON.
    pub(super) fn seal(&mut self, out: &mut Vec<u8>, fields: &str, key: Option<&Key>) {
        self.seq += 1;
        let mut line = format!(
            "{{\"seq\":{},\"kind\":\"audit\"{fields},\"prev\":\"{}\"",
            self.seq, self.hash
        );
        let hash = hash(line.as_bytes());
        let mac = key.map(|key| hex(hmac::sign(&key.key, line.as_bytes()).as_ref()));
        let _ = write!(line, ",\"hash\":\"{hash}\"");
        if let Some(mac) = mac {
            let _ = write!(line, ",\"mac\":\"{mac}\"");
        }
        line.push_str("}\n");
        out.extend_from_slice(line.as_bytes());
        self.hash = hash;
    }
}

/// A line that is read back.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) hash: String,
    pub(super) event: Value,
    /// Whether the hash is that of what it says.
    pub(super) whole: bool,
    /// What the hash is over, and the code; the latter without a key is not checked.
    covered: Vec<u8>,
    mac: Option<Vec<u8>>,
}

/// Whether a line was written by who has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authentic {
    Yes,
    No,
    /// There is no code.
    Unsigned,
}

impl Line {
    /// Reads a line without its line feed; `None`: it is no line of a chain.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let mark = b",\"hash\":\"";
        let at = memchr::memmem::rfind(line, mark)?;
        let (covered, sealed) = line.split_at(at);
        let sealed = std::str::from_utf8(&sealed[mark.len()..]).ok()?;
        let (hash, rest) = sealed.split_at_checked(DIGITS)?;
        let mac = match rest.strip_prefix("\",\"mac\":\"") {
            None if rest == "\"}" => None,
            None => return None,
            Some(rest) => Some(unhex(rest.strip_suffix("\"}")?)?),
        };
        let value: Value = serde_json::from_slice(line).ok()?;
        Some(Self {
            seq: value["seq"].as_u64()?,
            prev: value["prev"].as_str()?.to_owned(),
            hash: hash.to_owned(),
            event: value,
            whole: self::hash(covered) == hash,
            covered: covered.to_owned(),
            mac,
        })
    }

    pub(super) fn authentic(&self, keys: &[Key]) -> Authentic {
        let Some(mac) = &self.mac else {
            return Authentic::Unsigned;
        };
        let right = |key: &Key| hmac::verify(&key.key, &self.covered, mac).is_ok();
        if keys.iter().any(right) {
            Authentic::Yes
        } else {
            Authentic::No
        }
    }

    pub(super) fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash.clone(),
        }
    }
}

/// Appends `,"name":"text"`.
pub(super) fn put_text(out: &mut String, name: &str, value: &str) {
    let mut escaped = Vec::with_capacity(value.len());
    text::json(&mut escaped, value);
    let _ = write!(out, ",\"{name}\":\"{}\"", String::from_utf8_lossy(&escaped));
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
