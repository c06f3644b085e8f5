//! Connections to hosts of others that are opened here, with a certificate of our own authority.
//!
//! Their callers believe to speak with the host itself. What they send is served by the routes, as
//! on any listener; only requests for that one host are (`Conn::inside`).

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc::UnboundedReceiver,
};
use tokio_rustls::TlsAcceptor;

use super::Service;
use crate::{
    http::serve::Protocol,
    net::{Conn, Security},
    proxy::{Opened, OpenedStream},
    shutdown::spawn_on_worker,
};

impl Service {
    /// Serves what callers of this thread have opened by CONNECT, as long as the thread lives.
    pub async fn open_all(self, mut opened: UnboundedReceiver<Opened>) {
        while let Some(Opened { stream, conn }) = opened.recv().await {
            let service = self.clone();
            spawn_on_worker(async move {
                let _open = service.proxy.now().connection();
                match stream {
                    OpenedStream::Tcp(stream) => service.open(stream, conn).await,
                    OpenedStream::Other(stream) => service.open(stream, conn).await,
                }
            });
        }
    }

    /// Speaks TLS as the host that the caller believes to have reached, and serves it.
    pub(super) async fn open<I>(&self, stream: I, mut conn: Conn)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let proxy = self.proxy.now();
        let Some((inside, mint)) = conn.inside.as_deref().zip(proxy.mint()) else {
            return;
        };
        let config = match mint.server_config(&inside.host) {
            Ok(config) => config,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(host = %inside.host, error, "no certificate could be minted");
                return;
            }
        };
        let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
        let stream = match tokio::time::timeout(self.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                // the usual reason: the caller does not trust the authority
                tracing::info!(host = %inside.host, %error, "TLS handshake of an opened connection failed");
                return;
            }
            Err(_) => return,
        };
        let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
        conn.security = Security::Tls { certificate: None };
        self.serve(stream, protocol, Arc::new(conn)).await;
    }
}
