//! What a provider says of tokens that cannot be checked here: RFC 7662, asked once for all.
//!
//! One [`Introspector`] per provider, shared by all threads. A question that is under way is joined,
//! not repeated; it is asked by a task of the control plane ([`ask`]), so that a caller that goes
//! away cancels nothing. Answers are remembered under a keyed digest of the token, that a token is
//! bad as well, for one provider and its one client only, and never longer than the token lives.
//! Questions, waiting requests and memory are bounded; who comes in vain is told to come again.

mod answer;
mod ask;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::error::Unspecified;
use moka::notification::RemovalCause;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

pub use self::answer::{Unreadable as UnreadableAnswer, read as read_answer};
pub(super) use self::ask::Asker;
use super::{
    cache::{Digester, Proof, Verified},
    jwt::{LONGEST, is_jwt},
    refusal::Refusal,
};
use crate::{
    clock::{Deadline, Moment},
    config::{Introspected, Introspection, Name},
    metrics::SharedCache,
    secret::Secret,
    trouble::{Failed, Fault, Trouble},
};

/// Questions to one provider, of which [`ask`] sends so many at once; one that is not sent yet
/// takes the token's octets, 16 KB at most.
const MOST_ASKED: usize = 1024;
/// Requests that wait for their answers at once.
const MOST_WAITING: usize = 1024;
/// Octets that are remembered for one provider, of all threads together: some 4,000 answers.
const MOST_OCTETS: u64 = 8 << 20;
/// How long it is believed that a token is bad: it may be so new that not all of the provider's
/// servers know it.
const BAD_FOR: Duration = Duration::from_secs(10);
/// How long nobody asks about a token again that the provider had no answer to.
const ODD_FOR: Duration = Duration::from_secs(5);
/// When to come again, if too many ask at once.
const BUSY: Duration = Duration::from_secs(1);

