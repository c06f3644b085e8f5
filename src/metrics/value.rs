//! Numbers that any thread may write: what is counted seldom, or belongs to no thread.
//!
//! Counters and gauges are handles: clones share. A [`Family`] has one for each combination of
//! label values, and creates it when it is first asked for.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use super::scrape::{Scraped, Value};

/// Goes up.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn inc(&self) {
        self.inc_by(1);
    }

    pub fn inc_by(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down; a whole number.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is measured, such as a time: 0 until it is known.
#[derive(Debug, Clone, Default)]
pub struct Measure(Arc<AtomicU64>);

impl Measure {
    pub fn set(&self, now: f64) {
        self.0.store(now.to_bits(), Ordering::Relaxed);
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// What can be shown as one number.
pub trait Shown: Clone + Default {
    fn shown(&self) -> Value;
}

impl Shown for Counter {
    fn shown(&self) -> Value {
        Value::Count(self.get())
    }
}

impl Shown for Gauge {
    fn shown(&self) -> Value {
        Value::Level(self.get())
    }
}

impl Shown for Measure {
    fn shown(&self) -> Value {
        Value::Measure(self.get())
    }
}

/// The values of a family's labels, in the order of the list.
pub trait Labels: Clone + Eq + Hash {
    /// What the labels are called.
    const NAMES: &'static [&'static str];

    fn values(&self) -> Vec<String>;
}

/// Declares the labels of a family: a struct whose fields are their names.
macro_rules! labels {
    ($($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$about:meta])* $label:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        $vis struct $name { $($(#[$about])* pub $label: $kind),* }

        impl $crate::metrics::value::Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($label)),*];

            fn values(&self) -> Vec<String> {
                vec![$(self.$label.to_string()),*]
            }
        }
    )*};
}
pub(super) use labels;

/// One number for each combination of label values. Clones share.
#[derive(Debug, Clone)]
pub struct Family<L, N>(Arc<RwLock<HashMap<L, N>>>);

impl<L, N> Default for Family<L, N> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<L: Labels, N: Shown> Family<L, N> {
    /// The number for `labels`; it is shown from now on.
    pub fn get_or_create(&self, labels: &L) -> N {
        if let Some(number) = self.0.read().get(labels) {
            return number.clone();
        }
        self.0.write().entry(labels.clone()).or_default().clone()
    }

    /// Shows it no longer.
    pub fn remove(&self, labels: &L) {
        self.0.write().remove(labels);
    }

    pub(super) fn scrape(&self, into: &mut Scraped) {
        debug_assert_eq!(into.metric.label_names(), L::NAMES);
        let all = self.0.read();
        let mut series: Vec<_> = all
            .iter()
            .map(|(labels, number)| (labels.values(), number.shown()))
            .collect();
        drop(all);
        series.sort_by(|one, other| one.0.cmp(&other.0));
        for (labels, value) in series {
            into.push(labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    labels! {
        /// For the test.
        struct Two { route: String, code: &'static str }
    }

    #[test]
    fn a_family_has_a_number_for_each_combination_of_labels() {
        let family = Family::<Two, Counter>::default();
        let of = |route: &str, code| Two {
            route: route.to_owned(),
            code,
        };
        family.get_or_create(&of("a", "x")).inc();
        family.clone().get_or_create(&of("a", "x")).inc_by(2);
        family.get_or_create(&of("b", "x")).inc();
        assert_eq!(family.get_or_create(&of("a", "x")).get(), 3);
        assert_eq!(family.get_or_create(&of("b", "x")).get(), 1);
        family.remove(&of("b", "x"));
        assert_eq!(family.get_or_create(&of("b", "x")).get(), 0);
        assert_eq!(Two::NAMES, ["route", "code"]);
    }
}
