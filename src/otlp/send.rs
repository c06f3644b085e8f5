//! One collector: what is sent there, how often, and how it went.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use prost::Message;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::proto::{Resource, Response};
use crate::{
    backoff::Backoff,
    clock::Clock,
    config::{Compression, Otlp, SecretSource, Way, secret::SecretError},
    health::Report,
    http::client::{ClientError, HttpClient, chain},
};

/// Between attempts, if the collector does not say.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A connection that is made for each request; a collector is near, and requests are few.
#[derive(Debug)]
pub(super) struct Link {
    ways: BTreeMap<&'static str, Road>,
    headers: Vec<(HeaderName, SecretSource)>,
    resource: Resource,
    clock: Clock,
    rng: StdRng,
    state: Arc<State>,
}

/// How one signal gets there.
#[derive(Debug)]
struct Road {
    http: HttpClient,
    way: Way,
}

/// How it goes.
#[derive(Debug)]
pub(super) struct State {
    signals: Mutex<BTreeMap<&'static str, Signal>>,
    /// Spans that were never sent: there was no room, or no collector.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Signal {
    endpoint: String,
    sent: u64,
    lost: u64,
    last_success: Option<Duration>,
    last_failure: Option<(Duration, String)>,
    failing: bool,
}

/// What was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a header's value")]
    Secret(#[from] SecretError),
    #[error("a header's value is none")]
    Header,
    #[error("the collector answered {status}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
}

