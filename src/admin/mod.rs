//! The admin listener: probes, metrics and status, for operators and their machines.
//!
//! It stands apart from the data plane (own address, the control plane's runtime), so that neither
//! can be reached through the other. It answers questions, and no answer holds a token, a secret or a
//! query. What may be changed is what implements [`Editable`] (which tokens are revoked), by who has
//! the configured key; without one nothing. Orders to stop are in `orders`. Components describe themselves through
//! [`crate::health::Report`]; this floor knows none of them.

mod edit;
mod exposition;
mod host;
mod orders;
mod pages;
mod process;

use std::{
    any::Any,
    convert::Infallible,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower_http::catch_panic::{CatchPanic, ResponseForPanic};
use tower_service::Service;

use crate::{
    clock::{Clock, Moment},
    config::SecretSource,
    health::{Document, Editable, Readiness, Report},
    metrics::Metrics,
    shutdown::Shutdown,
};

/// Probes and scrapers are few; whoever opens more waits.
const CONNECTIONS: usize = 64;
/// From the first byte of a request, or the end of the one before, to the end of its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is asked to end after this time, and cut [`GRACE`] later, so that nobody who stops
/// reading holds its place for ever.
const LIFETIME: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(10);
/// Accepting fails when descriptors run out; trying again at once would only burn the CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin listener tells about.
#[derive(Clone)]
pub struct AdminState {
    pub readiness: Readiness,
    pub metrics: Arc<Metrics>,
    pub reports: Vec<Arc<dyn Report>>,
    pub documents: Vec<Arc<dyn Document>>,
    pub editable: Vec<Arc<dyn Editable>>,
    /// Who has it may change these.
    pub key: Option<SecretSource>,
    /// Programs on this machine may end this one.
    pub allow_quit: bool,
    pub shutdown: Shutdown,
    pub clock: Clock,
}

/// Answers on `listener` from the current runtime, from when `open` is true until the stop is hard: while
/// the data plane drains, `/ready` still has to say so. Returns the bound address.
pub fn serve(
    listener: std::net::TcpListener,
    state: AdminState,
    mut open: watch::Receiver<bool>,
    shutdown: &Shutdown,
) -> io::Result<SocketAddr> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let admin = Arc::new(Admin {
        started: state.clock.now(),
        state,
    });
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        // the sender lives as long as what may open
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        tokio::select! {
            () = accept(listener, admin, stop.clone()) => {}
            // the probes that come now are for the process that accepts them
            _ = stop.superseded() => {}
        }
    });
    Ok(address)
}

async fn accept(listener: TcpListener, admin: Arc<Admin>, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // the semaphore is never closed
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = connection(stream, peer.ip(), admin.clone());
                shutdown.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "admin: accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, admin: Arc<Admin>) {
    let panics = CountPanics(admin.state.metrics.panics.clone());
    let service = CatchPanic::custom(Ask(admin, peer), panics);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(64)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
    );
    // how a connection ends is its peer's business: a probe that hangs up is no event
    tokio::select! {
        _ = &mut connection => {}
        () = sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(GRACE, connection).await;
        }
    }
}

/// Counts a panic and answers it.
#[derive(Clone)]
struct CountPanics(Counter);

impl ResponseForPanic for CountPanics {
    type ResponseBody = Full<Bytes>;

    fn response_for_panic(&mut self, _: Box<dyn Any + Send>) -> Response<Full<Bytes>> {
        self.0.inc();
        pages::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "the program has a bug: its log says where",
        )
    }
}

/// [`Admin`] as a service, for a connection from this address.
#[derive(Clone)]
struct Ask(Arc<Admin>, IpAddr);

impl<B> Service<Request<B>> for Ask
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (admin, peer) = (Arc::clone(&self.0), self.1);
        Box::pin(async move { Ok(admin.serve(request, peer).await) })
    }
}

struct Admin {
    started: Moment,
    state: AdminState,
}

impl Admin {
    async fn serve<B>(&self, request: Request<B>, peer: IpAddr) -> Response<Full<Bytes>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = request.uri().path();
        if let Some(order) = orders::Order::of(path) {
            return orders::serve(self, order, &request, peer);
        }
        let mut editable = self.state.editable.iter();
        match editable.find(|list| list.path() == path).cloned() {
            Some(list) => edit::serve(self, &*list, request).await,
            None => self.answer(request.method(), request.uri(), request.headers()),
        }
    }

    /// What only tells: pure, apart from the time.
    fn answer(
        &self,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        if let Err(refused) = host::check(uri, headers) {
            return pages::problem(refused.status(), refused.code(), refused.message());
        }
        let page = match uri.path() {
            "/" => pages::index,
            "/startup" => pages::startup,
            "/live" => pages::live,
            "/ready" => pages::ready,
            "/metrics" => pages::metrics,
            "/status" => pages::status,
            path if self.document(path).is_some() => pages::document,
            _ => {
                let hint = "there is /startup, /live, /ready, /metrics, /status, /revocations, /drain and /quit";
                return pages::problem(StatusCode::NOT_FOUND, "NotFound", hint);
            }
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = pages::problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "this cannot be changed: GET and HEAD only",
            );
            let allowed = header::HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return answer;
        }
        page(self, uri.path(), headers)
    }

    fn document(&self, path: &str) -> Option<&Arc<dyn Document>> {
        let mut all = self.state.documents.iter();
        all.find(|document| document.path() == path)
    }
}

#[cfg(test)]
mod tests;