/// What one provider says of tokens.
#[derive(Debug)]
pub struct Introspector {
    number: u32,
    name: Name,
    tokens: Introspected,
    cache: Duration,
    digester: Digester,
    answers: moka::sync::Cache<u128, Remembered>,
    counts: SharedCache,
    flights: Mutex<HashMap<u128, watch::Receiver<Option<Outcome>>>>,
    trouble: Mutex<(Trouble, StdRng)>,
    queue: mpsc::Sender<Flight>,
    waiting: Arc<AtomicUsize>,
    last: Mutex<Last>,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub enum Outcome {
    Good(Arc<Verified>),
    Bad(Refusal),
    None(Unavailable),
}

/// No answer, for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("provider {provider} does not say whether the access token is good: {reason}")]
pub struct Unavailable {
    pub provider: Name,
    /// Fixed text and the provider's host.
    pub reason: Arc<str>,
    pub retry_after: Duration,
}

/// Whether the answer is there already.
#[derive(Debug)]
pub enum Said {
    Known(Outcome),
    Coming(Answer),
}

/// An answer that is waited for.
#[derive(Debug)]
pub struct Answer {
    introspector: Arc<Introspector>,
    flight: watch::Receiver<Option<Outcome>>,
    _waiting: Waiting,
}

#[derive(Debug, Clone)]
struct Remembered {
    outcome: Outcome,
    until: Deadline,
}

/// For the status page.
#[derive(Debug, Default)]
struct Last {
    answer: Option<Moment>,
    /// Since then.
    error: Option<Arc<str>>,
}

impl Introspector {
    /// And the questions that it asks. `number` is the issuer's; `rng` makes the key of digests.
    pub(super) fn new(
        number: u32,
        name: Name,
        config: &Introspection,
        counts: &SharedCache,
        rng: &mut impl Rng,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Flight>), Unspecified> {
        let (queue, asked) = mpsc::channel(MOST_ASKED);
        let evicted = counts.clone();
        let answers = moka::sync::Cache::builder()
            .max_capacity(MOST_OCTETS)
            .weigher(|_, one: &Remembered| one.octets())
            // what ends is looked at below, by our clock; this is so that claims do not lie about
            .time_to_live(config.cache.max(ODD_FOR))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evicted.evicted();
                }
            })
            .build();
        let introspector = Self {
            number,
            name,
            tokens: config.tokens,
            cache: config.cache,
            digester: Digester::new(&rng.random())?,
            answers,
            counts: counts.clone(),
            flights: Mutex::default(),
            trouble: Mutex::new((Trouble::default(), StdRng::from_rng(rng))),
            queue,
            waiting: Arc::default(),
            last: Mutex::default(),
        };
        let introspector = Arc::new(introspector);
        counts.held_by(&introspector, |one| {
            one.answers.run_pending_tasks();
            one.answers.entry_count()
        });
        Ok((introspector, asked))
    }

    /// Its own among all of the process.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether the provider is asked about this token.
    ///
    /// # Errors
    /// When it is nothing that could be sent as a bearer token (RFC 6750 section 2.1).
    pub fn is_for(&self, token: &str) -> Result<bool, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::TooLarge { limit: LONGEST });
        }
        if self.tokens == Introspected::Opaque && is_jwt(token) {
            return Ok(false);
        }
        let text = token.trim_end_matches('=');
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
        if text.is_empty() || !text.bytes().all(good) {
            return Err(Refusal::Characters);
        }
        Ok(true)
    }

    /// What the provider says of the token, or will say.
    pub fn ask(self: &Arc<Self>, token: &str, now: Moment) -> Said {
        let Some(digest) = self.digester.digest(self.number, token) else {
            return Said::Known(self.none("the token cannot be looked up", BUSY));
        };
        let known = self.remembered(digest, now);
        self.counts.looked(&known);
        if let Some(known) = known {
            return Said::Known(known);
        }
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&digest) {
            return self.wait(flight.clone());
        }
        // it may have landed in between
        if let Some(known) = self.remembered(digest, now) {
            return Said::Known(known);
        }
        if flights.len() >= MOST_ASKED {
            return Said::Known(self.none("too many tokens are asked about at once", BUSY));
        }
        if let Err((reason, retry)) = self.trouble.lock().0.pass(now) {
            return Said::Known(self.none(reason, retry));
        }
        let (outcome, flight) = watch::channel(None);
        flights.insert(digest, flight.clone());
        drop(flights);
        let question = Flight {
            introspector: Arc::clone(self),
            digest,
            token: Secret::new(token),
            begun: now,
            outcome,
        };
        // there is room for as many as there are flights; one that is dropped says so
        let _ = self.queue.try_send(question);
        self.wait(flight)
    }

    fn wait(self: &Arc<Self>, flight: watch::Receiver<Option<Outcome>>) -> Said {
        match Waiting::take(&self.waiting) {
            Some(waiting) => Said::Coming(Answer {
                introspector: Arc::clone(self),
                flight,
                _waiting: waiting,
            }),
            None => Said::Known(self.none("too many requests wait for its answers", BUSY)),
        }
    }

    fn remembered(&self, digest: u128, now: Moment) -> Option<Outcome> {
        let found = self.answers.get(&digest)?;
        (!found.until.passed(now)).then_some(found.outcome)
    }

    fn remember(&self, digest: u128, outcome: Outcome, until: Deadline, now: Moment) {
        if !until.passed(now) {
            self.answers.insert(digest, Remembered { outcome, until });
        }
    }

    fn none(&self, reason: impl Into<Arc<str>>, retry_after: Duration) -> Outcome {
        Outcome::None(Unavailable {
            provider: Arc::clone(&self.name),
            reason: reason.into(),
            retry_after,
        })
    }

    pub(super) fn report(&self, now: Moment) -> Value {
        let last = self.last.lock();
        let ago = |then: Moment| now.wall.saturating_sub(then.wall).as_secs();
        json!({
            "under_way": self.flights.lock().len(),
            "waiting": self.waiting.load(Ordering::Relaxed),
            "remembered": self.answers.entry_count(),
            "last_answer_seconds_ago": last.answer.map(ago),
            "last_error": last.error.as_deref(),
            "paused": self.trouble.lock().0.reason(),
        })
    }
}

