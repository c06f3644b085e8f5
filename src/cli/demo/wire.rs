//! Requests as software of other years sends them: to a proxy in absolute form, through a tunnel,
//! over TLS to whatever answers.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{AUTHORIZATION, HOST},
    request,
};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// No exchange of the demonstration may take longer.
const EXCHANGE_MAX: Duration = Duration::from_secs(10);
/// The longest answer to CONNECT that is read.
const CONNECTED_MAX: usize = 16 << 10;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body; null if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Sends a GET with the dummy token that old software has; `target` is sent as it stands.
pub(super) async fn get<S>(stream: S, host: &str, target: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(target).header(AUTHORIZATION, "Bearer dummy");
    exchange(stream, host, request).await
}

/// The same without any.
pub(super) async fn get_without_token<S>(stream: S, host: &str, target: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    exchange(stream, host, Request::get(target)).await
}

async fn exchange<S>(stream: S, host: &str, request: request::Builder) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request
        .header(HOST, host)
        .body(Full::<Bytes>::default())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let exchange = async move {
        let answer: Response<_> = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Answer { status, body })
    };
    let (answer, _) = timeout(EXCHANGE_MAX, async { tokio::join!(exchange, connection) }).await?;
    answer.map_err(io::Error::other)
}

pub(super) async fn tcp(address: &str) -> io::Result<TcpStream> {
    timeout(EXCHANGE_MAX, TcpStream::connect(address)).await?
}

/// A connection that a proxy was asked to take to `authority`; the status of its answer.
pub(super) async fn tunnel(proxy: &str, authority: &str) -> io::Result<(u16, TcpStream)> {
    let mut stream = tcp(proxy).await?;
    let asked = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < CONNECTED_MAX {
        head.push(timeout(EXCHANGE_MAX, stream.read_u8()).await??);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.unwrap_or(0), stream))
}

/// TLS on a connection to whoever shows a certificate for `host`.
pub(super) async fn tls(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    timeout(EXCHANGE_MAX, connector.connect(name, stream)).await?
}
