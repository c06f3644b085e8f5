//! The cookies of a session.
//!
//! `v1.HANDLE.N.STATE`: the [`Handle`] says which session it is, and is sealed by itself, so that a
//! request costs one small AEAD and no allocation; STATE is what a process that does not know the
//! session needs to know it again, is bound to the handle's id and version, and goes on in N − 1
//! further cookies (`.1`, `.2`, `.3`). Without state the cookie ends after the handle.
//!
//! What was changed, cut, sealed by somebody else or for something else, is too old, from the future
//! or there twice is a [`BadCookie`]: no session, and to be cleared.

mod names;
mod ring;
mod transaction;

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::InvalidHeaderValue};
use rand::CryptoRng;
use zeroize::Zeroizing;

pub use names::{Name, PREFIX, strip_ours, strip_set_by_others};
pub use ring::{Ring, SealedBy};
pub use transaction::{LIFE as SIGN_IN_LIFE, NoTransaction, Transaction};

use names::{Found, find};
use ring::{Bound, OVERHEAD, Purpose};

/// Of one session.
const CHUNKS: usize = 4;
/// A cookie with its name and attributes: browsers take 4,096 bytes, not all count alike.
const COOKIE_BYTES: usize = 4_000;
const FORMAT: &[u8] = b"v1.";
const CONTENT: usize = 32;
const SEALED: usize = CONTENT + OVERHEAD;
/// SEALED in base64url.
const TEXT: usize = SEALED * 4 / 3;
/// How far the clocks of two replicas may be apart.
const SKEW: u64 = 120;

/// Which session a browser has, as of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    pub id: [u8; 16],
    /// Of the state: a higher one is newer.
    pub version: u64,
    /// Seconds since 1970.
    pub sealed_at: u64,
}

/// What goes with the handle.
#[derive(Debug, Clone, Copy)]
pub enum State<'a> {
    /// In the cookies.
    Carried(&'a [u8]),
    /// Whoever opens the handle knows it, or nobody does.
    Elsewhere,
}

/// What a browser showed.
#[derive(Debug)]
pub enum Shown<'h> {
    Nothing,
    Opened(Opened<'h>),
    Bad(BadCookie),
}

/// A handle that is good; its state is still sealed.
#[derive(Debug)]
pub struct Opened<'h> {
    pub handle: Handle,
    pub by: SealedBy,
    /// Of chunk 0.
    state: &'h [u8],
    chunks: usize,
}

/// A cookie that is no session. It is to be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCookie {
    #[error("there are two cookies with the session's name")]
    Twice,
    #[error("the session's cookie is not of this format")]
    Malformed,
    #[error("the session's cookie was sealed with another key, or is damaged")]
    Foreign,
    #[error("the session's cookie is older than any session")]
    Ancient,
    #[error("the session's cookie is from the future: clocks disagree")]
    Future,
    #[error("a part of the session's cookies is missing")]
    Incomplete,
    #[error("the session's cookie carries no state")]
    Stateless,
}

