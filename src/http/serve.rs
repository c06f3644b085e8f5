//! One connection of a caller: HTTP/1.1 or HTTP/2, its timeouts, its end.
//!
//! hyper's own header timeout also runs while a keep-alive connection is merely idle, and costs a
//! timer for every request. Here one timer serves the whole connection: it looks at what the
//! connection was last seen doing ([`Activity`]) and is set again to when that would become too
//! long.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Version};
use http_body::Body;
use hyper::{
    body::{Bytes, Incoming},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::body::BoxError;
use crate::{
    config::Limits,
    shutdown::{Shutdown, Stage},
};

/// What hyper may hold of a request's header: more than the configured limit, so that exceeding
/// that one is answered by us, in the shape callers understand.
const HEADER_SLACK: usize = 2;

/// Fields that hyper takes unless told otherwise. Told so, it clears a table on the heap for every
/// message, which was 6 % of the cost of a request.
const HYPER_FIELDS: usize = 100;

/// At a soft stop a connection is open for this time yet, for what its caller has already sent.
const LAST_REQUEST: Duration = Duration::from_millis(50);

/// hyper refuses smaller read buffers.
const MIN_BUFFER: usize = 8192;

/// Builds the server's side of connections from the limits, once.
#[derive(Clone)]
pub struct Server {
    builder: auto::Builder<TokioExecutor>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Server {
    pub fn new(limits: &Limits) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let header_bytes = limits.header_bytes.saturating_mul(HEADER_SLACK);
        builder
            .http1()
            .half_close(false)
            .max_buf_size(header_bytes.max(MIN_BUFFER));
        if limits.header_count >= HYPER_FIELDS {
            let fields = limits.header_count.saturating_mul(HEADER_SLACK);
            builder.http1().max_headers(fields);
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.idle_timeout)
            .adaptive_window(false);
        Self {
            builder,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Serves one connection until it ends, is idle too long, or the stop asks it to finish.
    /// `activity` must be the one that `service` reports its requests to.
    pub async fn serve<I, S, B>(&self, io: I, service: S, activity: Arc<Activity>, stop: Shutdown)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        let io = Watched {
            io,
            activity: Arc::clone(&activity),
        };
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        let mut timer = pin!(tokio::time::sleep(
            self.header_timeout.min(self.idle_timeout)
        ));
        let mut soft = pin!(stop.reached(Stage::Soft));
        let mut closing = Closing::No;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "connection ended");
                    }
                    return;
                }
                () = soft.as_mut(), if closing == Closing::No => {
                    // a request may already be in the socket's buffer: it is answered first
                    closing = Closing::Soon;
                    timer.as_mut().reset(now() + LAST_REQUEST);
                }
                () = timer.as_mut() => {
                    if closing == Closing::Soon {
                        closing = Closing::Yes;
                        connection.as_mut().graceful_shutdown();
                        timer.as_mut().reset(now() + self.header_timeout);
                        continue;
                    }
                    match activity.verdict(self.header_timeout, self.idle_timeout) {
                        Verdict::LookAgain(at) => timer.as_mut().reset(at),
                        // the caller knows nothing of a request yet: no answer is owed
                        Verdict::TooSlow => return,
                        Verdict::Idle if closing == Closing::Yes => return,
                        Verdict::Idle => {
                            closing = Closing::Yes;
                            connection.as_mut().graceful_shutdown();
                            timer.as_mut().reset(now() + self.header_timeout);
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Soon,
    Yes,
}

enum Verdict {
    LookAgain(Instant),
    /// A header has begun and does not end, or answers are not read.
    TooSlow,
    Idle,
}

/// What a connection is doing: how many requests are under way, and since when it has none.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    busy: AtomicUsize,
    /// Milliseconds after `start` at which it became idle.
    idle_since: AtomicU64,
    /// Milliseconds after `start`, plus one, at which a header began; 0: none has.
    header_since: AtomicU64,
    /// Answers whose last frame was taken and that nobody has asked for the next one since.
    untaken: AtomicUsize,
    /// Changes whenever an answer moves.
    moved: AtomicU64,
    /// What `moved` was when the timer last looked while all were stuck, and when that was.
    stuck: Mutex<Option<(u64, Instant)>>,
    /// HTTP/2, where bytes between requests are no header: pings and window updates come, too.
    multiplexed: AtomicBool,
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl Activity {
    pub fn new() -> Self {
        Self {
            start: now(),
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            untaken: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            stuck: Mutex::new(None),
            multiplexed: AtomicBool::new(false),
        }
    }

    /// A request has come; it lasts until the guard is dropped.
    pub fn request(self: &Arc<Self>, version: Version) -> Busy {
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Ordering::Relaxed);
        }
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.header_since.store(0, Ordering::Relaxed);
        Busy {
            activity: Arc::clone(self),
            turn: Turn::Ours,
        }
    }

    /// Whether every answer has waited for its caller to read on, for `idle`.
    fn is_stuck(&self, idle: Duration) -> bool {
        let moved = self.moved.load(Ordering::Relaxed);
        let all = self.untaken.load(Ordering::Relaxed) == self.busy.load(Ordering::Relaxed);
        let mut stuck = self.stuck.lock();
        match *stuck {
            Some((before, since)) if all && before == moved => now() >= since + idle,
            _ => {
                *stuck = all.then(|| (moved, now()));
                false
            }
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(now().saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn bytes_came(&self) {
        if self.busy.load(Ordering::Relaxed) == 0
            && self.header_since.load(Ordering::Relaxed) == 0
            && !self.multiplexed.load(Ordering::Relaxed)
        {
            self.header_since
                .store(self.elapsed() + 1, Ordering::Relaxed);
        }
    }

    fn verdict(&self, header: Duration, idle: Duration) -> Verdict {
        if self.busy.load(Ordering::Relaxed) > 0 {
            if self.is_stuck(idle) {
                return Verdict::TooSlow;
            }
            return Verdict::LookAgain(now() + header.min(idle));
        }
        let at = |since: u64, after: Duration| self.start + Duration::from_millis(since) + after;
        let begun = self.header_since.load(Ordering::Relaxed);
        let (due, verdict) = if begun > 0 {
            (at(begun - 1, header), Verdict::TooSlow)
        } else {
            (
                at(self.idle_since.load(Ordering::Relaxed), idle),
                Verdict::Idle,
            )
        };
        if now() >= due {
            verdict
        } else {
            // a header may begin just after this look: look again before it could be too slow
            Verdict::LookAgain(due.min(now() + header))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "timers of a connection, no fact about a token"
)]
fn now() -> Instant {
    Instant::now()
}

/// A request under way.
#[derive(Debug)]
pub struct Busy {
    activity: Arc<Activity>,
    turn: Turn,
}

/// Who has to do something for the answer to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// We, or the upstream.
    Ours,
    /// The caller has a frame, and has to make room for the next one.
    Callers,
}

impl Busy {
    /// The answer moves on.
    pub fn turn(&mut self, turn: Turn) {
        if turn == self.turn {
            return;
        }
        self.turn = turn;
        match turn {
            Turn::Callers => self.activity.untaken.fetch_add(1, Ordering::Relaxed),
            Turn::Ours => self.activity.untaken.fetch_sub(1, Ordering::Relaxed),
        };
        self.activity.moved.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.turn(Turn::Ours);
        let activity = &self.activity;
        if activity.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            let now = activity.elapsed();
            activity.idle_since.store(now, Ordering::Relaxed);
        }
    }
}

/// A stream that reports when bytes come.
struct Watched<I> {
    io: I,
    activity: Arc<Activity>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_came();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
