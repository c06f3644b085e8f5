//! What a service learns of the caller.

use std::{path::PathBuf, time::Duration};

/// What goes with a request to say who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// In the order in which room is given to them.
    pub headers: Vec<IdentityHeader>,
    pub jwt: Option<IdentityJwt>,
    pub token: CallersToken,
}

/// A field that only we set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeader {
    /// As it was written.
    pub name: String,
    pub says: Says,
}

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// How the caller is known; the only one that is there for every caller.
    Caller,
    Subject,
    Client,
    Issuer,
    Scopes,
    Email,
    /// The claim of this name, else the member that a path with dots leads to.
    Claim(String),
}

impl Says {
    /// What is said unless somebody says otherwise, and by which field.
    pub const USUAL: [(Self, &'static str); 6] = [
        (Self::Caller, "X-Itwin-Caller"),
        (Self::Subject, "X-Itwin-Subject"),
        (Self::Client, "X-Itwin-Client-Id"),
        (Self::Issuer, "X-Itwin-Issuer"),
        (Self::Scopes, "X-Itwin-Scopes"),
        (Self::Email, "X-Itwin-Email"),
    ];
}

/// A JWT of our own for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityJwt {
    /// The field that carries it, as it was written.
    pub header: String,
    pub issuer: String,
    pub audience: String,
    /// Whole seconds.
    pub lifetime: Duration,
    /// Claims of the caller's token that it has as well.
    pub claims: Vec<String>,
}

/// What such JWTs are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The first signs, all are published. None: a key is made at the start.
    pub key_files: Vec<PathBuf>,
    /// Where the public keys are on listeners for callers.
    pub path: Option<String>,
}

/// What happens to the access token that admitted the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallersToken {
    /// It goes on to the service.
    Kept,
    Removed,
    /// Another goes on, which it is exchanged for by the route's credential.
    Exchanged,
}
