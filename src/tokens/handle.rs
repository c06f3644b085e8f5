//! What the data plane holds of a token: a handle, cheap to clone and to ask, from any runtime.
//!
//! The hot path is [`TokenHandle::current`]: one atomic load and a reference-counted clone. What
//! it loads is written by the worker alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    cell::{Ask, IDLE_FLOOR, suffices},
    error::{ErrorKind, Occasion, TokenError},
    key::KeyDigest,
    person::Holding,
    source::SecretInUse,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::{Credential, ScopeSet},
    metrics::Zone,
    secret::Secret,
    trace::Context,
};

/// A token, ready to be sent.
#[derive(Debug, Clone)]
pub struct Ready {
    header: HeaderValue,
    id: u64,
    expires: Deadline,
    renews: Deadline,
    life: Duration,
}

impl Ready {
    pub(super) fn new(header: HeaderValue, id: u64, expires: Deadline) -> Self {
        Self {
            header,
            id,
            expires,
            renews: expires,
            life: Duration::ZERO,
        }
    }

    /// It is to be renewed at `renews`, and lives for `life` in all.
    pub(super) fn ageing(mut self, renews: Deadline, life: Duration) -> Self {
        (self.renews, self.life) = (renews, life);
        self
    }

    /// Where it is in its life, for a request that needs `min_remaining`; and what is left.
    pub fn zone(&self, now: Moment, min_remaining: Duration) -> (Zone, Duration) {
        let left = self.expires.remaining(now);
        let zone = if !suffices(left, self.life, min_remaining) {
            Zone::LastResort
        } else if self.renews.passed(now) {
            Zone::Ageing
        } else {
            Zone::Fresh
        };
        (zone, left)
    }

    /// The value of `Authorization`: `Bearer …`, marked as sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The token alone.
    pub(super) fn token(&self) -> Option<Secret> {
        let header = self.header.to_str().ok()?;
        header.strip_prefix("Bearer ").map(Secret::new)
    }

    /// The token itself, for an answer to somebody who may have it.
    pub fn text(&self) -> &str {
        let header = self.header.to_str().unwrap_or_default();
        header.split_once(' ').map_or("", |(_, token)| token)
    }

    /// Tells this token from others of the same credential.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// From here on it must not be sent: its expiry minus a margin for the way.
    pub fn expires(&self) -> Deadline {
        self.expires
    }
}

/// Asks for the tokens of one credential and scope set.
#[derive(Debug, Clone)]
pub struct TokenHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) asks: mpsc::Sender<Asked>,
    pub(super) clock: Clock,
}

/// What worker and handles share of one key.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) number: u64,
    pub(super) owner: Owner,
    /// As configured last: a reload may change what is not part of the key.
    pub(super) credential: ArcSwap<Credential>,
    pub(super) scopes: ScopeSet,
    /// Whose token is shown to get this one (RFC 7523 section 2.1).
    pub(super) shown: Option<TokenHandle>,
    pub(super) snapshot: ArcSwapOption<Snapshot>,
    /// When it was used last: whole seconds on the wall clock, 0: never.
    used: AtomicU64,
    pub(super) status: Mutex<Status>,
}

/// Whose token it is.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    /// The program's; what it is called in the store.
    Program(KeyDigest),
    /// Somebody's who signed in. Nothing of it is stored or reported here.
    Person(Arc<Holding>),
}

/// Whether a key was used a short time ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Usual,
    /// The worker may think that nobody needs it.
    Again,
}

/// What the worker published last.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) ready: Ready,
    pub(super) since: Moment,
    pub(super) life: Duration,
    pub(super) renews: Deadline,
    pub(super) renewal: Renewal,
    /// What requests want to be left; who wants more gets it as a last resort.
    pub(super) reserve: Duration,
}

/// How the last renewal went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Fine,
    /// It failed: until one succeeds, the token is good enough for everybody while it is valid.
    Failing,
}

/// For status pages.
#[derive(Debug, Default, Clone)]
pub(super) struct Status {
    pub(super) last_success: Option<Moment>,
    pub(super) last_error: Option<Arc<str>>,
    /// Also after a success.
    pub(super) last_failure: Option<Failed>,
    /// With which the last token was fetched.
    pub(super) secret: Option<SecretInUse>,
    pub(super) next_attempt: Option<Deadline>,
    pub(super) failures: u64,
    pub(super) fetching: bool,
    /// What was asked for and not granted with the last token.
    pub(super) missing: ScopeSet,
}

