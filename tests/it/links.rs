//! Links that point at the upstream point back at the proxy; all others stay to the byte.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write};

use crate::support::{
    origin::{self, Origin},
    proxy::{self, Builder, with_fields},
};

const STORAGE: &str = r#""download":{"href":"https://x.blob.core.windows.net/a?sv=2020&sig=a%2Bb%2F%3D&se=1","storageType":"azure"}"#;

/// Serves a page whose links point at itself, in the coding that the path names.
fn paging() -> Origin {
    origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            let host = request.field("host").unwrap().to_owned();
            let page = page(&format!("http://{host}"));
            let coding = request.request().rsplit('/').next().unwrap().to_owned();
            let body = encode(&coding, page.as_bytes());
            let coding = match coding.as_str() {
                "identity" => String::new(),
                other => format!("Content-Encoding: {other}\r\n"),
            };
            let length = body.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n{coding}Content-Length: {length}\r\nETag: \"a\"\r\n\r\n"
            ));
            connection.send(body);
        }
    })
}

fn page(origin: &str) -> String {
    format!(
        r#"{{ "iModels":[{{"href":"{origin}/not-a-link","_links":{{{STORAGE},"creator":{{"href":"{origin}/users/1"}}}}}}],"_links":{{"next":{{"href":"{origin}/imodels?$skip=2"}},"prev":null,"evil":{{"href":"{origin}.evil/x"}}}} }}"#
    )
}

/// What of the page is rewritten: links, and nothing that only looks like one.
fn expected(upstream: &str, public: &str) -> String {
    page(upstream)
        .replace(&format!("\"{upstream}/users"), &format!("\"{public}/users"))
        .replace(
            &format!("\"{upstream}/imodels"),
            &format!("\"{public}/imodels"),
        )
}

fn encode(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut to = write::GzEncoder::new(Vec::new(), Compression::best());
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
        "deflate" => {
            let mut to = write::ZlibEncoder::new(Vec::new(), Compression::best());
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
        "br" => {
            let mut to = Vec::new();
            brotli::BrotliCompress(&mut &plain[..], &mut to, &BrotliEncoderParams::default())
                .unwrap();
            to
        }
        _ => plain.to_vec(),
    }
}

fn asking(path: &str, host: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip, compress, deflate, br, zstd\r\n\r\n"
    )
}

fn rewriting(builder: Builder) -> Builder {
    builder.route("links.rewrite", true)
}

#[test]
fn pages_lead_on_through_the_proxy_in_every_coding() {
    let origin = paging();
    let proxy = rewriting(proxy::to(&origin)).start();
    for coding in ["identity", "gzip", "deflate", "br"] {
        let host = format!("localhost:{}", proxy.address.port());
        let answer = proxy.send(asking(&format!("/{coding}"), &host));
        answer.is_the_upstreams(200);
        assert_eq!(
            answer.text(),
            expected(&origin.url(), &format!("http://{host}")),
            "{coding}"
        );
        for gone in ["content-encoding", "content-length"] {
            assert!(answer.all(gone).is_empty(), "{}", answer.head);
        }
        assert_eq!(answer.field("etag"), Some("W/\"a\""));
        let asked = origin.requests().pop().unwrap();
        assert_eq!(asked.field("accept-encoding"), Some("gzip, deflate, br"));
    }
}

#[test]
fn links_point_at_the_public_origin_if_one_is_given() {
    let origin = paging();
    let proxy = rewriting(proxy::to(&origin))
        .route("links.public", "https://itwin.example")
        .start();
    let answer = proxy.get("/gzip");
    assert_eq!(
        answer.text(),
        expected(&origin.url(), "https://itwin.example")
    );
}

#[test]
fn a_route_may_leave_links_alone() {
    let origin = paging();
    let proxy = proxy::to(&origin).route("links.rewrite", false).start();
    let answer = proxy.send(asking("/gzip", "proxy.localhost"));
    assert_eq!(answer.body, encode("gzip", page(&origin.url()).as_bytes()));
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    assert_eq!(answer.field("etag"), Some("\"a\""));
    let asked = origin.request();
    assert_eq!(
        asked.field("accept-encoding"),
        Some("gzip, compress, deflate, br, zstd")
    );
}

