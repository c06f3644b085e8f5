//! Which proofs have been used (RFC 9449 section 11.1), for all threads.
//!
//! A proof is known by the key that signed it and its `jti`, so that nobody can use up another's
//! names. Room is bounded: [`PARTS`] parts of [`MOST`] proofs, 22 octets each, in which a key always
//! has the same part. A part that is full takes no further proof: to forget one early would let it
//! be used again. Who fills a part has signed about a thousand requests a second with a token that
//! is good, and stands in the way of one key in sixteen.

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::bound::Thumbprint;
use crate::clock::Moment;

const PARTS: usize = 16;
/// What a table of 131,072 places holds before it would grow.
const MOST: usize = 114_688;
/// A part is not looked through for old proofs before it holds so many.
const FEW: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Seen {
    parts: [Mutex<Part>; PARTS],
    begun: Instant,
}

#[derive(Debug, Default)]
struct Part {
    /// A proof's digest, and the second until which it is kept.
    until: HashMap<[u8; 16], u32>,
    /// Looked through when it holds so many.
    sweep_at: usize,
    swept: u32,
}

/// Why a proof is not taken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotNew {
    Used,
    NoRoom,
}

impl Seen {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            begun: now.mono,
        }
    }

    /// Those included that may be forgotten.
    pub(super) fn len(&self) -> usize {
        let parts = self.parts.iter();
        parts.map(|part| part.lock().until.len()).sum()
    }

    /// Remembers for the time `keep` that this key's proof was used. Of any number of threads that
    /// say so at once, one is the first.
    pub(super) fn first(
        &self,
        key: &Thumbprint,
        jti: &str,
        keep: Duration,
        now: Moment,
    ) -> Result<(), NotNew> {
        self.first_of(MOST, key, jti, keep, now)
    }

    fn first_of(
        &self,
        most: usize,
        key: &Thumbprint,
        jti: &str,
        keep: Duration,
        now: Moment,
    ) -> Result<(), NotNew> {
        let digest = digest(key, jti);
        let second = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let since = now.mono.saturating_duration_since(self.begun);
        let now = second(since);
        // the second that has begun counts whole
        let until = second(since.saturating_add(keep)).saturating_add(1);
        let number = usize::from(key.octets()[0]) % PARTS;
        let mut part = self.parts[number].lock();
        if part.until.get(&digest).is_some_and(|until| *until > now) {
            return Err(NotNew::Used);
        }
        part.make_room(most, now)?;
        part.until.insert(digest, until);
        Ok(())
    }
}

impl Part {
    fn make_room(&mut self, most: usize, now: u32) -> Result<(), NotNew> {
        let many = self.sweep_at.clamp(FEW.min(most), most);
        if self.until.len() < many {
            return Ok(());
        }
        // not with each proof when it stays full
        if self.until.len() < most || self.swept != now {
            self.swept = now;
            self.until.retain(|_, until| *until > now);
            self.sweep_at = self.until.len() * 2;
            self.until.shrink_to(self.sweep_at);
        }
        if self.until.len() < most {
            Ok(())
        } else {
            Err(NotNew::NoRoom)
        }
    }
}

fn digest(key: &Thumbprint, jti: &str) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(key.octets());
    context.update(jti.as_bytes());
    let mut digest = [0; 16];
    digest.copy_from_slice(&context.finish().as_ref()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Clock;

    const KEEP: Duration = Duration::from_secs(120);

    fn key(number: u8) -> Thumbprint {
        Thumbprint::of([number; 32])
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_new_once_until_it_is_too_old_anyway() {
        let clock = Clock::for_tests(Duration::from_secs(1));
        let seen = Seen::new(clock.now());
        let first = |jti: &str, number| seen.first(&key(number), jti, KEEP, clock.now());
        assert_eq!(first("a", 1), Ok(()));
        assert_eq!(first("a", 1), Err(NotNew::Used));
        assert_eq!(first("b", 1), Ok(()));
        assert_eq!(first("a", 2), Ok(()), "another key's");
        tokio::time::advance(KEEP).await;
        assert_eq!(first("a", 1), Err(NotNew::Used));
        clock.jump(3_600_000);
        assert_eq!(
            first("a", 1),
            Err(NotNew::Used),
            "a clock that was set makes nothing new"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(first("a", 1), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_part_forgets_nothing_and_leaves_others_alone() {
        let clock = Clock::for_tests(Duration::from_secs(1));
        let seen = Seen::new(clock.now());
        let first = |jti: usize, number: u8| {
            seen.first_of(100, &key(number), &jti.to_string(), KEEP, clock.now())
        };
        for jti in 0..100 {
            assert_eq!(first(jti, 1), Ok(()));
        }
        assert_eq!(first(100, 1), Err(NotNew::NoRoom));
        assert_eq!(first(0, 1), Err(NotNew::Used));
        assert_eq!(first(100, 2), Ok(()));
        tokio::time::advance(KEEP + Duration::from_secs(1)).await;
        assert_eq!(first(100, 1), Ok(()));
        assert_eq!(seen.parts[1].lock().until.len(), 1, "old ones are gone");
    }

    #[test]
    fn of_many_threads_one_is_the_first() {
        let now = Clock::system().now();
        let (seen, firsts) = (Seen::new(now), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for jti in 0..200 {
                        if seen.first(&key(1), &jti.to_string(), KEEP, now).is_ok() {
                            firsts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(firsts.into_inner(), 200);
    }
}
