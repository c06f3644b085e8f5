//! People at a desk: where their sign-in is kept, and where the browser comes back to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use super::{NamedFile, SecretSource};

/// Where a refresh token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshSource {
    /// A file that somebody else made; it is written back when the token is rotated.
    File(PathBuf),
    /// What the command `login` keeps.
    Login(Login),
}

/// What `login` needs besides the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub redirect: Redirect,
    /// Records, locks and sealed files of sign-ins.
    pub directory: PathBuf,
    /// What sealed files are sealed with; `None`: a random key in a file beside them.
    pub key: Option<SecretSource>,
}

impl Login {
    /// What keeping a sign-in reads and writes.
    pub(super) fn files(&self) -> impl Iterator<Item = NamedFile> {
        let key = match &self.key {
            Some(SecretSource::File(path)) => Some(NamedFile::Read(path.clone())),
            Some(SecretSource::Value { .. }) | None => None,
        };
        let any = NamedFile::Replaced(self.directory.join("any"));
        [any].into_iter().chain(key)
    }
}

/// A loopback redirect (RFC 8252 section 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub host: LoopbackHost,
    /// Tried in this order; any free port where there is none.
    pub ports: Vec<u16>,
    /// Begins with a slash.
    pub path: String,
}

/// How the redirect names this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackHost {
    V4,
    V6,
    /// Both addresses; for registrations that have the name.
    Name,
}

impl LoopbackHost {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1",
            Self::V6 => "[::1]",
            Self::Name => "localhost",
        }
    }

    /// Where the browser may come.
    pub fn addresses(self) -> &'static [IpAddr] {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        match self {
            Self::V4 => &[V4],
            Self::V6 => &[V6],
            Self::Name => &[V4, V6],
        }
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            host: LoopbackHost::V4,
            ports: Vec::new(),
            path: "/callback".into(),
        }
    }
}

impl Redirect {
    /// Where people at Bentley have been sent back to by its own command-line client: what
    /// registrations of programs at a desk commonly have.
    pub fn at_bentley() -> Self {
        Self {
            host: LoopbackHost::Name,
            ports: vec![3000],
            path: "/signin-callback".into(),
        }
    }
}
