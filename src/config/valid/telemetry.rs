//! Where traces and metrics are sent: what is written, and otherwise what OpenTelemetry's variables
//! say ([`variables`]), which are for all programs of a machine.

#[cfg(test)]
mod tests;
mod variables;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use percent_encoding::percent_decode_str;
use url::Url;

use self::variables::Exporter;
use super::{
    super::{Compression, Otlp, OtlpMetrics, OtlpTraces, SecretSource, Way, path::Path, raw},
    Check,
    files::Forms,
    scalar::{HOUR, MILLISECOND, MINUTE, SECOND},
};
use crate::{
    secret::Secret,
    trace::{Parents, Sampling, Share},
};

/// What is sent, as variables and paths call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// How one signal is sent, as it was written.
#[derive(Debug, Clone, Copy, Default)]
struct Own<'a> {
    endpoint: Option<&'a str>,
    headers_env: Option<&'a str>,
    timeout: Option<&'a str>,
    compression: Option<&'a str>,
}

macro_rules! own {
    ($raw:expr) => {
        $raw.map_or_else(Own::default, |raw| Own {
            endpoint: raw.endpoint.as_deref(),
            headers_env: raw.headers_env.as_deref(),
            timeout: raw.timeout.as_deref(),
            compression: raw.compression.as_deref(),
        })
    };
}

