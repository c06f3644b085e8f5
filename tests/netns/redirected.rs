//! Software in a pod, the proxy beside it: every connection to the network is redirected.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{
    server::GREETING,
    space::permitted,
    world::{FAMILIES, Family, OPENED, OTHER, PROXY, World, rest},
};

/// All that software sees of it, with the rules of one backend.
fn software_sees_what_it_would_see(backend: &str) {
    if !permitted() {
        return;
    }
    let world = World::pod();
    world.redirect(&format!("--apply --backend {backend} --uid {PROXY}"));
    let _proxy = world.beside();
    for family in FAMILIES {
        injected(&world, family);
        untouched(&world, family);
        not_looped(&world, family);
    }
    world.redirect(&format!("--remove --backend {backend}"));
    // the certificate is the server's own again, which is at this address by another name
    assert!(matches!(world.https_ours(Family::V4, OPENED), Err(35 | 60)));
}

fn injected(world: &World, family: Family) {
    let seen = world.https_ours(family, OPENED).unwrap();
    assert!(
        seen.starts_with("SEEN\nGET /imodels HTTP/1.1\r\n"),
        "{seen}"
    );
    assert!(
        seen.to_ascii_lowercase()
            .contains("authorization: bearer the-token\r\n"),
        "{seen}"
    );
    // also in clear: the real host, not whoever is at that address
    let seen = world
        .curl(family, &[&format!("http://{OPENED}/in/clear")])
        .unwrap();
    assert!(seen.contains("GET /in/clear"), "{seen}");
    assert!(
        seen.to_ascii_lowercase()
            .contains("authorization: bearer the-token\r\n"),
        "{seen}"
    );
    assert!(
        !world
            .plain
            .seen
            .read(|seen| seen.concat().contains("/in/clear"))
    );
}

fn untouched(world: &World, family: Family) {
    let seen = world.https_theirs(family, OTHER).unwrap();
    assert!(
        !seen.to_ascii_lowercase().contains("authorization"),
        "{seen}"
    );
    // to the byte, what a proxy would change included
    let words = ["-H", "X-oDD: 1", "-H", "Connection: close, X-oDD"];
    let url = format!("http://{OTHER}/raw");
    let seen = world.curl(family, &[&words[..], &[&url]].concat()).unwrap();
    let expected = format!("SEEN\nGET /raw HTTP/1.1\r\nHost: {OTHER}\r\n");
    assert!(
        seen.starts_with(&expected) && seen.contains("X-oDD: 1\r\n"),
        "{seen}"
    );
    assert!(seen.contains("Connection: close, X-oDD\r\n"), "{seen}");
}

fn not_looped(world: &World, family: Family) {
    // what the proxy's own user connects to is not redirected
    let url = format!("http://{OPENED}/own");
    let seen = world.curl_as(PROXY, family, &[&url]).unwrap();
    assert!(
        !seen.to_ascii_lowercase().contains("authorization"),
        "{seen}"
    );
    // and what was not redirected is not passed on
    let url = format!("http://{}:15001/", family.loopback());
    let refused = world.curl(family, &[&url]);
    assert!(matches!(refused, Err(7 | 52 | 56)), "{refused:?}");
}

#[test]
fn by_nftables() {
    software_sees_what_it_would_see("nft");
}

#[test]
fn by_iptables_over_nftables() {
    software_sees_what_it_would_see("iptables-nft");
}

#[test]
fn by_legacy_iptables() {
    software_sees_what_it_would_see("iptables-legacy");
}

