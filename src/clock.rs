//! What time it is: wall and monotonic together.
//!
//! A token's expiry is a wall-clock fact, but wall clocks jump; a monotonic clock does not jump,
//! but stands still while a laptop sleeps. [`Moment`] carries both, and [`Deadline`] has passed as
//! soon as either says so. Nothing else in the program reads the time (`clippy.toml`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970-01-01T00:00:00Z.
    pub wall: Duration,
    /// Never goes back; may stand still while the machine sleeps.
    pub mono: Instant,
}

impl Moment {
    /// The point `after` from now, on both clocks.
    pub fn plus(self, after: Duration) -> Deadline {
        Deadline(Moment {
            wall: self.wall.saturating_add(after),
            mono: self.mono + after.min(FAR),
        })
    }

    /// In UTC, to the second: `2026-11-22T19:30:00Z`.
    pub fn rfc3339(self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + self.wall).to_string()
    }

    /// Whole seconds since 1970, as JWT claims count them (RFC 7519 section 2, `NumericDate`).
    pub fn unix_seconds(self) -> u64 {
        self.wall.as_secs()
    }
}

/// As far ahead as a timer is ever set: `Instant` overflows long before a wall clock does.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A point that has passed as soon as either clock says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Moment);

impl Deadline {
    /// Time left, by the clock that has less of it; zero when it has passed.
    pub fn remaining(self, now: Moment) -> Duration {
        let wall = self.0.wall.saturating_sub(now.wall);
        wall.min(self.0.mono.saturating_duration_since(now.mono))
    }

    /// Whether either clock has reached it.
    pub fn passed(self, now: Moment) -> bool {
        self.remaining(now).is_zero()
    }

    /// The point on both clocks.
    pub fn moment(self) -> Moment {
        self.0
    }
}

/// Where the time comes from. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Tests {
        wall: Duration,
        mono: Instant,
        jump_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// For tests: the wall clock starts at `wall` and runs with tokio's clock (which may be
    /// paused and advanced); [`Clock::jump`] moves the wall clock alone.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn for_tests(wall: Duration) -> Self {
        Self(Source::Tests {
            wall,
            mono: Instant::now(),
            jump_ms: Arc::default(),
        })
    }

    /// Moves the wall clock of a clock made for tests, as a person or NTP would. No effect on the
    /// system's.
    pub fn jump(&self, milliseconds: i64) {
        if let Source::Tests { jump_ms, .. } = &self.0 {
            jump_ms.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }

    /// The monotonic clock alone, for measuring how long something takes: half the price.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn mono(&self) -> Instant {
        Instant::now()
    }

    /// Both clocks, read one after the other.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the time"
    )]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => Moment {
                wall: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
                mono: Instant::now(),
            },
            Source::Tests {
                wall,
                mono,
                jump_ms,
            } => {
                let now = Instant::now();
                let run = *wall + now.saturating_duration_since(*mono);
                let jump = jump_ms.load(Ordering::SeqCst);
                let by = Duration::from_millis(jump.unsigned_abs());
                Moment {
                    wall: if jump < 0 {
                        run.saturating_sub(by)
                    } else {
                        run + by
                    },
                    mono: now,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_on_whichever_clock_is_first() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let deadline = clock.now().plus(Duration::from_secs(60));
        assert_eq!(deadline.remaining(clock.now()), Duration::from_secs(60));

        clock.jump(61_000); // the laptop slept: only the wall clock moved
        assert!(deadline.passed(clock.now()));

        clock.jump(-3_600_000); // somebody set the clock back: only time that ran counts
        assert_eq!(deadline.remaining(clock.now()), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(deadline.passed(clock.now()));
    }
}