impl Check<'_> {
    /// The collector, if there is one.
    pub(super) fn telemetry(&mut self, raw: Option<&raw::Telemetry>) -> Option<Otlp> {
        let default = raw::Telemetry::default();
        let raw = raw.unwrap_or(&default);
        let no_otlp = raw::Otlp::default();
        let otlp = raw.otlp.as_ref().unwrap_or(&no_otlp);
        let path = Path::root().key("telemetry").key("otlp");
        if raw.otlp.is_none() && !self.names_a_collector() {
            return None;
        }
        let disabled = self.otel("OTEL_SDK_DISABLED");
        let disabled = disabled.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let headers = self.collectors_headers(&path.key("headers"), &otlp.headers);
        let sampling = self.sampling(&path.key("traces"), otlp.traces.as_ref());
        let every = self.metrics_every(&path.key("metrics"), otlp.metrics.as_ref());
        let (traces, metrics) = (own!(otlp.traces.as_ref()), own!(otlp.metrics.as_ref()));
        let somewhere = [otlp.endpoint.as_deref(), traces.endpoint, metrics.endpoint];
        if raw.otlp.is_some() && somewhere == [None; 3] && !self.names_a_collector() {
            let hint = "such as http://127.0.0.1:4318; or set OTEL_EXPORTER_OTLP_ENDPOINT";
            self.missing(&path, "has no endpoint", hint);
        }
        let base = self.base(&path, otlp);
        let traces_way = self.way(&path, Signal::Traces, otlp, traces, base.as_ref());
        let metrics_way = self.way(&path, Signal::Metrics, otlp, metrics, base.as_ref());
        let traces = traces_way.zip(sampling);
        let metrics = metrics_way.zip(every);
        let ways = [
            traces.as_ref().map(|(way, _)| way),
            metrics.as_ref().map(|(way, _)| way),
        ];
        let first = ways.iter().flatten().next()?;
        let port = first.endpoint.port_or_known_default().unwrap_or(443);
        let unsafe_way = ways.iter().flatten().find(|way| {
            let secret = !headers.is_empty() || way.more_headers.is_some();
            secret && way.endpoint.scheme() == "http" && !is_loopback(&way.endpoint)
        });
        if unsafe_way.is_some() {
            self.warn(
                &path.key("endpoint"),
                "the header fields of the collector go there unencrypted",
                "use https, or a collector on this machine",
            );
        }
        if !disabled {
            self.without_effect(&path);
        }
        let tls = self.client_tls(&path.key("tls"), otlp.tls.as_ref(), port);
        let mut resource = self.of_the_program(&raw.resource);
        (!disabled).then(|| Otlp {
            traces: traces.map(|(way, sampling)| OtlpTraces { way, sampling }),
            metrics: metrics.map(|(way, every)| OtlpMetrics { way, every }),
            headers,
            tls,
            service_name: raw
                .service_name
                .clone()
                .or_else(|| self.otel("OTEL_SERVICE_NAME").map(ToOwned::to_owned))
                .or_else(|| resource.remove("service.name"))
                .unwrap_or_else(|| "itwin-auth-proxy".into()),
            resource,
        })
    }

    /// The collector of both, where one is named.
    fn base(&mut self, path: &Path, otlp: &raw::Otlp) -> Option<Url> {
        match &otlp.endpoint {
            Some(written) => self.url(&path.key("endpoint"), written),
            None => self.url_of(path, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        }
    }

    /// How a signal is sent: what is written of it, then of both, then what its own variable says,
    /// then that of both.
    fn way(
        &mut self,
        above: &Path,
        signal: Signal,
        both: &raw::Otlp,
        own: Own<'_>,
        base: Option<&Url>,
    ) -> Option<Way> {
        let path = above.key(signal.word());
        let behind = |base: &Url| below(base, &format!("v1/{}", signal.word()));
        let endpoint = match (own.endpoint, &both.endpoint) {
            (Some(written), _) => self.url(&path.key("endpoint"), written),
            (None, Some(_)) => base.map(behind),
            (None, None) => {
                let named = self.url_of(above, &signal.variable("ENDPOINT"));
                let named = named.or_else(|| base.map(behind));
                if named.is_some() {
                    self.protocol(above, signal);
                }
                named
            }
        };
        let more_headers = match (own.headers_env, both.headers_env.as_deref()) {
            (Some(name), _) => self.headers_of(&path.key("headers_env"), name, true),
            (None, Some(name)) => self.headers_of(&above.key("headers_env"), name, true),
            (None, None) => {
                let name = self.of_either(signal, "HEADERS").map(|(name, _)| name);
                name.and_then(|name| self.headers_of(&above.key("headers_env"), &name, false))
            }
        };
        let timeout = self.timeout(above, signal, both, own);
        let compression = self.compression(above, signal, both, own);
        Some(Way {
            endpoint: endpoint?,
            more_headers,
            timeout,
            compression,
        })
    }

    fn timeout(
        &mut self,
        above: &Path,
        signal: Signal,
        both: &raw::Otlp,
        own: Own<'_>,
    ) -> Duration {
        let range = 100 * MILLISECOND..=MINUTE;
        let (at, written) = match own.timeout {
            Some(_) => (above.key(signal.word()).key("timeout"), own.timeout),
            None => (above.key("timeout"), both.timeout.as_deref()),
        };
        let by_variable = match written {
            Some(_) => None,
            None => self.milliseconds_of(&at, self.of_either(signal, "TIMEOUT"), &range),
        };
        self.duration(&at, written, by_variable.unwrap_or(10 * SECOND), range)
    }

    fn compression(
        &mut self,
        above: &Path,
        signal: Signal,
        both: &raw::Otlp,
        own: Own<'_>,
    ) -> Compression {
        let (at, written) = match own.compression {
            Some(_) => (above.key(signal.word()).key("compression"), own.compression),
            None => (above.key("compression"), both.compression.as_deref()),
        };
        if let Some(written) = written {
            return Compression::named(written).unwrap_or_else(|| {
                self.error(&at, format!("{written} is not known"), "gzip or none");
                Compression::None
            });
        }
        let Some((name, said)) = self.of_either(signal, "COMPRESSION") else {
            return Compression::None;
        };
        Compression::named(&said).unwrap_or_else(|| {
            let text = format!("{name} is {said}, which is not known");
            self.warn(&at, text, "gzip or none; nothing is compressed");
            Compression::None
        })
    }

    /// Header fields that a variable holds; one that was written must be set.
    fn headers_of(&mut self, at: &Path, name: &str, written: bool) -> Option<SecretSource> {
        let value = self.otel(name).map(ToOwned::to_owned);
        let Some(value) = value else {
            if written {
                self.error(at, format!("the variable {name} is not set"), "");
            }
            return None;
        };
        let named = |pair: &str| {
            let name = pair.split_once('=').map(|(name, _)| name.trim());
            name.is_some_and(|name| name.parse::<HeaderName>().is_ok())
        };
        if !value.split(',').all(named) {
            let text = format!("{name} holds no list of header fields");
            self.error(at, text, "name=value, with commas between them");
            return None;
        }
        Some(SecretSource::Value {
            secret: Secret::new(value),
            variable: Some(name.to_owned()),
        })
    }

    fn collectors_headers(
        &mut self,
        path: &Path,
        written: &BTreeMap<String, raw::OtlpHeader>,
    ) -> Vec<(HeaderName, SecretSource)> {
        let mut headers = Vec::new();
        for (name, raw) in written {
            let at = path.key(name);
            let forms = Forms {
                key: "value",
                value: raw.value.as_ref(),
                file: raw.value_file.as_ref(),
                env: raw.value_env.as_ref(),
            };
            if !forms.given() {
                let hint = "give value, value_file or value_env";
                self.missing(&at, "has no value", hint);
            }
            let secret = self.secret(&at, forms);
            match name.parse::<HeaderName>() {
                Ok(name) => headers.extend(secret.map(|secret| (name, secret))),
                Err(_) => self.error(&at, "this is no name of a header field", ""),
            }
        }
        headers
    }

    fn sampling(&mut self, path: &Path, raw: Option<&raw::OtlpTraces>) -> Option<Sampling> {
        let written = raw.and_then(|raw| raw.sampling.as_deref());
        let by_variable = self.sampler(path);
        let heeds = raw.and_then(|raw| raw.heed_callers);
        let share = match written {
            None => by_variable?.share,
            Some("none") => return None,
            Some("parent") => Share::ALL,
            Some(number) => {
                let Some(share) = Share::parse(number) else {
                    let text = format!("{number} is no share");
                    let hint = "a number from 0 to 1, `parent` or `none`";
                    self.error(&path.key("sampling"), text, hint);
                    return None;
                };
                share
            }
        };
        let parents = match (heeds, written, by_variable) {
            (Some(true), ..) | (None, Some(_), _) => Parents::Followed,
            (Some(false), ..) => Parents::Ignored,
            (None, None, by_variable) => by_variable.map_or(Parents::Followed, |one| one.parents),
        };
        Some(Sampling { share, parents })
    }

    /// As `OTEL_TRACES_SAMPLER` says; `None`: `OTEL_TRACES_EXPORTER` wants none.
    fn sampler(&mut self, path: &Path) -> Option<Sampling> {
        if self.exporter(path, Signal::Traces) == Exporter::Elsewhere {
            return None;
        }
        let sampler = self.otel("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let sampler = sampler.to_owned();
        let (name, parents) = match sampler.strip_prefix("parentbased_") {
            Some(name) => (name, Parents::Followed),
            None => (sampler.as_str(), Parents::Ignored),
        };
        let share = match name {
            "" => return Some(Sampling::PARENT),
            "always_on" => Share::ALL,
            "always_off" => Share::NONE,
            "traceidratio" => self.sampler_argument(path),
            _ => {
                let text = format!("OTEL_TRACES_SAMPLER is {sampler}, which is not known");
                let hint = "parentbased_always_on is what holds";
                self.warn(&path.key("sampling"), text, hint);
                return Some(Sampling::PARENT);
            }
        };
        Some(Sampling { share, parents })
    }

    fn sampler_argument(&mut self, path: &Path) -> Share {
        let Some(said) = self.otel("OTEL_TRACES_SAMPLER_ARG").map(ToOwned::to_owned) else {
            return Share::ALL;
        };
        Share::parse(&said).unwrap_or_else(|| {
            let text = format!("OTEL_TRACES_SAMPLER_ARG is {said}, which is no share");
            self.warn(
                &path.key("sampling"),
                text,
                "a number from 0 to 1; all are kept",
            );
            Share::ALL
        })
    }

    fn metrics_every(&mut self, path: &Path, raw: Option<&raw::OtlpMetrics>) -> Option<Duration> {
        let written = raw.and_then(|raw| raw.every.as_deref());
        if written == Some("never")
            || (written.is_none() && self.exporter(path, Signal::Metrics) == Exporter::Elsewhere)
        {
            return None;
        }
        let (at, range) = (path.key("every"), SECOND..=HOUR);
        let name = "OTEL_METRIC_EXPORT_INTERVAL";
        let said = self.otel(name).filter(|_| written.is_none());
        let said = said.map(|said| (name.to_owned(), said.to_owned()));
        let by_variable = self.milliseconds_of(&at, said, &range);
        Some(self.duration(&at, written, by_variable.unwrap_or(30 * SECOND), range))
    }

    /// What is written counts more than what the variable says.
    fn of_the_program(&self, written: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let named = self.otel("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let pairs = named.split(',').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(key, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8_lossy();
            (key.trim().to_owned(), value.into_owned())
        });
        let mut all: BTreeMap<_, _> = pairs.collect();
        all.extend(written.clone());
        all
    }
}

fn below(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    let above = endpoint.path().trim_end_matches('/');
    url.set_path(&format!("{above}/{path}"));
    url
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
