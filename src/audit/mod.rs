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
mod verify;
mod writer;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

pub use self::{
    chain::{Head, Key},
    desk::{Desk, Given, Refusal, Use},
    event::{Event, Steerer},
    file::Target,
    verify::{Checked, Fault, Place, Verdict, check, head_beside},
};
use self::{
    desk::{Lane, REFUSALS},
    writer::Writer,
};
use crate::{clock::Clock, health::Report, telemetry::rfc3339};

/// Events that may wait to be written. More are counted, and the stream says how many are missing.
const WAITING: usize = 16 * 1024;

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
}

#[derive(Debug, Default)]
struct Waiting {
    /// With the time since 1970-01-01T00:00:00Z.
    events: VecDeque<(Duration, Event)>,
    lost: u64,
    /// A desk is nearly full.
    hurry: bool,
    ending: bool,
    ended: bool,
}

/// How the writer is.
#[derive(Debug, Default)]
struct Seen {
    head: Head,
    failing: bool,
    waiting: usize,
}

impl Audit {
    /// Nobody is told.
    pub fn off() -> Self {
        Self::new(Clock::system(), None)
    }

    fn new(clock: Clock, every: Option<Every>) -> Self {
        Self(Arc::new(Shared {
            clock,
            every,
            waiting: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            lanes: Mutex::default(),
            seen: Mutex::default(),
        }))
    }

    /// Begins the stream. It ends, with its last lines written, when what comes with it is dropped.
    ///
    /// # Errors
    /// When the thread that writes cannot be started.
    pub fn start(settings: Settings, clock: Clock) -> io::Result<(Self, Stream)> {
        let audit = Self::new(clock, Some(settings.every));
        Writer::new(&audit.0, settings).start()?;
        let stream = Stream(Arc::clone(&audit.0));
        Ok((audit, stream))
    }

    /// For tests: events are kept in memory.
    pub fn captured(clock: Clock) -> (Self, Captured) {
        let audit = Self::new(clock, Some(Every::Request));
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
        }
        drop(waiting);
        self.0.work.notify_one();
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
        let seen = self.0.seen.lock();
        json!({
            "last_line": seen.head.seq,
            "hash": seen.head.hash,
            "state": if seen.failing { "failing" } else { "writing" },
            "waiting": seen.waiting,
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
        waiting.events.drain(..).map(|(_, event)| event).collect()
    }
}