#[test]
fn a_direct_connection_is_refused_where_nothing_was_ever_translated_too() {
    if !permitted() {
        return;
    }
    // without rules the kernel does not follow connections
    let world = World::pod();
    let proxy = world.beside();
    for family in FAMILIES {
        let url = format!("http://{}:15001/", family.loopback());
        let refused = world.curl(family, &["-H", "Host: other.example", &url]);
        assert!(matches!(refused, Err(7 | 52 | 56)), "{refused:?}");
    }
    let line = proxy.line("a connection that nobody redirected is refused");
    assert_eq!(line["level"], "warn");
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    world.redirect(&format!("--apply --uid {PROXY}"));
    let _proxy = world.beside();
    world.pod.within(|| {
        let mut stream = TcpStream::connect("10.244.9.3:80").unwrap();
        let mut greeting = [0; GREETING.len()];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, GREETING.as_bytes());
        stream.write_all(b"HELO x\r\n").unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HELO x\r\n");
        // the end of one way is passed on, and the other's with it
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(rest(stream).unwrap(), b"");
    });
}

#[test]
fn a_destination_that_does_not_answer_is_told_as_far_as_it_can_be() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    // nobody is at these ports of the pod's neighbour
    world.redirect(&format!("--apply --uid {PROXY} --ports 80,443,81,444"));
    let _proxy = world.beside();
    let to = |url: &str, port: u16| {
        let resolve = format!("{OTHER}:{port}:10.244.0.3");
        world.curl(
            Family::V4,
            &["--resolve", &resolve, "-w", "%{http_code}", url],
        )
    };
    let answer = to("http://other.example:81/", 81);
    assert!(matches!(answer, Err(7 | 52 | 56)), "{answer:?}");
    let tls = to("https://other.example:444/", 444);
    assert!(matches!(tls, Err(7 | 35)), "{tls:?}");
    // in HTTP there are words for it
    world.outside.ip("address add 10.244.0.77/32 dev lo");
    let resolve = format!("{OTHER}:80:10.244.0.78");
    let answer = world.curl(
        Family::V4,
        &[
            "--resolve",
            &resolve,
            "-w",
            "%{http_code}",
            "http://other.example/",
        ],
    );
    assert!(
        answer.as_ref().is_ok_and(|answer| answer.ends_with("502")),
        "{answer:?}"
    );
}

#[test]
fn hosts_that_the_listener_does_not_name_are_not_reached() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    world.redirect(&format!("--apply --uid {PROXY}"));
    let listeners = serde_json::json!([{
        "bind": "127.0.0.1:15001",
        "mode": "transparent",
        "hosts": ["*.blob.core.windows.net"],
    }]);
    let proxy = world.proxy(&listeners, "");
    let told = world.curl(Family::V4, &[&format!("http://{OTHER}/")]);
    assert!(told.is_ok_and(|answer| answer.contains("HostNotAllowed")));
    let reset = world.https_theirs(Family::V4, OTHER);
    assert!(matches!(reset, Err(7 | 35)), "{reset:?}");
    // routes and interception name theirs
    let seen = world.https_ours(Family::V4, OPENED).unwrap();
    assert!(seen.contains("the-token"), "{seen}");
    proxy.line("a redirected connection is refused");
    assert_eq!(world.other.seen.read(Vec::len), 0);
}

#[test]
fn a_connection_in_clear_is_for_one_host() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    world.redirect(&format!("--apply --uid {PROXY}"));
    let _proxy = world.beside();
    world.pod.within(|| {
        let mut stream = TcpStream::connect("10.244.0.3:80").unwrap();
        for (host, expected) in [(OPENED, "HTTP/1.1 200"), (OTHER, "HTTP/1.1 421")] {
            write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8(answer).unwrap(), expected);
            // one small answer at a time
            let _ = stream.read(&mut [0; 4096]).unwrap();
        }
    });
    assert_eq!(world.plain.seen.read(Vec::len), 0);
}

#[test]
fn a_tunnel_lives_until_the_stop_is_hard() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    world.redirect(&format!("--apply --uid {PROXY}"));
    let mut proxy = world.beside();
    world.pod.within(|| {
        let mut stream = TcpStream::connect("10.244.9.3:80").unwrap();
        let mut greeting = [0; GREETING.len()];
        stream.read_exact(&mut greeting).unwrap();
        proxy.terminate();
        proxy.line("stopping");
        stream.write_all(b"still here").unwrap();
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).unwrap();
        proxy.terminate();
        assert!(proxy.ended());
        rest(stream).unwrap_or_default();
    });
}
