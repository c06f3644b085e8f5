//! Which format a scraper gets: protobuf, which has native histograms, OpenMetrics 1.0, or
//! Prometheus' older text.

use http::{HeaderMap, HeaderValue, header};

use crate::metrics::{Scraped, protobuf, text};

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// Protobuf or OpenMetrics for who names it, the one that is preferred, whatever else is
    /// accepted: a person with curl, who accepts everything, is better off with the older text.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let ranges = accepted.filter_map(|value| value.to_str().ok());
        let named = ranges.flat_map(|text| text.split(',')).filter_map(named);
        // the first of those that are equally welcome
        let best = named.reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.filter(|(_, quality)| *quality > 0.0)
            .map_or(Self::Prometheus, |(format, _)| format)
    }

    pub(super) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        })
    }

    pub(super) fn write(self, all: &[Scraped]) -> Vec<u8> {
        match self {
            Self::Protobuf => protobuf::delimited(all),
            Self::OpenMetrics => text::open_metrics(all).into(),
            Self::Prometheus => text::prometheus(all).into(),
        }
    }
}

/// What a media range names, if it is one of ours, and how welcome it is.
fn named(range: &str) -> Option<(Format, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    let mut quality = 1.0;
    let (mut version, mut proto, mut encoding) = ("1.0.0", "", "");
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "q" => quality = value.parse().unwrap_or(0.0),
            "version" => version = value,
            "proto" => proto = value,
            "encoding" => encoding = value,
            _ => {}
        }
    }
    if media.eq_ignore_ascii_case("application/openmetrics-text") && version != "0.0.1" {
        return Some((Format::OpenMetrics, quality));
    }
    let ours = proto == "io.prometheus.client.MetricFamily" && encoding == "delimited";
    let protobuf = media.eq_ignore_ascii_case("application/vnd.google.protobuf") && ours;
    protobuf.then_some((Format::Protobuf, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::asked_for(&headers)
    }

    #[test]
    fn prometheus_gets_what_it_prefers_and_curl_the_older_format() {
        let scraper = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                       application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1";
        assert_eq!(asked(scraper), Format::OpenMetrics);
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                      application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(asked(native), Format::Protobuf);
        let last = "application/openmetrics-text;version=1.0.0;q=0.6,application/vnd.google.protobuf;\
                    proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5";
        assert_eq!(asked(last), Format::OpenMetrics);
        assert_eq!(
            asked("application/vnd.google.protobuf;encoding=text"),
            Format::Prometheus
        );
        assert_eq!(asked("*/*"), Format::Prometheus);
        assert_eq!(asked("text/plain"), Format::Prometheus);
        assert_eq!(
            asked("application/openmetrics-text; q=0"),
            Format::Prometheus
        );
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Prometheus);
    }
}
