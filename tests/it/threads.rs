//! Several threads: who serves which connection.

use std::{collections::BTreeMap, thread, time::Instant};

use serde_json::json;

use crate::support::{
    client::Client,
    origin,
    proxy::{self, Proxy, get},
    wait, wire,
};

/// Names the thread that answers, in a refusal of ours: the ids of its requests begin with it.
fn thread_of(client: &mut Client) -> String {
    let refused = client.send(get("/nowhere")).answer();
    refused.is_refused(404, "RouteNotFound");
    let id = &refused.json()["error"]["details"][0];
    assert_eq!(id["code"], "RequestId");
    id["message"].as_str().unwrap()[..16].to_owned()
}

fn counted(clients: &mut [Client]) -> Vec<usize> {
    let mut threads = BTreeMap::<String, usize>::new();
    for client in clients {
        *threads.entry(thread_of(client)).or_default() += 1;
    }
    threads.into_values().collect()
}

fn with_workers(workers: usize) -> (origin::Origin, Proxy) {
    let origin = origin::answering([origin::ok("hello")]);
    let proxy = proxy::to(&origin)
        .with("workers", workers)
        .route("path", "/")
        .start();
    (origin, proxy)
}

#[test]
fn eight_connections_that_stay_are_four_for_each_of_two_threads() {
    for _ in 0..3 {
        let (_origin, proxy) = with_workers(2);
        let mut clients: Vec<_> = (0..8)
            .map(|_| {
                let mut client = proxy.connect();
                client.send(get("/")).answer().is_the_upstreams(200);
                client
            })
            .collect();
        assert_eq!(counted(&mut clients), [4, 4]);
        drop(clients);
        wait::until("none is counted", || proxy.open() == 0);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the bound is one of time")]
fn most_short_connections_stay_where_they_arrive() {
    let begun = Instant::now();
    let (_origin, proxy) = with_workers(2);
    let request = "GET / HTTP/1.1\r\nHost: proxy.localhost\r\nConnection: close\r\n\r\n";
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let answer = proxy.connect().send(request).until_closed();
                    assert!(answer.starts_with(b"HTTP/1.1 200"));
                }
            });
        }
    });
    let handed_over = u128::from(proxy.handed_over());
    // at once, and fifty a second, of each thread
    let most = 2 * (32 + 1 + begun.elapsed().as_millis() / 20);
    assert!(handed_over <= most, "{handed_over} of 2000");
}

#[test]
fn a_unix_socket_has_all_threads_serve_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let origin = origin::answering([origin::ok("hello")]);
    let _proxy = proxy::to(&origin)
        .with("workers", 3)
        .route("path", "/")
        .with(
            "listeners",
            json!([{"bind": format!("unix:{}", path.display())}]),
        )
        .start();
    let mut clients: Vec<_> = (0..9).map(|_| Client::over(wire::unix(&path))).collect();
    assert_eq!(counted(&mut clients), [3, 3, 3]);
    for client in &mut clients {
        client.send(get("/")).answer().is_the_upstreams(200);
    }
}

#[test]
fn a_stop_answers_what_was_handed_over() {
    for _ in 0..20 {
        let (_origin, proxy) = with_workers(4);
        let mut clients: Vec<_> = (0..16)
            .map(|_| {
                let mut client = proxy.connect();
                client.send(get("/"));
                client
            })
            .collect();
        proxy.stop_softly();
        for client in &mut clients {
            client.answer().is_the_upstreams(200);
        }
    }
}
