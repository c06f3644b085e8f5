//! Where a person goes on after a sign-in: a path of our own origin, and nothing else.

use crate::config;

const LONGEST: usize = 2048;

/// A path with its query, on our own origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    pub fn parse(text: &str, session: &config::Session) -> Option<Self> {
        let plain = |c: char| !c.is_control() && c != '\\' && !c.is_whitespace();
        let path = text.starts_with('/') && !text.starts_with("//");
        if !path || text.len() > LONGEST || !text.chars().all(plain) {
            return None;
        }
        let url = session.public.join(text).ok()?;
        let ours = url.path().starts_with(&format!("{}/", session.prefix));
        let back = url.path() == session.callback;
        let same = url.origin() == session.public.origin();
        (same && !ours && !back).then(|| Self(text.to_owned()))
    }

    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// One of our own endpoints.
    pub fn ours(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