impl SendError {
    /// Whether the same may be taken later (OTLP, "Retryable Response Codes").
    fn may_pass(&self) -> bool {
        match self {
            Self::Client(_) => true,
            Self::Secret(_) | Self::Header => false,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Link {
    pub(super) fn new(
        config: &Otlp,
        resource: Resource,
        clock: Clock,
        rng: StdRng,
    ) -> Result<Self, ClientError> {
        let traces = config.traces.as_ref().map(|one| ("traces", &one.way));
        let metrics = config.metrics.as_ref().map(|one| ("metrics", &one.way));
        let (mut ways, mut signals) = (BTreeMap::new(), BTreeMap::new());
        for (name, way) in traces.into_iter().chain(metrics) {
            let http = HttpClient::new(&config.tls, way.timeout, way.timeout)?;
            let way = way.clone();
            let signal = Signal {
                endpoint: way.endpoint.to_string(),
                ..Signal::default()
            };
            ways.insert(name, Road { http, way });
            signals.insert(name, signal);
        }
        Ok(Self {
            ways,
            headers: config.headers.clone(),
            resource,
            clock,
            rng,
            state: Arc::new(State {
                signals: Mutex::new(signals),
                dropped: AtomicU64::new(0),
            }),
        })
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    pub(super) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Spans for which there was no room.
    pub(super) fn dropped(&self, spans: u64) {
        self.state.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) async fn traces(
        &mut self,
        request: &impl Message,
        spans: usize,
        patience: Duration,
    ) {
        self.deliver("traces", request, spans as u64, patience)
            .await;
    }

    pub(super) async fn metrics(
        &mut self,
        request: &impl Message,
        points: usize,
        patience: Duration,
    ) {
        self.deliver("metrics", request, points as u64, patience)
            .await;
    }

    /// Sends `count` of something until they are taken, cannot be, or `patience` is over.
    async fn deliver(
        &mut self,
        signal: &'static str,
        request: &impl Message,
        count: u64,
        patience: Duration,
    ) {
        let Some(road) = self.ways.get(signal) else {
            return;
        };
        let body = written(request, road.way.compression);
        let until = self.clock.mono() + patience;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let error = loop {
            let error = match self.once(signal, body.clone()).await {
                Ok(answer) => return self.taken(signal, count, &answer),
                Err(error) => error,
            };
            if !error.may_pass() {
                break error;
            }
            let asked = match &error {
                SendError::Status { retry_after, .. } => *retry_after,
                _ => None,
            };
            let pause = asked.unwrap_or_else(|| backoff.next(&mut self.rng));
            if self.clock.mono() + pause >= until {
                break error;
            }
            self.failing(signal, &error, 0);
            tokio::time::sleep(pause).await;
        };
        self.failing(signal, &error, count);
    }

    async fn once(&self, signal: &'static str, body: Bytes) -> Result<Response, SendError> {
        let Some(Road { http, way }) = self.ways.get(signal) else {
            return Ok(Response::default());
        };
        let mut request = Request::post(way.endpoint.as_str())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(body)
            .map_err(|_| ClientError::Url)?;
        if way.compression == Compression::Gzip {
            let gzip = HeaderValue::from_static("gzip");
            request.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        }
        self.add_headers(way, request.headers_mut())?;
        let answer = http.send(request).await?;
        let status = answer.status();
        if status.is_success() {
            // an answer that cannot be read is a success, too
            return Ok(Response::decode(answer.into_body()).unwrap_or_default());
        }
        let retry_after = retry_after(answer.headers(), self.clock.now().wall);
        Err(SendError::Status {
            status,
            retry_after,
        })
    }

    fn add_headers(&self, way: &Way, headers: &mut HeaderMap) -> Result<(), SendError> {
        let mut add = |name: HeaderName, value: &[u8]| {
            let mut value = HeaderValue::from_bytes(value).map_err(|_| SendError::Header)?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok::<_, SendError>(())
        };
        if let Some(source) = &way.more_headers {
            let all = source.read()?;
            for pair in all.expose().split(',') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue; // the configuration was checked
                };
                let name: HeaderName = name.trim().parse().map_err(|_| SendError::Header)?;
                let value: Vec<u8> = percent_decode_str(value.trim()).collect();
                add(name, &value)?;
            }
        }
        for (name, source) in &self.headers {
            add(name.clone(), source.read()?.expose().as_bytes())?;
        }
        Ok(())
    }

    fn taken(&self, signal: &'static str, count: u64, answer: &Response) {
        let partial = answer.partial_success.clone().unwrap_or_default();
        let rejected = u64::try_from(partial.rejected).unwrap_or(0).min(count);
        if rejected > 0 {
            let why = partial.error_message;
            warn!(signal, rejected, why, "the collector took only a part");
        }
        let mut signals = self.state.signals.lock();
        let state = signals.entry(signal).or_default();
        state.sent += count - rejected;
        state.lost += rejected;
        state.last_success = Some(self.clock.now().wall);
        if std::mem::take(&mut state.failing) {
            info!(signal, "the collector takes telemetry again");
        }
    }

    fn failing(&self, signal: &'static str, error: &SendError, lost: u64) {
        let text = chain(error);
        let mut signals = self.state.signals.lock();
        let state = signals.entry(signal).or_default();
        state.lost += lost;
        if std::mem::replace(&mut state.failing, true) {
            debug!(signal, lost, error = text, "telemetry not sent");
        } else {
            warn!(signal, error = text, "telemetry cannot be sent");
        }
        state.last_failure = Some((self.clock.now().wall, text));
    }
}

impl Report for State {
    fn name(&self) -> &'static str {
        "telemetry"
    }

    fn report(&self) -> Value {
        let time = |at: Duration| humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string();
        let signals = self.signals.lock();
        let signals = signals.iter().map(|(name, signal)| {
            let failure = signal.last_failure.as_ref();
            let value = json!({
                "endpoint": signal.endpoint,
                "sent": signal.sent,
                "lost": signal.lost,
                "failing": signal.failing,
                "last_success": signal.last_success.map(time),
                "last_failure": failure.map(|(at, message)| json!({"at": time(*at), "message": message})),
            });
            ((*name).to_owned(), value)
        });
        json!({
            "spans_without_room": self.dropped.load(Ordering::Relaxed),
            "signals": signals.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// As it is sent.
fn written(request: &impl Message, compression: Compression) -> Bytes {
    let plain = request.encode_to_vec();
    match compression {
        Compression::None => plain.into(),
        Compression::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            // what is written to memory is written
            let _ = gzip.write_all(&plain);
            gzip.finish().unwrap_or_default().into()
        }
    }
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(now))
}
