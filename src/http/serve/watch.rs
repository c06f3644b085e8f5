//! When a caller's connection is too slow, idle, or quiet enough to give its buffers back.
//!
//! A pure function of what the connection was seen doing, asked by its one timer. Nothing is
//! measured between two looks, so every limit is kept to within one look more than was asked.

use std::time::Duration;

use tokio::time::Instant;

use super::activity::{Doing, Look};

/// The longest time between two looks at a connection with requests under way. Requests of a route
/// with a long response timeout rely on it: they have no timer of their own.
const LOOK: Duration = Duration::from_secs(1);

/// A quiet HTTP/1.1 connection keeps its buffers for this time: long enough for a caller that
/// works through a list, short enough that thousands of quiet callers cost little.
const PARK: Duration = Duration::from_secs(1);

/// The limits of one connection and what was seen last.
#[derive(Debug)]
pub(super) struct Watch {
    header: Duration,
    idle: Duration,
    parking: Parking,
    last: Look,
    since: Instant,
}

/// Whether a quiet connection can do without its protocol state: HTTP/1.1 has none between
/// messages, HTTP/2 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parking {
    Possible,
    Impossible,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    LookAgain(Duration),
    /// A header does not end, or answers are not read.
    TooSlow,
    Idle,
    /// Nothing has happened for a while.
    Park,
}

impl Watch {
    pub(super) fn new(header: Duration, idle: Duration, parking: Parking, now: Instant) -> Self {
        Self {
            header,
            idle,
            parking,
            last: Look {
                moved: 0,
                doing: Doing::Requests,
            },
            since: now,
        }
    }

    /// How long nothing has changed.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether this is what was seen last, too.
    pub(super) fn has_seen(&self, doing: Doing) -> bool {
        self.last.doing == doing
    }

    pub(super) fn look(&mut self, look: Look, now: Instant) -> Verdict {
        if look != self.last {
            self.last = look;
            self.since = now;
        }
        let quiet = self.quiet(now);
        let (limit, verdict) = match (look.doing, self.parking) {
            (Doing::Requests, _) => return Verdict::LookAgain(self.often()),
            (Doing::Unread | Doing::Flushing, _) => (self.idle, Verdict::TooSlow),
            (Doing::Header, _) => (self.header, Verdict::TooSlow),
            (Doing::Nothing, Parking::Possible) => (PARK.min(self.idle / 2), Verdict::Park),
            (Doing::Body, _) | (Doing::Nothing, Parking::Impossible) => (self.idle, Verdict::Idle),
        };
        let left = limit.saturating_sub(quiet);
        if left.is_zero() {
            verdict
        } else if look.doing == Doing::Header {
            Verdict::LookAgain(left)
        } else {
            Verdict::LookAgain(left.min(self.often()))
        }
    }

    fn often(&self) -> Duration {
        LOOK.min(self.header).min(self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    /// The verdict after the connection was seen like this for so long.
    fn after(seconds: u64, parking: Parking, doing: Doing) -> Verdict {
        let start = Clock::for_tests(Duration::ZERO).now().mono;
        let mut watch = Watch::new(HEADER, IDLE, parking, start);
        let look = Look { moved: 7, doing };
        assert!(matches!(watch.look(look, start), Verdict::LookAgain(_)));
        watch.look(look, start + Duration::from_secs(seconds))
    }

    #[test]
    fn every_state_has_its_limit() {
        use Parking::{Impossible, Possible};
        use Verdict::{Idle, LookAgain, Park, TooSlow};
        let again = |seconds| LookAgain(Duration::from_secs(seconds));
        for (doing, parking, seconds, expected) in [
            (Doing::Requests, Possible, 0, again(1)),
            (Doing::Requests, Possible, 100_000, again(1)),
            (Doing::Requests, Impossible, 100_000, again(1)),
            (Doing::Header, Possible, 0, again(10)),
            (Doing::Header, Possible, 9, again(1)),
            (Doing::Header, Possible, 10, TooSlow),
            (Doing::Unread, Possible, 74, again(1)),
            (Doing::Unread, Impossible, 75, TooSlow),
            (Doing::Flushing, Possible, 74, again(1)),
            (Doing::Flushing, Possible, 75, TooSlow),
            (Doing::Body, Possible, 74, again(1)),
            (Doing::Body, Possible, 75, Idle),
            (Doing::Nothing, Possible, 0, again(1)),
            (Doing::Nothing, Possible, 1, Park),
            (Doing::Nothing, Impossible, 74, again(1)),
            (Doing::Nothing, Impossible, 75, Idle),
        ] {
            assert_eq!(
                after(seconds, parking, doing),
                expected,
                "{doing:?} {parking:?} for {seconds} s"
            );
        }
    }

    #[test]
    fn whatever_moves_begins_the_time_anew() {
        let start = Clock::for_tests(Duration::ZERO).now().mono;
        let mut watch = Watch::new(HEADER, IDLE, Parking::Impossible, start);
        for moved in 0..10 {
            let now = start + Duration::from_secs(70) * moved;
            let look = Look {
                moved,
                doing: Doing::Unread,
            };
            assert!(matches!(watch.look(look, now), Verdict::LookAgain(_)));
        }
    }

    #[test]
    fn short_limits_are_looked_at_often_enough() {
        let start = Clock::for_tests(Duration::ZERO).now().mono;
        let short = Duration::from_millis(100);
        let mut watch = Watch::new(short, short * 3, Parking::Impossible, start);
        let look = Look {
            moved: 1,
            doing: Doing::Requests,
        };
        assert_eq!(watch.look(look, start), Verdict::LookAgain(short));
    }
}
