//! Telemetry as it could be written.

use super::{client_tls, duration, forms};
use crate::{
    config::{Otlp, Way, raw},
    trace::Parents,
};

pub(super) fn telemetry(otlp: &Otlp) -> raw::Telemetry {
    let headers = otlp.headers.iter().map(|(name, source)| {
        let (value, value_file, value_env) = forms(source);
        let header = raw::OtlpHeader {
            value,
            value_file,
            value_env,
        };
        (name.to_string(), header)
    });
    let headers_env = |way: &Way| way.more_headers.as_ref().and_then(|all| forms(all).2);
    let traces = match &otlp.traces {
        None => raw::OtlpTraces {
            sampling: Some("none".into()),
            ..raw::OtlpTraces::default()
        },
        Some(traces) => raw::OtlpTraces {
            sampling: Some(traces.sampling.share.to_string()),
            heed_callers: Some(traces.sampling.parents == Parents::Followed),
            endpoint: Some(traces.way.endpoint.to_string()),
            headers_env: headers_env(&traces.way),
            timeout: Some(duration(traces.way.timeout)),
            compression: Some(traces.way.compression.name().into()),
        },
    };
    let metrics = match &otlp.metrics {
        None => raw::OtlpMetrics {
            every: Some("never".into()),
            ..raw::OtlpMetrics::default()
        },
        Some(metrics) => raw::OtlpMetrics {
            every: Some(duration(metrics.every)),
            endpoint: Some(metrics.way.endpoint.to_string()),
            headers_env: headers_env(&metrics.way),
            timeout: Some(duration(metrics.way.timeout)),
            compression: Some(metrics.way.compression.name().into()),
        },
    };
    raw::Telemetry {
        otlp: Some(raw::Otlp {
            headers: headers.collect(),
            tls: client_tls(&otlp.tls),
            traces: Some(traces),
            metrics: Some(metrics),
            ..raw::Otlp::default()
        }),
        service_name: Some(otlp.service_name.clone()),
        resource: otlp.resource.clone(),
    }
}
