//! How long to wait before trying again: exponential, capped, with jitter.
//!
//! The randomness is passed in, so that a test can say what it is.

use std::time::Duration;

use rand::Rng;

/// Counts failures and says how long to wait after each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is about `base`, each next about twice the one before, none above `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            failures: 0,
        }
    }

    /// Records a failure and returns the wait: between half and all of the exponential step, so
    /// that many proxies that failed together do not come back together.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let step = self
            .base
            .saturating_mul(1 << self.failures.min(20))
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: start over.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_success() {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for step in [1_u64, 2, 4, 8, 16, 32, 60, 60] {
            let wait = backoff.next(&mut rng);
            let (low, high) = (Duration::from_millis(step * 500), Duration::from_secs(step));
            assert!((low..=high).contains(&wait), "{wait:?} for {step}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_secs(1));
    }
}
