//! What a certificate costs that is made while somebody waits, and what many cost in memory.
//!
//! `cargo bench --bench mint`

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark tells its figures"
)]

use std::{fs, time::Duration};

use divan::{Bencher, black_box};
use itwin_auth_proxy::{
    clock::Clock,
    config::{Identity, Interception},
    tls::{authority::Authority, mint::Mint},
};

/// Ten minutes of 1,000 new hosts a second would be 600,000; the kept ones are reached in the second.
const HOSTS: u64 = 20_000;

fn main() {
    divan::main();
    let mint = mint();
    mint.server_config("first.example.com")
        .expect("a certificate");
    let before = resident();
    for n in 0..HOSTS {
        let config = mint.server_config(&format!("host-{n}.example.com"));
        drop(black_box(config));
        if n == 2_000 {
            println!("after 2,000 new hosts: {} KiB more", resident() - before);
        }
    }
    println!("after {HOSTS} new hosts: {} KiB more", resident() - before);
}

fn mint() -> Mint {
    let hosts = ["*.example.com".to_owned()];
    let day = Duration::from_secs(24 * 3600);
    let made = Authority::new(&hosts, Clock::system().now(), day * 2).expect("an authority");
    let directory = std::env::temp_dir().join(format!("bench-mint-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let authority = Identity {
        certificate: directory.join("ca.crt"),
        key: directory.join("ca.key"),
    };
    fs::write(&authority.certificate, &made.certificate).expect("a file");
    fs::write(&authority.key, made.key.expose()).expect("a file");
    let interception = Interception {
        authority,
        hosts: hosts.into(),
        leaf_lifetime: day,
    };
    let mint = Mint::load(&interception, Clock::system()).expect("an authority that signs");
    let _ = fs::remove_dir_all(directory);
    mint
}

/// KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.unwrap_or_default()
}

/// The first connection to a host.
#[divan::bench]
fn a_new_host(bencher: Bencher) {
    let mint = mint();
    let mut n = 0_u64;
    bencher.bench_local(|| {
        n += 1;
        mint.server_config(&format!("host-{n}.example.com"))
    });
}

/// Every other.
#[divan::bench]
fn a_known_host(bencher: Bencher) {
    let mint = mint();
    bencher.bench_local(|| mint.server_config(black_box("host.example.com")));
}
