//! Sessions as this process knows them: each once, however many threads and tabs use it.
//!
//! One that has ended stays as an ended one until its cookie would have: a cookie that is shown again
//! brings it back no more.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::state::Facts;
use crate::{caller::Holder, clock::Moment, tokens::Person};

/// So that threads do not wait for each other.
const SHARDS: usize = 16;
/// Sessions of one kind; a sign-in above it ends the one that was used least lately.
pub(super) const MOST: usize = 100_000;

/// A session's name, random and known to its cookie alone.
pub type Id = [u8; 16];

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Not used for too long.
    Idle,
    /// As old as sessions get.
    Old,
    /// The person signed out here.
    SignedOut,
    /// The provider said so.
    ByProvider,
    /// The provider gives no tokens for it any more.
    Refused,
    /// The same browser signed in anew.
    Replaced,
    /// Somebody signed in, and there was no more room.
    NoRoom,
    /// The configuration has no such sessions any more.
    NotConfigured,
}

impl Ended {
    /// A word for log and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Old => "old",
            Self::SignedOut => "signed_out",
            Self::ByProvider => "by_provider",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::NoRoom => "no_room",
            Self::NotConfigured => "not_configured",
        }
    }
}

/// A person who is signed in.
#[derive(Debug)]
pub struct Session {
    pub(super) id: Id,
    pub facts: Arc<Facts>,
    pub person: Person,
    /// What logs call them.
    pub called: Arc<Holder>,
    /// Unix seconds.
    used: AtomicU64,
    /// Unix seconds of the last use that a file has.
    saved: AtomicU64,
    /// Unix seconds before which the provider is not asked again without the person.
    quiet: AtomicU64,
    ended: watch::Sender<Option<Ended>>,
}

impl Session {
    pub(super) fn new(id: Id, facts: Arc<Facts>, person: Person, used: Duration) -> Self {
        let called = Arc::new(Holder {
            subject: Some(facts.subject.as_str().into()),
            client: Some(facts.client.as_str().into()),
        });
        Self {
            id,
            facts,
            person,
            called,
            used: AtomicU64::new(used.as_secs()),
            saved: AtomicU64::new(used.as_secs()),
            quiet: AtomicU64::new(0),
            ended: watch::Sender::new(None),
        }
    }

    /// When it was used last, since 1970-01-01T00:00:00Z.
    pub fn used(&self) -> Duration {
        Duration::from_secs(self.used.load(Ordering::Relaxed))
    }

    pub(super) fn touch(&self, now: Moment) {
        let seconds = now.unix_seconds();
        // written once a second at most, so that threads do not fight for the cache line
        if self.used.load(Ordering::Relaxed) < seconds {
            self.used.fetch_max(seconds, Ordering::Relaxed);
        }
    }

    /// Whether its last use is so much later than the one that a file has; then it is taken for written.
    pub(super) fn is_to_be_saved(&self, after: Duration) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let late = used.saturating_sub(self.saved.load(Ordering::Relaxed)) > after.as_secs();
        if late {
            self.saved.store(used, Ordering::Relaxed);
        }
        late
    }

    /// The provider is not asked without the person before then.
    pub(super) fn be_quiet(&self, until: Duration) {
        self.quiet.store(until.as_secs(), Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        now.unix_seconds() < self.quiet.load(Ordering::Relaxed)
    }

    pub fn has_ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Whether it was this call that ended it.
    pub(super) fn end(&self, why: Ended) -> bool {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        })
    }

    /// Waits until it has ended.
    pub async fn over(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        // the sender is in here
        let _ = ended.wait_for(Option::is_some).await;
    }
}

/// All sessions of a kind.
#[derive(Debug, Default)]
pub(super) struct Live {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    sessions: HashMap<Id, Arc<Session>>,
    /// Until when nobody comes back with them, in Unix seconds.
    gone: HashMap<Id, u64>,
}

/// What is known of a cookie's name.
#[derive(Debug)]
pub(super) enum Known {
    Here(Arc<Session>),
    /// It has ended.
    Gone,
    No,
}

impl Live {
    fn shard(&self, id: &Id) -> &Mutex<Shard> {
        // they are random
        &self.shards[usize::from(id[0]) % SHARDS]
    }

    pub(super) fn find(&self, id: &Id) -> Known {
        let shard = self.shard(id).lock();
        match shard.sessions.get(id) {
            Some(session) => Known::Here(Arc::clone(session)),
            None if shard.gone.contains_key(id) => Known::Gone,
            None => Known::No,
        }
    }

    /// The session of that name: the one that is there, or else the one that `make` makes, which is
    /// called without a lock held. `None`: it ended meanwhile.
    pub(super) fn put(&self, session: Arc<Session>) -> Option<Arc<Session>> {
        let mut shard = self.shard(&session.id).lock();
        if shard.gone.contains_key(&session.id) {
            return None;
        }
        let found = shard.sessions.entry(session.id).or_insert(session);
        Some(Arc::clone(found))
    }

    /// Takes it away; nobody brings it back before `until`.
    pub(super) fn remove(&self, session: &Session, until: Duration) {
        let mut shard = self.shard(&session.id).lock();
        shard.sessions.remove(&session.id);
        shard.gone.insert(session.id, until.as_secs());
    }

    /// Forgets those whom nobody can bring back any more.
    pub(super) fn forget(&self, now: Moment) {
        let now = now.unix_seconds();
        for shard in &self.shards {
            shard.lock().gone.retain(|_, until| *until > now);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().sessions.values().cloned());
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        let lengths = self.shards.iter();
        lengths.map(|shard| shard.lock().sessions.len()).sum()
    }
}
