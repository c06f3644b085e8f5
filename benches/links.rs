//! How fast links in JSON are looked for and replaced.
//!
//! `cargo bench --bench links`

#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use bytes::BytesMut;
use divan::{Bencher, black_box, counter::BytesCount};
use itwin_auth_proxy::{config::Origin, http::links::LinkRewriter};
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// As much as comes in one frame of a large answer.
const FRAME: usize = 64 * 1024;

/// An answer of about one megabyte, as iModelHub writes them, with a `_links` member in each item, or
/// with none.
fn answer(origin: Option<&str>) -> Vec<u8> {
    let items: Vec<Value> = (0..2000)
        .map(|n| {
            let id = format!("5e19bee0-3aea-4355-a9f0-c6df998{n:05}");
            let mut item = json!({
                "id": id, "displayName": format!("0.{n}"), "description": "Pump replaced, \"north\" wing\nsee report",
                "parentId": "", "index": n, "creatorId": "42101fe4-b8c0-4222-89dd-f68bcdb2f8e0", "fileSize": 123_456 + n,
                "pushDateTime": "2020-10-20T10:51:33.1700000Z", "state": "fileUploaded", "containingChanges": 0,
                "synchronizationInfo": {"taskId": "ab8c3f9d-1c4c-4ee1-8a5e-5c8b8ee0a7d2", "changedFiles": ["a_file.dgn"]},
            });
            if let Some(origin) = origin {
                let link = |name| json!({"href": format!("{origin}/imodels/{id}/{name}")});
                item["_links"] = json!({"self": link("self"), "creator": link("creator"), "namedVersion": link("versions")});
            }
            item
        })
        .collect();
    serde_json::to_vec(&json!({"changesets": items})).unwrap()
}

fn rewrite(bencher: Bencher, text: &[u8]) {
    let (from, to) = (origin("api.bentley.com"), origin("proxy.example.com"));
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        let mut rewriter = LinkRewriter::new(&from, &to);
        for frame in black_box(text).chunks(FRAME) {
            let mut out = BytesMut::new();
            rewriter.push(frame, &mut out);
            black_box(out);
        }
        rewriter.changed()
    });
}

fn origin(host: &str) -> Origin {
    Origin {
        https: true,
        host: host.into(),
        port: 443,
    }
}

#[divan::bench]
fn answer_without_links(bencher: Bencher) {
    rewrite(bencher, &answer(None));
}

#[divan::bench]
fn answer_with_links_elsewhere(bencher: Bencher) {
    rewrite(bencher, &answer(Some("https://storage.example.com")));
}

#[divan::bench]
fn answer_with_links_to_replace(bencher: Bencher) {
    rewrite(bencher, &answer(Some("https://api.bentley.com")));
}

/// For comparison: what copying the same bytes costs.
#[divan::bench]
fn copied(bencher: Bencher) {
    let text = answer(None);
    bencher
        .counter(BytesCount::of_slice(&text))
        .bench_local(|| {
            for frame in black_box(&text).chunks(FRAME) {
                black_box(BytesMut::from(frame));
            }
        });
}
