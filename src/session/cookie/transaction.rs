//! What a sign-in that has begun needs at its end, kept by the browser that began it: nobody else
//! can end it (RFC 6749 section 10.12).
//!
//! One cookie each, so that tabs do not end each other's: its name has the first characters of
//! `state`, by which the callback finds it. Few live at a time: a browser that begins and never ends
//! sign-ins (a page that reloads itself) must not make a request's header grow without end.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use rand::CryptoRng;

use super::{
    Bound, COOKIE_BYTES, Cookies, Found, OVERHEAD, Purpose, SKEW, SameSite, SealError, attributes,
    cleared, find, names::pairs, secret_line,
};
use crate::{
    secret::Secret,
    session::codec::{Form, Malformed, Reader, Writer},
};

/// How long a person may take.
pub const LIFE: Duration = Duration::from_secs(600);
/// Of one session and browser.
const ALIVE: usize = 5;
/// Of all of them together, names included: room is left for the session's own cookies.
const ALIVE_BYTES: usize = 8_000;
/// How many characters of `state` are in the name.
const TAG: usize = 8;
const FORM: Form = Form {
    kind: b't',
    version: 1,
};

/// A sign-in that has begun.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub state: Secret,
    pub nonce: Secret,
    pub verifier: Secret,
    /// Where the person wanted to go: a path of ours.
    pub return_to: String,
    /// The issuer that was asked.
    pub issuer: String,
    /// The session that is to get another token: its own cookie does not come with a form that the
    /// provider's page posts.
    pub renews: Option<[u8; 16]>,
    /// Seconds since 1970.
    pub started_at: u64,
}

/// A callback that ends no sign-in of this browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTransaction {
    #[error("this browser has begun no such sign-in, or has ended it")]
    Unknown,
    #[error("there are two cookies of this sign-in")]
    Twice,
    #[error("the cookie of this sign-in was sealed with another key, or is damaged")]
    Foreign,
    #[error("the sign-in was begun too long ago")]
    Expired,
}

impl Cookies {
    /// `Set-Cookie` values that begin a sign-in, and clear those that are over or too many.
    /// `state` of the transaction must be base64url of at least 8 characters.
    pub fn begin(
        &self,
        headers: &HeaderMap,
        transaction: &Transaction,
        same_site: SameSite,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<HeaderValue>, SealError> {
        let tag = tag(transaction.state.expose()).ok_or(SealError::TransactionTooLarge)?;
        let name = self.name.transaction() + tag;
        let content = transaction.written();
        let sealed = self
            .ring
            .seal(Purpose::Transaction, &bound(tag), &content, rng)?;
        let value = URL_SAFE_NO_PAD.encode(sealed);
        let line = format!("{name}={value}{}", attributes(same_site, LIFE.as_secs()));
        if line.len() > COOKIE_BYTES {
            return Err(SealError::TransactionTooLarge);
        }
        let room = ALIVE_BYTES.saturating_sub(line.len());
        let mut lines = Vec::from([secret_line(line)?]);
        for over in self.over(headers, transaction.started_at, room) {
            if over != name {
                lines.push(cleared(&over)?);
            }
        }
        Ok(lines)
    }

    /// The sign-in that a callback with this `state` ends.
    pub fn transaction(
        &self,
        headers: &HeaderMap,
        state: &str,
        now: u64,
    ) -> Result<Transaction, NoTransaction> {
        let tag = tag(state).ok_or(NoTransaction::Unknown)?;
        let value = match find(headers, &(self.name.transaction() + tag)) {
            Found::Nothing => return Err(NoTransaction::Unknown),
            Found::Several => return Err(NoTransaction::Twice),
            Found::One(value) => value,
        };
        let transaction = self.opened(tag, value).ok_or(NoTransaction::Foreign)?;
        if !transaction.state.matches(state.as_bytes()) {
            return Err(NoTransaction::Unknown);
        }
        if !transaction.is_alive(now) {
            return Err(NoTransaction::Expired);
        }
        Ok(transaction)
    }

    /// The `Set-Cookie` value that ends the sign-in with this `state`, so that it ends once only.
    pub fn end(&self, state: &str) -> Option<HeaderValue> {
        cleared(&(self.name.transaction() + tag(state)?)).ok()
    }

    /// Names of transaction cookies that are to be cleared before one more is set.
    fn over(&self, headers: &HeaderMap, now: u64, mut room: usize) -> Vec<String> {
        let prefix = self.name.transaction();
        let mut over = Vec::new();
        let mut alive = Vec::new();
        for (name, value) in pairs(headers) {
            let Some(rest) = name.strip_prefix(prefix.as_bytes()) else {
                continue;
            };
            // a name that we would not have given is not repeated in a field of ours
            let Some(tag) = std::str::from_utf8(rest).ok().and_then(exact_tag) else {
                continue;
            };
            let opened = self.opened(tag, value);
            match opened.filter(|opened| opened.is_alive(now)) {
                Some(opened) => alive.push((opened.started_at, tag, name.len() + value.len())),
                None => over.push(format!("{prefix}{tag}")),
            }
        }
        alive.sort_unstable();
        // the newest first, as long as there is room
        for (kept, (_, tag, bytes)) in alive.into_iter().rev().enumerate() {
            if kept + 1 < ALIVE && bytes <= room {
                room -= bytes;
            } else {
                room = 0;
                over.push(format!("{prefix}{tag}"));
            }
        }
        over.sort_unstable();
        over.dedup();
        over
    }

    fn opened(&self, tag: &str, value: &[u8]) -> Option<Transaction> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let mut content = zeroize::Zeroizing::new(vec![0; sealed.len().checked_sub(OVERHEAD)?]);
        let bound = bound(tag);
        self.ring
            .open(Purpose::Transaction, &bound, &sealed, &mut content)
            .ok()?;
        Transaction::read(&content).ok()
    }
}

impl Transaction {
    fn written(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut writer = Writer::new(FORM);
        writer
            .secret(&self.state)
            .secret(&self.nonce)
            .secret(&self.verifier)
            .text(&self.return_to)
            .text(&self.issuer)
            .maybe(self.renews, |writer, id| {
                writer.bytes(&id);
            })
            .number(self.started_at);
        writer.finish()
    }

    fn read(content: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(content, FORM)?;
        let transaction = Self {
            state: reader.secret()?,
            nonce: reader.secret()?,
            verifier: reader.secret()?,
            return_to: reader.text()?.to_owned(),
            issuer: reader.text()?.to_owned(),
            renews: reader.maybe(Reader::array)?,
            started_at: reader.number()?,
        };
        reader.finish()?;
        Ok(transaction)
    }

    fn is_alive(&self, now: u64) -> bool {
        self.started_at <= now.saturating_add(SKEW)
            && now.saturating_sub(self.started_at) < LIFE.as_secs()
    }
}

/// What of `state` is in the name. A callback's `state` is whatever somebody wrote.
fn tag(state: &str) -> Option<&str> {
    state.get(..TAG).and_then(exact_tag)
}

fn exact_tag(tag: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (tag.len() == TAG && tag.bytes().all(plain)).then_some(tag)
}

fn bound(tag: &str) -> Bound {
    let mut bound = [0; 24];
    let tag = tag.as_bytes().iter();
    bound.iter_mut().zip(tag).for_each(|(to, from)| *to = *from);
    bound
}
