//! The least that a proxy on hyper can be: one thread, a pool of connections, the token put in, the
//! hop-by-hop fields taken out; no routes, limits, timeouts, metrics or log. What ours costs above it
//! is what all of that costs.

use std::{
    cell::RefCell,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{AUTHORIZATION, CONNECTION, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1::Builder,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::spawn_local};

use crate::{Error, wire};

type Sender = SendRequest<Incoming>;

/// What requests are sent with; connections that are free now.
struct Upstream {
    address: SocketAddr,
    host: HeaderValue,
    authorization: HeaderValue,
    free: RefCell<Vec<Sender>>,
}

/// An answer's body; when it is done with, its connection is free.
struct Answer {
    body: Incoming,
    sender: Option<Sender>,
    upstream: Rc<Upstream>,
}

/// Serves on a port that the kernel chooses and that is printed; never returns.
pub(crate) async fn serve(address: SocketAddr, token: &str) -> Result<String, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let upstream = Rc::new(Upstream {
        address,
        host: HeaderValue::from_str(&address.to_string())?,
        authorization: HeaderValue::from_str(&format!("Bearer {token}"))?,
        free: RefCell::default(),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let upstream = Rc::clone(&upstream);
        let service = service_fn(move |request| Rc::clone(&upstream).forward(request));
        spawn_local(async move {
            let connection = Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.await.ok()
        });
    }
}

impl Upstream {
    async fn forward(
        self: Rc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Answer>, Error> {
        let headers = request.headers_mut();
        for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
            headers.remove(name);
        }
        headers.insert(HOST, self.host.clone());
        headers.insert(AUTHORIZATION, self.authorization.clone());
        let mut sender = self.sender().await?;
        let mut response = sender.send_request(request).await?;
        for name in [CONNECTION, TRAILER, TRANSFER_ENCODING, UPGRADE] {
            response.headers_mut().remove(name);
        }
        let upstream = Rc::clone(&self);
        Ok(response.map(|body| Answer {
            body,
            sender: Some(sender),
            upstream,
        }))
    }

    async fn sender(&self) -> Result<Sender, Error> {
        loop {
            let free = self.free.borrow_mut().pop();
            let Some(mut sender) = free else { break };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = wire::connect(self.address).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        spawn_local(async move { connection.await.ok() });
        Ok(sender)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let sender = self.sender.take();
        self.upstream.free.borrow_mut().extend(sender);
    }
}
