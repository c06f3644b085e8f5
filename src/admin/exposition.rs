//! Which text format a scraper gets: OpenMetrics 1.0, or Prometheus' older one.
//!
//! Our metrics are made as OpenMetrics. Who does not ask for that gets the same lines in the older
//! format, which names counters with their `_total` and knows neither `info` nor `# EOF`.

use http::{HeaderMap, HeaderValue, header};

/// The two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// OpenMetrics for who accepts it, whatever else is accepted: Prometheus prefers it, and a
    /// person with curl, who accepts everything, is better off with the older one.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().any(|value| {
            value.to_str().is_ok_and(|text| {
                text.split(',').any(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let media = parts.next().unwrap_or_default();
                    media.eq_ignore_ascii_case("application/openmetrics-text")
                        && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "version=0.0.1"))
                })
            })
        });
        if accepted {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        })
    }

    /// OpenMetrics text in this format.
    pub(super) fn write(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => prometheus(&open_metrics),
        }
    }
}

fn prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + 1024);
    // HELP stands before TYPE, but what it is called depends on the type
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), text) => {
                help = Some((name, text.unwrap_or_default()));
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                    push(&mut out, &["# HELP ", name, suffix, " ", text, "\n"]);
                }
                push(&mut out, &["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            (Some("#"), ..) => {}
            _ => push(&mut out, &[line, "\n"]),
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    out.extend(parts.iter().copied());
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
    fn prometheus_gets_openmetrics_and_curl_the_older_format() {
        let scraper = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                       application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1";
        assert_eq!(asked(scraper), Format::OpenMetrics);
        assert_eq!(asked("*/*"), Format::Prometheus);
        assert_eq!(asked("text/plain"), Format::Prometheus);
        assert_eq!(
            asked("application/openmetrics-text; q=0"),
            Format::Prometheus
        );
        assert_eq!(Format::asked_for(&HeaderMap::new()), Format::Prometheus);
    }

    #[test]
    fn the_older_format_names_counters_with_their_total() {
        let open_metrics = "# HELP x_requests Requests finished.\n# TYPE x_requests counter\n\
                            x_requests_total{route=\"# a\"} 1\n# HELP x_build What runs.\n\
                            # TYPE x_build info\nx_build_info{version=\"1\"} 1\n\
                            # HELP x_open Open.\n# TYPE x_open gauge\n# UNIT x_open seconds\nx_open 3\n# EOF\n";
        assert_eq!(
            prometheus(open_metrics),
            "# HELP x_requests_total Requests finished.\n# TYPE x_requests_total counter\n\
             x_requests_total{route=\"# a\"} 1\n# HELP x_build_info What runs.\n\
             # TYPE x_build_info gauge\nx_build_info{version=\"1\"} 1\n\
             # HELP x_open Open.\n# TYPE x_open gauge\nx_open 3\n"
        );
    }
}
