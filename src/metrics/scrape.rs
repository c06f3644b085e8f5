//! What a scrape sees: all numbers at one time, apart from how they are written down.
//!
//! `text` and `protobuf` write it for Prometheus; who sends metrics elsewhere begins here, too.

use super::{histogram::HistogramTotal, list::Metric};

/// A metric and its series.
#[derive(Debug, Clone)]
pub struct Scraped {
    pub metric: &'static Metric,
    pub series: Vec<Series>,
}

/// One combination of label values.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the order of the metric's labels.
    pub labels: Vec<String>,
    pub value: Value,
}

/// What a series is at the moment.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge that is a whole number.
    Level(i64),
    /// Of anything that is measured.
    Measure(f64),
    Histogram(HistogramTotal),
}

impl Scraped {
    /// No series yet.
    pub fn of(metric: &'static Metric) -> Self {
        Self {
            metric,
            series: Vec::new(),
        }
    }

    /// One series, without labels.
    pub fn one(metric: &'static Metric, value: Value) -> Self {
        let mut scraped = Self::of(metric);
        scraped.push(Vec::new(), value);
        scraped
    }

    pub fn push(&mut self, labels: Vec<String>, value: Value) {
        debug_assert_eq!(
            labels.len(),
            self.metric.labels.len(),
            "{}",
            self.metric.name
        );
        self.series.push(Series { labels, value });
    }
}

impl Value {
    /// For what is one number; that of a histogram is how much it has seen.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows no other numbers"
    )]
    pub fn as_f64(&self) -> f64 {
        match self {
            Self::Count(number) => *number as f64,
            Self::Level(number) => *number as f64,
            Self::Measure(number) => *number,
            Self::Histogram(total) => total.count() as f64,
        }
    }
}

/// Families that are filled row by row, in this order.
pub(super) struct Columns(Vec<Scraped>);

impl Columns {
    pub(super) fn of(metrics: &[&'static Metric]) -> Self {
        Self(metrics.iter().map(|metric| Scraped::of(metric)).collect())
    }

    /// One more series of `metric`, which must be one of these.
    pub(super) fn push(&mut self, metric: &'static Metric, labels: Vec<String>, value: Value) {
        let column = self.0.iter_mut().find(|one| one.metric == metric);
        debug_assert!(column.is_some(), "{}", metric.name);
        if let Some(column) = column {
            column.push(labels, value);
        }
    }
}

impl From<Columns> for Vec<Scraped> {
    fn from(columns: Columns) -> Self {
        columns.0
    }
}
