//! Sends spans and metrics on, by OTLP over HTTP in protobuf.
//!
//! One task of the control plane, and nobody waits for it: what a collector does not take in time is
//! dropped where it waits, and counted. A failure that may pass is tried again as OTLP says (429,
//! 502, 503, 504 and no answer at all; `Retry-After`), any other is not. What a secret header holds is
//! read when it is sent. When the program stops, what has ended is sent once more, within
//! [`FLUSH_LIMIT`].

mod numbers;
mod proto;
mod send;
mod spans;

use std::{sync::Arc, time::Duration};

use rand::rngs::StdRng;

use self::{
    proto::{Any, Resource, attribute},
    send::Link,
};
use crate::{
    clock::{Clock, Deadline, Moment},
    config::Otlp,
    health::Report,
    http::client::ClientError,
    metrics::Metrics,
    trace::{Span, Traces},
};

/// How long the end of the program waits for the collector.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Spans wait no longer than this to be sent, so that a trace is seen while it is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// Spans in one request.
const AT_ONCE: usize = 512;
/// How long one batch is tried again; others wait, bounded, meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what is collected.
#[derive(Debug)]
pub struct Export {
    link: Link,
    clock: Clock,
    traces: Option<Traces>,
    metrics: Arc<Metrics>,
    every: Option<Duration>,
    begun: Moment,
    next: Deadline,
    /// Taken, and not sent yet.
    pending: Vec<Span>,
}

impl Export {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When a file of its TLS settings cannot be used.
    pub fn new(
        config: &Otlp,
        traces: Option<Traces>,
        metrics: Arc<Metrics>,
        clock: Clock,
        rng: StdRng,
    ) -> Result<Self, ClientError> {
        let resource = resource(config);
        let every = config.metrics.as_ref().map(|metrics| metrics.every);
        let begun = clock.now();
        Ok(Self {
            metrics,
            every,
            begun,
            next: begun.plus(every.unwrap_or_default()),
            clock: clock.clone(),
            link: Link::new(config, resource, clock, rng)?,
            traces: traces.filter(|_| config.traces.is_some()),
            pending: Vec::new(),
        })
    }

    /// How it goes, for status pages.
    pub fn report(&self) -> Arc<dyn Report> {
        self.link.state()
    }

    /// Without end. Dropping it loses nothing that was not sent: [`Export::flush`] has it.
    pub async fn run(&mut self) {
        let traces = self.traces.clone();
        let many = async || match &traces {
            Some(traces) => traces.many().await,
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = many() => {}
            }
            self.send_spans(PATIENCE).await;
            let now = self.clock.now();
            if let Some(every) = self.every
                && self.next.passed(now)
            {
                self.next = now.plus(every);
                self.send_metrics(Duration::ZERO).await;
            }
        }
    }

    /// Sends what there is, once; within [`FLUSH_LIMIT`].
    pub async fn flush(&mut self) {
        let sending = async {
            self.send_spans(Duration::ZERO).await;
            if self.every.is_some() {
                self.send_metrics(Duration::ZERO).await;
            }
        };
        // what is left then is lost, as the program is
        let _ = tokio::time::timeout(FLUSH_LIMIT, sending).await;
    }

    async fn send_metrics(&mut self, patience: Duration) {
        let now = self.clock.now();
        let span = numbers::Span {
            begun: self.begun.wall,
            now: now.wall,
        };
        let all = self.metrics.scrape(now);
        let (request, series) = numbers::request(&all, span, self.link.resource());
        self.link.metrics(&request, series, patience).await;
    }

    async fn send_spans(&mut self, patience: Duration) {
        let Some(traces) = &self.traces else {
            return;
        };
        let (spans, dropped) = traces.take();
        self.pending.extend(spans);
        self.link.dropped(dropped);
        while !self.pending.is_empty() {
            let some = self.pending.len().min(AT_ONCE);
            let request = spans::request(&self.pending[..some], self.link.resource());
            self.link.traces(&request, some, patience).await;
            // only now: whoever is interrupted before sends them again
            self.pending.drain(..some);
        }
    }
}

/// What sends: this program, and what the operator says of it.
fn resource(config: &Otlp) -> Resource {
    let text = |key: &str, value: &str| attribute(key, Any::Text(value.to_owned()));
    let mut attributes = vec![
        text("service.name", &config.service_name),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("telemetry.sdk.name", "itwin-auth-proxy"),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        attribute("process.pid", Any::Number(std::process::id().into())),
    ];
    for (key, value) in &config.resource {
        attributes.retain(|known| known.key != *key);
        attributes.push(text(key, value));
    }
    Resource { attributes }
}
