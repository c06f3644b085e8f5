//! The address of this machine to which the browser comes back (RFC 8252 sections 7.3 and 8.3).
//!
//! It is bound on loopback only, and closed when the sign-in ends. One callback is taken: the first
//! with the path and the `state` that belong to this sign-in. Everything else gets a page that says
//! what to do, and changes nothing. The page of the callback waits for the end of the sign-in, so
//! that it says the truth.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::timeout,
};
use url::{Url, form_urlencoded};

use super::page::Page;
use crate::{config::Redirect, secret::Secret, shutdown::Shutdown};

/// For a page that is on its way when the sign-in ends.
const FAREWELL: Duration = Duration::from_secs(3);
const HEADER: Duration = Duration::from_secs(10);
/// Codes have some hundred octets.
const LONGEST_QUERY: usize = 32 * 1024;

/// Bound, not yet answering.
#[derive(Debug)]
pub(super) struct Loopback {
    listeners: Vec<TcpListener>,
    /// As it is told to the provider.
    pub(super) uri: Url,
}

/// No port could be bound.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoopbackError {
    #[error("{} cannot be listened on: {source}", ports(.tried))]
    Taken { tried: Vec<u16>, source: io::Error },
    #[error("the redirect {0} is no address")]
    Address(String),
}

/// The browser is back.
#[derive(Debug)]
pub(super) struct Callback {
    /// What it brought, as a query.
    pub(super) query: Secret,
    answer: oneshot::Sender<Page>,
}

/// Where requests of browsers go.
struct Desk {
    path: String,
    state: String,
    taken: Mutex<Option<mpsc::Sender<Callback>>>,
}

fn ports(tried: &[u16]) -> String {
    let all: Vec<String> = tried.iter().map(ToString::to_string).collect();
    match all.as_slice() {
        [] => "no free port".into(),
        [one] => format!("port {one}"),
        several => format!("none of the ports {}", several.join(", ")),
    }
}

impl Loopback {
    /// The first port that is free on every address that the redirect names. Where a name has two
    /// addresses, and the machine only one of them, that one is enough.
    pub(super) async fn bind(redirect: &Redirect) -> Result<Self, LoopbackError> {
        let any = [0];
        let candidates = match redirect.ports.as_slice() {
            [] => &any[..],
            ports => ports,
        };
        let mut failed = io::ErrorKind::AddrNotAvailable.into();
        for port in candidates {
            match Self::bind_all(redirect, *port).await {
                Ok(listeners) => {
                    let port = listeners[0]
                        .local_addr()
                        .map_or(*port, |bound| bound.port());
                    let uri = address(redirect, port)?;
                    return Ok(Self { listeners, uri });
                }
                Err(error) => failed = error,
            }
        }
        Err(LoopbackError::Taken {
            tried: redirect.ports.clone(),
            source: failed,
        })
    }

    async fn bind_all(redirect: &Redirect, port: u16) -> io::Result<Vec<TcpListener>> {
        let mut bound: Vec<TcpListener> = Vec::new();
        let mut missing = None;
        for ip in redirect.host.addresses() {
            let port = match bound.first() {
                Some(first) => first.local_addr()?.port(),
                None => port,
            };
            match TcpListener::bind(SocketAddr::new(*ip, port)).await {
                Ok(listener) => bound.push(listener),
                // somebody else would get the callback
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(error) => missing = Some(error),
            }
        }
        match missing {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(bound),
        }
    }

    /// Answers browsers until `shutdown` is hard. The callback comes at most once.
    pub(super) fn listen(self, state: &str, shutdown: &Shutdown) -> mpsc::Receiver<Callback> {
        let (sender, callback) = mpsc::channel(1);
        let desk = Arc::new(Desk {
            path: self.uri.path().to_owned(),
            state: state.to_owned(),
            taken: Mutex::new(Some(sender)),
        });
        for listener in self.listeners {
            let (desk, tracker) = (Arc::clone(&desk), shutdown.clone());
            shutdown.spawn(async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = listener.accept() => accepted,
                        () = tracker.reached(crate::shutdown::Stage::Soft) => return,
                    };
                    match accepted {
                        Ok((stream, _)) => {
                            tracker.spawn(serve(stream, Arc::clone(&desk), tracker.clone()));
                        }
                        // no more files: they come back as connections end
                        Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            });
        }
        callback
    }
}

/// The redirect's URL with this port.
pub(super) fn address(redirect: &Redirect, port: u16) -> Result<Url, LoopbackError> {
    let text = format!("http://{}:{port}{}", redirect.host.as_str(), redirect.path);
    Url::parse(&text).map_err(|_| LoopbackError::Address(text))
}

