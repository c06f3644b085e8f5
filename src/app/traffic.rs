//! What passes, for people who look: each route's rate, errors and latencies of the last minute, and
//! what came to each listener.
//!
//! The metrics are added up every few seconds, and the oldest sum of the last minute is taken from the
//! newest. Nothing is counted for it, and no request waits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Seams, present::Present, sockets::Listening};
use crate::{
    config::print,
    health::Report,
    metrics::{Scraped, Value as Number, list},
};

const EVERY: Duration = Duration::from_secs(5);
/// A minute.
const SAMPLES: usize = 12;

/// The sums of the last minute, the oldest first. Clones share.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    seams: Seams,
    present: Arc<Present>,
    samples: Arc<Mutex<VecDeque<Sample>>>,
}

#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    routes: BTreeMap<String, Route>,
    /// Connections and requests since the start.
    listeners: BTreeMap<String, (u64, u64)>,
}

/// What a route has counted since the start.
#[derive(Debug, Clone, Default)]
struct Route {
    requests: u64,
    errors: u64,
    /// Answers 401 and 403 to requests with a token of ours.
    refused: [u64; 2],
    /// By the end of the bucket, in eighths of a power of two of seconds; the shortest under `i32::MIN`.
    durations: BTreeMap<i32, u64>,
}

impl Traffic {
    /// Adds up on the current runtime, until the stop is hard.
    pub(super) fn start(seams: &Seams, present: &Arc<Present>) -> Self {
        let this = Self {
            seams: seams.clone(),
            present: Arc::clone(present),
            samples: Arc::default(),
        };
        let sampled = this.clone();
        seams.shutdown.spawn(async move {
            loop {
                let sample = sampled.now();
                {
                    let mut all = sampled.samples.lock();
                    if all.len() >= SAMPLES {
                        all.pop_front();
                    }
                    all.push_back(sample);
                }
                sleep(EVERY).await;
            }
        });
        this
    }

    fn now(&self) -> Sample {
        let clock = &self.seams.clock;
        Sample::of(&self.seams.metrics.scrape(clock.now()), clock.mono())
    }

    /// The newest sum, and the oldest of the last minute.
    fn span(&self) -> (Sample, Sample) {
        let now = self.now();
        let before = self.samples.lock().front().cloned();
        (before.unwrap_or_else(|| now.clone()), now)
    }

    fn routes(&self) -> Value {
        let (before, now) = self.span();
        let generation = self.present.generation.load();
        let written = print::value(&generation.config);
        let took = now.at.saturating_duration_since(before.at).as_secs_f64();
        let routes = written["routes"].as_array().map(Vec::as_slice);
        let describe = |route: &Value| {
            let name = route["name"].as_str().unwrap_or_default();
            let none = Route::default();
            let total = now.routes.get(name).unwrap_or(&none);
            let lately = total.since(before.routes.get(name).unwrap_or(&none));
            json!({
                "name": name,
                "matches": matches(route),
                "admit": admits(&route["admit"]),
                "inject": route["inject"]["credential"].as_str().or(route["inject"].as_str()),
                "upstream": route["upstream"]["url"].as_str().or(route["upstream"].as_str()),
                "requests": total.requests,
                "rate": (took > 0.0).then(|| per_second(lately.requests, took)),
                "errors": lately.errors,
                "p50_ms": lately.quantile(0.5),
                "p99_ms": lately.quantile(0.99),
                "lately": {
                    "requests": lately.requests,
                    "token_refused_401": lately.refused[0],
                    "token_refused_403": lately.refused[1],
                },
            })
        };
        routes.unwrap_or_default().iter().map(describe).collect()
    }

    fn listeners(&self) -> Value {
        let now = self.now();
        let generation = self.present.generation.load();
        let describe = |one: &Listening| {
            let counted = now.listeners.get(&one.address);
            let (connections, requests) = counted.copied().unwrap_or_default();
            json!({
                "address": one.address,
                "mode": one.mode,
                "gateway": one.gateway,
                "tls": one.tls,
                "connections": connections,
                "requests": requests,
            })
        };
        generation.listeners.iter().map(describe).collect()
    }
}

