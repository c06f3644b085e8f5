//! HTTP/2 with prior knowledge, on both sides of the proxy.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request};
use http_body_util::{BodyExt, Collected, Full, StreamBody};
use hyper::{body::Frame, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{DEADLINE, wait::Watched};

/// A connection to the proxy; many requests at once.
#[derive(Debug)]
pub(crate) struct Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

/// A stream that has become a tunnel.
pub(crate) type Tunnel = TokioIo<hyper::upgrade::Upgraded>;

/// An answer with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Collected<Bytes>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap()
        });
        runtime.spawn(connection);
        Self { runtime, sender }
    }

    /// TLS with `name` on a connection that carried something else before.
    pub(crate) fn over_tls(
        stream: std::net::TcpStream,
        name: &'static str,
        config: Arc<ClientConfig>,
    ) -> Self {
        let runtime = runtime();
        stream.set_nonblocking(true).unwrap();
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::from_std(stream).unwrap();
            let name = name.try_into().unwrap();
            let connector = TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap()
        });
        runtime.spawn(connection);
        Self { runtime, sender }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one request and waits for the whole answer.
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send_all([request]).remove(0)
    }

    /// What comes back, so many bytes of it, through a CONNECT to `authority` when this is said.
    pub(crate) fn tunnel(&self, authority: &str, said: &[u8], length: usize) -> Vec<u8> {
        let mut tunnel = self.connected(authority).unwrap();
        let said_and_heard = async {
            tunnel.write_all(said).await.unwrap();
            let mut back = vec![0; length];
            tunnel.read_exact(&mut back).await.unwrap();
            back
        };
        self.runtime
            .block_on(async { timeout(DEADLINE, said_and_heard).await })
            .unwrap()
    }

    /// A tunnel by CONNECT, or the status that refuses it.
    pub(crate) fn connected(&self, authority: &str) -> Result<Tunnel, u16> {
        let request = Request::connect(authority).body(Full::default()).unwrap();
        let mut sender = self.sender.clone();
        let connected = async move {
            let answer = sender.send_request(request).await.unwrap();
            match answer.status().as_u16() {
                200 => Ok(TokioIo::new(hyper::upgrade::on(answer).await.unwrap())),
                status => Err(status),
            }
        };
        self.runtime
            .block_on(async { timeout(DEADLINE, connected).await })
            .unwrap()
    }

    /// Sends all at once and waits for all answers, in the requests' order.
    pub(crate) fn send_all(
        &self,
        requests: impl IntoIterator<Item = Request<Full<Bytes>>>,
    ) -> Vec<Answer> {
        let exchanges: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let mut sender = self.sender.clone();
                self.runtime.spawn(async move {
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let (parts, body) = response.into_parts();
                    Answer {
                        status: parts.status.as_u16(),
                        headers: parts.headers,
                        body: body.collect().await.unwrap(),
                    }
                })
            })
            .collect();
        self.runtime.block_on(async {
            let mut answers = Vec::new();
            for exchange in exchanges {
                answers.push(
                    timeout(DEADLINE, exchange)
                        .await
                        .expect("an answer")
                        .unwrap(),
                );
            }
            answers
        })
    }
}

impl Answer {
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers()
    }

    pub(crate) fn bytes(self) -> Bytes {
        self.body.to_bytes()
    }
}

/// A request without a body.
pub(crate) fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

/// An origin that speaks HTTP/2 only.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Watched<Vec<Arrived>>>,
    _runtime: Runtime,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) head: request::Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// What the origin answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) body: &'static str,
    pub(crate) trailers: Vec<(&'static str, &'static str)>,
}

/// `200` with a body of text.
pub(crate) fn ok(body: &'static str) -> Reply {
    Reply {
        status: 200,
        body,
        ..Reply::default()
    }
}

/// Answers the first request with the first reply, and so on; the last one again and again.
pub(crate) fn answering<const N: usize>(replies: [Reply; N]) -> Origin {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Watched<Vec<Arrived>>> = Arc::default();
    let replies = Arc::new(replies);
    let watched = seen.clone();
    let handle = runtime.handle().clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, replies) = (watched.clone(), replies.clone());
            let service = service_fn(move |request| {
                let (seen, replies) = (seen.clone(), replies.clone());
                async move { Ok::<_, hyper::Error>(exchange(request, &seen, &replies[..]).await) }
            });
            handle.spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    Origin {
        address,
        seen,
        _runtime: runtime,
    }
}

type ReplyBody = StreamBody<
    futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>,
>;

async fn exchange(
    request: Request<hyper::body::Incoming>,
    seen: &Watched<Vec<Arrived>>,
    replies: &[Reply],
) -> Response<ReplyBody> {
    let (head, body) = request.into_parts();
    let all = body.collect().await.ok();
    let trailers = all.as_ref().and_then(|all| all.trailers().cloned());
    let body = all.map(Collected::to_bytes).unwrap_or_default();
    let number = seen.update(|seen| {
        seen.push(Arrived {
            head,
            body,
            trailers,
        });
        seen.len() - 1
    });
    let reply = replies[number.min(replies.len() - 1)].clone();
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.fields {
        response = response.header(name, value);
    }
    let mut frames = vec![Ok(Frame::data(Bytes::from_static(reply.body.as_bytes())))];
    if !reply.trailers.is_empty() {
        let trailers = reply.trailers.iter();
        let trailers = trailers.map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()));
        frames.push(Ok(Frame::trailers(trailers.collect())));
    }
    let body = StreamBody::new(futures_util::stream::iter(frames));
    response.body(body).unwrap()
}

impl Origin {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Arrived> {
        self.seen.read(Vec::clone)
    }
}
