//! How long an upstream is waited for: until the header of its answer has come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::upstream::Pool;
use crate::http::body::{IdleTimer, Intake, Sent};

/// From this long on, a response timeout needs no timer of its own: see [`Limit::Ticks`].
const COARSE: Duration = Duration::from_secs(5);

/// How long the header of the answer is waited for.
pub(super) enum Limit {
    /// Until the pool's count of seconds has come this far. The future is then not woken by a timer
    /// but looks whenever it is polled, and an HTTP/1.1 connection polls its request once a second
    /// at least (`http::serve`): no timer has to be set and taken back for every request.
    Ticks {
        from: u32,
    },
    Exact(Pin<Box<Sleep>>),
    /// From when the body has been sent. Until then an upstream that takes nothing of it is waited
    /// for as long as a body may stand still: hyper does not even ask for the next part then.
    Body {
        sent: Sent,
        intake: Intake,
        seen: u64,
        idle: IdleTimer,
    },
}

/// Whether somebody polls a request although nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    EverySecond,
    WhenWoken,
}

impl Limit {
    pub(super) fn new(
        pool: &Pool,
        after: Duration,
        sending: Option<Sending>,
        polled: Polled,
    ) -> Self {
        match sending {
            Some(Sending { sent, intake, idle }) => Self::Body {
                sent,
                seen: intake.bytes(),
                intake,
                idle: IdleTimer::new(idle),
            },
            None if after >= COARSE && polled == Polled::EverySecond => {
                Self::Ticks { from: pool.tick() }
            }
            None => Self::Exact(Box::pin(sleep(after))),
        }
    }

    /// Ready with the time that has passed.
    pub(super) fn poll(
        &mut self,
        pool: &Pool,
        after: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Duration> {
        loop {
            match self {
                Self::Ticks { from } => {
                    let ticks = pool.tick().wrapping_sub(*from);
                    // the first of them may have come at once
                    return if Duration::from_secs(ticks.saturating_sub(1).into()) >= after {
                        Poll::Ready(after)
                    } else {
                        Poll::Pending
                    };
                }
                Self::Exact(timer) => return timer.as_mut().poll(cx).map(|()| after),
                Self::Body {
                    sent,
                    intake,
                    seen,
                    idle,
                } => {
                    // ends with an error, when the body is dropped: that is the message
                    if Pin::new(sent).poll(cx).is_ready() {
                        *self = Self::Exact(Box::pin(sleep(after)));
                        continue;
                    }
                    ready!(idle.poll_idle(cx));
                    let bytes = intake.bytes();
                    if bytes == *seen && !intake.waits_for_caller() {
                        return Poll::Ready(idle.after());
                    }
                    // it moved since the timer was set, or stands still for another reason
                    *seen = bytes;
                    idle.touch();
                }
            }
        }
    }
}

/// A body on its way.
pub(super) struct Sending {
    pub(super) sent: Sent,
    pub(super) intake: Intake,
    /// How long it may stand still.
    pub(super) idle: Duration,
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::proxy::upstream::tests::pool;

    /// Whether the limit is reached after so many seconds of the pool.
    fn over(after: Duration, polled: Polled, seconds: u32) -> bool {
        let pool = pool();
        let mut limit = Limit::new(&pool, after, None, polled);
        for _ in 0..seconds {
            pool.prune();
        }
        let mut cx = Context::from_waker(Waker::noop());
        limit.poll(&pool, after, &mut cx).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_response_timeout_is_kept_by_the_pools_seconds() {
        let ten = Duration::from_secs(10);
        assert!(!over(ten, Polled::EverySecond, 10), "not before its time");
        assert!(over(ten, Polled::EverySecond, 11));
        // a stream of HTTP/2 is polled by nobody, and a short time is kept to the millisecond
        assert!(!over(ten, Polled::WhenWoken, 11));
        assert!(!over(Duration::from_secs(4), Polled::EverySecond, 11));
    }
}
