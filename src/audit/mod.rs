//! Who did what, told apart from the log: a stream of its own that shows when it was tampered with.
//!
//! Everybody is given an [`Audit`] and notes an [`Event`] there: a cheap, bounded call that waits for
//! nothing, from any thread. Requests, of which there are too many, are counted at a [`Desk`] of their
//! thread. One thread (`writer`) makes of it a chain of lines (`chain`) in a file or a stream (`file`),
//! and [`check`] tells whether such a chain is as it was written. It may be told to nobody
//! ([`Audit::off`]); callers need not care. The newest refusals are kept in any case.

mod chain;
mod desk;
mod event;
mod file;
mod runs;
mod verify;
mod writer;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::{
    chain::{Head, Key},
    desk::{Desk, Given, Refusal, Use},
    event::{Event, Steerer},
    file::Target,
    verify::{Checked, Fault, Place, Verdict, check, head_beside},
};
use self::{
    desk::{Count, Lane, REFUSALS},
    writer::Writer,
};
use crate::{clock::Clock, health::Report, metrics::Counter, telemetry::rfc3339};

/// Events that may wait to be written. More are counted, and the stream says how many are missing.
const WAITING: usize = 16 * 1024;

/// Orders that were not permitted, by who gave them and what: so that nobody fills the stream.
const FORBIDDEN: usize = 256;

/// The writer looks about once a second: after that long it hangs at what it writes to.
const HANGS: Duration = Duration::from_secs(10);

/// How long the end of the program waits for the last lines.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Where the stream goes, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    pub target: Target,
    /// `None`: whoever may write the file can make another chain.
    pub key: Option<Key>,
    pub every: Every,
}

/// How requests are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// A line each.
    Request,
    /// A line for each caller, credential and route in this time.
    Interval(Duration),
}

/// Where what an auditor may ask about is noted. Clones share.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// `None`: nobody is told.
    every: Option<Every>,
    waiting: Mutex<Waiting>,
    /// For the writer: there is something to do.
    work: Condvar,
    /// For who ends it: it has ended.
    idle: Condvar,
    lanes: Mutex<Vec<Arc<Lane>>>,
    seen: Mutex<Seen>,
    counts: Counts,
}

/// Lines for the metrics: written, and those there was no room for.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub written: Counter,
    pub lost: Counter,
}

#[derive(Debug, Default)]
struct Waiting {
    /// With the time since 1970-01-01T00:00:00Z.
    events: VecDeque<(Duration, Event)>,
    lost: u64,
    /// Orders that were not permitted since they were last told.
    forbidden: HashMap<(Steerer, String), Count>,
    /// A desk is nearly full.
    hurry: bool,
    ending: bool,
    ended: bool,
}

/// How the writer is.
#[derive(Debug)]
struct Seen {
    head: Head,
    failing: bool,
    /// It has ended before its time.
    dead: bool,
    /// When it last looked what there is to do.
    passed: Instant,
    waiting: usize,
}

impl Audit {
    /// Nobody is told.
    pub fn off() -> Self {
        Self::new(Clock::system(), None, Counts::default())
    }

    fn new(clock: Clock, every: Option<Every>, counts: Counts) -> Self {
        let passed = clock.mono();
        Self(Arc::new(Shared {
            clock,
            every,
            waiting: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            lanes: Mutex::default(),
            seen: Mutex::new(Seen {
                head: Head::default(),
                failing: false,
                dead: false,
                passed,
                waiting: 0,
            }),
            counts,
        }))
    }

    /// Begins the stream. It ends, with its last lines written, when what comes with it is dropped.
    ///
    /// # Errors
    /// When the thread that writes cannot be started.
    pub fn start(settings: Settings, clock: Clock, counts: Counts) -> io::Result<(Self, Stream)> {
        let audit = Self::new(clock, Some(settings.every), counts);
        Writer::new(&audit.0, settings).start()?;
        let stream = Stream(Arc::clone(&audit.0));
        Ok((audit, stream))
    }

    /// For tests: events are kept in memory.
    pub fn captured(clock: Clock) -> (Self, Captured) {
        let audit = Self::new(clock, Some(Every::Request), Counts::default());
        let captured = Captured(Arc::clone(&audit.0));
        (audit, captured)
    }

