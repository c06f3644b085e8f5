//! An origin server on a loopback port that keeps the exact bytes of every request and answers with
//! the exact bytes it is given.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::ServerConfig;

use super::{
    message::{Message, Messages, Unframed},
    wait::Watched,
    wire::{self, Wire},
};

/// A running origin; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Watched<Seen>>,
    stopped: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    requests: Vec<Request>,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) message: Message,
    /// On which connection, from 0.
    pub(crate) connection: usize,
}

impl Deref for Request {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// `200 OK` with a body of text.
pub(crate) fn ok(body: &str) -> String {
    answer("200 OK", "content-type: text/plain\r\n", body)
}

/// `200 OK` with JSON.
pub(crate) fn json(body: &str) -> String {
    answer("200 OK", "content-type: application/json\r\n", body)
}

/// An answer with a length.
pub(crate) fn answer(status: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}")
}

/// Answers the first request with the first answer, and so on; the last one again and again.
pub(crate) fn answering<const N: usize>(answers: [impl Into<String>; N]) -> Origin {
    let answers = answers.map(Into::into);
    serving(move |mut connection| {
        while let Some(request) = connection.request() {
            let answer = &answers[request.number.min(N - 1)];
            connection.send(answer);
            if answer.contains("connection: close") {
                return;
            }
        }
    })
}

/// Has every connection served by `serve`, on a thread of its own.
pub(crate) fn serving(serve: impl Fn(Connection) + Send + Sync + 'static) -> Origin {
    serving_over(|stream| Box::new(stream), serve)
}

/// As [`serving`], over TLS with this configuration.
pub(crate) fn serving_tls(
    config: Arc<ServerConfig>,
    serve: impl Fn(Connection) + Send + Sync + 'static,
) -> Origin {
    let wrap =
        move |stream| -> Box<dyn Wire> { Box::new(wire::tls_server(stream, config.clone())) };
    serving_over(wrap, serve)
}

fn serving_over(
    wrap: impl Fn(TcpStream) -> Box<dyn Wire> + Send + 'static,
    serve: impl Fn(Connection) + Send + Sync + 'static,
) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Watched<Seen>> = Arc::default();
    let stopped: Arc<AtomicBool> = Arc::default();
    let origin = Origin {
        address,
        seen: seen.clone(),
        stopped: stopped.clone(),
    };
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let stream = stream.unwrap();
            let wire = wrap(wire::prepared(stream));
            let number = seen.update(|seen| {
                seen.connections += 1;
                seen.connections - 1
            });
            let connection = Connection {
                messages: Messages::new(wire),
                number,
                seen: seen.clone(),
            };
            let serve = serve.clone();
            thread::spawn(move || serve(connection));
        }
    });
    origin
}

/// An address that nobody listens on.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

impl Origin {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that arrived so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.read(|seen| seen.requests.clone())
    }

    /// The only request that arrived.
    pub(crate) fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests[0].clone()
    }

    /// Waits until so many requests have arrived.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        self.seen.wait("requests at the origin", |seen| {
            (seen.requests.len() >= count).then(|| seen.requests.clone())
        })
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.read(|seen| seen.connections)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // wakes the thread that accepts
        let _ = TcpStream::connect(self.address);
    }
}

/// A connection that the origin serves.
#[derive(Debug)]
pub(crate) struct Connection {
    messages: Messages<Box<dyn Wire>>,
    /// From 0.
    pub(crate) number: usize,
    seen: Arc<Watched<Seen>>,
}

/// A request on a connection.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) message: Message,
    /// Counted over all connections, from 0.
    pub(crate) number: usize,
}

impl Deref for Arrived {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Connection {
    /// The next request, whole.
    pub(crate) fn request(&mut self) -> Option<Arrived> {
        let mut message = self.messages.head()?;
        self.messages.body(&mut message, Unframed::Empty);
        Some(self.record(message))
    }

    /// The next request's header; its body is left where it is.
    pub(crate) fn head(&mut self) -> Option<Arrived> {
        let message = self.messages.head()?;
        Some(self.record(message))
    }

    /// The body of a request whose header was read.
    pub(crate) fn body(&mut self, request: &Arrived) -> Vec<u8> {
        let mut message = request.message.clone();
        self.messages.body(&mut message, Unframed::Empty);
        message.body
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // the other side may be gone, which is what some tests are about
        self.sends(bytes);
    }

    /// Whether the other side still takes bytes.
    pub(crate) fn sends(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = &mut self.messages.stream;
        stream
            .write_all(bytes.as_ref())
            .and_then(|()| stream.flush())
            .is_ok()
    }

    /// Exactly so many bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.messages.exactly(length)
    }

    /// Waits until the other side has closed; what came before.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        self.messages.rest()
    }

    /// No more will be sent.
    pub(crate) fn finish(&mut self) {
        self.messages.stream.finish();
    }

    pub(crate) fn close(mut self) {
        self.messages.stream.close();
    }

    fn record(&self, message: Message) -> Arrived {
        let number = self.seen.update(|seen| {
            seen.requests.push(Request {
                message: message.clone(),
                connection: self.number,
            });
            seen.requests.len() - 1
        });
        Arrived { message, number }
    }
}
