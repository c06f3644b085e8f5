//! Bodies as they pass: what the upstream is sent, and the parts that both directions share.
//!
//! Nothing here collects a body. A request body is passed on as it comes, within a limit and an
//! idle time; what went wrong on the caller's side is noted in [`Intake`], so that it can be told
//! from what went wrong on the upstream's side.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};

use super::{
    headers::{self, Aliases},
    replay::ReplayBody,
    serve::Reading,
};

/// Why a body ended early; only ever shown to hyper, which closes the connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the caller did wrong while the body was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Wrong {
    TooLarge = 1,
    Stalled = 2,
    Broken = 3,
}

/// How far the caller's body has come, and what went wrong with it: written by the body, read by
/// whoever sees the request end. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Intake(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    wrong: AtomicU8,
    bytes: AtomicU64,
    /// The upstream would take more than has come.
    waits: AtomicBool,
    /// Until the body has ended.
    reading: Mutex<Option<Reading>>,
}

impl Intake {
    fn set(&self, wrong: Wrong) {
        self.0.wrong.store(wrong as u8, Ordering::Relaxed);
    }

    /// What went wrong on the caller's side, if anything.
    pub fn wrong(&self) -> Option<Wrong> {
        match self.0.wrong.load(Ordering::Relaxed) {
            1 => Some(Wrong::TooLarge),
            2 => Some(Wrong::Stalled),
            3 => Some(Wrong::Broken),
            _ => None,
        }
    }

    /// Holds `reading` until the body has come to its end or nobody wants it any more.
    pub fn holds(&self, reading: Reading) {
        *self.0.reading.lock() = Some(reading);
    }

    /// Whether it is the caller that the body waits for: then [`CallerBody`] keeps the time.
    pub fn waits_for_caller(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
    }

    fn ended(&self) {
        drop(self.0.reading.lock().take());
    }

    /// Bytes that have come.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the request body is larger than the limit")]
    TooLarge,
    #[error("the upstream answered without asking for the body")]
    Unwanted,
    #[error("no byte of the body came in {0:?}")]
    Stalled(Duration),
}

/// A timer that is made only when a body has to wait: most never do.
#[derive(Debug)]
pub struct IdleTimer {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleTimer {
    pub fn new(after: Duration) -> Self {
        Self {
            after,
            sleep: None,
            waiting: false,
        }
    }

    /// Something passed.
    pub fn touch(&mut self) {
        self.waiting = false;
    }

    /// Nothing passes; ready once that has lasted too long.
    #[expect(clippy::disallowed_methods, reason = "a timer, not a fact")]
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.after)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(Instant::now() + self.after);
        }
        sleep.as_mut().poll(cx)
    }

    pub fn after(&self) -> Duration {
        self.after
    }
}

/// The caller's body, within its limit and idle time.
#[derive(Debug)]
pub struct CallerBody {
    inner: Incoming,
    left: u64,
    idle: IdleTimer,
    intake: Intake,
    /// Trailer fields that do not go on, beside those about the caller.
    unwelcome: Aliases,
}

