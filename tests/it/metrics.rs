//! What a scrape says of what the proxy keeps and whom it asks.

use serde_json::json;

use crate::support::{
    authority,
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wait::until,
};

/// One thread, so that a second request meets what the first has left.
fn world(origin: &Origin) -> Builder {
    proxy::to(origin)
        .with("workers", 1)
        .with("admin.bind", "127.0.0.1:0")
}

fn has(proxy: &Proxy, lines: &[&str]) {
    let text = proxy.admin("/metrics").text().to_owned();
    for line in lines {
        let line = format!("itwin_auth_proxy_{line}");
        assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
    }
}

fn with_token(token: &str) -> String {
    proxy::with_fields("GET", "/", &format!("Authorization: Bearer {token}\r\n"))
}

#[test]
fn connections_that_wait_for_the_next_request_are_counted_until_the_service_closes_them() {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = world(&origin).start();
    let kept = |many: u32| {
        let line = format!(
            "itwin_auth_proxy_upstream_connections_kept{{upstream=\"{}\",protocol=\"http1\"}} {many}\n",
            origin.url()
        );
        let scraped = || proxy.admin("/metrics").text().contains(&line);
        until(&line, scraped);
    };
    kept(0);
    proxy.get("/").is_the_upstreams(200);
    kept(1);
    // nobody serves by what kept it
    proxy
        .reload(|config| config["routes"][0]["upstream"] = json!("http://127.0.0.1:9"))
        .unwrap();
    kept(0);
}

#[test]
fn what_is_remembered_of_callers_tokens_is_counted_where_it_is_kept() {
    let (origin, authority) = (
        origin::answering([origin::ok("hello")]),
        authority::knowing(),
    );
    authority.says_of("good", &json!({}));
    let provider = json!({
        "issuer": authority.url(),
        "introspection": {"client_id": "api", "client_secret": "canary-secret"},
    });
    let rule = json!({"provider": "idp", "audiences": ["api"], "scopes": ["itwin-platform"]});
    let proxy = world(&origin)
        .with("providers.idp", provider)
        .route("admit", json!([{"bearer": rule}]))
        .start();
    for _ in 0..3 {
        proxy.send(with_token("good")).is_the_upstreams(200);
    }
    proxy
        .send(with_token("bad"))
        .is_refused(401, "TokenInvalid");
    has(
        &proxy,
        &[
            "cache_requests_total{cache=\"introspection\",result=\"miss\"} 2",
            "cache_entries{cache=\"introspection\"} 2",
            "cache_evictions_total{cache=\"introspection\"} 0",
            "cache_requests_total{cache=\"verified_tokens\",result=\"hit\"} 2",
            "cache_requests_total{cache=\"verified_tokens\",result=\"miss\"} 1",
            "cache_entries{cache=\"verified_tokens\"} 1",
            "cache_entries{cache=\"revoked_tokens\"} 0",
        ],
    );
}