/// A fetch that came to nothing.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) at: Moment,
    pub(super) class: &'static str,
    pub(super) reason: Arc<str>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) shared: Arc<Shared>,
    pub(super) ask: Ask,
    pub(super) reply: oneshot::Sender<Result<Ready, TokenError>>,
    /// Who waits, where its trace is kept.
    pub(super) who: Option<Context>,
}

impl TokenHandle {
    /// The token, if there is one that lives for `min_remaining` yet (or half its life, if that
    /// is less), or that is valid and cannot be renewed at the moment. `None`: ask
    /// [`TokenHandle::get`]. Never waits.
    pub fn current(&self, now: Moment, min_remaining: Duration) -> Option<Ready> {
        let usage = self.shared.touch(now);
        let snapshot = self.shared.snapshot.load();
        let snapshot = snapshot.as_ref()?;
        if usage == Use::Again {
            self.nudge();
        }
        let left = snapshot.ready.expires.remaining(now);
        let served = suffices(left, snapshot.life, min_remaining)
            || (!left.is_zero() && snapshot.renewal == Renewal::Failing);
        served.then(|| snapshot.ready.clone())
    }

    /// The token, waiting for it up to `wait` where it must be fetched first. A token with less
    /// than `min_remaining` left is renewed before, if that can be; if not, it is served as long
    /// as it is valid. Dropping the future does not stop the fetch.
    ///
    /// # Errors
    /// When there is no valid token and none could be fetched in time.
    pub async fn get(&self, min_remaining: Duration, wait: Duration) -> Result<Ready, TokenError> {
        self.get_for(None, min_remaining, wait).await
    }

    /// The same; the fetch is linked to `who` waits for it, if its trace is kept.
    ///
    /// # Errors
    /// As of [`TokenHandle::get`].
    pub async fn get_for(
        &self,
        who: Option<Context>,
        min_remaining: Duration,
        wait: Duration,
    ) -> Result<Ready, TokenError> {
        if let Some(ready) = self.current(self.clock.now(), min_remaining) {
            return Ok(ready);
        }
        let result = self.ask(Ask::Get { min_remaining }, who, wait).await;
        match result {
            Err(error) if matches!(error.kind, ErrorKind::TimedOut | ErrorKind::Stopped) => {
                let now = self.clock.now();
                let snapshot = self.shared.snapshot.load();
                let valid = snapshot.as_ref().filter(|s| !s.ready.expires.passed(now));
                valid.map(|s| s.ready.clone()).ok_or(error)
            }
            other => other,
        }
    }

    /// The scopes that were asked for and did not come with the last token.
    pub fn not_granted(&self) -> ScopeSet {
        self.shared.status.lock().missing.clone()
    }

    /// Another token than `rejected`, which the upstream answered 401. If there is a newer one it
    /// comes at once; else all who ask share one renewal.
    ///
    /// # Errors
    /// When it cannot be renewed in time, or when a replacement was rejected too a short time ago:
    /// then the upstream does not know the client, and another token would not help.
    pub async fn replace(&self, rejected: &Ready, wait: Duration) -> Result<Ready, TokenError> {
        self.replace_for(None, rejected, wait).await
    }

    /// The same; the fetch is linked to `who` waits for it, if its trace is kept.
    ///
    /// # Errors
    /// As of [`TokenHandle::replace`].
    pub async fn replace_for(
        &self,
        who: Option<Context>,
        rejected: &Ready,
        wait: Duration,
    ) -> Result<Ready, TokenError> {
        let now = self.clock.now();
        self.shared.touch(now);
        if let Some(snapshot) = self.shared.snapshot.load().as_ref()
            && snapshot.ready.id != rejected.id
            && !snapshot.ready.expires.passed(now)
        {
            return Ok(snapshot.ready.clone());
        }
        let rejected = rejected.id;
        self.ask(Ask::Replace { rejected }, who, wait).await
    }

    /// Another token than there is now, whatever that one is good for.
    ///
    /// # Errors
    /// When none can be fetched, or not in time. What there is stays.
    pub(super) async fn renew(&self, wait: Duration) -> Result<Ready, TokenError> {
        let now = self.clock.now();
        self.shared.touch(now);
        let snapshot = self.shared.snapshot.load();
        let valid = snapshot.as_ref().filter(|s| !s.ready.expires.passed(now));
        let held = valid.map(|s| s.ready.id);
        self.ask(Ask::Refresh { held }, None, wait).await
    }

