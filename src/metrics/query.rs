//! `PromQL` with the names of the list in it: no dashboard or alert can ask for what is not there.

use super::list::Metric;

/// `PromQL` with `%` wherever a metric is named; in order, the metrics.
#[derive(Debug)]
pub(super) struct Query(pub &'static str, pub &'static [&'static Metric]);

impl Query {
    /// With the names. A name that is missing is not there, and is found by the tests.
    pub(super) fn text(&self) -> String {
        let mut metrics = self.1.iter();
        let mut parts = self.0.split('%');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text += &metrics
                .next()
                .map(|metric| metric.series())
                .unwrap_or_default();
            text += part;
        }
        text
    }
}

#[cfg(test)]
impl Query {
    /// What is asked for that the list has not: too many or too few metrics, or an unknown label.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.0.matches('%').count() != self.1.len() {
            mistakes.push(format!("{}: not as many metrics as places", self.0));
        }
        let known: Vec<_> = self
            .1
            .iter()
            .flat_map(|metric| metric.label_names())
            .collect();
        let selectors = self
            .0
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next());
        let groups = self
            .0
            .split("by (")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let asked = selectors
            .flat_map(|selector| selector.split(','))
            .map(|pair| pair.split(['=', '!']).next().unwrap_or_default())
            .chain(groups.flat_map(|group| group.split(',')));
        for label in asked.map(str::trim) {
            let usual = ["job", "instance", "le"].contains(&label);
            if !usual && !known.contains(&label) {
                mistakes.push(format!("{}: no label `{label}`", self.0));
            }
        }
        mistakes
    }
}
