//! Servers on the other side: each says what it saw.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{space::Space, wait::Watched};

/// What a server does with each connection.
#[derive(Clone)]
pub(crate) enum Kind {
    /// Answers one request with its header.
    Http,
    Https(Arc<ServerConfig>),
    /// Answers with a token.
    Provider,
    /// Speaks first, then repeats what it hears.
    First,
}

/// A running server; its thread ends with the tests.
pub(crate) struct Server {
    /// Headers of requests, or bytes that were heard, one for each connection.
    pub(crate) seen: Arc<Watched<Vec<String>>>,
}

pub(crate) const GREETING: &str = "220 speak\r\n";

pub(crate) fn serve(space: &Space, addresses: &[&str], kind: &Kind) -> Server {
    let seen: Arc<Watched<Vec<String>>> = Arc::default();
    for address in addresses {
        listen(space, address.parse().unwrap(), kind.clone(), seen.clone());
    }
    Server { seen }
}

fn listen(space: &Space, address: SocketAddr, kind: Kind, log: Arc<Watched<Vec<String>>>) {
    let (ready, bound) = mpsc::channel();
    space.spawn(move || {
        let listener = TcpListener::bind(address).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let (kind, log) = (kind.clone(), log.clone());
            thread::spawn(move || {
                let stream = stream.unwrap();
                match kind {
                    Kind::Http => answer(stream, &log, echo),
                    Kind::Https(config) => {
                        let session = ServerConnection::new(config).unwrap();
                        answer(StreamOwned::new(session, stream), &log, echo);
                    }
                    Kind::Provider => answer(stream, &log, |_| {
                        r#"{"access_token":"the-token","token_type":"Bearer","expires_in":3600}"#
                            .into()
                    }),
                    Kind::First => repeat(stream, &log),
                }
            });
        }
    });
    bound.recv().expect("the address is free");
}

fn echo(header: &str) -> String {
    format!("SEEN\n{header}")
}

fn answer(
    mut stream: impl Read + Write,
    seen: &Watched<Vec<String>>,
    body: impl Fn(&str) -> String,
) {
    let mut header = Vec::new();
    let mut piece = [0; 4096];
    while !header.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => header.extend_from_slice(&piece[..read]),
            // a handshake that failed, or a connection that was not used
            _ => return,
        }
    }
    let header = String::from_utf8_lossy(&header).into_owned();
    let body = body(&header);
    seen.update(|seen| seen.push(header));
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let _ = stream.flush();
}

fn repeat(mut stream: std::net::TcpStream, seen: &Watched<Vec<String>>) {
    let _ = stream.write_all(GREETING.as_bytes());
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        seen.update(|seen| seen.push(String::from_utf8_lossy(&piece[..read]).into_owned()));
        let _ = stream.write_all(&piece[..read]);
    }
}
