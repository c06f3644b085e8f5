//! Sessions in sealed files, one each: they survive the process, and the cookie is only a handle.
//!
//! All are read when the process starts; a directory is one process's own. A rotated refresh token is on disk
//! before the access token that came with it is used.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{
    codec::{Form, Reader, Writer},
    live::{Id, Session},
    state::{self, Facts},
};
use crate::{
    atomic,
    config::{SecretPair, SecretSource},
    sealed::{self, Purpose},
    secret::Secret,
    shutdown::Shutdown,
    tokens::{Keep, PersonState},
};

const FORM: Form = Form {
    kind: b'F',
    version: 1,
};
const ENDING: &str = "session";

/// One directory. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub(super) struct Directory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    key: SecretPair,
    /// Which state of each session was written last: of two that are written at once the newer stays,
    /// since the refresh token of the older may be used up.
    written: Mutex<HashMap<Id, u64>>,
}

/// A session as a file had it.
pub(super) struct Kept {
    pub(super) id: Id,
    pub(super) facts: Facts,
    pub(super) state: PersonState,
    pub(super) used: Duration,
}

/// Writes one session's newer states.
#[derive(Debug)]
pub(super) struct KeptHere {
    directory: Directory,
    id: Id,
    facts: Arc<Facts>,
}

impl Directory {
    pub(super) fn new(path: &Path, key: SecretPair) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            key,
            written: Mutex::default(),
        }))
    }

    pub(super) fn keeps(&self, id: Id, facts: Arc<Facts>) -> KeptHere {
        KeptHere {
            directory: self.clone(),
            id,
            facts,
        }
    }

    /// All that can be opened; what cannot is left alone and named. Blocking.
    pub(super) fn read(&self) -> Vec<Kept> {
        let files = match fs::read_dir(&self.0.path) {
            Ok(files) => files,
            Err(error) => {
                let path = self.0.path.display();
                tracing::error!(%path, %error, "the directory of sessions cannot be read");
                return Vec::new();
            }
        };
        let paths = files.filter_map(|file| file.ok().map(|file| file.path()));
        let ours = paths.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
        ours.filter_map(|path| {
            let kept = self.open(&path);
            if kept.is_none() {
                let path = path.display();
                tracing::warn!(%path, "a session's file cannot be opened, and is left alone");
            }
            kept
        })
        .collect()
    }

    fn open(&self, path: &Path) -> Option<Kept> {
        let file = fs::read(path).ok()?;
        let open = |source: &SecretSource| {
            let key = source.read().ok()?;
            sealed::open(Purpose::Sessions, &key, &file).ok()
        };
        let key = &self.0.key;
        let content = open(&key.current).or_else(|| open(key.previous.as_ref()?))?;
        let mut reader = Reader::new(&content, FORM).ok()?;
        let id = reader.array().ok()?;
        let used = Duration::from_secs(reader.number().ok()?);
        let (facts, state) = state::read(reader.bytes().ok()?).ok()?;
        reader.finish().ok()?;
        Some(Kept {
            id,
            facts,
            state,
            used,
        })
    }

    /// Writes it, behind everybody's back.
    pub(super) fn save(&self, session: &Arc<Session>, shutdown: &Shutdown) {
        let (this, session) = (self.clone(), Arc::clone(session));
        shutdown.spawn(async move {
            let write = spawn_blocking(move || {
                if session.has_ended().is_none() {
                    let state = session.person.state();
                    this.write(session.id, &session.facts, &state, session.used());
                }
            });
            let _ = write.await;
        });
    }

    pub(super) fn forget(&self, id: Id, shutdown: &Shutdown) {
        let this = self.clone();
        shutdown.spawn(async move {
            let removed = spawn_blocking(move || {
                let mut versions = this.0.written.lock();
                versions.remove(&id);
                // one that was never written is as good as gone
                let _ = fs::remove_file(this.file(&id));
            });
            let _ = removed.await;
        });
    }

    /// Blocking.
    fn write(&self, id: Id, facts: &Facts, state: &PersonState, used: Duration) {
        let written = || -> Result<(), String> {
            let key = self
                .0
                .key
                .current
                .read()
                .map_err(|error| error.to_string())?;
            let inner = state::write(facts, state);
            let mut writer = Writer::new(FORM);
            writer.bytes(&id).number(used.as_secs()).bytes(&inner);
            let file = seal(&key, writer.finish())?;
            let mut versions = self.0.written.lock();
            if versions.get(&id).is_some_and(|last| *last > state.version) {
                return Ok(());
            }
            atomic::replace(&self.file(&id), &file).map_err(|error| error.to_string())?;
            versions.insert(id, state.version);
            Ok(())
        };
        if let Err(error) = written() {
            let path = self.0.path.display();
            tracing::error!(
                %path, error,
                "a session cannot be written, and ends with this process; the directory must be writable"
            );
        }
    }

    /// The name of a file tells nobody the session's.
    fn file(&self, id: &Id) -> PathBuf {
        let digest = digest(&SHA256, id);
        let digest = &digest.as_ref()[..16];
        let name = digest.iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
        self.0.path.join(format!("{name}.{ENDING}"))
    }
}

fn seal(key: &Secret, content: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, String> {
    sealed::seal(Purpose::Sessions, key, content).map_err(|_| "there is no randomness".to_owned())
}

impl Keep for KeptHere {
    fn changed(&self, state: &PersonState) {
        // a moment's difference: it is renewed because it is used
        let used = state.tokens.iter().map(|token| token.since).max();
        let used = used.unwrap_or(self.facts.began);
        self.directory.write(self.id, &self.facts, state, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            issuer: "https://idp.test".into(),
            client: "webapp".into(),
            subject: "ada".into(),
            sid: None,
            name: None,
            username: None,
            email: None,
            authenticated: None,
            began: Duration::from_secs(1_700_000_000),
            id_token: None,
        }
    }

    fn state(version: u64) -> PersonState {
        PersonState {
            version,
            refresh: Some(Secret::new(format!("refresh-{version}"))),
            tokens: Vec::new(),
        }
    }

    /// A save that was begun before a renewal may write after it.
    #[test]
    fn a_late_older_state_does_not_bring_back_a_refresh_token_that_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "a key for sessions that has 32 characters").unwrap();
        let directory = Directory::new(
            folder.path(),
            SecretPair {
                current: SecretSource::File(key),
                previous: None,
            },
        );
        let (id, used) = ([7; 16], Duration::from_secs(1_700_000_100));
        let kept = |version: u64| {
            directory.write(id, &facts(), &state(version), used);
            let all = directory.read();
            let [one] = &all[..] else {
                panic!("{}", all.len());
            };
            one.state.version
        };
        assert_eq!(kept(0), 0);
        assert_eq!(kept(2), 2);
        assert_eq!(kept(1), 2);
        assert_eq!(kept(2), 2);
        assert_eq!(kept(3), 3);
    }
}
