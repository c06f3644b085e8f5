//! The life of one token, as a pure state machine.
//!
//! A [`Cell`] knows times and numbers, never the token itself. Events go in, at most one action
//! comes out; [`Cell::verdict`] says what a request gets. It promises that no token is served past
//! its end (expiry minus skew), and that at most one fetch is under way.

use std::time::Duration;

use rand::Rng;

use crate::{
    backoff::Backoff,
    clock::{Deadline, Moment},
};

/// A token ends for us this long before it expires, so that it does not expire on the way; a
/// tenth of its life when that is less.
const SKEW: Duration = Duration::from_secs(10);
/// The first failure may be a hiccup: one more attempt before anybody is told.
const SECOND_TRY: Duration = Duration::from_millis(250);
/// Attempts come closer to each other towards a token's end, but not closer than this.
const ATTEMPT_FLOOR: Duration = Duration::from_millis(500);
/// Renewals are not closer to each other, even where a provider hands out tokens nearly spent.
const RENEWAL_FLOOR: Duration = Duration::from_secs(1);
const TRANSIENT: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
const FATAL: Backoff = Backoff::new(Duration::from_secs(120), Duration::from_secs(15 * 60));
/// A wrong password locks accounts.
const INVALID_GRANT: Backoff =
    Backoff::new(Duration::from_secs(3600), Duration::from_secs(4 * 3600));
/// Only a change of the secret helps.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Between replacements that are rejected too: 60 s at first, 10 min at most.
const REJECTED: Backoff = Backoff::new(Duration::from_secs(120), Duration::from_secs(600));
/// A replacement that was good for this long is rejected for a reason of its own.
const TRUSTED_AFTER: Duration = Duration::from_secs(20 * 60);
/// `Retry-After` is honoured up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// A key is not idle before this, however short its tokens live.
pub(super) const IDLE_FLOOR: Duration = Duration::from_secs(15 * 60);

/// The life of one token.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    held: Option<Held>,
    fetch: Fetch,
    failing: Option<Failing>,
    rejections: Option<Rejections>,
    /// The most life that a request ever asked for.
    reserve: Duration,
}

/// The times of a token.
#[derive(Debug, Clone, Copy)]
struct Held {
    id: u64,
    since: Moment,
    life: Duration,
    ends: Deadline,
    renew: Deadline,
    origin: Purpose,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fetch {
    #[default]
    Idle,
    Running(Purpose),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// There is none, or it gets old.
    Renew,
    /// The upstream rejected the one we have.
    Replace,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    class: Class,
    backoff: Backoff,
    until: Deadline,
    standing: Standing,
    /// What the fetch was for.
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// One quick failure: those who wait go on waiting for the second attempt.
    Doubtful,
    /// Told to everybody.
    Certain,
}

#[derive(Debug, Clone, Copy)]
struct Rejections {
    /// The last replacement that was rejected.
    id: u64,
    backoff: Backoff,
    until: Deadline,
}

/// How a failure is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Tried again soon.
    Transient,
    /// As `Transient`, but it took so long that nobody should wait for a second attempt.
    Slow,
    /// Tried again slowly, and when the secret changes.
    Fatal,
    /// Tried again very slowly, and when the secret changes.
    InvalidGrant,
    /// Tried again when the secret changes.
    Ended,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A request waits.
    Asked(Ask),
    /// A fetch brought a token that lives for `life` from `since`.
    Fetched {
        id: u64,
        since: Moment,
        life: Duration,
    },
    /// A fetch failed.
    Failed {
        class: Class,
        retry_after: Option<Duration>,
    },
    /// A timer went off; how long ago the key was last used.
    Due { unused: Duration },
    /// A secret's file has another content than when the last fetch failed.
    SecretChanged,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Get {
        min_remaining: Duration,
    },
    Replace {
        rejected: u64,
    },
    /// Another than this one, because somebody said so.
    Refresh {
        held: Option<u64>,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Fetch(Urgency),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A request waits for it.
    Request,
    Background,
}

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Token,
    Wait,
    /// The last failure, until this moment.
    Failed(Deadline),
    /// A replacement was rejected too, no other before this moment.
    RecentlyReplaced(Deadline),
}

