//! What a signed-in request costs before anything else: finding the session's cookie among others
//! and opening its handle; and, where a process does not know the session, its state.
//!
//! `cargo bench --bench session_cookie`

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{sync::LazyLock, time::Duration};

use divan::{Bencher, black_box};
use http::{HeaderMap, header::COOKIE};
use itwin_auth_proxy::{
    secret::Secret,
    session::cookie::{Cookies, Handle, Name, Ring, Shown, State},
};
use rand::{SeedableRng, rngs::StdRng};

const NOW: u64 = 1_700_000_000;
const LIFE: Duration = Duration::from_secs(43_200);

fn main() {
    divan::main();
}

static COOKIES: LazyLock<Cookies> = LazyLock::new(|| {
    let ring = Ring::new("web", &Secret::new("a key of the cookies"), None);
    Cookies::new(Name::sole(), ring.unwrap())
});

/// Among the cookies of an analytics service, as usual.
fn request(state: State<'_>) -> HeaderMap {
    let handle = Handle {
        id: [7; 16],
        version: 1,
        sealed_at: NOW,
    };
    let mut rng = StdRng::seed_from_u64(7);
    let set = COOKIES.set(&handle, state, LIFE, 0, &mut rng).unwrap();
    let mut line = "_ga=GA1.2.1234567890.1700000000; theme=dark".to_owned();
    for cookie in set {
        line.push_str("; ");
        line.push_str(cookie.to_str().unwrap().split(';').next().unwrap());
    }
    HeaderMap::from_iter([(COOKIE, line.parse().unwrap())])
}

fn open(headers: &HeaderMap) {
    let shown = COOKIES.shown(black_box(headers), NOW, LIFE);
    assert!(matches!(shown, Shown::Opened(_)));
}

#[divan::bench]
fn handle_alone(bencher: Bencher<'_, '_>) {
    let headers = request(State::Elsewhere);
    bencher.bench_local(|| open(&headers));
}

#[divan::bench]
fn handle_with_four_kilobytes_of_state(bencher: Bencher<'_, '_>) {
    let headers = request(State::Carried(&[7; 4_096]));
    bencher.bench_local(|| open(&headers));
}

#[divan::bench]
fn four_kilobytes_of_state(bencher: Bencher<'_, '_>) {
    let headers = request(State::Carried(&[7; 4_096]));
    bencher.bench_local(|| {
        let Shown::Opened(opened) = COOKIES.shown(&headers, NOW, LIFE) else {
            panic!("not opened")
        };
        COOKIES.state(&headers, &opened).unwrap()
    });
}
