//! Connections on a paused clock.

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;
use crate::config::Limits;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n";

fn limits() -> Limits {
    Limits {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        header_bytes: 64 * 1024,
        header_count: 80,
        body_bytes: None,
        requests: 100,
        connections: 100,
        http2_streams: 100,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::ZERO,
    }
}

type Answered = Pin<Box<dyn Future<Output = Result<Response<Body_>, Infallible>> + Send>>;
type Body_ = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A connection whose requests are answered with their path.
fn served(io: DuplexStream, stop: &Shutdown) -> impl Future<Output = ()> + use<> {
    let activity = Arc::new(Activity::new(stop.clone()));
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request: Request<Incoming>| -> Answered {
            let busy = activity.request();
            Box::pin(async move {
                let _busy = busy;
                let text = Bytes::from(request.uri().path().to_owned());
                let body = Full::new(text).map_err(BoxError::from).boxed_unsync();
                Ok(Response::new(body))
            })
        }
    });
    let server = Server::new(&limits());
    async move {
        let protocol = Protocol::Unknown;
        server.serve(io, protocol, service, activity).await;
    }
}

fn connect(stop: &Shutdown) -> (DuplexStream, tokio::task::JoinHandle<Option<()>>) {
    let (caller, ours) = tokio::io::duplex(64 * 1024);
    (caller, stop.spawn(served(ours, stop)))
}

async fn answer(caller: &mut DuplexStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"/a") {
        assert_ne!(caller.read_buf(&mut text).await.unwrap(), 0, "cut");
    }
    String::from_utf8(text).unwrap()
}

fn now() -> Instant {
    crate::clock::Clock::for_tests(Duration::ZERO).now().mono
}

/// How long until the other side ends the connection.
async fn until_closed(caller: &mut DuplexStream) -> u64 {
    let start = now();
    let mut rest = Vec::new();
    caller.read_to_end(&mut rest).await.unwrap();
    now().duration_since(start).as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_quiet_answers_the_next_request() {
    let stop = Shutdown::new();
    let (mut caller, _task) = connect(&stop);
    for quiet in [0, 1, 5, 50, 3] {
        tokio::time::sleep(Duration::from_secs(quiet)).await;
        // in two pieces: what is read before hyper exists is not the whole header
        let (begin, end) = REQUEST.split_at(7);
        caller.write_all(begin).await.unwrap();
        tokio::time::sleep(Duration::from_secs(quiet / 10)).await;
        caller.write_all(end).await.unwrap();
        assert!(answer(&mut caller).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_however_long_they_are() {
    let stop = Shutdown::new();
    let (mut caller, _task) = connect(&stop);
    let long = format!(
        "GET /a HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "y".repeat(3000)
    );
    for _ in 0..3 {
        let all = [long.as_bytes(), REQUEST, long.as_bytes()].concat();
        caller.write_all(&all).await.unwrap();
        let mut seen = 0;
        let mut text = Vec::new();
        while seen < 3 {
            assert_ne!(caller.read_buf(&mut text).await.unwrap(), 0);
            seen = String::from_utf8_lossy(&text).matches("200 OK").count();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_its_time_is_over() {
    let stop = Shutdown::new();
    let (mut silent, _task) = connect(&stop);
    assert_eq!(until_closed(&mut silent).await, 10, "no byte came");

    let (mut idle, _task) = connect(&stop);
    idle.write_all(REQUEST).await.unwrap();
    answer(&mut idle).await;
    let after = until_closed(&mut idle).await;
    assert!((60..=62).contains(&after), "idle: {after} s");

    // half a header, on a connection that was parked meanwhile
    let (mut slow, _task) = connect(&stop);
    slow.write_all(REQUEST).await.unwrap();
    answer(&mut slow).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    slow.write_all(b"GET /a HT").await.unwrap();
    let after = until_closed(&mut slow).await;
    assert!((10..=12).contains(&after), "slow header: {after} s");

    // half of a pipelined one
    let (mut slow, _task) = connect(&stop);
    slow.write_all(REQUEST).await.unwrap();
    slow.write_all(b"GET /a HT").await.unwrap();
    answer(&mut slow).await;
    let after = until_closed(&mut slow).await;
    assert!((10..=12).contains(&after), "slow second header: {after} s");
}

#[tokio::test(start_paused = true)]
async fn a_soft_stop_ends_quiet_connections_and_answers_what_was_sent() {
    let stop = Shutdown::new();
    let (mut fresh, _task) = connect(&stop);
    let (mut quiet, _task) = connect(&stop);
    let (mut late, _task) = connect(&stop);
    for caller in [&mut quiet, &mut late] {
        caller.write_all(REQUEST).await.unwrap();
        answer(caller).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    late.write_all(REQUEST).await.unwrap();
    stop.advance(Stage::Soft);
    answer(&mut late).await;
    for caller in [&mut fresh, &mut quiet, &mut late] {
        assert_eq!(until_closed(caller).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_known_by_its_first_bytes_even_one_at_a_time() {
    let stop = Shutdown::new();
    let (mut caller, _task) = connect(&stop);
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        caller.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    caller.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

/// What a connection costs while nothing happens on it, beside its socket and TLS.
#[test]
fn a_connections_future_is_small() {
    let (_, ours) = tokio::io::duplex(1);
    let size = size_of_val(&served(ours, &Shutdown::new()));
    assert!(size <= 1100, "{size} bytes");
}
