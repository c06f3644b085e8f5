//! The two text formats: OpenMetrics 1.0, and the older one of Prometheus that people read.
//!
//! They differ in what a family is called: in the older one it has its series' name, and information
//! is a gauge. What has no series is left out, but for its name where OpenMetrics may have it.

use super::{
    list::Kind,
    scrape::{Scraped, Series, Value},
};

/// OpenMetrics 1.0, complete.
pub fn open_metrics(all: &[Scraped]) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for scraped in all.iter().filter(|scraped| !scraped.series.is_empty()) {
        let metric = scraped.metric;
        let family = metric.family();
        push(&mut out, &["# HELP ", &family, " ", metric.help, "\n"]);
        push(
            &mut out,
            &["# TYPE ", &family, " ", metric.kind.as_str(), "\n"],
        );
        if let Some(unit) = metric.unit() {
            push(&mut out, &["# UNIT ", &family, " ", unit, "\n"]);
        }
        series(&mut out, scraped);
    }
    out.push_str("# EOF\n");
    out
}

/// The text format 0.0.4.
pub fn prometheus(all: &[Scraped]) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for scraped in all.iter().filter(|scraped| !scraped.series.is_empty()) {
        let metric = scraped.metric;
        let name = metric.series();
        let kind = match metric.kind {
            Kind::Info => Kind::Gauge,
            other => other,
        };
        push(&mut out, &["# HELP ", &name, " ", metric.help, "\n"]);
        push(&mut out, &["# TYPE ", &name, " ", kind.as_str(), "\n"]);
        series(&mut out, scraped);
    }
    out
}

fn series(out: &mut String, scraped: &Scraped) {
    let name = scraped.metric.series();
    for one in &scraped.series {
        match &one.value {
            Value::Histogram(total) => {
                let mut below = 0;
                for (end, number) in total.classic() {
                    below += number;
                    let end = float(end);
                    line(
                        out,
                        (&name, "_bucket"),
                        scraped,
                        one,
                        Some(&end),
                        &below.to_string(),
                    );
                }
                line(
                    out,
                    (&name, "_count"),
                    scraped,
                    one,
                    None,
                    &below.to_string(),
                );
                let sum = float(total.sum());
                line(out, (&name, "_sum"), scraped, one, None, &sum);
            }
            Value::Count(number) => {
                line(out, (&name, ""), scraped, one, None, &number.to_string());
            }
            Value::Level(number) => {
                line(out, (&name, ""), scraped, one, None, &number.to_string());
            }
            Value::Measure(number) => {
                line(out, (&name, ""), scraped, one, None, &float(*number));
            }
        }
    }
}

fn line(
    out: &mut String,
    (name, suffix): (&str, &str),
    scraped: &Scraped,
    series: &Series,
    le: Option<&str>,
    value: &str,
) {
    push(out, &[name, suffix]);
    let names = scraped.metric.labels.iter().map(|label| label.name);
    let values = series.labels.iter().map(String::as_str);
    let labels = names.zip(values).chain(le.map(|le| ("le", le)));
    let mut before = "{";
    for (name, value) in labels {
        push(out, &[before, name, "=\""]);
        escape(out, value);
        out.push('"');
        before = ",";
    }
    if before == "," {
        out.push('}');
    }
    push(out, &[" ", value, "\n"]);
}

/// As Go and OpenMetrics write it: `1.0`, not `1`.
fn float(number: f64) -> String {
    if number == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        format!("{number:?}")
    }
}

fn escape(out: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

fn push(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::list;

    fn example() -> Vec<Scraped> {
        let mut requests = Scraped::of(&list::REQUESTS);
        requests.push(vec!["# \"a\"\\\n".into(), "2xx".into()], Value::Count(1));
        let build = Scraped::of(&list::BUILD);
        let mut info = build.clone();
        info.push(vec!["1".into()], Value::Level(1));
        vec![
            requests,
            info,
            Scraped::of(&list::SIGN_INS),
            Scraped::one(&list::PROCESS_START, Value::Measure(3.0)),
        ]
    }

    #[test]
    fn openmetrics_names_families_apart_from_their_series() {
        assert_eq!(
            open_metrics(&example()),
            "# HELP itwin_auth_proxy_requests Requests finished, by the status the caller saw\n\
             # TYPE itwin_auth_proxy_requests counter\n\
             itwin_auth_proxy_requests_total{route=\"# \\\"a\\\"\\\\\\n\",status=\"2xx\"} 1\n\
             # HELP itwin_auth_proxy_build What is running\n\
             # TYPE itwin_auth_proxy_build info\n\
             itwin_auth_proxy_build_info{version=\"1\"} 1\n\
             # HELP process_start_time_seconds Unix time at which the process started\n\
             # TYPE process_start_time_seconds gauge\n\
             # UNIT process_start_time_seconds seconds\n\
             process_start_time_seconds 3.0\n# EOF\n"
        );
    }

    #[test]
    fn the_older_format_names_counters_with_their_total() {
        assert_eq!(
            prometheus(&example()),
            "# HELP itwin_auth_proxy_requests_total Requests finished, by the status the caller saw\n\
             # TYPE itwin_auth_proxy_requests_total counter\n\
             itwin_auth_proxy_requests_total{route=\"# \\\"a\\\"\\\\\\n\",status=\"2xx\"} 1\n\
             # HELP itwin_auth_proxy_build_info What is running\n\
             # TYPE itwin_auth_proxy_build_info gauge\n\
             itwin_auth_proxy_build_info{version=\"1\"} 1\n\
             # HELP process_start_time_seconds Unix time at which the process started\n\
             # TYPE process_start_time_seconds gauge\n\
             process_start_time_seconds 3.0\n"
        );
    }
}