impl Cell {
    pub(super) fn step(
        mut self,
        event: Event,
        now: Moment,
        rng: &mut impl Rng,
    ) -> (Self, Option<Action>) {
        let action = match event {
            Event::Asked(Ask::Get { min_remaining }) => {
                self.reserve = self.reserve.max(min_remaining);
                self.asked(Ask::Get { min_remaining }, now)
            }
            Event::Asked(Ask::Replace { rejected }) => self.rejected(rejected, now, rng),
            Event::Asked(Ask::Refresh { held }) => {
                // whoever orders it knows why it may succeed now
                let same = self.token(now) == held;
                same.then(|| self.start(Purpose::Renew, Urgency::Request))
                    .flatten()
            }
            Event::Fetched { id, since, life } => {
                self.fetched(id, since, life, rng);
                None
            }
            Event::Failed { class, retry_after } => {
                self.failed(class, retry_after, now, rng);
                None
            }
            Event::Due { unused } => self.due(unused, now),
            Event::SecretChanged => {
                if let Some(failing) = &mut self.failing {
                    failing.until = now.plus(Duration::ZERO);
                    failing.backoff.reset();
                }
                None
            }
        };
        (self, action)
    }

    /// What a request gets now.
    pub(super) fn verdict(&self, ask: Ask, now: Moment) -> Verdict {
        match (ask, self.valid(now)) {
            (Ask::Get { min_remaining }, Some(held)) if held.suffices(min_remaining, now) => {
                Verdict::Token
            }
            (Ask::Replace { rejected }, Some(held)) if held.id != rejected => Verdict::Token,
            // once one renewal has failed nobody waits for the next ones: a provider that hangs
            // would hold up every call
            (Ask::Get { .. }, Some(_)) if self.failing.is_some() => Verdict::Token,
            (Ask::Refresh { held: before }, Some(held)) if Some(held.id) != before => {
                Verdict::Token
            }
            (_, _) if self.fetch != Fetch::Idle => Verdict::Wait,
            (Ask::Refresh { .. }, _) => {
                (self.failing).map_or(Verdict::Wait, |failing| Verdict::Failed(failing.until))
            }
            (ask, held) => match (ask, held, self.replaced_in_vain(now), self.backing_off(now)) {
                (Ask::Replace { .. }, Some(_), Some(until), _) => Verdict::RecentlyReplaced(until),
                (_, _, _, Some(failing)) if failing.standing == Standing::Certain => {
                    Verdict::Failed(failing.until)
                }
                _ => Verdict::Wait,
            },
        }
    }

    /// How long until the next [`Event::Due`] is worth sending.
    pub(super) fn next_due(&self, unused: Duration, now: Moment) -> Option<Duration> {
        let end = self.held.map(|held| held.ends.remaining(now));
        if self.fetch != Fetch::Idle || unused > self.idle_after() {
            return end;
        }
        let renew = match (self.held, self.second_try()) {
            (Some(held), None) => held.renew.remaining(now),
            (None, _) | (_, Some(_)) => Duration::ZERO,
        };
        let allowed = self
            .failing
            .map_or(Duration::ZERO, |f| f.until.remaining(now));
        let attempt = renew.max(allowed);
        Some(end.map_or(attempt, |end| end.min(attempt)))
    }

    /// The token that may still be served.
    pub(super) fn token(&self, now: Moment) -> Option<u64> {
        self.valid(now).map(|held| held.id)
    }

    pub(super) fn ends(&self) -> Option<Deadline> {
        self.held.map(|held| held.ends)
    }

    pub(super) fn renews(&self) -> Option<Deadline> {
        self.held.map(|held| held.renew)
    }

    /// Until when a failure is remembered, and its class.
    pub(super) fn failing(&self) -> Option<(Class, Deadline)> {
        self.failing.map(|failing| (failing.class, failing.until))
    }

    /// The end of a token that has less left than requests want, while it cannot be renewed.
    pub(super) fn last_resort(&self, now: Moment) -> Option<Deadline> {
        let held = self.valid(now)?;
        (self.failing.is_some() && !held.suffices(self.reserve, now)).then_some(held.ends)
    }

    /// The most that a request wanted to be left.
    pub(super) fn reserve(&self) -> Duration {
        self.reserve
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.fetch != Fetch::Idle
    }

    fn asked(&mut self, ask: Ask, now: Moment) -> Option<Action> {
        let wait = self.verdict(ask, now) == Verdict::Wait;
        if wait && self.backing_off(now).is_none() {
            return self.start(Purpose::Renew, Urgency::Request);
        }
        None
    }

