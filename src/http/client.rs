//! The small HTTP client of the control plane: providers' metadata and token endpoints.
//!
//! One exchange, one connection, HTTP/1.1. It follows no redirect, obeys no proxy variable, reads
//! no answer larger than [`ANSWER_MAX_BYTES`] and ends every exchange at a deadline. Dropping the
//! future ends the connection; no task is left behind.

pub mod reach;

use std::{error::Error as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    config::ClientTls,
    metrics::Exchanges,
    net::{
        dial::{self, DialError},
        names::Names,
    },
    tls::{TlsError, client::client_config},
};

/// The largest answer read: metadata documents have a few kilobytes, token answers less.
pub const ANSWER_MAX_BYTES: usize = 512 * 1024;

/// The largest answer header read.
const HEADER_MAX_BYTES: usize = 64 * 1024;

/// A client for one set of TLS settings.
#[derive(Debug, Clone)]
pub struct HttpClient {
    tls: Result<Arc<rustls::ClientConfig>, String>,
    server_name: Option<String>,
    counted: Option<Exchanges>,
    names: Arc<Names>,
    connect: Duration,
    total: Duration,
}

/// An exchange that did not come to an answer. Names the host, never a path, query or body.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{host} cannot be resolved")]
    Dns {
        host: String,
        source: std::io::Error,
    },
    #[error("no connection to {host}")]
    Connect {
        host: String,
        source: std::io::Error,
    },
    #[error("no TLS connection to {host}")]
    Tls {
        host: String,
        source: std::io::Error,
    },
    #[error("the TLS settings cannot be used")]
    Settings(#[source] TlsError),
    #[error("{host} cannot be reached by TLS: {why}")]
    NoRoots { host: String, why: String },
    #[error("{host} did not accept a connection within {after:?}")]
    ConnectTimeout { host: String, after: Duration },
    #[error("{host} did not answer within {after:?}")]
    Timeout { host: String, after: Duration },
    #[error("the answer of {host} is larger than {ANSWER_MAX_BYTES} bytes")]
    TooLarge { host: String },
    #[error("the exchange with {host} broke off")]
    Protocol { host: String, source: hyper::Error },
    #[error("not an http or https URL with a host")]
    Url,
}

impl ClientError {
    /// A word for metrics: `dns`, `connect`, `tls`, `timeout`, `too_large` or `http`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } | Self::Settings(_) | Self::NoRoots { .. } => "tls",
            Self::ConnectTimeout { .. } | Self::Timeout { .. } => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Protocol { .. } | Self::Url => "http",
        }
    }
}

impl HttpClient {
    /// Reads the authorities and our own certificate now; `connect` bounds name, TCP and TLS
    /// together, `total` the whole exchange.
    ///
    /// # Errors
    /// When a configured file cannot be used. A system without any authority is an error only
    /// once an `https` URL is asked for.
    pub fn new(tls: &ClientTls, connect: Duration, total: Duration) -> Result<Self, ClientError> {
        let config = match client_config(tls, &[b"http/1.1"]) {
            Ok(config) => Ok(config),
            Err(TlsError::NoRoots(why)) => Err(why),
            Err(other) => return Err(ClientError::Settings(other)),
        };
        Ok(Self {
            tls: config,
            server_name: tls.server_name.clone(),
            counted: None,
            names: Arc::new(Names::new(&tls.addresses, &tls.name_servers)),
            connect,
            total,
        })
    }

    /// Counts each exchange as one with a provider.
    #[must_use]
    pub fn counted(mut self, exchanges: Exchanges) -> Self {
        self.counted = Some(exchanges);
        self
    }

    /// Sends `request`, whose URI is absolute, and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// When there is no complete answer in time.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ClientError> {
        let target = Target::of(request.uri())?;
        let begun = self.counted.as_ref().map(Exchanges::begin);
        let result = match timeout(self.total, self.exchange(&target, request)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout {
                host: target.host,
                after: self.total,
            }),
        };
        if let Some((exchanges, begun)) = self.counted.as_ref().zip(begun) {
            match &result {
                Ok(answer) => exchanges.answered(begun, answer.status(), answer.headers()),
                Err(error) => exchanges.failed(begun, error.class()),
            }
        }
        result
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        let stream = timeout(self.connect, self.connect(target))
            .await
            .map_err(|_| ClientError::ConnectTimeout {
                host: target.host.clone(),
                after: self.connect,
            })??;
        let protocol = |source| ClientError::Protocol {
            host: target.host.clone(),
            source,
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEADER_MAX_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        let request = origin_form(request)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(protocol)?;
            let (head, body) = response.into_parts();
            match Limited::new(body, ANSWER_MAX_BYTES).collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge {
                    host: target.host.clone(),
                }),
                Err(error) => match error.downcast::<hyper::Error>() {
                    Ok(source) => Err(protocol(*source)),
                    Err(_) => Err(ClientError::Url),
                },
            }
        };
        tokio::pin!(answer);
        tokio::select! {
            // the connection future ends when the exchange is over; its errors reach the exchange
            result = &mut answer => return result,
            _ = connection => {}
        }
        answer.await
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, ClientError> {
        let tcp = dial::tcp(&target.host, target.port, &self.names)
            .await
            .map_err(|error| dialled(error, &target.host))?;
        if !target.https {
            return Ok(Box::new(tcp));
        }
        let config = self.tls.clone().map_err(|why| ClientError::NoRoots {
            host: target.host.clone(),
            why,
        })?;
        let name = self.server_name.as_ref().unwrap_or(&target.host);
        let failed = |source| ClientError::Tls {
            host: target.host.clone(),
            source,
        };
        let name = ServerName::try_from(name.clone())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(failed)?;
        Ok(Box::new(stream))
    }
}

