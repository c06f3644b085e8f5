//! How many sign-ins an address may begin: so many at once, then one after the other at the same
//! pace (a leaky bucket, one time per address).
//!
//! IPv6 is counted by /64, which is what one subscriber has. The table is bounded: when it is full,
//! the half that has the least to answer for is forgotten, so that somebody with many addresses can
//! only make others' limits wider.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, time::Duration};

use tokio::time::Instant;

use crate::clock::Moment;

const ADDRESSES: usize = 8_192;

/// An address, or the network that is one subscriber's.
type Subscriber = u128;

/// Sign-ins of all addresses.
#[derive(Debug)]
pub struct Rates {
    /// Between two, when all that come at once have come.
    pace: Duration,
    /// How far ahead of the pace an address may be.
    ahead: Duration,
    /// When an address is back in step.
    even: HashMap<Subscriber, Instant>,
}

impl Rates {
    pub fn new(per_minute: NonZeroU32) -> Self {
        let pace = Duration::from_secs(60) / per_minute.get();
        Self {
            pace,
            ahead: pace * (per_minute.get() - 1),
            even: HashMap::new(),
        }
    }

    /// Counts one more; an error says after how long there may be one. What is refused does not
    /// count.
    pub fn take(&mut self, peer: IpAddr, now: Moment) -> Result<(), Duration> {
        let now = now.mono;
        let subscriber = subscriber(peer);
        if self.even.len() >= ADDRESSES && !self.even.contains_key(&subscriber) {
            self.make_room(now);
        }
        let even = self.even.entry(subscriber).or_insert(now);
        let early = even.saturating_duration_since(now);
        if let Some(wait) = early.checked_sub(self.ahead).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        *even = now + early + self.pace;
        Ok(())
    }

    /// Forgets those that have nothing to answer for.
    pub fn forget(&mut self, now: Moment) {
        self.even.retain(|_, even| *even > now.mono);
    }

    fn make_room(&mut self, now: Instant) {
        self.even.retain(|_, even| *even > now);
        if self.even.len() < ADDRESSES {
            return;
        }
        let mut all: Vec<_> = self.even.values().copied().collect();
        let (_, middle, _) = all.select_nth_unstable(ADDRESSES / 2);
        let middle = *middle;
        self.even.retain(|_, even| *even > middle);
    }
}

fn subscriber(peer: IpAddr) -> Subscriber {
    match peer.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        // never mistaken for IPv4: what is left of an address in ::/64 is nothing at all
        IpAddr::V6(address) => (address.to_bits() >> 64 << 64) | 1 << 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn rates(per_minute: u32) -> Rates {
        Rates::new(NonZeroU32::new(per_minute).unwrap())
    }

    fn clock() -> Clock {
        Clock::for_tests(Duration::from_secs(1_700_000_000))
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_then_at_that_pace() {
        let (clock, mut rates) = (clock(), rates(30));
        let peer = "192.0.2.1".parse().unwrap();
        for _ in 0..30 {
            assert_eq!(rates.take(peer, clock.now()), Ok(()));
        }
        let two = Duration::from_secs(2);
        assert_eq!(rates.take(peer, clock.now()), Err(two));
        assert_eq!(
            rates.take(peer, clock.now()),
            Err(two),
            "refusals do not count"
        );
        tokio::time::advance(two).await;
        assert_eq!(rates.take(peer, clock.now()), Ok(()));
        assert_eq!(rates.take(peer, clock.now()), Err(two));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        for _ in 0..30 {
            assert_eq!(rates.take(peer, clock.now()), Ok(()));
        }
        assert!(rates.take(peer, clock.now()).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_a_minute_is_one_a_minute() {
        let (clock, mut rates) = (clock(), rates(1));
        let peer = "192.0.2.1".parse().unwrap();
        assert_eq!(rates.take(peer, clock.now()), Ok(()));
        let minute = Duration::from_secs(60);
        assert_eq!(rates.take(peer, clock.now()), Err(minute));
        tokio::time::advance(minute).await;
        assert_eq!(rates.take(peer, clock.now()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_its_subscribers() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("0.0.0.0", "::", false),
            ("::1", "0.0.0.1", false),
        ] {
            let (clock, mut rates) = (clock(), rates(1));
            let take = |rates: &mut Rates, peer: &str| {
                let taken = rates.take(peer.parse().unwrap(), clock.now());
                taken.is_ok()
            };
            assert!(take(&mut rates, one));
            assert_eq!(take(&mut rates, other), !same, "{one} {other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_those_who_ask_most_stay_in_it() {
        let (clock, mut rates) = (clock(), rates(2));
        let busy = "192.0.2.1".parse().unwrap();
        assert!(rates.take(busy, clock.now()).is_ok());
        assert!(rates.take(busy, clock.now()).is_ok());
        for number in 0..100_000_u32 {
            let peer = IpAddr::V4((number + 0x0a00_0000).into());
            assert!(rates.take(peer, clock.now()).is_ok());
            assert!(rates.even.len() <= ADDRESSES);
        }
        assert!(rates.take(busy, clock.now()).is_err());
    }
}