async fn serve(stream: TcpStream, desk: Arc<Desk>, shutdown: Shutdown) {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await.response()) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // whatever a browser does wrong is its own affair
        _ = connection.as_mut() => {}
        () = shutdown.reached(crate::shutdown::Stage::Soft) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(FAREWELL, connection).await;
        }
    }
}

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Page {
        let query = request.uri().query().unwrap_or_default();
        match self.judge(request.method(), request.uri().path(), query) {
            Ok(desk) => {
                let (answer, page) = oneshot::channel();
                let query = Secret::new(query);
                if desk.send(Callback { query, answer }).await.is_err() {
                    return Page::late();
                }
                page.await.unwrap_or_else(|_| Page::late())
            }
            Err(page) => page,
        }
    }

    /// Gives out the one place for a callback.
    fn judge(
        &self,
        method: &Method,
        path: &str,
        query: &str,
    ) -> Result<mpsc::Sender<Callback>, Page> {
        if path != self.path {
            return Err(Page::elsewhere());
        }
        if method != Method::GET {
            return Err(Page::method());
        }
        let states: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "state")
            .map(|(_, value)| value)
            .collect();
        let ours = Secret::new(self.state.as_str());
        let is_ours = matches!(states.as_slice(), [one] if ours.matches(one.as_bytes()));
        if !is_ours || query.len() > LONGEST_QUERY {
            return Err(Page::foreign());
        }
        self.taken.lock().take().ok_or_else(Page::twice)
    }
}

impl Callback {
    /// What the browser ends on.
    pub(super) fn end(self, page: Page) {
        // it may have gone away
        let _ = self.answer.send(page);
    }
}

impl Page {
    fn response(self) -> Response<Full<Bytes>> {
        self.into_response().map(Full::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoopbackHost;

    fn desk() -> (Desk, mpsc::Receiver<Callback>) {
        let (sender, receiver) = mpsc::channel(1);
        let desk = Desk {
            path: "/callback".into(),
            state: "right".into(),
            taken: Mutex::new(Some(sender)),
        };
        (desk, receiver)
    }

    #[test]
    fn one_callback_is_taken_and_it_is_the_right_one() {
        let (desk, _receiver) = desk();
        for (method, path, query, status) in [
            (Method::GET, "/", "code=a&state=right", 404),
            (Method::GET, "/favicon.ico", "", 404),
            (Method::GET, "/callback/", "code=a&state=right", 404),
            (Method::POST, "/callback", "code=a&state=right", 405),
            (Method::HEAD, "/callback", "code=a&state=right", 405),
            (Method::GET, "/callback", "", 400),
            (Method::GET, "/callback", "code=a", 400),
            (Method::GET, "/callback", "code=a&state=wrong", 400),
            (
                Method::GET,
                "/callback",
                "code=a&state=right&state=right",
                400,
            ),
            (
                Method::GET,
                "/callback",
                "code=a&state=right&state=wrong",
                400,
            ),
            (Method::GET, "/callback", "code=a&state=righ%74", 0),
            (Method::GET, "/callback", "code=a&state=right", 409),
        ] {
            let judged = desk.judge(&method, path, query);
            let found = judged.err().map_or(0, |page| page.status().as_u16());
            assert_eq!(found, status, "{method} {path}?{query}");
        }
    }

    #[tokio::test]
    async fn the_first_free_port_is_taken_and_named_in_the_redirect() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = other.local_addr().unwrap().port();
        let any = Redirect::default();
        let spare = Loopback::bind(&any).await.unwrap();
        let free = spare.uri.port().unwrap();
        drop(spare);
        let redirect = Redirect {
            ports: vec![taken, free],
            ..Redirect::default()
        };
        let bound = Loopback::bind(&redirect).await.unwrap();
        assert_eq!(
            bound.uri.as_str(),
            format!("http://127.0.0.1:{free}/callback")
        );
        let none = Redirect {
            ports: vec![taken, free],
            ..Redirect::default()
        };
        let text = Loopback::bind(&none).await.unwrap_err().to_string();
        assert!(
            text.contains(&format!("none of the ports {taken}, {free}")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn only_this_machine_reaches_it() {
        for host in [LoopbackHost::V4, LoopbackHost::Name] {
            let redirect = Redirect {
                host,
                ..Redirect::default()
            };
            let bound = Loopback::bind(&redirect).await.unwrap();
            for listener in &bound.listeners {
                assert!(listener.local_addr().unwrap().ip().is_loopback());
            }
            assert_eq!(bound.uri.host_str(), Some(host.as_str()));
        }
    }
}
