use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::findings;

fn kinds(status: &Value) -> Vec<(String, Value)> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let all = findings(status, now).into_iter().map(Value::from);
    all.map(|one| (one["kind"].as_str().unwrap_or_default().to_owned(), one))
        .collect()
}

fn route(requests: u64, unknown: u64, forbidden: u64) -> Value {
    json!({"routes": [{
        "name": "imodels", "inject": "agent", "upstream": "https://api.bentley.com",
        "lately": {"requests": requests, "token_refused_401": unknown, "token_refused_403": forbidden},
    }]})
}

#[test]
fn a_service_that_refuses_most_calls_with_our_token_is_told_apart_by_what_it_says() {
    for few in [route(4, 4, 0), route(100, 20, 20), route(9, 0, 0)] {
        assert_eq!(kinds(&few), []);
    }
    for (status, says, remedy) in [
        (route(10, 6, 0), "answers 401", "audience"),
        (route(10, 1, 5), "answers 403", "member of the iTwin"),
    ] {
        let (kind, one) = kinds(&status).remove(0);
        assert_eq!(
            (&*kind, &one["about"]),
            ("token_refused", &json!("route imodels"))
        );
        let title = one["title"].as_str().unwrap();
        assert!(
            title.contains(says) && title.contains("api.bentley.com") && title.contains("“agent”"),
            "{title}"
        );
        assert!(one["says"].as_str().unwrap().contains("6 of 10"), "{one}");
        assert!(one["remedy"].as_str().unwrap().contains(remedy), "{one}");
    }
}

#[test]
fn a_collector_that_takes_nothing_is_told_with_what_mends_it() {
    let telemetry = |message: &str, failing: bool| {
        json!({"telemetry": {"signals": {
            "metrics": {"endpoint": "http://127.0.0.1:4318/v1/metrics", "lost": 3, "failing": failing, "last_failure": {"message": message}},
            "traces": {"lost": 0, "failing": false},
        }}})
    };
    assert_eq!(kinds(&telemetry("no connection to 127.0.0.1", false)), []);
    for (message, remedy) in [
        ("no connection to 127.0.0.1", "is up and can be reached"),
        (
            "the collector answered 401 Unauthorized",
            "telemetry.otlp.headers",
        ),
        (
            "the collector answered 404 Not Found",
            "telemetry.otlp.endpoint",
        ),
    ] {
        let (kind, one) = kinds(&telemetry(message, true)).remove(0);
        assert_eq!(kind, "collector_unavailable");
        assert_eq!(one["title"], "Metrics cannot be sent to 127.0.0.1:4318");
        assert!(
            one["says"].as_str().unwrap().contains("3 of them are lost"),
            "{one}"
        );
        assert!(one["remedy"].as_str().unwrap().contains(remedy), "{one}");
    }
}
