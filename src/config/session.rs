//! Sessions of browsers: who signs people in, how long that holds, and where it is kept.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use url::Url;

use super::{Credential, Name, SecretPair};

/// How people sign in with a browser; routes admit those who have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub name: Name,
    /// Of the grant `authorization_code`; each person has tokens of their own.
    pub credential: Arc<Credential>,
    /// Where browsers reach us: scheme, host and port, no path.
    pub public: Url,
    /// Before the paths of our own endpoints; begins with a slash, and has none at its end.
    pub prefix: String,
    /// Where the provider sends browsers back to: the path of the redirect URI.
    pub callback: String,
    /// What cookies are sealed with; `None`: with something that is lost when the program stops.
    pub key: Option<SecretPair>,
    /// The cookie's name.
    pub cookie: String,
    pub store: SessionStore,
    /// Without a request for so long, it ends.
    pub idle: Duration,
    /// It ends after so long, whatever happens.
    pub absolute: Duration,
    /// Sent with every authorization request.
    pub parameters: BTreeMap<String, String>,
    /// Templates that replace our pages.
    pub pages: Option<PathBuf>,
    /// Where signing out ends, on our own origin; `None`: on a page of ours.
    pub signed_out: Option<String>,
    /// Further origins whose pages may use the routes, as browsers write them.
    pub origins: Vec<String>,
    pub streams: Streams,
    /// That one address may begin.
    pub sign_ins_per_minute: NonZeroU32,
}

impl Session {
    /// The path of one of our endpoints.
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.prefix)
    }

    /// What is registered with the provider.
    pub fn redirect_uri(&self) -> Url {
        let mut url = self.public.clone();
        url.set_path(&self.callback);
        url
    }

    /// As browsers write it in `Origin`.
    pub fn origin(&self) -> String {
        self.public.origin().ascii_serialization()
    }
}

/// Where a session is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStore {
    /// All of it sealed in cookies: it survives a restart, and is the same on several replicas.
    Cookie,
    /// In this process; the cookie is a handle.
    Memory,
    /// In a sealed file for each, in this directory; the cookie is a handle.
    Directory(PathBuf),
}

/// What becomes of streams, downloads and WebSocket connections when their session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    Close,
    Finish,
}