#[test]
fn what_is_not_json_or_cannot_be_decoded_passes_to_the_byte() {
    let body = r#"{"_links":{"a":{"href":"http://UPSTREAM/x"}}}"#;
    for fields in [
        "content-type: text/plain\r\n",
        "content-type: application/octet-stream\r\n",
        "content-type: application/json\r\ncontent-encoding: zstd\r\n",
        "content-type: application/json\r\ncache-control: no-transform\r\n",
        "",
    ] {
        let origin = origin::serving(move |mut connection| {
            while let Some(request) = connection.request() {
                let body = body.replace("UPSTREAM", request.field("host").unwrap());
                connection.send(origin::answer("200 OK", fields, &body));
            }
        });
        let proxy = rewriting(proxy::to(&origin)).start();
        let answer = proxy.get("/");
        let address = origin.address.to_string();
        assert_eq!(
            answer.text(),
            body.replace("UPSTREAM", &address),
            "{fields}"
        );
        assert_eq!(
            answer.field("content-length"),
            Some(answer.body.len().to_string().as_str())
        );
    }
}

#[test]
fn locations_and_link_fields_point_back_too() {
    let origin = origin::serving(|mut connection| {
        while let Some(request) = connection.request() {
            let us = format!("http://{}", request.field("host").unwrap());
            let fields = format!(
                "Location: {us}/imodels/1\r\nContent-Location: {us}\r\nLink: <{us}/a?b>; rel=\"next\", </c>; rel=prev, <https://other.example/d>\r\n"
            );
            connection.send(origin::answer("202 Accepted", &fields, ""));
        }
    });
    let proxy = rewriting(proxy::to(&origin)).start();
    let answer = proxy.send(with_fields("POST", "/imodels", "Content-Length: 0\r\n"));
    assert_eq!(answer.status(), 202);
    assert_eq!(
        answer.field("location"),
        Some("http://proxy.localhost/imodels/1")
    );
    assert_eq!(
        answer.field("content-location"),
        Some("http://proxy.localhost")
    );
    assert_eq!(
        answer.field("link"),
        Some(
            "<http://proxy.localhost/a?b>; rel=\"next\", </c>; rel=prev, <https://other.example/d>"
        )
    );
}

#[test]
fn an_answer_streams_while_its_links_are_rewritten() {
    let origin = origin::serving(|mut connection| {
        let request = connection.head().unwrap();
        let us = format!("http://{}", request.field("host").unwrap());
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        connection.send(chunk(&format!(r#"{{"_links":{{"a":{{"href":"{us}/1"}},"#)));
        // the caller has seen the first half before the second is sent
        connection.exactly(1);
        connection.send(chunk(&format!(r#""b":{{"href":"{us}/2"}}}}}}"#)));
        connection.send("0\r\n\r\n");
    });
    let proxy = rewriting(proxy::to(&origin)).start();
    let mut client = proxy.connect();
    client.send(with_fields("POST", "/", "Content-Length: 1\r\n"));
    client.head();
    let first = r#"{"_links":{"a":{"href":"http://proxy.localhost/1"},"#;
    assert_eq!(
        client.exactly(first.len() + 4),
        format!("{:x}\r\n{first}", first.len()).into_bytes()
    );
    client.send("x");
    let rest = r#""b":{"href":"http://proxy.localhost/2"}}}"#;
    let rest = format!("\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
    assert_eq!(client.exactly(rest.len()), rest.into_bytes());
}

#[test]
fn a_compressed_answer_that_is_broken_is_cut_not_completed() {
    let mut body = encode("gzip", page("http://upstream.test").as_bytes());
    let half = body.len() / 2;
    body.truncate(half);
    let origin = origin::serving(move |mut connection| {
        connection.request();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {half}\r\n\r\n"
        ));
        connection.send(&body);
    });
    let proxy = rewriting(proxy::to(&origin)).start();
    let mut client = proxy.connect();
    let answer = client.send(proxy::get("/")).until_closed();
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n"));
}