    fn rejected(&mut self, id: u64, now: Moment, rng: &mut impl Rng) -> Option<Action> {
        let Some(held) = self.valid(now).filter(|held| held.id == id) else {
            // a late answer for an old token, or none is left
            return self.asked(Ask::Replace { rejected: id }, now);
        };
        if let Fetch::Running(purpose) = &mut self.fetch {
            *purpose = Purpose::Replace;
            return None;
        }
        if self.replaced_in_vain(now).is_some() || self.backing_off(now).is_some() {
            return None;
        }
        let age = now.mono.saturating_duration_since(held.since.mono);
        if held.origin == Purpose::Replace && age < TRUSTED_AFTER {
            if self.rejections.is_none_or(|r| r.id != id) {
                let mut backoff = self.rejections.map_or(REJECTED, |r| r.backoff);
                let until = now.plus(backoff.next(rng));
                self.rejections = Some(Rejections { id, backoff, until });
                return None;
            }
        } else {
            self.rejections = None;
        }
        self.start(Purpose::Replace, Urgency::Request)
    }

    fn fetched(&mut self, id: u64, since: Moment, life: Duration, rng: &mut impl Rng) {
        let origin = match self.fetch {
            Fetch::Running(purpose) => purpose,
            Fetch::Idle => Purpose::Renew,
        };
        let served = served(life);
        // those who need much life left must not be the ones who wait for the renewal
        let latest = served.saturating_sub(self.reserve.min(life / 2) + life / 20);
        let renew = life.mul_f64(rng.random_range(0.6..=0.8)).min(latest);
        let renew = renew.max(RENEWAL_FLOOR);
        self.held = Some(Held {
            id,
            since,
            life,
            ends: since.plus(served),
            renew: since.plus(renew),
            origin,
        });
        self.fetch = Fetch::Idle;
        self.failing = None;
    }

    fn failed(
        &mut self,
        class: Class,
        retry_after: Option<Duration>,
        now: Moment,
        rng: &mut impl Rng,
    ) {
        let purpose = match std::mem::take(&mut self.fetch) {
            Fetch::Running(purpose) => purpose,
            Fetch::Idle => Purpose::Renew,
        };
        let same = self.failing.filter(|failing| {
            pace(failing.class).0 == pace(class).0 // else start over
        });
        let mut backoff = same.map_or(pace(class).1, |failing| failing.backoff);
        let first = backoff.failures() == 0;
        let mut wait = backoff.next(rng);
        let mut standing = Standing::Certain;
        if let Some(asked) = retry_after {
            wait = wait.max(asked.min(RETRY_AFTER_MAX));
        } else if class == Class::Transient && first && self.failing.is_none() {
            wait = SECOND_TRY;
            standing = Standing::Doubtful;
        } else if matches!(class, Class::Transient | Class::Slow) {
            let closer = self.valid(now).map(|held| held.ends.remaining(now) / 2);
            if let Some(closer) = closer.filter(|closer| *closer < wait) {
                wait = closer.max(ATTEMPT_FLOOR);
                // the hurry before the end must not lengthen the pauses after it
                backoff = same.map_or(backoff, |failing| failing.backoff);
            }
        } else if class == Class::Ended {
            wait = NEVER;
        }
        self.failing = Some(Failing {
            class,
            backoff,
            until: now.plus(wait),
            standing,
            purpose,
        });
    }

    fn due(&mut self, unused: Duration, now: Moment) -> Option<Action> {
        if self.valid(now).is_none() {
            self.held = None;
        }
        let old = self.held.is_none_or(|held| held.renew.passed(now));
        let owed = self.second_try();
        let wanted = owed.or(old.then_some(Purpose::Renew))?;
        if unused <= self.idle_after() && self.backing_off(now).is_none() {
            return self.start(wanted, Urgency::Background);
        }
        None
    }

    fn start(&mut self, purpose: Purpose, urgency: Urgency) -> Option<Action> {
        if self.fetch != Fetch::Idle {
            return None;
        }
        self.fetch = Fetch::Running(purpose);
        Some(Action::Fetch(urgency))
    }

    fn valid(&self, now: Moment) -> Option<Held> {
        self.held.filter(|held| !held.ends.passed(now))
    }

    fn backing_off(&self, now: Moment) -> Option<Failing> {
        self.failing.filter(|failing| !failing.until.passed(now))
    }

    /// The attempt that those who wait were not told a failure for.
    fn second_try(&self) -> Option<Purpose> {
        let doubtful = self.failing.filter(|f| f.standing == Standing::Doubtful);
        doubtful.map(|failing| failing.purpose)
    }

    fn replaced_in_vain(&self, now: Moment) -> Option<Deadline> {
        self.rejections
            .map(|rejections| rejections.until)
            .filter(|until| !until.passed(now))
    }

    fn idle_after(&self) -> Duration {
        self.held.map_or(IDLE_FLOOR, |h| h.life.max(IDLE_FLOOR))
    }
}