impl Sample {
    fn of(scraped: &[Scraped], at: Instant) -> Self {
        let mut sample = Self {
            at,
            routes: BTreeMap::new(),
            listeners: BTreeMap::new(),
        };
        for family in scraped {
            for series in &family.series {
                let (first, second) = (series.labels.first(), series.labels.get(1));
                let Some(name) = first.cloned() else {
                    continue;
                };
                let metric = family.metric;
                match &series.value {
                    Number::Count(number) if *metric == list::REQUESTS => {
                        let route = sample.routes.entry(name).or_default();
                        route.requests += number;
                        if second.is_some_and(|status| status == "5xx") {
                            route.errors += number;
                        }
                    }
                    Number::Count(number) if *metric == list::REFUSED_TOKENS => {
                        let of = usize::from(second.is_some_and(|status| status == "403"));
                        sample.routes.entry(name).or_default().refused[of] += number;
                    }
                    Number::Histogram(total) if *metric == list::REQUEST_DURATION => {
                        let route = sample.routes.entry(name).or_default();
                        route.durations = total.native().into_iter().collect();
                        route.durations.insert(i32::MIN, total.zeros());
                    }
                    Number::Count(number) if *metric == list::LISTENER_CONNECTIONS => {
                        sample.listeners.entry(name).or_default().0 = *number;
                    }
                    Number::Count(number) if *metric == list::LISTENER_REQUESTS => {
                        sample.listeners.entry(name).or_default().1 += number;
                    }
                    _ => {}
                }
            }
        }
        sample
    }
}

impl Route {
    fn since(&self, before: &Self) -> Self {
        let durations = self.durations.iter();
        Self {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            refused: std::array::from_fn(|one| {
                self.refused[one].saturating_sub(before.refused[one])
            }),
            durations: durations
                .map(|(end, number)| {
                    let earlier = before.durations.get(end).copied().unwrap_or_default();
                    (*end, number.saturating_sub(earlier))
                })
                .collect(),
        }
    }

    /// In milliseconds, at most a tenth too long; `None`: nothing was measured.
    fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.durations.values().sum();
        if all == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of requests"
        )]
        let wanted = (all as f64 * share).ceil() as u64;
        let mut seen = 0;
        let (end, _) = self.durations.iter().find(|(_, number)| {
            seen += **number;
            seen >= wanted
        })?;
        Some(match *end {
            i32::MIN => 0.0,
            end => (f64::from(end) / 8.0).exp2() * 1000.0,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn per_second(number: u64, seconds: f64) -> f64 {
    number as f64 / seconds
}

/// Methods, hosts and paths, as far as they are asked for.
fn matches(route: &Value) -> String {
    let parts = ["method", "methods", "host", "hosts", "path", "paths"];
    let texts = parts.iter().filter_map(|part| texts(&route[*part]));
    texts.collect::<Vec<_>>().join(" ")
}

fn texts(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items = items.iter().filter_map(Value::as_str);
            Some(items.collect::<Vec<_>>().join(","))
        }
        _ => None,
    }
}

/// The kinds of rules.
fn admits(admit: &Value) -> Value {
    match admit {
        Value::Array(rules) => {
            let kinds = rules.iter().filter_map(Value::as_object);
            let kinds = kinds.flat_map(|rule| rule.keys().cloned());
            kinds.collect()
        }
        Value::Object(rule) => rule.keys().cloned().collect(),
        other => other.clone(),
    }
}

/// `routes` of `/status`.
pub(super) struct Routes(pub(super) Traffic);

impl Report for Routes {
    fn name(&self) -> &'static str {
        "routes"
    }

    fn report(&self) -> Value {
        self.0.routes()
    }
}

/// `listeners` of `/status`.
pub(super) struct Listeners(pub(super) Traffic);

impl Report for Listeners {
    fn name(&self) -> &'static str {
        "listeners"
    }

    fn report(&self) -> Value {
        self.0.listeners()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(durations: &[(i32, u64)]) -> Route {
        Route {
            requests: durations.iter().map(|(_, number)| number).sum(),
            errors: 0,
            refused: [0; 2],
            durations: durations.iter().copied().collect(),
        }
    }

    #[test]
    fn latencies_are_those_of_the_last_minute() {
        let before = route(&[(i32::MIN, 10), (0, 1000)]);
        let mut now = before.clone();
        now.requests += 100;
        now.durations.insert(-8, 98);
        now.durations.insert(8, 2);
        let lately = now.since(&before);
        assert_eq!(lately.requests, 100);
        assert_eq!(lately.quantile(0.5), Some(500.0));
        assert_eq!(lately.quantile(0.99), Some(2000.0));
        assert_eq!(now.since(&now).quantile(0.5), None, "nothing passed");
    }
}
