//! Keys that callers share with us, in a header field or as the password of a user of the forward
//! proxy. Their files are read again now and then.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header::PROXY_AUTHORIZATION};

use crate::{
    caller::Caller,
    config::{Name, SecretPair},
    secret::Secret,
};

/// A shared key and what its files held when they were last read.
#[derive(Debug)]
pub struct Key {
    name: Name,
    shown: Shown,
    secrets: SecretPair,
    current: ArcSwap<Vec<Secret>>,
}

/// How a caller shows a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    In(HeaderName),
    /// As the password of the user whom the key is named after (RFC 7617).
    AsProxyUser,
}

impl Key {
    pub fn new(name: Name, shown: Shown, secrets: SecretPair) -> Self {
        let key = Self {
            name,
            shown,
            secrets,
            current: ArcSwap::default(),
        };
        key.refresh();
        key
    }

    /// Reads the files again; one that cannot be read leaves what was known.
    pub fn refresh(&self) {
        let sources = [Some(&self.secrets.current), self.secrets.previous.as_ref()];
        let mut secrets = Vec::new();
        for source in sources.into_iter().flatten() {
            match source.read() {
                Ok(secret) => secrets.push(secret),
                Err(error) => tracing::warn!(key = %self.name, %error, "shared key not read again"),
            }
        }
        if !secrets.is_empty() {
            self.current.store(Arc::new(secrets));
        }
    }

    /// The field that it is shown in.
    pub fn header(&self) -> HeaderName {
        match &self.shown {
            Shown::In(header) => header.clone(),
            Shown::AsProxyUser => PROXY_AUTHORIZATION,
        }
    }

    pub(super) fn caller(&self) -> Caller {
        match self.shown {
            Shown::In(_) => Caller::Key(self.name.clone()),
            Shown::AsProxyUser => Caller::ProxyUser(self.name.clone()),
        }
    }

    pub(super) fn opens(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(self.header()).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return false;
        };
        let known = |shown: &[u8]| {
            let current = self.current.load();
            current.iter().any(|secret| secret.matches(shown))
        };
        match self.shown {
            Shown::In(_) => known(value.as_bytes()),
            Shown::AsProxyUser => basic(value.as_bytes()).is_some_and(|pair| {
                let user = pair.iter().position(|byte| *byte == b':');
                user.is_some_and(|end| {
                    pair[..end] == *self.name.as_bytes() && known(&pair[end + 1..])
                })
            }),
        }
    }
}

/// Name and password of `Basic` credentials, still together.
fn basic(value: &[u8]) -> Option<Vec<u8>> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, encoded) = value.split_at(at);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    STANDARD.decode(encoded.trim_ascii()).ok()
}