impl Held {
    fn suffices(&self, min_remaining: Duration, now: Moment) -> bool {
        suffices(self.ends.remaining(now), self.life, min_remaining)
    }
}

/// Whether a token that ends after `left` serves a request that needs `min_remaining`. No request
/// can demand more than half a life: it would have every token renewed as soon as it is there.
pub(super) fn suffices(left: Duration, life: Duration, min_remaining: Duration) -> bool {
    !left.is_zero() && left >= min_remaining.min(life / 2)
}

/// How long a token that lives for `life` is served.
pub(super) fn served(life: Duration) -> Duration {
    life.saturating_sub(SKEW.min(life / 10))
}

/// Classes that share a backoff, and the backoff.
fn pace(class: Class) -> (u8, Backoff) {
    match class {
        Class::Transient | Class::Slow => (0, TRANSIENT),
        Class::Fatal => (1, FATAL),
        Class::InvalidGrant | Class::Ended => (2, INVALID_GRANT),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;
    use crate::clock::Clock;

    const HOUR: Duration = Duration::from_secs(3600);
    const ANY: Ask = Ask::Get {
        min_remaining: Duration::ZERO,
    };

    /// A row of the table: seconds that pass, what happens then, what is done, what a request gets
    /// afterwards.
    type Row = (u64, Event, Option<Action>, Verdict);

    fn asked(ask: Ask) -> Event {
        Event::Asked(ask)
    }

    fn failed(class: Class) -> Event {
        Event::Failed {
            class,
            retry_after: None,
        }
    }

    fn due() -> Event {
        Event::Due {
            unused: Duration::ZERO,
        }
    }

    const FETCH: Option<Action> = Some(Action::Fetch(Urgency::Request));
    const RENEW: Option<Action> = Some(Action::Fetch(Urgency::Background));

    fn at(now: Moment, seconds: u64) -> Moment {
        now.plus(Duration::from_secs(seconds)).moment()
    }

    /// Plays a table; `Fetched` is given the time at which it happens. Deadlines in verdicts are
    /// not compared.
    fn play(rows: &[Row]) {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut now = Clock::for_tests(HOUR).now();
        let mut cell = Cell::default();
        for (number, (pause, event, action, verdict)) in rows.iter().enumerate() {
            now = at(now, *pause);
            let event = match *event {
                Event::Fetched { id, life, .. } => Event::Fetched {
                    id,
                    since: now,
                    life,
                },
                other => other,
            };
            let (next, done) = cell.step(event, now, &mut rng);
            cell = next;
            assert_eq!(done, *action, "row {number}: {event:?}");
            let ask = match event {
                Event::Asked(ask) => ask,
                _ => ANY,
            };
            let got = cell.verdict(ask, now);
            let same = std::mem::discriminant(&got) == std::mem::discriminant(verdict);
            assert!(same, "row {number}: {event:?} leads to {got:?}");
        }
    }

    #[tokio::test]
    async fn from_the_first_request_to_renewal_and_end() {
        let now = Clock::for_tests(HOUR).now();
        let fetched = |id| Event::Fetched {
            id,
            since: now,
            life: HOUR,
        };
        let near = Ask::Get {
            min_remaining: Duration::from_secs(600),
        };
        let some = Verdict::Failed(now.plus(HOUR));
        play(&[
            (0, asked(ANY), FETCH, Verdict::Wait),
            (0, asked(ANY), None, Verdict::Wait),
            (1, fetched(1), None, Verdict::Token),
            (1000, asked(ANY), None, Verdict::Token),
            (1000, due(), None, Verdict::Token),
            // past 80 %
            (900, due(), RENEW, Verdict::Token),
            (0, due(), None, Verdict::Token),
            // less than wanted: this request waits for what runs
            (200, asked(near), None, Verdict::Wait),
            (0, failed(Class::Transient), None, Verdict::Token),
            (0, asked(near), None, Verdict::Token),
            (1, due(), RENEW, Verdict::Token),
            (0, failed(Class::Transient), None, Verdict::Token),
            // at the end minus ten seconds
            (489, asked(ANY), FETCH, Verdict::Wait),
            (0, failed(Class::Fatal), None, some),
            (30, asked(ANY), None, some),
            (0, due(), None, some),
            (0, Event::SecretChanged, None, Verdict::Wait),
            (0, due(), RENEW, Verdict::Wait),
            (0, fetched(2), None, Verdict::Token),
        ]);
    }

    #[tokio::test]
    async fn rejected_tokens() {
        let now = Clock::for_tests(HOUR).now();
        let fetched = |id| Event::Fetched {
            id,
            since: now,
            life: HOUR,
        };
        let replace = |rejected| asked(Ask::Replace { rejected });
        let vain = Verdict::RecentlyReplaced(now.plus(HOUR));
        play(&[
            (0, asked(ANY), FETCH, Verdict::Wait),
            (0, fetched(1), None, Verdict::Token),
            (9, replace(1), FETCH, Verdict::Wait),
            (0, replace(1), None, Verdict::Wait),
            (0, asked(ANY), None, Verdict::Token),
            (0, fetched(2), None, Verdict::Token),
            (0, replace(1), None, Verdict::Token),
            // the replacement too
            (9, replace(2), None, vain),
            (9, replace(2), None, vain),
            (9, asked(ANY), None, Verdict::Token),
            (120, replace(2), FETCH, Verdict::Wait),
            (0, fetched(3), None, Verdict::Token),
            (0, replace(3), None, vain),
            (119, replace(3), None, vain),
            (200, replace(3), FETCH, Verdict::Wait),
        ]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Get(u64),
        Replace(u64),
        Succeed(u64),
        Fail(Class, Option<u64>),
        Due(u64),
        Changed,
    }

    fn step() -> impl Strategy<Value = Step> {
        let class = prop::sample::select(vec![
            Class::Transient,
            Class::Slow,
            Class::Fatal,
            Class::InvalidGrant,
            Class::Ended,
        ]);
        prop_oneof![
            4 => (0..5_000_000_u64).prop_map(Step::Pass),
            3 => (0..10_000_u64).prop_map(Step::Get),
            2 => (0..3_u64).prop_map(Step::Replace),
            3 => (1..100_000_u64).prop_map(Step::Succeed),
            2 => (class, prop::option::of(0..1_000_u64)).prop_map(|(c, r)| Step::Fail(c, r)),
            3 => (0..100_000_u64).prop_map(Step::Due),
            1 => Just(Step::Changed),
        ]
    }

    proptest! {
        #[test]
        fn no_token_is_served_past_its_end_and_no_two_fetches_run(
            steps in prop::collection::vec(step(), 1..200),
            seed in any::<u64>(),
        ) {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut now = Clock::for_tests(HOUR).now();
            let (mut cell, mut running, mut newest, mut end) = (Cell::default(), false, 0, now);
            for step in steps {
                let event = match step {
                    Step::Pass(ms) => {
                        now = now.plus(Duration::from_millis(ms)).moment();
                        continue;
                    }
                    Step::Get(seconds) => asked(Ask::Get {
                        min_remaining: Duration::from_secs(seconds),
                    }),
                    Step::Replace(back) => asked(Ask::Replace {
                        rejected: u64::saturating_sub(newest, back),
                    }),
                    Step::Succeed(seconds) if running => {
                        running = false;
                        newest += 1;
                        let life = Duration::from_secs(seconds);
                        let skew = Duration::from_secs(10).min(life / 10);
                        end = now.plus(life.checked_sub(skew).unwrap()).moment();
                        Event::Fetched { id: newest, since: now, life }
                    }
                    Step::Fail(class, retry_after) if running => {
                        running = false;
                        let retry_after = retry_after.map(Duration::from_secs);
                        Event::Failed { class, retry_after }
                    }
                    Step::Succeed(_) | Step::Fail(..) => continue,
                    Step::Due(unused) => Event::Due { unused: Duration::from_secs(unused) },
                    Step::Changed => Event::SecretChanged,
                };
                let (next, action) = cell.step(event, now, &mut rng);
                cell = next;
                if action.is_some() {
                    prop_assert!(!running, "a second fetch");
                    running = true;
                }
                prop_assert_eq!(cell.is_fetching(), running);
                for ask in [ANY, Ask::Replace { rejected: newest }, Ask::Replace { rejected: 0 }] {
                    if cell.verdict(ask, now) == Verdict::Token {
                        prop_assert!(now.wall < end.wall, "served past its end");
                        let rejected = ask == Ask::Replace { rejected: newest };
                        prop_assert!(!rejected, "the rejected token again");
                    }
                }
                // whoever waits waits for something: a fetch, or one that comes by itself
                if let Event::Asked(ask) = event
                    && cell.verdict(ask, now) == Verdict::Wait
                    && !running
                {
                    let pause = cell.next_due(Duration::ZERO, now);
                    prop_assert!(pause.is_some_and(|p| p <= SECOND_TRY), "waits for nothing");
                }
            }
        }
    }
}
