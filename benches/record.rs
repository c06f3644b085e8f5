//! What it costs to count a request, and to log it.
//!
//! `cargo bench --bench record`

use std::time::Duration;

use divan::{Bencher, black_box};
use itwin_auth_proxy::{
    caller::Caller,
    clock::Clock,
    metrics::{Metrics, Zone},
    telemetry::{AnsweredBy, Replayed, RequestId, RequestLine, RequestLog},
};

fn main() {
    divan::main();
}

/// All that is counted of a request which an upstream answers.
#[divan::bench]
fn count(bencher: Bencher) {
    let metrics = Metrics::new();
    let (route, in_flight) = (metrics.route("imodels"), metrics.requests_in_flight());
    let (listener, credential) = (metrics.listener("here"), metrics.credential("agent"));
    bencher.bench_local(|| {
        listener.requested();
        credential.served(Zone::Fresh, black_box(Duration::from_secs(2100)));
        route.reused();
        in_flight.up();
        route.upstream_answered(200, black_box(Duration::from_micros(310)));
        route.finished(Some(200), black_box(Duration::from_micros(340)));
        route.passed(black_box(0), black_box(1024));
        in_flight.down();
    });
}

/// As often as a request reads the clocks: both once, the monotonic one twice more.
#[divan::bench]
fn clocks(bencher: Bencher) {
    let clock = Clock::system();
    bencher.bench_local(|| (clock.now(), clock.mono(), clock.mono()));
}

/// Writing the line and leaving it for the log's thread.
#[divan::bench]
fn log(bencher: Bencher) {
    let (log, lines) = RequestLog::captured();
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        log.write(black_box(&RequestLine {
            ended: Duration::from_micros(1_700_000_000_000_000 + 20 * number),
            id: RequestId(0x0341_9e35_8798_bdf5, number),
            method: "GET",
            host: "127.0.0.1:8080",
            path: "/imodels/5e1bb1f5-8ee5-4a31-9d3c-6b5a0a3d2b3f/changesets",
            protocol: "HTTP/1.1",
            route: Some("imodels"),
            caller: Some(&Caller::Local),
            credential: Some("agent"),
            status: Some(200),
            upstream_status: Some(200),
            answered_by: AnsweredBy::Upstream,
            error: None,
            reason: None,
            total: Duration::from_micros(340),
            token_wait: None,
            upstream_first_byte: Some(Duration::from_micros(310)),
            bytes_in: 0,
            bytes_out: 1024,
            replayed: Replayed::No,
        }));
        // what the log's thread does for the lines of a few milliseconds
        if number % 256 == 0 {
            drop(lines.take());
        }
    });
}
