//! Metrics as OTLP has them: cumulative, histograms by their exponential buckets.
//!
//! Names are those of `/metrics`, without `_total`, so that a store that is fed in both ways has one
//! name for one thing.

use std::time::Duration;

use super::{
    proto::{
        Any, Buckets, Data, ExponentialHistogram, ExponentialPoint, Gauge, KeyValue, Metric,
        MetricsRequest, Number, NumberPoint, Resource, ResourceMetrics, ScopeMetrics, Sum,
        Temporality, attribute,
    },
    spans::{SCHEMA, nanos, scope},
};
use crate::metrics::{
    HistogramTotal, SCHEMA as SCALE, Scraped, Series, Value,
    list::{Kind, Metric as Listed},
};

/// When counting began, and when it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begun: Duration,
    pub(super) now: Duration,
}

/// One request with all of these; and how many series they are.
pub(super) fn request(all: &[Scraped], span: Span, resource: &Resource) -> (MetricsRequest, usize) {
    let series = all.iter().map(|scraped| scraped.series.len()).sum();
    let filled = all.iter().filter(|scraped| !scraped.series.is_empty());
    let request = MetricsRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: filled.map(|scraped| metric(scraped, span)).collect(),
            }],
            schema_url: SCHEMA.to_owned(),
        }],
    };
    (request, series)
}

fn metric(scraped: &Scraped, span: Span) -> Metric {
    let listed = scraped.metric;
    let series = scraped.series.iter();
    let data = match listed.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: series.map(|one| point(listed, one, span)).collect(),
            aggregation_temporality: Temporality::Cumulative.into(),
            is_monotonic: true,
        }),
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge {
            data_points: series.map(|one| point(listed, one, span)).collect(),
        }),
        Kind::Histogram => {
            let points = series.filter_map(|one| match &one.value {
                Value::Histogram(total) => Some(histogram(listed, one, total, span)),
                _ => None,
            });
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: points.collect(),
                aggregation_temporality: Temporality::Cumulative.into(),
            })
        }
    };
    let unit = match listed.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    };
    Metric {
        name: listed.family(),
        description: listed.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

fn attributes(listed: &Listed, series: &Series) -> Vec<KeyValue> {
    let pairs = listed.labels.iter().zip(&series.labels);
    let pairs = pairs.map(|(label, value)| attribute(label.name, Any::Text(value.clone())));
    pairs.collect()
}

fn point(listed: &Listed, series: &Series, span: Span) -> NumberPoint {
    let value = match &series.value {
        Value::Count(number) => Number::Int(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Level(number) => Number::Int(*number),
        other => Number::Double(other.as_f64()),
    };
    NumberPoint {
        start_time_unix_nano: match listed.kind {
            Kind::Counter => nanos(span.begun),
            _ => 0,
        },
        time_unix_nano: nanos(span.now),
        value: Some(value),
        attributes: attributes(listed, series),
    }
}

/// Prometheus numbers a bucket by its upper end, OTLP by its lower one.
fn histogram(
    listed: &Listed,
    series: &Series,
    total: &HistogramTotal,
    span: Span,
) -> ExponentialPoint {
    let buckets = total.native();
    let positive = match (buckets.first(), buckets.last()) {
        (Some((first, _)), Some((last, _))) => {
            let mut counts = vec![0; usize::try_from(last - first + 1).unwrap_or(0)];
            for (index, number) in &buckets {
                if let Ok(at) = usize::try_from(index - first) {
                    counts[at] = *number;
                }
            }
            Some(Buckets {
                offset: first - 1,
                bucket_counts: counts,
            })
        }
        _ => None,
    };
    ExponentialPoint {
        attributes: attributes(listed, series),
        start_time_unix_nano: nanos(span.begun),
        time_unix_nano: nanos(span.now),
        count: total.count(),
        sum: Some(total.sum()),
        scale: SCALE,
        zero_count: total.zeros(),
        positive,
        zero_threshold: total.zero_threshold(),
    }
}