    /// A thread's place to tell of requests.
    pub fn desk(&self) -> Desk {
        Desk::new(&self.0)
    }

    /// Notes what happened. Does not wait.
    pub fn note(&self, event: Event) {
        if self.0.every.is_none() {
            return;
        }
        let at = self.0.clock.now().wall;
        let mut waiting = self.0.waiting.lock();
        if waiting.events.len() < WAITING {
            waiting.events.push_back((at, event));
        } else {
            waiting.lost += 1;
            self.0.counts.lost.inc();
        }
        drop(waiting);
        self.0.work.notify_one();
    }

    /// Counts an order that was not permitted, told once a minute: whoever may not order must not be
    /// able to fill the stream.
    pub fn forbidden(&self, by: Steerer, order: String) {
        if self.0.every.is_none() {
            return;
        }
        let at = self.0.clock.now().wall;
        let mut waiting = self.0.waiting.lock();
        let mut key = (by, order);
        if waiting.forbidden.len() >= FORBIDDEN && !waiting.forbidden.contains_key(&key) {
            // not lost: for that there is an alert, which nobody is to set off at will
            key = (Steerer::Others, "any".into());
        }
        let counted = waiting.forbidden.entry(key);
        let again = counted.and_modify(|count| count.again(at));
        again.or_insert_with(|| Count::once(at));
    }

    /// How the stream is, for the status page; `None`: there is none.
    pub fn stream_report(&self) -> Option<Arc<dyn Report>> {
        self.0.every?;
        Some(Arc::new(StreamReport(Arc::clone(&self.0))))
    }
}

impl Shared {
    #[cold]
    fn hurry(&self) {
        self.waiting.lock().hurry = true;
        self.work.notify_one();
    }
}

/// Keeps the stream going; writes what is left when it is dropped.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Stream(Arc<Shared>);

impl Drop for Stream {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.ending = true;
        self.0.work.notify_one();
        let going = |waiting: &mut Waiting| !waiting.ended;
        self.0.idle.wait_while_for(&mut waiting, going, FLUSH_LIMIT);
    }
}

/// The newest refusals, for the status page.
impl Report for Audit {
    fn name(&self) -> &'static str {
        "refusals"
    }

    fn report(&self) -> Value {
        let lanes = self.0.lanes.lock().clone();
        let mut all: Vec<Refusal> = Vec::new();
        for lane in lanes {
            all.extend(lane.refusals.lock().iter().cloned());
        }
        all.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        all.truncate(REFUSALS);
        let shown = all.iter().map(|refusal| {
            json!({
                "at": rfc3339(refusal.at),
                "code": refusal.code,
                "status": refusal.status,
                "route": refusal.route.as_deref(),
                "caller": refusal.caller.as_ref().map(ToString::to_string),
                "reason": refusal.reason,
                "request_id": refusal.id.to_string(),
            })
        });
        json!({"recent": shown.collect::<Vec<_>>()})
    }
}

#[derive(Debug)]
struct StreamReport(Arc<Shared>);

impl Report for StreamReport {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn report(&self) -> Value {
        let events = self.0.waiting.lock().events.len();
        let now = self.0.clock.mono();
        let seen = self.0.seen.lock();
        let state = if seen.dead {
            "dead"
        } else if now.saturating_duration_since(seen.passed) > HANGS {
            "blocked"
        } else if seen.failing {
            "failing"
        } else {
            "writing"
        };
        json!({
            "last_line": seen.head.seq,
            "hash": seen.head.hash,
            "state": state,
            "waiting": seen.waiting + events,
            "lost": self.0.counts.lost.get(),
        })
    }
}

/// For tests: what was noted.
#[derive(Debug, Clone)]
pub struct Captured(Arc<Shared>);

impl Captured {
    /// The events since the last call.
    pub fn take(&self) -> Vec<Event> {
        let mut waiting = self.0.waiting.lock();
        let mut events: Vec<_> = waiting.events.drain(..).map(|(_, event)| event).collect();
        let forbidden = waiting.forbidden.drain();
        events.extend(forbidden.map(|((by, order), _)| Event::forbidden(by, order)));
        events
    }
}
