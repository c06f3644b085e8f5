//! The front end of the demonstration: a page, its style and its script, served by the simplest
//! server there is. The proxy stands before it and lets nobody through who is not signed in.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::shutdown::{Shutdown, Stage};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing from elsewhere, nothing that stands in the page itself.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The running server; it ends with the value.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    stop: Shutdown,
}

impl Front {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let front = Self {
            address: listener.local_addr()?,
            stop: Shutdown::new(),
        };
        let stop = front.stop.clone();
        front.stop.spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    stop.spawn(serve(stream));
                }
            }
        });
        Ok(front)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.advance(Stage::Hard);
    }
}

async fn serve(stream: TcpStream) {
    let service =
        service_fn(
            |request: Request<Incoming>| async move { Ok::<_, Infallible>(answer(&request)) },
        );
    // a connection that broke has nobody to be told
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn answer<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/" => (StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/page.css" => (StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/page.js" => (StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "There is no such page.\n",
        ),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_there_and_nothing_is_elsewhere() {
        let named = ["href=\"", "src=\""].iter().flat_map(|mark| {
            let rest = PAGE.split(mark).skip(1);
            rest.filter_map(|rest| rest.split('"').next())
        });
        let mut found = 0;
        for address in named.filter(|address| address.starts_with("/page")) {
            let request = Request::get(address).body(()).unwrap();
            assert_eq!(answer(&request).status(), StatusCode::OK, "{address}");
            found += 1;
        }
        assert_eq!(found, 2);
        for text in [PAGE, STYLE, SCRIPT] {
            assert!(!text.contains("http://") && !text.contains("https://"));
        }
        // what the policy would stop
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick="));
    }
}
