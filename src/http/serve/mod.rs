//! One connection of a caller: HTTP/1.1 or HTTP/2, its timeouts, its end.
//!
//! hyper's own header timeout also runs while a keep-alive connection is merely idle, and costs a
//! timer for every request. Here one timer serves the whole connection: it looks at what the
//! connection was last seen doing ([`Activity`]) and decides ([`watch`]).
//!
//! hyper keeps 8 KiB of buffers as long as it has a connection. So a connection has no hyper until
//! its first bytes have come, and a quiet HTTP/1.1 connection is parked: hyper is dropped, the
//! socket is kept, and the next bytes make a new one.

mod activity;
mod io;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    convert::Infallible,
    future::poll_fn,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep},
};

use self::{
    activity::Doing,
    watch::{Parking, Verdict, Watch},
};
pub use self::{
    activity::{Activity, Busy, Reading, Turn},
    io::Watched,
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

/// What is read before hyper is made; the rest of the first message is left for hyper.
const FIRST_BYTES: usize = 512;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4), as far as it is told from HTTP/1.1.
const PREFACE: &[u8] = b"PRI ";

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
    /// The first bytes will tell.
    Unknown,
}

impl Protocol {
    /// As TLS settled it (RFC 7301).
    pub fn of_alpn(settled: Option<&[u8]>) -> Self {
        match settled {
            Some(b"h2") => Self::Http2,
            Some(b"http/1.1") => Self::Http1,
            _ => Self::Unknown,
        }
    }

    fn of_bytes(first: &[u8]) -> Self {
        if first.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(first) {
            Self::Unknown
        } else {
            Self::Http1
        }
    }
}

/// Builds the server's side of connections from the limits, once.
#[derive(Clone)]
pub struct Server {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Server {
    pub fn new(limits: &Limits) -> Self {
        let header_bytes = limits.header_bytes.saturating_mul(HEADER_SLACK);
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            .max_buf_size(header_bytes.max(MIN_BUFFER));
        if limits.header_count >= HYPER_FIELDS {
            http1.max_headers(limits.header_count.saturating_mul(HEADER_SLACK));
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.idle_timeout)
            .adaptive_window(false);
        Self {
            http1,
            http2,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Serves one connection until it ends, is idle too long, or the stop that `activity` knows asks
    /// it to finish. `activity` must be the one that `service` reports its requests to.
    pub async fn serve<I, S, B>(
        &self,
        mut io: I,
        mut protocol: Protocol,
        mut service: S,
        activity: Arc<Activity>,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + Unpin,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        let stop = activity.stop();
        let mut soft = pin!(stop.reached(Stage::Soft));
        let mut guard = Guard {
            timer: pin!(tokio::time::sleep(Duration::ZERO)),
            soft: soft.as_mut(),
            stop,
            closing: Closing::No,
        };
        let mut patience = self.header_timeout.min(self.idle_timeout);
        let mut begun = Bytes::new();
        loop {
            let first = if begun.is_empty() {
                guard.first_bytes(&mut io, &mut protocol, patience).await
            } else {
                Some(begun.into())
            };
            let Some(first) = first else {
                // the other side may be gone or stuck: nobody waits for it
                let _ = tokio::time::timeout(LAST_REQUEST, io.shutdown()).await;
                return;
            };
            let watched = TokioIo::new(Watched::new(io, first, Arc::clone(&activity)));
            let mut connection = if protocol == Protocol::Http2 {
                activity.multiplexes();
                Connection::Http2(Box::new(self.http2.serve_connection(watched, service)))
            } else {
                let connection = self.http1.serve_connection(watched, service);
                Connection::Http1(Box::new(connection.with_upgrades()))
            };
            let Some(quiet) = guard.drive(&mut connection, &activity, self).await else {
                return;
            };
            let Connection::Http1(connection) = connection else {
                return;
            };
            let Some(parts) = connection.into_parts() else {
                return;
            };
            (io, _) = parts.io.into_inner().into_inner();
            service = parts.service;
            // part of a header that came together with the request before it: its time begins now
            begun = parts.read_buf;
            patience = self.idle_timeout.saturating_sub(quiet);
        }
    }
}

/// hyper's side of a connection, apart from the future that serves it: a parked connection has
/// none, and should not keep room for one.
enum Connection<I, S>
where
    S: Service<Request<Incoming>>,
    I: AsyncRead + AsyncWrite + Unpin,
    S: hyper::service::HttpService<Incoming>,
{
    Http1(Box<http1::UpgradeableConnection<TokioIo<Watched<I>>, S>>),
    Http2(Box<http2::Connection<TokioIo<Watched<I>>, S, TokioExecutor>>),
}

impl<I, S, B> Connection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Unpin,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Http1(connection) => Pin::new(connection.as_mut()).poll(cx),
            Self::Http2(connection) => Pin::new(connection.as_mut()).poll(cx),
        }
    }