    /// The credential it belongs to.
    pub fn credential(&self) -> Arc<Credential> {
        self.shared.credential.load_full()
    }

    /// The scopes that are asked for.
    pub fn scopes(&self) -> &ScopeSet {
        &self.shared.scopes
    }

    /// Lets the worker see that the key is in use again, so that it is renewed in time.
    fn nudge(&self) {
        let min_remaining = Duration::ZERO;
        // nobody waits; if it is not heard, a request will wait for the renewal at the token's end
        let _ = self.asks.try_send(Asked {
            shared: self.shared.clone(),
            ask: Ask::Get { min_remaining },
            reply: oneshot::channel().0,
            who: None,
        });
    }

    async fn ask(
        &self,
        ask: Ask,
        who: Option<Context>,
        wait: Duration,
    ) -> Result<Ready, TokenError> {
        let (reply, answer) = oneshot::channel();
        let shared = self.shared.clone();
        let asked = Asked {
            shared,
            ask,
            reply,
            who,
        };
        let answered = timeout(wait, async {
            self.asks.send(asked).await.ok()?;
            answer.await.ok()
        });
        match answered.await {
            Ok(Some(result)) => result,
            Ok(None) => Err(self.error(ask, ErrorKind::Stopped, "the program is stopping")),
            Err(_) => Err(self.error(
                ask,
                ErrorKind::TimedOut,
                "the provider did not answer within the time that a request may wait",
            )),
        }
    }

    fn error(&self, ask: Ask, kind: ErrorKind, reason: &str) -> TokenError {
        TokenError {
            credential: self.shared.credential.load().name.clone(),
            kind,
            occasion: ask.occasion(),
            reason: reason.into(),
            retry_after: Some(Duration::from_secs(1)),
        }
    }
}

impl Asked {
    /// Tells who asks that the key is gone.
    pub(super) fn retired(self) {
        let ended = match &self.shared.owner {
            Owner::Person(holding) => holding.is_ended(),
            Owner::Program(_) => false,
        };
        let (kind, reason, retry_after) = if ended {
            (ErrorKind::SignInAgain, "the person has signed out", None)
        } else {
            let soon = Some(Duration::from_secs(1));
            (ErrorKind::Unavailable, "nobody keeps it any more", soon)
        };
        let error = TokenError {
            credential: self.shared.credential.load().name.clone(),
            kind,
            occasion: self.ask.occasion(),
            reason: reason.into(),
            retry_after,
        };
        // it may have gone away
        let _ = self.reply.send(Err(error));
    }
}

impl Ask {
    pub(super) fn occasion(self) -> Occasion {
        match self {
            Self::Get { .. } | Self::Refresh { .. } => Occasion::NoToken,
            Self::Replace { .. } => Occasion::Rejected,
        }
    }
}

impl Shared {
    pub(super) fn new(
        number: u64,
        owner: Owner,
        credential: Arc<Credential>,
        scopes: ScopeSet,
        shown: Option<TokenHandle>,
    ) -> Self {
        Self {
            number,
            owner,
            credential: ArcSwap::new(credential),
            scopes,
            shown,
            snapshot: ArcSwapOption::empty(),
            used: AtomicU64::new(0),
            status: Mutex::default(),
        }
    }

    /// Whether it belongs to somebody who signed in.
    pub(super) fn is_persons(&self) -> bool {
        matches!(self.owner, Owner::Person(_))
    }

    /// How long ago it was used; for ever, if never.
    pub(super) fn unused(&self, now: Moment) -> Duration {
        match self.used.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            used => Duration::from_secs(now.unix_seconds().saturating_sub(used)),
        }
    }

    fn touch(&self, now: Moment) -> Use {
        let seconds = now.unix_seconds().max(1);
        let before = self.used.load(Ordering::Relaxed);
        // written once a second at most, so that threads do not fight for the cache line
        if before == seconds {
            return Use::Usual;
        }
        self.used.store(seconds, Ordering::Relaxed);
        if seconds.saturating_sub(before) < IDLE_FLOOR.as_secs() {
            Use::Usual
        } else {
            Use::Again
        }
    }
}
