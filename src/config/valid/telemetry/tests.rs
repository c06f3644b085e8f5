use std::time::Duration;

use crate::{
    config::{Compression, Otlp, Sources, Way, load, print},
    trace::{Parents, Sampling, Share},
};

const ROUTE: &str = "routes: [{upstream: 'https://api.bentley.com', admit: anyone}]\n";
const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/base");

/// What holds, and all warnings in a text.
fn told(yaml: &str, variables: &[(&str, &str)]) -> (Option<Otlp>, String) {
    let text = format!("{ROUTE}{yaml}");
    let sources = Sources::yaml(&text).with_variables(variables.iter().copied());
    let loaded = load(sources).unwrap_or_else(|problems| panic!("{problems}"));
    let warnings = loaded.warnings.iter().map(|one| {
        let hint = one.hint.as_deref().unwrap_or_default();
        format!("{} ({hint})\n", one.text)
    });
    (loaded.config.telemetry, warnings.collect())
}

/// The ways of traces and metrics, where nothing is warned of.
fn ways(yaml: &str, variables: &[(&str, &str)]) -> (Option<Way>, Option<Way>) {
    let (otlp, warnings) = told(yaml, variables);
    assert_eq!(warnings.replace(LOOPBACK, ""), "");
    otlp.map_or((None, None), |otlp| {
        let traces = otlp.traces.map(|one| one.way);
        (traces, otlp.metrics.map(|one| one.way))
    })
}

const LOOPBACK: &str = "the header fields of the collector go there unencrypted (use https, or a collector on this machine)\n";

fn at(way: Option<&Way>) -> &str {
    way.map_or("nowhere", |way| way.endpoint.as_str())
}

#[test]
fn nothing_is_sent_where_no_collector_is_named() {
    let variables = [
        ("OTEL_TRACES_SAMPLER", "unknown"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ];
    assert_eq!(told("", &variables), (None, String::new()));
}

#[test]
fn paths_are_put_behind_the_endpoint_of_both_and_a_signals_own_is_whole() {
    let (traces, metrics) = ways("", &[ENDPOINT]);
    assert_eq!(at(traces.as_ref()), "http://127.0.0.1:4318/base/v1/traces");
    assert_eq!(
        at(metrics.as_ref()),
        "http://127.0.0.1:4318/base/v1/metrics"
    );
    let own = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://localhost:9/here",
    );
    let (traces, metrics) = ways("", &[ENDPOINT, own]);
    assert_eq!(at(traces.as_ref()), "http://localhost:9/here");
    assert_eq!(
        at(metrics.as_ref()),
        "http://127.0.0.1:4318/base/v1/metrics"
    );
    let (traces, metrics) = ways("", &[own]);
    assert_eq!(
        (at(traces.as_ref()), at(metrics.as_ref())),
        ("http://localhost:9/here", "nowhere")
    );
    // what is written counts more, wherever it stands
    let written = "telemetry: {otlp: 'http://127.0.0.1:1'}";
    let (traces, _) = ways(written, &[ENDPOINT, own]);
    assert_eq!(at(traces.as_ref()), "http://127.0.0.1:1/v1/traces");
    let written = "telemetry: {otlp: {traces: {endpoint: 'http://127.0.0.1:1/x'}}}";
    let (traces, metrics) = ways(written, &[ENDPOINT, own]);
    assert_eq!(at(traces.as_ref()), "http://127.0.0.1:1/x");
    assert_eq!(
        at(metrics.as_ref()),
        "http://127.0.0.1:4318/base/v1/metrics"
    );
    let nowhere = load(Sources::yaml(&format!("{ROUTE}telemetry: {{otlp: {{}}}}"))).unwrap_err();
    assert!(nowhere.to_string().contains("has no endpoint"), "{nowhere}");
}

#[test]
fn each_signal_has_its_own_headers_time_and_compression() {
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=both"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "key=metrics"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
    ];
    let (traces, metrics) = ways("", &variables);
    let (traces, metrics) = (traces.unwrap(), metrics.unwrap());
    let header = |way: &Way| {
        way.more_headers
            .as_ref()
            .unwrap()
            .read()
            .unwrap()
            .expose()
            .to_owned()
    };
    assert_eq!(
        (header(&traces), header(&metrics)),
        ("key=both".into(), "key=metrics".into())
    );
    let milliseconds = Duration::from_millis;
    assert_eq!(
        (traces.timeout, metrics.timeout),
        (milliseconds(500), milliseconds(3000))
    );
    assert_eq!(
        (traces.compression, metrics.compression),
        (Compression::Gzip, Compression::None)
    );
    let written = "telemetry: {otlp: {compression: none, timeout: 2s, metrics: {timeout: 4s}}}";
    let (traces, metrics) = ways(written, &variables);
    let (traces, metrics) = (traces.unwrap(), metrics.unwrap());
    assert_eq!(
        (traces.timeout, metrics.timeout),
        (milliseconds(2000), milliseconds(4000))
    );
    assert_eq!(traces.compression, Compression::None);
}