impl Answer {
    /// Whose it is.
    pub fn of(&self) -> u32 {
        self.introspector.number
    }

    /// Waits for it, but no longer than until then; the question goes on.
    pub async fn until(mut self, then: Instant) -> Outcome {
        let landed = self.flight.wait_for(Option::is_some);
        let outcome = match timeout_at(then, landed).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) => None,
            Err(_) => Some(self.introspector.none("it has not answered yet", BUSY)),
        };
        outcome.unwrap_or_else(|| self.introspector.none("this proxy stops", BUSY))
    }
}

impl Remembered {
    fn octets(&self) -> u32 {
        let more = match &self.outcome {
            Outcome::Good(token) => token.claims.size(),
            Outcome::Bad(_) | Outcome::None(_) => 0,
        };
        // what moka takes for itself is about 150
        u32::try_from(size_of::<Self>() + 200 + more).unwrap_or(u32::MAX)
    }
}

/// A question about a token. However it ends, it makes room.
#[derive(Debug)]
pub(super) struct Flight {
    introspector: Arc<Introspector>,
    digest: u128,
    token: Secret,
    begun: Moment,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Flight {
    fn token(&self) -> &Secret {
        &self.token
    }

    /// Lands at once, if the provider turned out to be out of reach since it was begun.
    fn unless_held_back(self, now: Moment) -> Option<Self> {
        let held = self
            .introspector
            .trouble
            .lock()
            .0
            .held_back(self.begun, now);
        let Some((reason, retry_after)) = held else {
            return Some(self);
        };
        let outcome = self.introspector.none(reason, retry_after);
        self.lands(outcome, now.plus(Duration::ZERO), now);
        None
    }

    /// The provider said something, to what was asked at `asked`.
    fn answered(self, said: Result<Arc<Verified>, Refusal>, asked: Moment, now: Moment) {
        let all = &self.introspector;
        all.trouble.lock().0.answered();
        *all.last.lock() = Last {
            answer: Some(now),
            error: None,
        };
        let (outcome, until) = match said {
            Ok(token) => {
                let until = match token.proof {
                    Proof::Answered { until } => until,
                    Proof::Signed(_) => asked.plus(Duration::ZERO),
                };
                (Outcome::Good(token), until)
            }
            Err(refusal) => {
                let until = asked.plus(BAD_FOR.min(all.cache));
                (Outcome::Bad(refusal), until)
            }
        };
        self.lands(outcome, until, now);
    }

    /// The provider said nothing. Returns for how long nobody asks, if that begins now.
    fn failed(self, failed: Failed, now: Moment) -> Option<Duration> {
        let all = &self.introspector;
        let reason = Arc::clone(&failed.reason);
        all.last.lock().error = Some(Arc::clone(&reason));
        let odd = match failed.fault {
            Fault::PerhapsTheToken => ODD_FOR,
            Fault::Endpoint => Duration::ZERO,
        };
        let pause = {
            let mut trouble = all.trouble.lock();
            let (trouble, rng) = &mut *trouble;
            trouble.failed(failed, self.begun, now, rng)
        };
        let outcome = all.none(reason, pause.unwrap_or(odd).max(BUSY));
        self.lands(outcome, now.plus(odd), now);
        pause
    }

    fn lands(self, outcome: Outcome, until: Deadline, now: Moment) {
        // before the flight is gone, or somebody would ask again
        let known = outcome.clone();
        self.introspector.remember(self.digest, known, until, now);
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.introspector.flights.lock().remove(&self.digest);
    }
}

/// A request that waits.
#[derive(Debug)]
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn take(all: &Arc<AtomicUsize>) -> Option<Self> {
        let room = |now: usize| (now < MOST_WAITING).then_some(now + 1);
        let taken = all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.ok().map(|_| Self(Arc::clone(all)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