    fn graceful_shutdown(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
            Self::Http2(connection) => Pin::new(connection.as_mut()).graceful_shutdown(),
        }
    }

    fn parking(&self) -> Parking {
        match self {
            Self::Http1(_) => Parking::Possible,
            Self::Http2(_) => Parking::Impossible,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Soon,
    Yes,
}

/// What ends a connection from our side: its timer and the stop.
struct Guard<'a, F> {
    timer: Pin<&'a mut Sleep>,
    /// Wakes the connection at a soft stop; `stop` is what tells, for less than a poll.
    soft: Pin<&'a mut F>,
    stop: &'a Shutdown,
    closing: Closing,
}

impl<F: Future<Output = ()>> Guard<'_, F> {
    /// Waits for the first bytes of a connection or of the next request on a parked one; `None`:
    /// none came within `patience`, or none will.
    async fn first_bytes<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        protocol: &mut Protocol,
        patience: Duration,
    ) -> Option<Vec<u8>> {
        let mut first = Vec::new();
        self.set(patience);
        let mut begun = false;
        poll_fn(|cx| {
            if !begun {
                begun = true;
                self.register(cx);
            }
            loop {
                let mut room = [MaybeUninit::uninit(); FIRST_BYTES];
                let mut buffer = ReadBuf::uninit(&mut room);
                match Pin::new(&mut *io).poll_read(cx, &mut buffer) {
                    Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(None),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Ready(Ok(())) => first.extend_from_slice(buffer.filled()),
                    Poll::Pending => break,
                }
                if *protocol == Protocol::Unknown {
                    *protocol = Protocol::of_bytes(&first);
                }
                if *protocol != Protocol::Unknown {
                    return Poll::Ready(Some(std::mem::take(&mut first)));
                }
            }
            if self.stops() {
                self.closing = Closing::Soon;
                self.set(LAST_REQUEST);
            }
            self.timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// Drives a connection to its end (`None`), or until it can be parked (for how long it has
    /// been quiet by then).
    async fn drive<I, S, B>(
        &mut self,
        connection: &mut Connection<I, S>,
        activity: &Activity,
        limits: &Server,
    ) -> Option<Duration>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Unpin,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        let (header, idle) = (limits.header_timeout, limits.idle_timeout);
        let mut watch = Watch::new(header, idle, connection.parking(), now());
        if let Verdict::LookAgain(after) = watch.look(activity.look(), now()) {
            self.set(if self.closing == Closing::Soon {
                LAST_REQUEST
            } else {
                after
            });
        }
        let mut registered = false;
        poll_fn(|cx| {
            if let Poll::Ready(ended) = connection.poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(None);
            }
            if self.stops() {
                // a request may already be in the socket's buffer: it is answered first
                self.closing = Closing::Soon;
                self.set(LAST_REQUEST);
                registered = false;
            }
            // the look that starts a header's time is not the timer's: it could be late
            if activity.reads_header()
                && !watch.has_seen(Doing::Header)
                && let Verdict::LookAgain(after) = watch.look(activity.look(), now())
                && self.closing != Closing::Soon
            {
                self.set(after);
                registered = false;
            }
            // a timer that is registered wakes this task: asking whether it did costs less than
            // polling it
            while !registered || self.timer.is_elapsed() {
                if !registered {
                    registered = true;
                    self.register(cx);
                    if self.timer.as_mut().poll(cx).is_pending() {
                        break;
                    }
                }
                registered = false;
                let mut verdict = watch.look(activity.look(), now());
                if self.closing == Closing::Soon && verdict != Verdict::TooSlow {
                    // what is under way tells its caller that it is the last answer; hyper would
                    // close between two, when the next request may be on its way
                    let waits = connection.parking() == Parking::Possible
                        && (!watch.has_seen(Doing::Nothing) || watch.quiet(now()) < LAST_REQUEST);
                    verdict = if waits {
                        Verdict::LookAgain(LAST_REQUEST)
                    } else {
                        Verdict::Idle
                    };
                }
                match verdict {
                    Verdict::LookAgain(after) => self.set(after),
                    // the caller knows nothing of a request yet: no answer is owed
                    Verdict::TooSlow => return Poll::Ready(None),
                    Verdict::Park if self.closing == Closing::No => {
                        return Poll::Ready(Some(watch.quiet(now())));
                    }
                    Verdict::Park | Verdict::Idle if self.closing == Closing::Yes => {
                        return Poll::Ready(None);
                    }
                    Verdict::Park | Verdict::Idle => {
                        self.closing = Closing::Yes;
                        connection.graceful_shutdown();
                        self.set(header);
                        if connection.poll(cx).is_ready() {
                            return Poll::Ready(None);
                        }
                    }
                }
            }
            Poll::Pending
        })
        .await
    }

    fn set(&mut self, after: Duration) {
        self.timer.as_mut().reset(now() + after);
    }

    /// Lets a soft stop wake this task. Tasks keep their waker, so once is enough.
    fn register(&mut self, cx: &mut Context<'_>) {
        let running = self.closing == Closing::No && self.stop.stage() == Stage::Running;
        if running && self.soft.as_mut().poll(cx).is_ready() {
            // it came between the two: `stops` sees it
            cx.waker().wake_by_ref();
        }
    }

    fn stops(&self) -> bool {
        self.closing == Closing::No && self.stop.stage() >= Stage::Soft
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "timers of a connection, no fact about a token"
)]
fn now() -> Instant {
    Instant::now()
}