#[test]
fn what_holds_can_be_written() {
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_HEADERS", "key=both"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "700"),
    ];
    for (more, yaml) in [
        (("OTEL_TRACES_EXPORTER", "none"), ""),
        (("OTEL_METRICS_EXPORTER", "none"), ""),
        (
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            "telemetry: {otlp: {traces: 0.5}}",
        ),
    ] {
        let text = format!("{ROUTE}{yaml}");
        let variables = || variables.into_iter().chain([more]);
        let config = load(Sources::yaml(&text).with_variables(variables()))
            .unwrap()
            .config;
        let key = [("OTEL_EXPORTER_OTLP_HEADERS", "key=both")];
        let again = load(Sources::yaml(&print::yaml(&config)).with_variables(key)).unwrap();
        assert_eq!(
            again.config.telemetry,
            config.telemetry,
            "{}",
            print::yaml(&config)
        );
    }
}

#[test]
fn exporters_and_the_sampler_say_what_is_sent() {
    let sent = |variables: &[(&str, &str)]| {
        let variables: Vec<_> = [ENDPOINT].iter().chain(variables).copied().collect();
        let (otlp, warnings) = told("", &variables);
        assert_eq!(warnings, "");
        let signals = |otlp: Otlp| {
            (
                otlp.traces.map(|one| one.sampling),
                otlp.metrics.map(|one| one.every),
            )
        };
        otlp.map_or((None, None), signals)
    };
    let every = Some(Duration::from_secs(30));
    let parent = Some(Sampling::PARENT);
    assert_eq!(sent(&[]), (parent, every));
    assert_eq!(sent(&[("OTEL_TRACES_EXPORTER", "none")]), (None, every));
    assert_eq!(
        sent(&[("OTEL_TRACES_EXPORTER", "otlp,console")]),
        (parent, every)
    );
    assert_eq!(
        sent(&[("OTEL_METRICS_EXPORTER", "prometheus")]),
        (parent, None)
    );
    assert_eq!(sent(&[("OTEL_SDK_DISABLED", "TRUE")]), (None, None));
    let often = ("OTEL_METRIC_EXPORT_INTERVAL", "5000");
    assert_eq!(sent(&[often]), (parent, Some(Duration::from_secs(5))));
    let share = |text| Share::parse(text).unwrap();
    for (sampler, argument, share, parents) in [
        ("always_on", "", Share::ALL, Parents::Ignored),
        ("parentbased_always_off", "", Share::NONE, Parents::Followed),
        ("traceidratio", "0.25", share("0.25"), Parents::Ignored),
        (
            "parentbased_traceidratio",
            "0.5",
            share("0.5"),
            Parents::Followed,
        ),
        (
            "parentbased_traceidratio",
            "",
            Share::ALL,
            Parents::Followed,
        ),
    ] {
        let said = [
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ];
        assert_eq!(
            sent(&said).0,
            Some(Sampling { share, parents }),
            "{sampler}"
        );
    }
}

#[test]
fn what_a_variable_says_in_vain_is_told_once_with_its_name() {
    for (name, value, says) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "http/protobuf is spoken",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/json",
            "http/protobuf is spoken",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0", "milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1", "milliseconds"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "no traces are sent"),
        ("OTEL_METRICS_EXPORTER", "console", "no metrics are sent"),
        (
            "OTEL_TRACES_SAMPLER",
            "jaeger_remote",
            "parentbased_always_on is what holds",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "/a.pem",
            "telemetry.otlp.tls",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
            "/a.pem",
            "telemetry.otlp.tls",
        ),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "delta",
            "cumulative",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "7", "once a second"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "7", "bounded"),
        ("OTEL_PROPAGATORS", "b3", "tracecontext"),
        ("OTEL_LOGS_EXPORTER", "otlp", "stderr"),
    ] {
        let (_, warnings) = told("", &[ENDPOINT, (name, value)]);
        assert_eq!(warnings.lines().count(), 1, "{name}: {warnings}");
        assert!(
            warnings.contains(name) && warnings.contains(says),
            "{warnings}"
        );
    }
    let share = [
        ENDPOINT,
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ];
    let (_, warnings) = told("", &share);
    assert!(
        warnings.contains("OTEL_TRACES_SAMPLER_ARG is 2"),
        "{warnings}"
    );
    for fine in [
        ("OTEL_PROPAGATORS", "tracecontext,baggage"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            "cumulative",
        ),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", ""),
    ] {
        assert_eq!(told("", &[ENDPOINT, fine]).1, "", "{fine:?}");
    }
    let bad = ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318");
    let text = load(Sources::yaml(ROUTE).with_variables([bad]))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("OTEL_EXPORTER_OTLP_ENDPOINT is no http or https URL"),
        "{text}"
    );
}
