//! What stands between a request and its upstream in memory: finding its route, looking up its token,
//! preparing its header.
//!
//! `cargo bench --bench hot_path`

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use divan::{Bencher, black_box};
use http::{HeaderMap, Request, header::AUTHORIZATION};
use itwin_auth_proxy::{
    clock::Clock,
    config::{self, Config, Sources},
    health::Readiness,
    http::{
        headers, links,
        survey::{Field, Survey},
    },
    metrics::Metrics,
    proxy::Plan,
    session::Sessions,
    shutdown::Shutdown,
    tokens::{TokenHandle, TokenService},
    trace::Tracer,
    verify::KeyService,
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// What a proxy holds when it runs: twenty routes, of which the last has a token.
struct Held {
    plan: Plan,
    token: TokenHandle,
    clock: Clock,
    _runtime: Runtime,
}

static HELD: LazyLock<Held> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let config = configuration(provider());
    let (clock, metrics) = (Clock::system(), Arc::new(Metrics::new()));
    let (plan, token) = runtime.block_on(async {
        let (stop, mut rng) = (Shutdown::new(), StdRng::seed_from_u64(1));
        let (readiness, tracer) = (Readiness::new(), Tracer::off());
        let keys = KeyService::start(
            &config, &clock, &metrics, &tracer, &stop, &readiness, &mut rng,
        );
        let tokens = TokenService::start(clock.clone(), metrics.clone(), tracer, &stop, None, rng);
        let plan = Plan::new(
            &config,
            &[0],
            &tokens,
            &keys,
            &Sessions::default(),
            &metrics,
            None,
        )
        .unwrap();
        let token = plan.tokens().next().unwrap();
        tokens.ready(&token).await;
        (plan.for_thread(&metrics), token)
    });
    Held {
        plan,
        token,
        clock,
        _runtime: runtime,
    }
});

fn configuration(provider: SocketAddr) -> Config {
    let provider = format!("http://{provider}");
    let upstream = "http://127.0.0.1:9";
    let mut routes: Vec<_> = (0..19)
        .map(|n| json!({"hosts": [format!("service-{n}.example.com")], "path": format!("/imodels/*/area-{n}/**"), "upstream": upstream}))
        .collect();
    routes.push(json!({"path": "/imodels/**", "inject": "agent", "upstream": upstream}));
    let config = json!({
        "providers": {"test": {"issuer": provider, "token_endpoint": provider}},
        "credentials": {"agent": {"provider": "test", "client_id": "c", "client_secret": "s"}},
        "routes": routes,
    });
    let loaded = config::load(Sources::yaml(&config.to_string())).unwrap();
    loaded.config
}

/// Answers one token request.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"client_credentials") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let token =
            json!({"access_token": "a".repeat(2000), "token_type": "Bearer", "expires_in": 3600});
        let token = token.to_string();
        let length = token.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}"
        );
        write!(stream, "{head}\r\n\r\n{token}").unwrap();
    });
    address
}

/// As the iTwin platform's own clients ask.
fn request() -> Request<()> {
    Request::get("/imodels/5e19bee0-3aea-4355-a9f0-c6df9989ee7d/changesets?$top=100&$skip=200")
        .header("host", "localhost:8080")
        .header("accept", "application/vnd.bentley.itwin-platform.v2+json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("authorization", "Bearer placeholder")
        .header("connection", "keep-alive")
        .header("content-type", "application/json")
        .header("prefer", "return=representation")
        .header("user-agent", "axios/1.7.2")
        .header("x-correlation-id", "7f6d3c1e-2f5b-4d49-9a2e-5f9d7fd0c3b1")
        .body(())
        .unwrap()
}

#[divan::bench(sample_size = 1000)]
fn find_route_last_of_twenty(bencher: Bencher) {
    let request = request();
    let plan = &HELD.plan;
    assert_eq!(plan.route_name(&request), Some("route-20"));
    bencher.bench_local(|| plan.route_name(black_box(&request)).is_some());
}

#[divan::bench(sample_size = 1000)]
fn look_up_token(bencher: Bencher) {
    let held = &*HELD;
    let enough = Duration::from_secs(60);
    bencher.bench_local(|| held.token.current(held.clock.now(), enough).is_some());
}

/// Of it, the clock.
#[divan::bench(sample_size = 1000)]
fn look_at_clock(bencher: Bencher) {
    let clock = &HELD.clock;
    bencher.bench_local(|| clock.now());
}

/// The steps that the proxy takes for a route that puts a token in, without those that need a live
/// connection.
#[divan::bench(sample_size = 1000)]
fn prepare_header(bencher: Bencher) {
    let held = &*HELD;
    let ready = held
        .token
        .current(held.clock.now(), Duration::from_secs(60))
        .unwrap();
    let placeholders: BTreeSet<String> = ["placeholder".to_owned()].into();
    let header = request().headers().clone();
    bencher
        .with_inputs(|| header.clone())
        .bench_local_values(|mut header: HeaderMap| {
            let survey = Survey::of(&header);
            if survey.has(Field::Authorization) {
                black_box(headers::presented(&header, &placeholders));
            }
            black_box(headers::strip_hop_by_hop(&mut header, survey));
            if survey.has(Field::Forwarded) {
                headers::strip_forwarded(&mut header);
            }
            if survey.has(Field::AcceptEncoding) {
                black_box(links::acceptable(&header));
            }
            header.insert(AUTHORIZATION, ready.header().clone());
            header
        });
}