impl CallerBody {
    /// `limit` in bytes; `idle` without a byte.
    pub fn new(
        inner: Incoming,
        limit: Option<u64>,
        idle: Duration,
        intake: Intake,
        unwelcome: Aliases,
    ) -> Self {
        Self {
            inner,
            left: limit.unwrap_or(u64::MAX),
            idle: IdleTimer::new(idle),
            intake,
            unwelcome,
        }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        let waits = polled.is_pending();
        this.intake.0.waits.store(waits, Ordering::Relaxed);
        let frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(this.idle.poll_idle(cx));
                this.intake.set(Wrong::Stalled);
                return Poll::Ready(Some(Err(BodyError::Stalled(this.idle.after()).into())));
            }
        };
        this.idle.touch();
        if frame.is_none() || this.inner.is_end_stream() {
            this.intake.ended();
        }
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let mut frame = frame.inspect_err(|_| this.intake.set(Wrong::Broken))?;
        if let Some(trailers) = frame.trailers_mut() {
            // what a caller may not say before the body it may not say after it
            headers::strip_forwarded(trailers);
            this.unwelcome.strip(trailers);
        }
        if let Some(data) = frame.data_ref() {
            let size = data.len() as u64;
            this.intake.0.bytes.fetch_add(size, Ordering::Relaxed);
            let Some(left) = this.left.checked_sub(size) else {
                this.intake.set(Wrong::TooLarge);
                return Poll::Ready(Some(Err(BodyError::TooLarge.into())));
            };
            this.left = left;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for CallerBody {
    fn drop(&mut self) {
        self.intake.ended();
    }
}

/// What the upstream is sent. Boxed, because most requests have no body and every one is moved
/// through a channel or two.
#[derive(Debug)]
pub struct OutgoingBody(Option<Box<Sending>>);

#[derive(Debug)]
struct Sending {
    kind: Kind,
    gate: Option<Gate>,
    /// Dropped when all of it is sent or nobody wants it any more.
    watcher: Option<oneshot::Sender<Infallible>>,
}

/// Ends when a body has been sent.
pub type Sent = oneshot::Receiver<Infallible>;

#[derive(Debug)]
enum Kind {
    Caller(CallerBody),
    Replay(ReplayBody),
}

impl OutgoingBody {
    pub fn empty() -> Self {
        Self(None)
    }

    /// The caller's body, sent once.
    pub fn once(body: CallerBody) -> Self {
        Self::new(Kind::Caller(body))
    }

    /// The caller's body, kept for one more try.
    pub fn replay(body: ReplayBody) -> Self {
        Self::new(Kind::Replay(body))
    }

    fn new(kind: Kind) -> Self {
        Self(Some(Box::new(Sending {
            kind,
            gate: None,
            watcher: None,
        })))
    }

    /// Lets somebody wait for the end of the sending; of an empty body that is now.
    #[must_use]
    pub fn watched(mut self) -> (Self, Sent) {
        let (sender, sent) = oneshot::channel();
        if let Some(body) = &mut self.0 {
            body.watcher = Some(sender);
        }
        (self, sent)
    }

    /// Holds the body back until `gate` opens.
    #[must_use]
    pub fn behind(mut self, gate: Gate) -> Self {
        if let Some(body) = &mut self.0 {
            body.gate = Some(gate);
        }
        self
    }
}

/// Holds a body back until the upstream says `100 Continue`, or a time has passed: a client that
/// expects one must not wait for ever (RFC 9110 section 10.1.1). Once the upstream has answered
/// without it, the body is not asked for any more, and ends with an error when the answer does.
#[derive(Debug)]
pub struct Gate {
    state: GateState,
    patience: Pin<Box<Sleep>>,
    answered: oneshot::Receiver<Infallible>,
}

#[derive(Debug)]
enum GateState {
    Waiting(oneshot::Receiver<()>),
    /// The answer came before the body was asked for.
    Unwanted,
}

/// What opens a [`Gate`].
#[derive(Debug)]
pub struct Keys {
    /// Sent on: `100 Continue`. Dropped: there will be none.
    pub open: oneshot::Sender<()>,
    /// Dropped: the answer is over.
    pub answer: AnswerGuard,
}

/// Held as long as the answer to a request takes.
pub type AnswerGuard = oneshot::Sender<Infallible>;

impl Gate {
    /// Opens by its key, or after `patience`.
    pub fn new(patience: Duration) -> (Keys, Self) {
        let (open, opened) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let gate = Self {
            state: GateState::Waiting(opened),
            patience: Box::pin(tokio::time::sleep(patience)),
            answered,
        };
        (Keys { open, answer }, gate)
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if let GateState::Waiting(opened) = &mut self.state {
            match Pin::new(opened).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => self.state = GateState::Unwanted,
                Poll::Pending => return self.patience.as_mut().poll(cx).map(Ok),
            }
        }
        let Err(_) = ready!(Pin::new(&mut self.answered).poll(cx));
        Poll::Ready(Err(BodyError::Unwanted))
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.get_mut().0 else {
            return Poll::Ready(None);
        };
        if let Some(gate) = &mut body.gate {
            ready!(gate.poll_open(cx))?;
            body.gate = None;
        }
        match &mut body.kind {
            Kind::Caller(body) => Pin::new(body).poll_frame(cx),
            Kind::Replay(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| match &body.kind {
            Kind::Caller(body) => body.is_end_stream(),
            Kind::Replay(body) => body.is_end_stream(),
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_ref().map(|body| &body.kind) {
            None => SizeHint::with_exact(0),
            Some(Kind::Caller(body)) => body.size_hint(),
            Some(Kind::Replay(body)) => body.size_hint(),
        }
    }
}