/// Why there is no cookie to be set.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the session's state of {0} bytes does not fit into {CHUNKS} cookies")]
    TooLarge(usize),
    #[error("the transaction does not fit into a cookie")]
    TransactionTooLarge,
    #[error("cannot be sealed")]
    Seal(#[from] Unspecified),
    #[error("the session's name cannot be part of a cookie's")]
    Name(#[from] InvalidHeaderValue),
}

/// Seals and opens the cookies of one session of the configuration.
#[derive(Debug)]
pub struct Cookies {
    name: Name,
    ring: Ring,
    chunks: [String; CHUNKS],
}

impl Cookies {
    pub fn new(name: Name, ring: Ring) -> Self {
        Self {
            chunks: std::array::from_fn(|number| name.chunk(number)),
            name,
            ring,
        }
    }

    /// Looks at the handle alone. `now` is in seconds since 1970; one sealed longer ago than
    /// `oldest` is ancient.
    pub fn shown<'h>(&self, headers: &'h HeaderMap, now: u64, oldest: Duration) -> Shown<'h> {
        let value = match find(headers, self.name.as_str()) {
            Found::Nothing => return Shown::Nothing,
            Found::Several => return Shown::Bad(BadCookie::Twice),
            Found::One(value) => value,
        };
        let opened = self.open(value).and_then(|opened| {
            let at = opened.handle.sealed_at;
            if at > now.saturating_add(SKEW) {
                Err(BadCookie::Future)
            } else if now.saturating_sub(at) > oldest.as_secs() {
                Err(BadCookie::Ancient)
            } else {
                Ok(opened)
            }
        });
        match opened {
            Ok(opened) => Shown::Opened(opened),
            Err(bad) => Shown::Bad(bad),
        }
    }

    fn open<'h>(&self, value: &'h [u8]) -> Result<Opened<'h>, BadCookie> {
        let rest = value.strip_prefix(FORMAT).ok_or(BadCookie::Malformed)?;
        let (text, rest) = rest.split_at_checked(TEXT).ok_or(BadCookie::Malformed)?;
        let (chunks, state) = match rest {
            [] => (1, &[][..]),
            [b'.', number @ b'1'..=b'4', b'.', state @ ..] => (usize::from(number - b'0'), state),
            _ => return Err(BadCookie::Malformed),
        };
        let (mut sealed, mut content) = ([0; SEALED], [0; CONTENT]);
        match URL_SAFE_NO_PAD.decode_slice(text, &mut sealed) {
            Ok(SEALED) => {}
            _ => return Err(BadCookie::Malformed),
        }
        let by = self
            .ring
            .open(Purpose::Handle, &Handle::BOUND, &sealed, &mut content)
            .map_err(|_| BadCookie::Foreign)?;
        Ok(Opened {
            handle: Handle::read(&content),
            by,
            state,
            chunks,
        })
    }

    /// The state that came with a handle.
    pub fn state(
        &self,
        headers: &HeaderMap,
        opened: &Opened<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, BadCookie> {
        if opened.state.is_empty() {
            return Err(BadCookie::Stateless);
        }
        let mut text = opened.state.to_vec();
        for name in self.chunks.iter().take(opened.chunks).skip(1) {
            match find(headers, name) {
                Found::One(chunk) if chunk.len() <= COOKIE_BYTES => text.extend_from_slice(chunk),
                Found::One(_) => return Err(BadCookie::Malformed),
                Found::Several => return Err(BadCookie::Twice),
                Found::Nothing => return Err(BadCookie::Incomplete),
            }
        }
        let sealed = URL_SAFE_NO_PAD.decode(text);
        let sealed = sealed.map_err(|_| BadCookie::Malformed)?;
        let length = sealed.len().checked_sub(OVERHEAD);
        let mut content = Zeroizing::new(vec![0; length.ok_or(BadCookie::Malformed)?]);
        let bound = opened.handle.bound();
        self.ring
            .open(Purpose::State, &bound, &sealed, &mut content)
            .map_err(|_| BadCookie::Foreign)?;
        Ok(content)
    }

    /// `Set-Cookie` values for a session that lives for `life` from now. `had` is how many cookies
    /// the browser has of it ([`Cookies::held`], [`Opened::chunks`]): what is too many is cleared.
    pub fn set(
        &self,
        handle: &Handle,
        state: State<'_>,
        life: Duration,
        had: usize,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<HeaderValue>, SealError> {
        let attributes = attributes(SameSite::Lax, life.as_secs());
        let content = handle.written();
        let sealed = self
            .ring
            .seal(Purpose::Handle, &Handle::BOUND, &content, rng)?;
        let start = format!("v1.{}", URL_SAFE_NO_PAD.encode(sealed));
        let State::Carried(state) = state else {
            return self.lines(&[start], &attributes, had);
        };
        let bound = handle.bound();
        let sealed = self.ring.seal(Purpose::State, &bound, state, rng)?;
        let text = URL_SAFE_NO_PAD.encode(sealed);
        let mut rest = text.as_str();
        let mut values = Vec::with_capacity(CHUNKS);
        for name in &self.chunks {
            let taken = name.len() + 1 + attributes.len();
            let first = if values.is_empty() {
                start.len() + ".N.".len()
            } else {
                0
            };
            let room = COOKIE_BYTES.saturating_sub(taken + first);
            let (part, behind) = rest.split_at(room.min(rest.len()));
            values.push(part.to_owned());
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        if !rest.is_empty() {
            return Err(SealError::TooLarge(state.len()));
        }
        values[0] = format!("{start}.{}.{}", values.len(), values[0]);
        self.lines(&values, &attributes, had)
    }

    /// `Set-Cookie` values that end it, however many there are.
    pub fn clear(&self) -> Vec<HeaderValue> {
        let names = self.chunks.iter();
        names.filter_map(|name| cleared(name).ok()).collect()
    }

    /// How many cookies of the session a request has, good or not.
    pub fn held(&self, headers: &HeaderMap) -> usize {
        let last = self
            .chunks
            .iter()
            .rposition(|name| find(headers, name) != Found::Nothing);
        last.map_or(0, |last| last + 1)
    }

    fn lines(
        &self,
        values: &[String],
        attributes: &str,
        had: usize,
    ) -> Result<Vec<HeaderValue>, SealError> {
        let set = self.chunks.iter().zip(values);
        let set = set.map(|(name, value)| secret_line(format!("{name}={value}{attributes}")));
        let surplus = self.chunks.iter().take(had).skip(values.len());
        let lines = set.chain(surplus.map(|name| cleared(name)));
        Ok(lines.collect::<Result<_, _>>()?)
    }
}

impl Opened<'_> {
    /// How many cookies it is made of.
    pub fn chunks(&self) -> usize {
        self.chunks
    }
}

impl Handle {
    const BOUND: Bound = [0; 24];

    fn written(&self) -> [u8; CONTENT] {
        let mut content = [0; CONTENT];
        content[..16].copy_from_slice(&self.id);
        content[16..24].copy_from_slice(&self.version.to_be_bytes());
        content[24..].copy_from_slice(&self.sealed_at.to_be_bytes());
        content
    }

    fn read(content: &[u8; CONTENT]) -> Self {
        let (mut id, mut version, mut sealed_at) = ([0; 16], [0; 8], [0; 8]);
        id.copy_from_slice(&content[..16]);
        version.copy_from_slice(&content[16..24]);
        sealed_at.copy_from_slice(&content[24..]);
        Self {
            id,
            version: u64::from_be_bytes(version),
            sealed_at: u64::from_be_bytes(sealed_at),
        }
    }

    /// State of another session, or of this session's past, does not go with this handle. When it
    /// was sealed may differ: a handle is sealed anew more often than its state changes.
    fn bound(&self) -> Bound {
        let mut bound = [0; 24];
        bound[..16].copy_from_slice(&self.id);
        bound[16..].copy_from_slice(&self.version.to_be_bytes());
        bound
    }
}

/// With which requests of other sites a cookie comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// When a link is followed.
    Lax,
    /// Also with a form that another site posts: what `response_mode=form_post` does.
    None,
}

fn attributes(same_site: SameSite, seconds: u64) -> String {
    let same_site = match same_site {
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    format!("; Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={seconds}")
}

fn cleared(name: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::try_from(format!("{name}={}", attributes(SameSite::Lax, 0)))
}

/// Never shown in a log, never in a table of header compression.
fn secret_line(line: String) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut line = HeaderValue::try_from(line)?;
    line.set_sensitive(true);
    Ok(line)
}

#[cfg(test)]
mod tests;
