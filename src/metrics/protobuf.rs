//! Prometheus' protobuf exposition (`io.prometheus.client.MetricFamily`, delimited): the one that
//! carries native histograms. The classic buckets go with them, for who wants those.
//!
//! The messages are those of `io/prometheus/client/metrics.proto`, as far as we have any of it.

use prost::{Enumeration, Message};

use super::{
    histogram::{HistogramTotal, SCHEMA},
    list::{self, Metric},
    scrape::{Scraped, Series, Value},
};

/// All families, each with its length before it.
pub fn delimited(all: &[Scraped]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * 1024);
    for scraped in all.iter().filter(|scraped| !scraped.series.is_empty()) {
        let metric = scraped.metric;
        let family = MetricFamily {
            name: Some(metric.series()),
            help: Some(metric.help.to_owned()),
            kind: Some(kind(metric).into()),
            metric: scraped.series.iter().map(|one| row(metric, one)).collect(),
        };
        out.extend(family.encode_length_delimited_to_vec());
    }
    out
}

fn kind(metric: &Metric) -> MetricType {
    match metric.kind {
        list::Kind::Counter => MetricType::Counter,
        list::Kind::Gauge | list::Kind::Info => MetricType::Gauge,
        list::Kind::Histogram => MetricType::Histogram,
    }
}

fn row(metric: &Metric, series: &Series) -> Row {
    let names = metric.labels.iter().map(|label| label.name.to_owned());
    let labels = names.zip(series.labels.iter().cloned());
    let mut row = Row {
        label: labels
            .map(|(name, value)| LabelPair {
                name: Some(name),
                value: Some(value),
            })
            .collect(),
        ..Row::default()
    };
    let number = Number {
        value: Some(series.value.as_f64()),
    };
    match (&series.value, metric.kind) {
        (Value::Histogram(total), _) => row.histogram = Some(histogram(total)),
        (_, list::Kind::Counter) => row.counter = Some(number),
        _ => row.gauge = Some(number),
    }
    row
}

fn histogram(total: &HistogramTotal) -> Histogram {
    let mut below = 0;
    let bucket = total.classic().into_iter().map(|(end, number)| {
        below += number;
        Bucket {
            cumulative_count: Some(below),
            upper_bound: Some(end),
        }
    });
    let bucket = bucket.collect();
    let (positive_span, positive_delta) = spans(&total.native());
    Histogram {
        sample_count: Some(total.count()),
        sample_sum: Some(total.sum()),
        bucket,
        schema: Some(SCHEMA),
        zero_threshold: Some(total.zero_threshold()),
        zero_count: Some(total.zeros()),
        positive_span,
        positive_delta,
    }
}

/// Runs of buckets, each with its distance from the end of the one before, and what each bucket
/// has more than the one before it.
fn spans(buckets: &[(i32, u64)]) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut next, mut before) = (0, 0_i64);
    for (index, number) in buckets {
        match spans.last_mut() {
            Some(span) if next == *index => {
                span.length = span.length.map(|length| length + 1);
            }
            _ => spans.push(BucketSpan {
                offset: Some(index - next),
                length: Some(1),
            }),
        }
        next = index + 1;
        let number = number.cast_signed();
        deltas.push(number - before);
        before = number;
    }
    (spans, deltas)
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

/// `Metric`.
#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

/// `Gauge` and `Counter`.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_span_and_numbers_are_told_by_their_difference() {
        let span = |offset, length| BucketSpan {
            offset: Some(offset),
            length: Some(length),
        };
        assert_eq!(
            spans(&[(-9, 5), (-8, 2), (-5, 2), (3, 7)]),
            (vec![span(-9, 2), span(2, 1), span(7, 1)], vec![5, -3, 0, 5])
        );
        assert_eq!(spans(&[]), (vec![], vec![]));
    }

    #[test]
    fn each_family_says_how_long_it_is() {
        let mut requests = Scraped::of(&list::REQUESTS);
        requests.push(vec!["a".into(), "2xx".into()], Value::Count(3));
        let gauge = Scraped::one(&list::CONNECTIONS, Value::Level(-1));
        let bytes = delimited(&[requests, Scraped::of(&list::SIGN_INS), gauge]);
        let mut rest = &bytes[..];
        let first = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        let second = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            first.name.as_deref(),
            Some("itwin_auth_proxy_requests_total")
        );
        assert_eq!(first.kind(), MetricType::Counter);
        let number = |value| Some(Number { value: Some(value) });
        assert_eq!(first.metric[0].counter, number(3.0));
        assert_eq!(first.metric[0].label[1].value.as_deref(), Some("2xx"));
        assert_eq!(second.metric[0].gauge, number(-1.0));
    }
}
