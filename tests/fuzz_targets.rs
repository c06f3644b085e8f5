//! The fuzz targets over their corpus, so that neither rots between two runs of `fuzz/run`.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[expect(unreachable_pub, reason = "a library, where it is fuzzed")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

/// Each seed as it is, without each of its octets, and with each of them changed.
fn over_the_corpus(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut seeds = 0;
    for seed in fs::read_dir(corpus).unwrap() {
        let seed = fs::read(seed.unwrap().path()).unwrap();
        seeds += 1;
        target(&seed);
        for at in 0..seed.len().min(600) {
            target(&[&seed[..at], &seed[at + 1..]].concat());
            let mut changed = seed.clone();
            changed[at] ^= 1 << (at % 8);
            target(&changed);
        }
    }
    assert!(seeds > 1, "no corpus for {name}");
}

#[test]
fn tokens() {
    over_the_corpus("token", targets::token);
}

#[test]
fn headers() {
    over_the_corpus("header", targets::header);
}

#[test]
fn claims() {
    over_the_corpus("claims", targets::claims);
}

#[test]
fn key_sets() {
    over_the_corpus("jwks", targets::jwks);
}

#[test]
fn introspection_answers() {
    over_the_corpus("introspection", targets::introspection);
}

#[test]
fn proofs() {
    over_the_corpus("proof", targets::proof);
}

#[test]
fn what_a_connection_begins_with() {
    over_the_corpus("peek", targets::peek);
}

#[test]
fn cookies() {
    over_the_corpus("cookie", targets::cookie);
}

#[test]
fn addresses_to_return_to() {
    over_the_corpus("return_to", targets::return_to);
}

#[test]
fn what_cookies_carry() {
    over_the_corpus("codec", targets::codec);
}

#[test]
fn id_tokens() {
    over_the_corpus("id_token", targets::id_token);
}

#[test]
fn authorization_responses() {
    over_the_corpus("response", targets::response);
}
