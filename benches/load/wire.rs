//! As much of HTTP/1.1 as a load needs, over TCP or TLS.

use std::{io, net::SocketAddr, sync::Arc};

use memchr::memmem;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::Error;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Where the head of the message at the front of `bytes` ends.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The first field with this name, in lower case, without the space around its value.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (found, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn request(method: &str, address: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n");
    head.into_bytes()
}

/// Reads the head of an answer, whose status must be `status`; what follows it stays in `buffer`.
pub(crate) async fn answer(
    stream: &mut impl Stream,
    buffer: &mut Vec<u8>,
    status: &str,
) -> Result<Vec<u8>, Error> {
    buffer.clear();
    loop {
        if let Some(end) = head_end(buffer) {
            let head: Vec<u8> = buffer.drain(..end).collect();
            return match head.get(9..12) {
                Some(found) if found == status.as_bytes() => Ok(head),
                _ => Err(format!("not {status}: {}", String::from_utf8_lossy(&head)).into()),
            };
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection ended in the head of an answer".into());
        }
    }
}

pub(crate) fn length(head: &[u8]) -> Result<usize, Error> {
    let value = field(head, "content-length").ok_or("an answer without Content-Length")?;
    Ok(value.parse()?)
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS that trusts exactly the certificate in `file`.
pub(crate) fn tls(file: &str, resumption: Resumption) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(TlsConnector::from(Arc::new(config)))
}

pub(crate) fn server_name(address: SocketAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.ip().into())
}
