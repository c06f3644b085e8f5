//! `deploy/observability/dashboard.json`: the panels, as Grafana imports them.

use serde_json::{Value, json};

use super::{
    list::BUILD,
    panels::{Panel, ROWS, Row},
    query::Query,
};

/// What all queries look at.
const SELECTED: &str = r#"job=~"$job",instance=~"$instance""#;

/// The dashboard, as Grafana 10 or later imports it.
pub fn json() -> String {
    let mut panels = Vec::new();
    let (mut y, mut id) = (0, 1);
    for Row(title, row) in ROWS {
        let place = json!({"x": 0, "y": y, "w": 24, "h": 1});
        panels
            .push(json!({"id": id, "type": "row", "title": title, "gridPos": place, "panels": []}));
        (y, id) = (y + 1, id + 1);
        let mut x = 0;
        for panel in *row {
            if x + panel.width > 24 {
                (x, y) = (0, y + panel.height());
            }
            panels.push(panel.json(id, x, y));
            (x, id) = (x + panel.width, id + 1);
        }
        y += row.last().map_or(0, Panel::height);
    }
    let variable = |name: &str, query: String| {
        json!({
            "name": name, "label": name, "type": "query", "datasource": datasource(),
            "query": {"query": query, "refId": name}, "refresh": 2, "multi": true,
            "includeAll": true, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
        })
    };
    let build = BUILD.series();
    let dashboard = json!({
        "title": "itwin-auth-proxy",
        "uid": "itwin-auth-proxy",
        "description": "Made by `itwin-auth-proxy schema --dashboard`.",
        "tags": ["itwin", "oauth2"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            variable("job", format!("label_values({build}, job)")),
            variable("instance", format!("label_values({build}{{job=~\"$job\"}}, instance)")),
        ]},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Panel {
    fn height(&self) -> u64 {
        if self.kind == "stat" { 4 } else { 8 }
    }

    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let queries = self.queries.iter().zip('A'..);
        let targets = queries.map(|((query, legend), letter)| {
            json!({
                "refId": letter.to_string(),
                "datasource": datasource(),
                "expr": selected(query),
                "legendFormat": legend,
            })
        });
        json!({
            "id": id, "type": self.kind, "title": self.title, "description": self.description(),
            "datasource": datasource(), "targets": targets.collect::<Vec<_>>(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height()},
            "fieldConfig": {"defaults": {"unit": self.unit}, "overrides": []},
        })
    }

    /// What the list says of what is shown.
    fn description(&self) -> String {
        let mut said = Vec::new();
        for metric in self.queries.iter().flat_map(|(query, _)| query.1) {
            let text = match metric.purpose {
                "" => format!("`{}`: {}.", metric.series(), metric.help),
                purpose => format!("`{}`: {}. {purpose}", metric.series(), metric.help),
            };
            if !said.contains(&text) {
                said.push(text);
            }
        }
        said.join("\n\n")
    }
}

/// The query, of the instances that are chosen.
fn selected(query: &Query) -> String {
    let mut text = String::new();
    let mut metrics = query.1.iter();
    let mut parts = query.0.split('%');
    text += parts.next().unwrap_or_default();
    for part in parts {
        text += &metrics
            .next()
            .map(|metric| metric.series())
            .unwrap_or_default();
        // a suffix of a histogram belongs to the name
        let end = part
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(part.len());
        let (suffix, rest) = part.split_at(end);
        text += suffix;
        match rest.strip_prefix('{') {
            Some(more) => text.extend(["{", SELECTED, ",", more]),
            None => text.extend(["{", SELECTED, "}", rest]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        alerts::ALERTS,
        list::{self as m, ALL, Kind, Metric},
    };

    #[test]
    fn panels_ask_for_what_there_is() {
        for panel in ROWS.iter().flat_map(|row| row.1) {
            for (query, _) in panel.queries {
                assert_eq!(query.mistakes(), [""; 0], "{}", panel.title);
            }
        }
    }

    #[test]
    fn a_query_is_of_the_instances_that_are_chosen() {
        const QUERY: Query = Query(
            r#"rate(%_sum{status="5xx"}[5m]) / %"#,
            &[&m::REQUEST_DURATION, &m::CONNECTIONS],
        );
        assert_eq!(
            selected(&QUERY),
            "rate(itwin_auth_proxy_request_duration_seconds_sum{job=~\"$job\",instance=~\"$instance\",status=\"5xx\"}[5m]) \
             / itwin_auth_proxy_connections{job=~\"$job\",instance=~\"$instance\"}"
        );
    }

    /// What is neither pictured nor watched is here, on purpose.
    const LOOKED_UP: [&Metric; 18] = [
        &m::TOKEN_EXPIRY,
        &m::CONNECTIONS_HANDED_OVER,
        &m::REDIRECTED_CONNECTIONS,
        &m::TUNNEL_BYTES,
        &m::LISTENER_CONNECTIONS,
        &m::UPSTREAM_CONNECTIONS_REUSED,
        &m::TOKENS_HANDED_OUT,
        &m::REVOKED_TOKENS_REFUSED,
        &m::CACHE_ENTRIES,
        &m::CACHE_EVICTIONS,
        &m::SESSIONS_ENDED,
        &m::PROCESS_START,
        &m::PROCESS_THREADS,
        &m::ADMISSIONS,
        &m::WEBHOOK_CERTIFICATE_FAILURES,
        &m::WEBHOOK_TLS_FAILURES,
        &m::CONFIGURATION_APPLIED,
        &m::RELOADS,
    ];

    #[test]
    fn every_metric_is_pictured_or_watched_or_left_out_on_purpose() {
        let pictured = ROWS
            .iter()
            .flat_map(|row| row.1)
            .flat_map(|panel| panel.queries);
        let pictured = pictured.flat_map(|(query, _)| query.1);
        let watched = ALERTS.iter().flat_map(|alert| alert.query.1);
        let used: Vec<_> = pictured.chain(watched).collect();
        for metric in ALL.iter().filter(|metric| metric.kind != Kind::Info) {
            let left_out = LOOKED_UP.contains(metric);
            assert!(used.contains(&metric) != left_out, "{}", metric.name);
        }
    }
}
