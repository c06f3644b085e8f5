//! What exchanges with providers count: each request to one, and what time it is there.
//!
//! The time comes from the `Date` of answers (RFC 9110 section 6.6.1), which is good to a second and
//! to the time that the exchange took. A clock that is wrong is told once in the log: tokens would
//! be thought expired, or be used after they are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;

use super::{
    histogram::{DURATIONS, Histogram, HistogramTotal},
    list,
    scrape::{Columns, Scraped, Value},
};
use crate::clock::{Clock, Moment};

/// Beyond this, tokens are misjudged.
const TOLERATED: f64 = 60.0;

/// All providers. Clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Providers(Arc<Mutex<BTreeMap<String, Arc<Mutex<Counts>>>>>);

#[derive(Debug)]
struct Counts {
    results: BTreeMap<&'static str, u64>,
    took: Histogram,
    /// In seconds; positive: it is later there.
    offset: Option<f64>,
    clock: ClockIs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockIs {
    Right,
    Wrong,
}

/// Counts the exchanges with one provider. Clones share.
#[derive(Debug, Clone)]
pub struct Exchanges {
    provider: Arc<str>,
    counts: Arc<Mutex<Counts>>,
    clock: Clock,
}

impl Providers {
    pub(super) fn of(&self, provider: &str, clock: &Clock) -> Exchanges {
        let mut all = self.0.lock();
        let counts = all.entry(provider.to_owned()).or_insert_with(|| {
            Arc::new(Mutex::new(Counts {
                results: BTreeMap::from([("2xx", 0)]),
                took: Histogram::new(&DURATIONS),
                offset: None,
                clock: ClockIs::Right,
            }))
        });
        Exchanges {
            provider: provider.into(),
            counts: Arc::clone(counts),
            clock: clock.clone(),
        }
    }

    /// How much later it is there, in seconds, if that is known.
    pub(super) fn offset(&self, provider: &str) -> Option<f64> {
        let counts = self.0.lock().get(provider).cloned();
        counts.and_then(|counts| counts.lock().offset)
    }

    pub(super) fn scrape(&self) -> Vec<Scraped> {
        let mut columns = Columns::of(&[
            &list::PROVIDER_EXCHANGES,
            &list::PROVIDER_EXCHANGE_DURATION,
            &list::PROVIDER_CLOCK_OFFSET,
        ]);
        for (provider, counts) in self.0.lock().iter() {
            let counts = counts.lock();
            for (result, number) in &counts.results {
                let labels = vec![provider.clone(), (*result).to_owned()];
                columns.push(&list::PROVIDER_EXCHANGES, labels, Value::Count(*number));
            }
            let mut took = HistogramTotal::new(&DURATIONS);
            took.add(&counts.took);
            let labels = || vec![provider.clone()];
            columns.push(
                &list::PROVIDER_EXCHANGE_DURATION,
                labels(),
                Value::Histogram(took),
            );
            if let Some(offset) = counts.offset {
                columns.push(
                    &list::PROVIDER_CLOCK_OFFSET,
                    labels(),
                    Value::Measure(offset),
                );
            }
        }
        columns.into()
    }
}

impl Exchanges {
    pub fn begin(&self) -> Moment {
        self.clock.now()
    }

    /// It answered.
    pub fn answered(&self, begun: Moment, status: StatusCode, headers: &HeaderMap) {
        let took = self.ended(begun, result_of(status));
        // what a cache answers says what time it was (RFC 9111 section 5.1)
        if headers.contains_key(header::AGE) {
            return;
        }
        let date = headers.get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        if let Some(there) = since {
            self.saw(there, begun.wall, took);
        }
    }

    /// It did not; `class` is a word for the reason.
    pub fn failed(&self, begun: Moment, class: &'static str) {
        self.ended(begun, class);
    }

    fn ended(&self, begun: Moment, result: &'static str) -> Duration {
        let took = self.clock.mono().saturating_duration_since(begun.mono);
        let mut counts = self.counts.lock();
        *counts.results.entry(result).or_default() += 1;
        counts.took.observe(took);
        took
    }

    /// `there` is a whole second, of some time of the exchange.
    fn saw(&self, there: Duration, begun: Duration, took: Duration) {
        let middle = begun.as_secs_f64() + took.as_secs_f64() / 2.0;
        let offset = there.as_secs_f64() + 0.5 - middle;
        let doubt = 0.5 + took.as_secs_f64() / 2.0;
        let mut counts = self.counts.lock();
        // the clocks cannot be told apart by less
        counts.offset = Some(if offset.abs() <= doubt { 0.0 } else { offset });
        let now = if offset.abs() - doubt > TOLERATED {
            ClockIs::Wrong
        } else {
            ClockIs::Right
        };
        let before = std::mem::replace(&mut counts.clock, now);
        drop(counts);
        let (provider, offset_s) = (&self.provider, offset.round());
        match (before, now) {
            (ClockIs::Right, ClockIs::Wrong) => tracing::warn!(
                target: "itwin_auth_proxy::clock",
                %provider, offset_s,
                "the provider's clock and this machine's differ: one of them is wrong, and ends of tokens are misjudged"
            ),
            (ClockIs::Wrong, ClockIs::Right) => tracing::info!(
                target: "itwin_auth_proxy::clock",
                %provider, "the provider's clock and this machine's agree again"
            ),
            _ => {}
        }
    }
}

/// The codes that say something of their own, and the classes of the others.
pub fn result_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        _ if status.is_client_error() => "4xx",
        _ if status.is_server_error() => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(clock: &Clock, providers: &Providers, date: &str) -> f64 {
        let exchanges = providers.of("ims", clock);
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, date.parse().unwrap());
        exchanges.answered(exchanges.begin(), StatusCode::OK, &headers);
        providers.offset("ims").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_providers_time_is_compared_with_ours() {
        // Sat, 01 Jan 2028 00:00:00 GMT, and 0.9 seconds
        let clock = Clock::for_tests(Duration::from_millis(1_830_297_600_900));
        let providers = Providers::default();
        let offset = answered(&clock, &providers, "Sat, 01 Jan 2028 00:00:00 GMT");
        assert!(offset.abs() < f64::EPSILON, "{offset}");
        let offset = answered(&clock, &providers, "Sat, 01 Jan 2028 00:05:00 GMT");
        assert!((offset - 299.6).abs() < 0.001, "{offset}");
        let offset = answered(&clock, &providers, "Fri, 31 Dec 2027 23:00:00 GMT");
        assert!((offset + 3600.4).abs() < 0.001, "{offset}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_cache_answers_says_nothing_of_the_time() {
        let clock = Clock::for_tests(Duration::from_secs(1_830_297_600));
        let providers = Providers::default();
        let exchanges = providers.of("ims", &clock);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::DATE,
            "Fri, 31 Dec 2027 23:00:00 GMT".parse().unwrap(),
        );
        headers.insert(header::AGE, "3600".parse().unwrap());
        exchanges.answered(exchanges.begin(), StatusCode::TOO_MANY_REQUESTS, &headers);
        assert_eq!(providers.offset("ims"), None);
        assert_eq!(providers.0.lock()["ims"].lock().results["429"], 1);
    }
}
