//! What OpenTelemetry's variables say (its specification, "Environment Variable Specification" and
//! "OTLP Exporter Configuration").
//!
//! They are for every program of a machine: what is wrong with one is a warning, unless nothing can
//! be sent because of it. One that is set and has no effect here is told.

use std::{ops::RangeInclusive, time::Duration};

use url::Url;

use super::{super::Check, Path, Signal};

/// What an exporter's variable wants of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exporter {
    Otlp,
    Elsewhere,
}

impl Signal {
    /// Its own variable.
    pub(super) fn variable(self, what: &str) -> String {
        let signal = self.word().to_ascii_uppercase();
        format!("OTEL_EXPORTER_OTLP_{signal}_{what}")
    }
}

/// Variables that have no effect, the values with which they need none, and what to do.
const WITHOUT_EFFECT: [(&[&str], &[&str], &str); 8] = [
    (
        &["OTEL_CONFIG_FILE"],
        &[],
        "what is sent is said by `telemetry`",
    ),
    (
        &[
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
        ],
        &[],
        "write it in telemetry.otlp.tls",
    ),
    (
        &["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"],
        &["cumulative"],
        "metrics are cumulative",
    ),
    (
        &["OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"],
        &["base2_exponential_bucket_histogram"],
        "histograms are exponential",
    ),
    (
        &["OTEL_METRICS_EXEMPLAR_FILTER"],
        &["always_off"],
        "metrics carry no exemplars",
    ),
    (
        &["OTEL_LOGS_EXPORTER"],
        &["none"],
        "the log goes to stderr, whose reader may send it on",
    ),
    (
        &[
            "OTEL_METRIC_EXPORT_TIMEOUT",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_BSP_EXPORT_TIMEOUT",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ],
        &[],
        "spans are sent once a second, 512 at once; a request has telemetry.otlp.timeout",
    ),
    (
        &[
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_SPAN_EVENT_COUNT_LIMIT",
            "OTEL_SPAN_LINK_COUNT_LIMIT",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        ],
        &[],
        "what a span has is bounded by itself",
    ),
];

impl Check<'_> {
    /// A variable of OpenTelemetry's; an empty one is not set.
    pub(super) fn otel(&self, name: &str) -> Option<&str> {
        let value = self.environment.values.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    /// A signal's own variable, or that of all, with its name.
    pub(super) fn of_either(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        let names = [signal.variable(what), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| {
            let said = self.otel(&name)?.to_owned();
            Some((name, said))
        })
    }

    /// Whether any of them says where a collector is.
    pub(super) fn names_a_collector(&self) -> bool {
        [Signal::Traces, Signal::Metrics]
            .iter()
            .any(|signal| self.of_either(*signal, "ENDPOINT").is_some())
    }

    pub(super) fn url_of(&mut self, path: &Path, name: &str) -> Option<Url> {
        let named = self.otel(name)?.to_owned();
        match Url::parse(&named) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                let text = format!("{name} is no http or https URL");
                let hint = "write it as http://127.0.0.1:4318";
                self.error(&path.key("endpoint"), text, hint);
                None
            }
        }
    }

    pub(super) fn protocol(&mut self, path: &Path, signal: Signal) {
        if let Some((name, protocol)) = self.of_either(signal, "PROTOCOL")
            && protocol != "http/protobuf"
        {
            let text = format!("{name} is {protocol}");
            let hint = "http/protobuf is spoken: the endpoint's port is usually 4318";
            self.warn(&path.key("endpoint"), text, hint);
        }
    }

    /// A time that a variable gives, in milliseconds.
    pub(super) fn milliseconds_of(
        &mut self,
        at: &Path,
        said: Option<(String, String)>,
        range: &RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (name, said) = said?;
        let time = said.parse().ok().map(Duration::from_millis);
        let time = time.filter(|time| range.contains(time));
        if time.is_none() {
            let (least, most) = (range.start().as_millis(), range.end().as_millis());
            let text = format!("{name} is {said}, which has no effect");
            self.warn(
                at,
                text,
                format!("a number of milliseconds, {least} to {most}"),
            );
        }
        time
    }

    /// Metrics are at `/metrics` whether it wants them there or not.
    pub(super) fn exporter(&mut self, path: &Path, signal: Signal) -> Exporter {
        let name = format!("OTEL_{}_EXPORTER", signal.word().to_ascii_uppercase());
        let Some(said) = self.otel(&name).map(ToOwned::to_owned) else {
            return Exporter::Otlp;
        };
        let mut all = said.split(',').map(str::trim);
        if all.clone().any(|one| one == "otlp") {
            return Exporter::Otlp;
        }
        if all.any(|one| one != "none" && (signal, one) != (Signal::Metrics, "prometheus")) {
            let text = format!(
                "{name} is {said}, which is not known: no {} are sent",
                signal.word()
            );
            self.warn(path, text, "otlp or none");
        }
        Exporter::Elsewhere
    }

    /// Tells of those that are set in vain.
    pub(super) fn without_effect(&mut self, path: &Path) {
        for (names, needless, hint) in WITHOUT_EFFECT {
            for name in names {
                let said = self.otel(name);
                if said.is_some_and(|said| !needless.contains(&said)) {
                    self.warn(path, format!("{name} has no effect"), hint);
                }
            }
        }
        let propagators = self.otel("OTEL_PROPAGATORS").map(ToOwned::to_owned);
        let Some(said) = propagators else {
            return;
        };
        let all: Vec<_> = said.split(',').map(str::trim).collect();
        // baggage passes as it is
        let ours = ["tracecontext", "baggage"];
        if !all.contains(&"tracecontext") || all.iter().any(|one| !ours.contains(one)) {
            let text = format!("OTEL_PROPAGATORS is {said}");
            self.warn(path, text, "traces go on by tracecontext alone");
        }
    }
}
