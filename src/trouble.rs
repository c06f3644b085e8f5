//! When an endpoint that is asked about many tokens and does not answer is left alone, and for how
//! long.
//!
//! A pure state machine. After a failure nobody asks until a pause is over; then one question goes
//! out, and only its answer opens the way for all. A failure that may be one token's own fault is an
//! answer in this: it shows that the endpoint is there, and no caller shuts others out with tokens
//! that it chokes on, however many.

use std::{sync::Arc, time::Duration};

use rand::Rng;

use crate::{
    backoff::Backoff,
    clock::{Deadline, Moment},
};

/// How long the one question after a pause is waited for.
const PROBE: Duration = Duration::from_secs(5);
/// However long the provider asks us to wait: callers wait for it.
const LONGEST: Duration = Duration::from_secs(60);

/// One endpoint's trouble, if any.
#[derive(Debug)]
pub struct Trouble {
    backoff: Backoff,
    pause: Option<Pause>,
}

#[derive(Debug, Clone)]
struct Pause {
    since: Moment,
    until: Deadline,
    reason: Arc<str>,
}

/// Whose fault a failure may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Endpoint,
    PerhapsTheToken,
}

/// A question that went out.
#[derive(Debug)]
pub struct Failed {
    pub fault: Fault,
    pub reason: Arc<str>,
    pub retry_after: Option<Duration>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            pause: None,
        }
    }
}

impl Trouble {
    /// Lets a question pass, or says why not and when to come again.
    pub fn pass(&mut self, now: Moment) -> Result<(), (Arc<str>, Duration)> {
        let Some(pause) = &mut self.pause else {
            return Ok(());
        };
        if pause.until.passed(now) {
            // this one goes; the others wait for what comes of it
            pause.since = now;
            pause.until = now.plus(PROBE);
            return Ok(());
        }
        Err((Arc::clone(&pause.reason), pause.until.remaining(now)))
    }

    /// Why a question that was let pass at `begun` is not asked any more, and when to come again.
    pub fn held_back(&self, begun: Moment, now: Moment) -> Option<(Arc<str>, Duration)> {
        let later = |pause: &&Pause| pause.since.mono > begun.mono;
        let pause = self.pause.as_ref().filter(later)?;
        Some((Arc::clone(&pause.reason), pause.until.remaining(now)))
    }

    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// How long nobody asks, if that begins now.
    pub fn failed(
        &mut self,
        failed: Failed,
        begun: Moment,
        now: Moment,
        rng: &mut impl Rng,
    ) -> Option<Duration> {
        if self.held_back(begun, now).is_some() {
            return None; // it went out together with one that failed before it
        }
        if failed.fault == Fault::PerhapsTheToken {
            self.answered();
            return None;
        }
        let asked = failed.retry_after.unwrap_or_default().min(LONGEST);
        let pause = self.backoff.next(rng).max(asked);
        self.pause = Some(Pause {
            since: now,
            until: now.plus(pause),
            reason: failed.reason,
        });
        Some(pause)
    }

    /// Why nobody asks now.
    pub fn reason(&self) -> Option<&str> {
        self.pause.as_ref().map(|pause| &*pause.reason)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::Clock;

    struct World {
        trouble: Trouble,
        clock: Clock,
        rng: StdRng,
    }

    fn world() -> World {
        World {
            trouble: Trouble::default(),
            clock: Clock::for_tests(Duration::from_secs(1_700_000_000)),
            rng: StdRng::seed_from_u64(7),
        }
    }

    impl World {
        fn passes(&mut self) -> bool {
            self.trouble.pass(self.clock.now()).is_ok()
        }

        async fn fails(&mut self, fault: Fault, retry_after: Option<Duration>) -> Option<Duration> {
            let begun = self.clock.now();
            self.wait(0.01).await;
            self.fails_from(begun, fault, retry_after)
        }

        fn fails_from(
            &mut self,
            begun: Moment,
            fault: Fault,
            retry_after: Option<Duration>,
        ) -> Option<Duration> {
            let failed = Failed {
                fault,
                reason: "down".into(),
                retry_after,
            };
            let now = self.clock.now();
            self.trouble.failed(failed, begun, now, &mut self.rng)
        }

        async fn wait(&self, seconds: f32) {
            tokio::time::advance(Duration::from_secs_f32(seconds)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_one_question_goes_out_at_the_end_of_each_longer_pause() {
        let mut world = world();
        assert!(world.passes() && world.passes());
        let mut before = Duration::ZERO;
        for _ in 0..4 {
            let pause = world.fails(Fault::Endpoint, None).await.unwrap();
            assert!(pause > before);
            before = pause;
            assert!(!world.passes());
            world.wait(pause.as_secs_f32() + 0.01).await;
            assert!(world.passes());
            assert!(!world.passes(), "the others wait for what comes of it");
        }
        world.wait(5.1).await;
        assert!(world.passes(), "one that never ends does not shut out all");
        world.trouble.answered();
        assert!(world.passes() && world.passes());
        assert_eq!(world.trouble.reason(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_fail_together_count_once() {
        let mut world = world();
        let begun = world.clock.now();
        world.wait(0.1).await;
        assert!(world.fails_from(begun, Fault::Endpoint, None).is_some());
        for _ in 0..10 {
            world.wait(0.01).await;
            assert_eq!(world.fails_from(begun, Fault::Endpoint, None), None);
        }
        assert!(world.trouble.held_back(begun, world.clock.now()).is_some());
        world.wait(1.0).await;
        assert!(world.passes());
    }

    #[tokio::test(start_paused = true)]
    async fn odd_tokens_pause_nothing_and_end_a_pause() {
        let mut world = world();
        for _ in 0..10 {
            assert_eq!(world.fails(Fault::PerhapsTheToken, None).await, None);
        }
        assert!(world.passes());
        assert!(world.fails(Fault::Endpoint, None).await.is_some());
        world.wait(2.0).await;
        assert!(world.passes(), "the one that is let out");
        assert!(!world.passes());
        assert_eq!(world.fails(Fault::PerhapsTheToken, None).await, None);
        assert!(world.passes(), "the endpoint is there");
    }

    #[tokio::test(start_paused = true)]
    async fn the_provider_may_ask_for_a_longer_pause_but_not_for_any() {
        let wait = |seconds| Some(Duration::from_secs(seconds));
        let mut world = world();
        assert_eq!(world.fails(Fault::Endpoint, wait(20)).await, wait(20));
        world.wait(21.0).await;
        assert!(world.passes());
        assert_eq!(world.fails(Fault::Endpoint, wait(3600)).await, wait(60));
    }
}
