//! Telemetry as it could be written.

use super::{client_tls, duration, forms};
use crate::{
    config::{Otlp, raw},
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
    raw::Telemetry {
        otlp: Some(raw::Otlp {
            endpoint: Some(otlp.endpoint.to_string()),
            headers: headers.collect(),
            headers_env: otlp.more_headers.as_ref().and_then(|all| forms(all).2),
            timeout: Some(duration(otlp.timeout)),
            tls: client_tls(&otlp.tls),
            traces: Some(match &otlp.traces {
                None => raw::OtlpTraces {
                    sampling: Some("none".into()),
                    heed_callers: None,
                },
                Some(traces) => raw::OtlpTraces {
                    sampling: Some(traces.sampling.share.to_string()),
                    heed_callers: Some(traces.sampling.parents == Parents::Followed),
                },
            }),
            metrics: Some(raw::OtlpMetrics {
                every: Some(
                    otlp.metrics
                        .as_ref()
                        .map_or_else(|| "never".into(), |metrics| duration(metrics.every)),
                ),
            }),
        }),
        service_name: Some(otlp.service_name.clone()),
        resource: otlp.resource.clone(),
    }
}
