//! Connections that begin slowly, in pieces, or not at all.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    DEADLINE,
    space::permitted,
    world::{OPENED, OTHER, PROXY, Proxy, World, rest},
};

const HTTPS: &str = "10.244.0.3:443";

fn world() -> (World, Proxy) {
    let world = World::pod();
    world.redirect(&format!("--apply --uid {PROXY}"));
    let proxy = world.beside();
    (world, proxy)
}

fn connected() -> TcpStream {
    let stream = TcpStream::connect(HTTPS).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The first flight of a client that trusts the proxy's authority, or the servers'.
fn client(world: &World, host: &'static str) -> (ClientConnection, Vec<u8>) {
    let config = if host == OPENED {
        world.trusting_us()
    } else {
        world.trusting_them()
    };
    let name = ServerName::try_from(host).unwrap();
    let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    (client, hello)
}

fn asked(client: ClientConnection, stream: TcpStream, host: &str) -> String {
    let mut stream = StreamOwned::new(client, stream);
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    // not every server says that this is the end
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_hello_in_pieces_of_a_byte_is_read_like_any_other() {
    if !permitted() {
        return;
    }
    let (world, _proxy) = world();
    for (host, has_token) in [(OPENED, true), (OTHER, false)] {
        let (client, hello) = client(&world, host);
        let answer = world.pod.within(|| {
            let mut stream = connected();
            for byte in hello {
                // each in a packet of its own
                stream.write_all(&[byte]).unwrap();
            }
            asked(client, stream, host)
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(
            answer.to_ascii_lowercase().contains("bearer the-token"),
            has_token,
            "{answer}"
        );
    }
}

#[test]
fn a_hello_that_never_ends_is_given_up() {
    if !permitted() {
        return;
    }
    let (world, _proxy) = world();
    let (_, hello) = client(&world, OPENED);
    for part in [1, 5, 50, hello.len() - 1] {
        let (part, begun) = (hello[..part].to_vec(), now());
        let end = world.pod.within(|| {
            let mut stream = connected();
            stream.write_all(&part).unwrap();
            rest(stream)
        });
        let closed = match end {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        // header_timeout is a second
        assert!(closed && begun.elapsed() >= Duration::from_secs(1));
        assert!(begun.elapsed() < DEADLINE);
    }
    let seen = world.other.seen.read(Vec::len) + world.real.seen.read(Vec::len);
    assert_eq!(seen, 0);
}

#[test]
fn a_connection_may_be_silent_for_long_before_it_is_used() {
    if !permitted() {
        return;
    }
    let (world, _proxy) = world();
    for (host, has_token) in [(OPENED, true), (OTHER, false)] {
        let (client, hello) = client(&world, host);
        let answer = world.pod.within(|| {
            let mut stream = connected();
            // longer than any patience with a beginning
            thread::sleep(Duration::from_millis(2500));
            stream.write_all(&hello).unwrap();
            asked(client, stream, host)
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(
            answer.to_ascii_lowercase().contains("bearer the-token"),
            has_token,
            "{answer}"
        );
    }
}

#[test]
fn a_name_that_is_absent_forged_or_endless_reaches_the_original_address_alone() {
    if !permitted() {
        return;
    }
    let (world, _proxy) = world();
    // whoever is there answers with its own certificate, which the name is not in
    for name in ["10.244.0.3", "not-known.example"] {
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(world.trusting_them(), name).unwrap();
        let failed = world.pod.within(|| {
            let mut stream = connected();
            while client.is_handshaking() {
                if let Err(error) = client.complete_io(&mut stream) {
                    return error.to_string();
                }
            }
            String::new()
        });
        assert!(failed.contains("not valid for name"), "{failed}");
    }
    // 64 KB of a name: passed on as far as it goes, and refused by whoever is there
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 1, 0, 0, 3, 3];
    endless.resize(70_000, b'a');
    let answer = world.pod.within(|| {
        let mut stream = connected();
        let _ = stream.write_all(&endless);
        let mut answer = [0; 1];
        stream.read(&mut answer).map(|_| answer[0])
    });
    // a TLS alert, or the reset that follows it
    assert!(matches!(answer, Ok(21 | 0) | Err(_)), "{answer:?}");
    // forged: the real host gets the token, whoever is at the address gets nothing
    let seen = world.https_ours(super::world::Family::V4, OPENED).unwrap();
    assert!(seen.contains("the-token"));
    assert!(
        !world
            .other
            .seen
            .read(|seen| seen.concat().contains("the-token"))
    );
}

#[expect(clippy::disallowed_methods, reason = "how long a test waits")]
fn now() -> Instant {
    Instant::now()
}
