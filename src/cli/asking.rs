//! Asking a running proxy through its admin listener: what all commands for a running one share.
//!
//! Where the configuration names an admin socket, that is asked: there the kernel says who we are. Where
//! it is not there or not for us, the address is asked, with the key if the configuration has one.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Configuration, Exit, complain, output};
use crate::{
    config::{self, Admin, ClientTls, Problems, SecretSource},
    http::client::{ANSWER_MAX_BYTES, HttpClient},
};

/// Where the package's configuration has its admin socket and its admin listener.
const INSTALLED: (&str, SocketAddr) = (
    "/run/itwin-auth-proxy/admin.sock",
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901),
);

/// Which proxy.
#[derive(Debug, Args)]
pub(super) struct Whom {
    #[command(flatten)]
    configuration: Configuration,
    /// The admin listener's address, as in 127.0.0.1:9901, or the path of its socket [default: as configured; where nothing is, as the package has it].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<Place>,
}

/// Where an admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Socket(path.into()));
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Socket(text.into()));
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        // as browsers do, without asking a name server (RFC 6761, section 6.3)
        let address = match address.strip_prefix("localhost:") {
            Some(port) => &format!("127.0.0.1:{port}"),
            None => address,
        };
        let address = address.parse().map_err(|_| {
            "an address and a port as in 127.0.0.1:9901, localhost:9901 or http://127.0.0.1:9901, or a \
             socket as in /run/itwin-auth-proxy/admin.sock"
        })?;
        Ok(Self::Address(reachable(address)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A proxy that can be asked.
pub(super) struct Asked {
    /// The first that answers us is taken; there is one at least.
    places: Vec<Place>,
    key: Option<SecretSource>,
}

impl Whom {
    /// What it is written to run with.
    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    pub(super) fn find(&self) -> Result<Asked, Exit> {
        if let Some(place) = self.admin.clone() {
            let admin = config::admin(&self.configuration.sources());
            return Ok(Asked::named(place, admin));
        }
        let sources = self.configuration.sources();
        if sources.are_none() {
            // of a service, whose configuration is named to itself alone
            let (socket, address) = INSTALLED;
            let places = vec![Place::Socket(socket.into()), Place::Address(address)];
            return Ok(Asked { places, key: None });
        }
        let asked = match config::load(sources.clone()) {
            Ok(loaded) => Asked::configured(&loaded.config.asked_at()),
            // a process may run whose file has become wrong since: it is asked all the same
            Err(problems) => {
                let wrong = wrong(&problems);
                let Some(admin) = config::admin(&sources) else {
                    complain(format!(
                        "error: {wrong}; where the process is that runs cannot be told from it"
                    ));
                    complain("hint: name it with --admin, as in --admin 127.0.0.1:9901");
                    return Err(Exit::Config);
                };
                complain(format!(
                    "warning: {wrong}; a process that runs does so with another"
                ));
                Asked::configured(&admin)
            }
        };
        asked.ok_or_else(|| {
            complain("error: the configuration has no admin listener that can be asked");
            complain(
                "hint: give admin.bind or admin.socket, or name the process with --admin ADDRESS",
            );
            Exit::Config
        })
    }
}

/// That what is written is wrong, in short: the proxy itself tells what is, and a probe is asked
/// every few seconds.
pub(super) fn wrong(problems: &Problems) -> String {
    let problems = output::count(problems.errors(), "problem");
    format!("the configuration that is written has {problems} (itwin-auth-proxy check shows more)")
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, place) in self.places.iter().enumerate() {
            write!(f, "{}{place}", if n == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

impl Asked {
    /// The one that is there, if there is any.
    pub(super) fn configured(admin: &Admin) -> Option<Self> {
        let socket = admin.socket.as_ref();
        let socket = socket.map(|socket| Place::Socket(socket.path.clone()));
        let address = admin.address.map(reachable).map(Place::Address);
        let places: Vec<_> = socket.into_iter().chain(address).collect();
        (!places.is_empty()).then(|| Self {
            places,
            key: admin.key.clone(),
        })
    }

    /// The one at this place. A key that is configured goes to this machine, or where it is
    /// configured for.
    pub(super) fn named(place: Place, admin: Option<Admin>) -> Self {
        let trusted = |admin: &Admin| match &place {
            Place::Socket(_) => false,
            Place::Address(address) => {
                address.ip().is_loopback() || admin.address == Some(*address)
            }
        };
        Self {
            key: admin.filter(trusted).and_then(|admin| admin.key),
            places: vec![place],
        }
    }

    /// Sends a request without a body; the answer's status and text.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> Result<(StatusCode, String), String> {
        self.send_with(method, path, Bytes::new(), limit).await
    }

    /// The same with a body of JSON, unless it is empty.
    pub(super) async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(StatusCode, String), String> {
        let mut last = Err("it has no address".into());
        for place in &self.places {
            last = match place {
                Place::Socket(socket) => {
                    let asked = at_socket(socket, method.clone(), path, body.clone());
                    timeout(limit, asked)
                        .await
                        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
                }
                Place::Address(address) => {
                    self.at_address(*address, method.clone(), path, body.clone(), limit)
                        .await
                }
            };
            if last
                .as_ref()
                .is_ok_and(|(status, _)| *status != StatusCode::FORBIDDEN)
            {
                return last;
            }
        }
        last
    }

    async fn at_address(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(StatusCode, String), String> {
        let client =
            HttpClient::new(&ClientTls::default(), limit, limit).map_err(|e| output::chain(&e))?;
        let mut headers = headers(&body);
        if method == Method::POST {
            self.show_key(&mut headers)?;
        }
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .body(body)
            .map_err(|e| e.to_string())?;
        request.headers_mut().extend(headers);
        let answer = client.send(request).await.map_err(|e| output::chain(&e))?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status(), text))
    }

    fn show_key(&self, headers: &mut HeaderMap) -> Result<(), String> {
        if let Some(key) = &self.key {
            let key = key.read().map_err(|error| error.to_string())?;
            let shown = format!("Bearer {}", key.expose());
            let shown = shown
                .parse()
                .map_err(|_| "the key has other letters than a header takes")?;
            headers.insert(header::AUTHORIZATION, shown);
        }
        Ok(())
    }

    /// Asks for what goes on, and hands it over as it comes until `take` wants no more. The text of a
    /// refusal is returned instead. Only what is there before the first octet has `limit`.
    pub(super) async fn follow(
        &self,
        path: &str,
        limit: Duration,
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(StatusCode, String), String> {
        let mut last = Err("it has no address".into());
        for place in &self.places {
            last = self.follow_at(place, path, limit, &mut take).await;
            if !matches!(last, Err(_) | Ok((StatusCode::FORBIDDEN, _))) {
                return last;
            }
        }
        last
    }

    async fn follow_at(
        &self,
        place: &Place,
        path: &str,
        limit: Duration,
        take: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(StatusCode, String), String> {
        let late = || format!("no answer within {limit:?}");
        let mut request = Request::get(path)
            .body(Full::default())
            .map_err(|e| e.to_string())?;
        let headers = request.headers_mut();
        match place {
            Place::Socket(socket) => {
                headers.insert(header::HOST, HeaderValue::from_static("localhost"));
                let stream = timeout(limit, UnixStream::connect(socket)).await;
                let stream = stream.map_err(|_| late())?.map_err(|e| output::chain(&e))?;
                follow_on(stream, request, limit, take).await
            }
            Place::Address(address) => {
                let host = address.to_string().parse();
                let host = host.map_err(|_| format!("{address} is no Host"))?;
                headers.insert(header::HOST, host);
                self.show_key(headers)?;
                let stream = timeout(limit, TcpStream::connect(address)).await;
                let stream = stream.map_err(|_| late())?.map_err(|e| output::chain(&e))?;
                follow_on(stream, request, limit, take).await
            }
        }
    }
}

async fn follow_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limit: Duration,
    take: &mut impl FnMut(&[u8]) -> bool,
) -> Result<(StatusCode, String), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| output::chain(&e))?;
    let read = async {
        let answer = timeout(limit, sender.send_request(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {limit:?}"))?;
        let answer = answer.map_err(|e| output::chain(&e))?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status != StatusCode::OK {
            let body = timeout(limit, Limited::new(body, ANSWER_MAX_BYTES).collect()).await;
            let body = body.map_err(|_| format!("no answer within {limit:?}"))?;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            return Ok((status, String::from_utf8_lossy(&body).into_owned()));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| output::chain(&e))?;
            if frame.data_ref().is_some_and(|data| !take(data)) {
                break;
            }
        }
        Ok((status, String::new()))
    };
    let mut read = std::pin::pin!(read);
    tokio::select! {
        read = &mut read => read,
        // what was read of it is with whoever asked; how it ended, that one hears, too
        _ = connection => read.await,
    }
}

async fn at_socket(
    socket: &std::path::Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, String), String> {
    let chain = |error: &dyn Error| output::chain(error);
    let stream = UnixStream::connect(socket).await.map_err(|e| chain(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| chain(&e))?;
    let headers = headers(&body);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Full::new(body))
        .map_err(|e| chain(&e))?;
    request.headers_mut().extend(headers);
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|e| chain(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect();
        let body = body.await.map_err(|e| e.to_string())?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answered = &mut answered => answered,
        ended = connection => match ended {
            // what was read of it is with whoever asked
            Ok(()) => answered.await,
            Err(error) => Err(chain(&error)),
        },
    }
}

fn headers(body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    headers
}

/// Shows why an order was not obeyed, with all that the proxy said of it.
pub(super) fn disobeyed(status: StatusCode, text: &str) -> Exit {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap_or(text.trim_end());
    complain(format!("error: {status}: {message}"));
    for detail in error["details"].as_array().into_iter().flatten() {
        let detail = detail["message"].as_str().unwrap_or_default();
        complain(format!("  {detail}"));
    }
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Exit::NotPermitted,
        _ => Exit::No,
    }
}

/// An address that can be connected to: listening on all addresses includes loopback.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}
