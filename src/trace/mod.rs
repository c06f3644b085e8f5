//! Traces: what a request, or work of our own, spent its time with.
//!
//! A [`Tracer`] begins spans; each thread has its own, and [`Traces`] collects what has ended, for
//! whoever sends it on (`otlp`). A trace that a caller began is continued, and its decision whether
//! spans are kept is followed ([`Sampling`]). What nobody collects in time is dropped and counted:
//! no request ever waits for its trace. Where traces are off, a tracer is nothing, and costs a
//! comparison with nothing.

mod context;
mod request;
mod sampling;
mod span;

use std::{
    borrow::Cow,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use tokio::sync::Notify;

pub use self::{
    context::{Context, Sampled, SpanId, TRACEPARENT, TRACESTATE, TraceId},
    request::{Ended, Request, Wait},
    sampling::{Parents, Sampling, Share},
    span::{Attribute, Event, Kind, Outcome, Parent, Span, Value},
};
use crate::clock::{Clock, Moment};

/// Spans of a thread that may wait to be collected: half a second of the busiest thread, whose
/// requests have three each, if all are kept.
const ROOM: usize = 16 * 1024;
/// From here on they are collected before their time.
const MANY: usize = 1024;
/// Requests that one fetch is linked to.
const MOST_LINKS: usize = 32;

/// Collects the spans of all threads. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Traces(Arc<Hall>);

/// Begins spans. Cheap to clone; clones share a desk.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Desk>>);

/// What all threads share.
#[derive(Debug)]
struct Hall {
    sampling: Sampling,
    clock: Clock,
    desks: Mutex<Vec<Arc<Desk>>>,
    many: Notify,
}

/// What one thread's spans need, and where they wait.
#[derive(Debug)]
struct Desk {
    sampling: Sampling,
    clock: Clock,
    rng: Mutex<StdRng>,
    ended: Mutex<Vec<Span>>,
    dropped: AtomicU64,
    hall: Weak<Hall>,
}

impl Traces {
    pub fn new(sampling: Sampling, clock: Clock) -> Self {
        Self(Arc::new(Hall {
            sampling,
            clock,
            desks: Mutex::default(),
            many: Notify::new(),
        }))
    }

    /// For one thread. `rng` makes its ids.
    pub fn tracer(&self, rng: StdRng) -> Tracer {
        let desk = Arc::new(Desk {
            sampling: self.0.sampling,
            clock: self.0.clock.clone(),
            rng: Mutex::new(rng),
            ended: Mutex::default(),
            dropped: AtomicU64::new(0),
            hall: Arc::downgrade(&self.0),
        });
        self.0.desks.lock().push(Arc::clone(&desk));
        Tracer(Some(desk))
    }

    /// What has ended since the last call, and how many spans there was no room for.
    pub fn take(&self) -> (Vec<Span>, u64) {
        let (mut spans, mut dropped) = (Vec::new(), 0);
        let mut desks = self.0.desks.lock();
        for desk in desks.iter() {
            let ended = std::mem::take(&mut *desk.ended.lock());
            spans.extend(ended);
            dropped += desk.dropped.swap(0, Ordering::Relaxed);
        }
        // whose thread has another by now
        desks.retain(|desk| Arc::strong_count(desk) > 1 || !desk.ended.lock().is_empty());
        (spans, dropped)
    }

    /// Until some thread has many spans waiting.
    pub async fn many(&self) {
        self.0.many.notified().await;
    }
}

impl Tracer {
    /// Keeps nothing.
    pub fn off() -> Self {
        Self(None)
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// For another thread.
    #[must_use]
    pub fn for_thread(&self, rng: StdRng) -> Self {
        let hall = self.0.as_ref().and_then(|desk| desk.hall.upgrade());
        hall.map_or_else(Self::off, |hall| Traces(hall).tracer(rng))
    }

    /// Work of our own that no request does: a trace of its own, whose only span ends when what is
    /// returned is dropped.
    pub fn background(
        &self,
        name: &'static str,
        attributes: impl IntoIterator<Item = Attribute>,
    ) -> Background {
        let Some(desk) = &self.0 else {
            return Background(None);
        };
        let (trace, span) = desk.ids();
        let begun = desk.clock.now();
        let sampled = desk.sampling.decide(None, trace);
        Background(Some(Box::new(Work {
            desk: Arc::clone(desk),
            begun,
            span: Span {
                context: Context::root(trace, span, sampled),
                parent: Parent::None,
                state: None,
                name: Cow::Borrowed(name),
                kind: Kind::Internal,
                begun: begun.wall,
                ended: begun.wall,
                attributes: attributes.into_iter().collect(),
                events: Vec::new(),
                links: Vec::new(),
                links_left_out: 0,
                outcome: Outcome::Unset,
            },
        })))
    }
}

impl Desk {
    fn ids(&self) -> (TraceId, SpanId) {
        let mut rng = self.rng.lock();
        (TraceId::new(&mut *rng), SpanId::new(&mut *rng))
    }

    fn span(&self) -> SpanId {
        SpanId::new(&mut *self.rng.lock())
    }

    /// Now, by the wall clock of `begun` and the time that has passed since.
    fn since(&self, begun: Moment) -> Duration {
        let took = self.clock.mono().saturating_duration_since(begun.mono);
        begun.wall.saturating_add(took)
    }

    /// All of these, or none: half a trace explains nothing.
    fn keep(&self, spans: Vec<Span>) {
        let mut ended = self.ended.lock();
        if ended.len() + spans.len() > ROOM {
            self.dropped
                .fetch_add(spans.len() as u64, Ordering::Relaxed);
            return;
        }
        let before = ended.len();
        ended.extend(spans);
        let many = before < MANY && ended.len() >= MANY;
        drop(ended);
        if many && let Some(hall) = self.hall.upgrade() {
            hall.many.notify_one();
        }
    }
}

/// Work of our own, under way; see [`Tracer::background`].
///
/// It is kept if its trace is, or if a request whose trace is kept has waited for it.
#[derive(Debug)]
#[must_use = "the span ends when it is dropped"]
pub struct Background(Option<Box<Work>>);

#[derive(Debug)]
struct Work {
    desk: Arc<Desk>,
    begun: Moment,
    span: Span,
}

impl Background {
    /// Of whom nothing is kept.
    pub fn off() -> Self {
        Self(None)
    }

    /// Says more about it.
    pub fn attribute(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(work) = &mut self.0 {
            work.span.attributes.push((name, value.into()));
        }
    }

    /// A request has waited for it.
    pub fn link(&mut self, to: Context) {
        let Some(work) = &mut self.0 else {
            return;
        };
        let span = &mut work.span;
        if to.sampled == Sampled::Yes {
            span.context.sampled = Sampled::Yes;
        }
        if span.links.len() < MOST_LINKS {
            span.links.push(to);
        } else {
            span.links_left_out += 1;
        }
    }

    /// It came to nothing: `class` is a word (`error.type`), `reason` says more, and no secret.
    pub fn fails(&mut self, class: &'static str, reason: impl Into<Cow<'static, str>>) {
        if let Some(work) = &mut self.0 {
            work.span.attributes.push(("error.type", class.into()));
            work.span.outcome = Outcome::Failed(reason.into());
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(work) = self.0.take() else {
            return;
        };
        let Work {
            desk,
            begun,
            mut span,
        } = *work;
        if span.context.sampled == Sampled::No {
            return;
        }
        span.ended = desk.since(begun);
        desk.keep(vec![span]);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn traces(share: Share) -> (Traces, Tracer) {
        let sampling = Sampling {
            share,
            parents: Parents::Followed,
        };
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let all = Traces::new(sampling, clock);
        let tracer = all.tracer(StdRng::seed_from_u64(1));
        (all, tracer)
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_our_own_is_a_trace_of_one_span_that_tells_when_and_how_it_ended() {
        let (all, tracer) = traces(Share::ALL);
        let mut work = tracer.background(
            "token fetch",
            [("itwin_auth_proxy.credential", "agent".into())],
        );
        tokio::time::advance(Duration::from_millis(250)).await;
        work.fails("dns", "ims.example.invalid cannot be resolved");
        assert!(all.take().0.is_empty(), "it goes on");
        drop(work);
        let (spans, dropped) = all.take();
        let [span] = &spans[..] else {
            panic!("{spans:?}")
        };
        assert_eq!(dropped, 0);
        let took = span.ended.checked_sub(span.begun);
        assert_eq!(took, Some(Duration::from_millis(250)));
        assert_eq!(span.parent, Parent::None);
        assert_eq!(
            span.attributes,
            [
                ("itwin_auth_proxy.credential", "agent".into()),
                ("error.type", "dns".into())
            ]
        );
        assert_eq!(
            span.outcome,
            Outcome::Failed("ims.example.invalid cannot be resolved".into())
        );
    }

    #[tokio::test]
    async fn work_that_a_kept_request_waited_for_is_kept_and_no_other_of_a_share_of_nothing() {
        let (all, tracer) = traces(Share::NONE);
        let waited = |sampled| Context::root(TraceId([7; 16]), SpanId([7; 8]), sampled);
        drop(tracer.background("token fetch", []));
        let mut work = tracer.background("token fetch", []);
        work.link(waited(Sampled::No));
        drop(work);
        assert!(all.take().0.is_empty());
        let mut work = tracer.background("token fetch", []);
        for _ in 0..=MOST_LINKS {
            work.link(waited(Sampled::Yes));
        }
        drop(work);
        let span = all.take().0.remove(0);
        assert_eq!((span.links.len(), span.links_left_out), (MOST_LINKS, 1));
    }

    #[tokio::test]
    async fn what_nobody_collects_is_dropped_and_counted() {
        let (all, tracer) = traces(Share::ALL);
        for _ in 0..ROOM + 3 {
            drop(tracer.background("reload", []));
        }
        all.many().await;
        let (spans, dropped) = all.take();
        assert_eq!((spans.len(), dropped), (ROOM, 3));
        assert_eq!(all.take(), (Vec::new(), 0));
    }

    #[test]
    fn a_tracer_that_is_off_keeps_nothing() {
        let mut work = Tracer::off().background("reload", []);
        work.attribute("a", "b");
        work.fails("x", "y");
        assert!(work.0.is_none());
    }
}
