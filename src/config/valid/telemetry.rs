//! Where traces and metrics are sent: what is written, and otherwise what OpenTelemetry's variables
//! say, which are for all programs of a machine.

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{
    super::{Otlp, OtlpMetrics, OtlpTraces, SecretSource, path::Path, raw},
    Check,
    files::Forms,
    scalar::{HOUR, MILLISECOND, MINUTE, SECOND},
};
use crate::{
    secret::Secret,
    trace::{Parents, Sampling, Share},
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

impl Check<'_> {
    /// The collector, if there is one.
    pub(super) fn telemetry(&mut self, raw: Option<&raw::Telemetry>) -> Option<Otlp> {
        let default = raw::Telemetry::default();
        let raw = raw.unwrap_or(&default);
        let no_otlp = raw::Otlp::default();
        let otlp = raw.otlp.as_ref().unwrap_or(&no_otlp);
        let above = Path::root().key("telemetry");
        let path = above.key("otlp");
        let disabled = self.otel("OTEL_SDK_DISABLED");
        let disabled = disabled.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let endpoint = self.collector(&path, otlp.endpoint.as_deref(), raw.otlp.is_some());
        let more_headers = self.more_headers(&path, otlp.headers_env.as_deref());
        let headers = self.collectors_headers(&path.key("headers"), &otlp.headers);
        let timeout = self.duration(
            &path.key("timeout"),
            otlp.timeout.as_deref(),
            10 * SECOND,
            100 * MILLISECOND..=MINUTE,
        );
        let sampling = self.sampling(&path.key("traces"), otlp.traces.as_ref());
        let endpoint = endpoint?;
        let secret = !headers.is_empty() || more_headers.is_some();
        if endpoint.scheme() == "http" && secret && !is_loopback(&endpoint) {
            self.warn(
                &path.key("endpoint"),
                "the header fields of the collector go there unencrypted",
                "use https, or a collector on this machine",
            );
        }
        let port = endpoint.port_or_known_default().unwrap_or(443);
        let tls = self.client_tls(&path.key("tls"), otlp.tls.as_ref(), port);
        let mut resource = self.of_the_program(&raw.resource);
        let every = self.metrics_every(&path.key("metrics"), otlp.metrics.as_ref());
        let metrics_to = below(&endpoint, "v1/metrics");
        let traces_to = below(&endpoint, "v1/traces");
        (!disabled).then(|| Otlp {
            traces: sampling.map(|sampling| OtlpTraces {
                endpoint: traces_to,
                sampling,
            }),
            metrics: every.map(|every| OtlpMetrics {
                endpoint: metrics_to,
                every,
            }),
            endpoint,
            headers,
            more_headers,
            timeout,
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

    /// A variable of OpenTelemetry's; an empty one is not set.
    fn otel(&self, name: &str) -> Option<&str> {
        let value = self.environment.values.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    fn collector(&mut self, path: &Path, written: Option<&str>, asked_for: bool) -> Option<Url> {
        let at = path.key("endpoint");
        if let Some(written) = written {
            return self.url(&at, written);
        }
        let Some(named) = self.otel(ENDPOINT).map(ToOwned::to_owned) else {
            if asked_for {
                let hint = format!("such as http://127.0.0.1:4318; or set {ENDPOINT}");
                self.missing(path, "has no endpoint", hint);
            }
            return None;
        };
        if let Some(protocol) = self.otel("OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/protobuf"
        {
            let text = format!("OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}");
            let hint = "http/protobuf is spoken: the endpoint's port is usually 4318";
            self.warn(&at, text, hint);
        }
        match Url::parse(&named) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                let hint = "write it as http://127.0.0.1:4318";
                self.error(&at, format!("{ENDPOINT} is no http or https URL"), hint);
                None
            }
        }
    }

    fn more_headers(&mut self, path: &Path, written: Option<&str>) -> Option<SecretSource> {
        let name = written.unwrap_or(HEADERS);
        let value = self.otel(name).map(ToOwned::to_owned);
        let at = path.key("headers_env");
        let Some(value) = value else {
            if written.is_some() {
                self.error(&at, format!("the variable {name} is not set"), "");
            }
            return None;
        };
        let named = |pair: &str| {
            let name = pair.split_once('=').map(|(name, _)| name.trim());
            name.is_some_and(|name| name.parse::<HeaderName>().is_ok())
        };
        if !value.split(',').all(named) {
            let text = format!("{name} holds no list of header fields");
            self.error(&at, text, "name=value, with commas between them");
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
        if self.otel("OTEL_TRACES_EXPORTER") == Some("none") {
            return None;
        }
        let argument = self.otel("OTEL_TRACES_SAMPLER_ARG").and_then(Share::parse);
        let sampler = self.otel("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let (name, parents) = match sampler.strip_prefix("parentbased_") {
            Some(name) => (name, Parents::Followed),
            None => (sampler, Parents::Ignored),
        };
        let share = match name {
            "" => return Some(Sampling::PARENT),
            "always_on" => Share::ALL,
            "always_off" => Share::NONE,
            "traceidratio" => argument.unwrap_or(Share::ALL),
            _ => {
                let text = format!("OTEL_TRACES_SAMPLER is {sampler}, which is not known");
                let hint = "parentbased_always_on is what holds";
                self.warn(&path.key("sampling"), text, hint);
                return Some(Sampling::PARENT);
            }
        };
        Some(Sampling { share, parents })
    }

    fn metrics_every(&mut self, path: &Path, raw: Option<&raw::OtlpMetrics>) -> Option<Duration> {
        let written = raw.and_then(|raw| raw.every.as_deref());
        let off = self.otel("OTEL_METRICS_EXPORTER") == Some("none");
        if written == Some("never") || (written.is_none() && off) {
            return None;
        }
        let range = SECOND..=HOUR;
        Some(self.duration(&path.key("every"), written, 30 * SECOND, range))
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
