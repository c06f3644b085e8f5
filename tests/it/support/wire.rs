//! What bytes travel on: TCP, a Unix socket, or TLS over TCP.

use std::{
    fmt::Debug,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::DEADLINE;

/// A connection.
pub(crate) trait Wire: Read + Write + Send + Debug {
    /// No more will be sent.
    fn finish(&mut self);
    /// Neither side sends any more.
    fn close(&mut self);
    /// The protocol that ALPN settled.
    fn protocol(&self) -> Option<String> {
        None
    }
}

impl Wire for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Wire for UnixStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }

    fn close(&mut self) {
        self.finish();
        self.sock.close();
    }

    fn protocol(&self) -> Option<String> {
        let protocol = self.conn.alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }

    fn close(&mut self) {
        self.finish();
        self.sock.close();
    }
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    prepared(TcpStream::connect(address).unwrap())
}

pub(crate) fn prepared(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// TLS with `localhost`; the handshake is done when this returns.
pub(crate) fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    tls_on(tcp(address), "localhost", config)
}

/// TLS with `name`, on a connection that may have carried something else before.
pub(crate) fn tls_on(
    mut stream: TcpStream,
    name: &'static str,
    config: Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut tls = ClientConnection::new(config, name.try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// TLS on an accepted connection.
pub(crate) fn tls_server(stream: TcpStream, config: Arc<ServerConfig>) -> impl Wire {
    StreamOwned::new(ServerConnection::new(config).unwrap(), stream)
}
