//! A collector that traces and metrics are sent to in vain.

use std::time::Duration;

use serde_json::Value;

use super::{Finding, Level, capital};
use crate::admin::page::words::host;

/// What cannot be sent, and why.
pub(super) fn telemetry(telemetry: &Value, all: &mut Vec<Finding>) {
    let signals = telemetry["signals"].as_object();
    let failing = signals.into_iter().flatten();
    let failing: Vec<_> = failing.filter(|(_, one)| one["failing"] == true).collect();
    let Some((_, first)) = failing.first() else {
        return;
    };
    let endpoint = first["endpoint"].as_str();
    let collector = endpoint.map_or_else(|| "the collector".into(), host);
    let names: Vec<&str> = failing.iter().map(|(name, _)| name.as_str()).collect();
    let lost: u64 = failing
        .iter()
        .filter_map(|(_, one)| one["lost"].as_u64())
        .sum();
    let message = first["last_failure"]["message"]
        .as_str()
        .unwrap_or("it does not take them");
    let remedy = if ["answered 401", "answered 403", "header"]
        .iter()
        .any(|word| message.contains(word))
    {
        format!(
            "{collector} wants another key: look at telemetry.otlp.headers, or at OTEL_EXPORTER_OTLP_HEADERS."
        )
    } else if ["answered 404", "answered 405", "answered 415"]
        .iter()
        .any(|word| message.contains(word))
    {
        "Look at telemetry.otlp.endpoint: OTLP over HTTP is sent, usually to port 4318, and /v1/traces or /v1/metrics is put behind it.".into()
    } else {
        format!(
            "Look whether {collector} is up and can be reached from here. It is tried again by itself."
        )
    };
    all.push(Finding {
        level: Level::Warning,
        kind: "collector_unavailable",
        about: "telemetry".into(),
        title: format!(
            "{} cannot be sent to {collector}",
            capital(&names.join(" and "))
        ),
        says: format!(
            "{}. No call waits for that; {lost} of them are lost so far.",
            capital(message)
        ),
        remedy,
        ago: Duration::ZERO,
    });
}