/// A connection that could not be made, in this floor's words.
fn dialled(error: DialError, host: &str) -> ClientError {
    let host = host.to_owned();
    match error {
        DialError::Dns { source, .. } => ClientError::Dns { host, source },
        DialError::Connect { source, .. } => ClientError::Connect { host, source },
        // providers and upstreams are the configuration's
        DialError::Forbidden { .. } | DialError::Ourselves { .. } => ClientError::Connect {
            host,
            source: std::io::ErrorKind::PermissionDenied.into(),
        },
        DialError::NoAddress { .. } => ClientError::Dns {
            host,
            source: std::io::ErrorKind::NotFound.into(),
        },
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where an exchange goes.
#[derive(Debug)]
struct Target {
    https: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, ClientError> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ClientError::Url),
        };
        let host = uri.host().ok_or(ClientError::Url)?;
        Ok(Self {
            https,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
        })
    }
}

/// The request as it is written to an origin server (RFC 9112 section 3.2.1).
fn origin_form(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, ClientError> {
    let (mut head, body) = request.into_parts();
    // user information is no part of `Host`
    let authority = head.uri.authority().ok_or(ClientError::Url)?.as_str();
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::from_str(authority).map_err(|_| ClientError::Url)?;
    head.headers.insert(header::HOST, host);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!(
            "itwin-auth-proxy/",
            env!("CARGO_PKG_VERSION")
        )));
    if let Some(secret) = head.headers.get_mut(header::AUTHORIZATION) {
        secret.set_sensitive(true);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(|_| ClientError::Url)?;
    Ok(Request::from_parts(head, Full::new(body)))
}

/// An error and its sources in one line, for the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl ClientError {
    /// The reasons below this error, without itself.
    pub fn reason(&self) -> String {
        self.source().map(chain).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::shutdown::Shutdown;

    const SECOND: Duration = Duration::from_secs(1);

    /// Answers one connection with `answer` once a request header has arrived; keeps it open
    /// afterwards.
    async fn origin(answer: impl Into<Vec<u8>>) -> (Shutdown, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (answer, stop) = (answer.into(), Shutdown::new());
        stop.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap() == 0 {
                    return;
                }
            }
            let _ = stream.write_all(&answer).await;
            std::future::pending::<()>().await;
        });
        (stop, base)
    }

    fn client() -> HttpClient {
        HttpClient::new(&ClientTls::default(), SECOND, 5 * SECOND).unwrap()
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::get(url).body(Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_read_whatever_its_status() {
        let (_stop, base) = origin("HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}").await;
        let answer = client().send(get(&base)).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (400, &b"{}"[..])
        );
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let (_stop, base) =
            origin("HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client().send(get(&base)).await.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_at_the_limit() {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(ANSWER_MAX_BYTES + 64 * 1024, b' ');
        let (_stop, base) = origin(answer).await;
        let error = client().send(get(&base)).await.unwrap_err();
        assert_eq!(error.class(), "too_large", "{error}");
    }

    #[tokio::test]
    async fn a_header_without_end_is_an_error() {
        let mut answer = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        answer.resize(4 * HEADER_MAX_BYTES, b'x');
        let (_stop, base) = origin(answer).await;
        let error = client().send(get(&base)).await.unwrap_err();
        assert_eq!(error.class(), "http", "{error}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_left_at_the_deadline() {
        let (_stop, base) = origin("").await;
        let client =
            HttpClient::new(&ClientTls::default(), SECOND, Duration::from_millis(50)).unwrap();
        let error = client.send(get(&base)).await.unwrap_err();
        assert_eq!(error.class(), "timeout", "{error}");
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        let (_stop, base) = origin("SSH-2.0-OpenSSH_9.2\r\n").await;
        let error = client().send(get(&base)).await.unwrap_err();
        assert_eq!(error.class(), "http", "{error}");
    }

    #[tokio::test]
    async fn nobody_listening_is_named_with_the_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = client()
            .send(get(&format!("http://{address}/token?client=hidden")))
            .await
            .unwrap_err();
        assert_eq!(error.class(), "connect");
        assert_eq!(error.to_string(), "no connection to 127.0.0.1");
    }

    #[tokio::test]
    async fn fixed_addresses_are_used_instead_of_dns() {
        let (_stop, base) = origin("HTTP/1.1 204 None\r\n\r\n").await;
        let tls = ClientTls {
            addresses: vec![base.trim_start_matches("http://").parse().unwrap()],
            ..ClientTls::default()
        };
        let client = HttpClient::new(&tls, SECOND, SECOND).unwrap();
        let answer = client.send(get("http://ims.example.invalid/x")).await;
        assert_eq!(answer.unwrap().status(), 204);
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_authority_is_refused_and_of_a_configured_one_accepted() {
        let made = rcgen::generate_simple_self_signed(["ims.example.invalid".into()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        )
        .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Shutdown::new();
        stop.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(b"HTTP/1.1 204 None\r\n\r\n").await;
                }
            }
        });
        let mut tls = ClientTls {
            addresses: vec![address],
            ..ClientTls::default()
        };
        let url = "https://ims.example.invalid/";
        let client = HttpClient::new(&tls, SECOND, SECOND).unwrap();
        assert_eq!(client.send(get(url)).await.unwrap_err().class(), "tls");

        tls.extra_ca = vec![ca];
        let client = HttpClient::new(&tls, SECOND, SECOND).unwrap();
        assert_eq!(client.send(get(url)).await.unwrap().status(), 204);
    }
}
