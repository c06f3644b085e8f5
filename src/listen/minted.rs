//! Listeners that take the place of services: each caller is shown a certificate for the name that
//! it indicates (RFC 6066 section 3), made by the authority of the interception.
//!
//! Nobody is answered who indicates no name, or one that is not opened: the handshake ends with
//! `unrecognized_name`, which says to the caller what is wrong.

use std::{io, sync::Arc};

use rustls::{ServerConfig, server::Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::tls::mint::Mint;

/// A fatal alert `unrecognized_name` (112), as both versions have it before the keys are changed
/// (RFC 8446 sections 5.1 and 6).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Reads the `ClientHello`, and goes on as the name in it says. The caller sets the time limit.
pub(super) async fn accept<I>(mint: &Mint, stream: I) -> io::Result<TlsStream<I>>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    match config(mint, start.client_hello().server_name()) {
        Ok(config) => start.into_stream(config).await,
        Err(refused) => {
            start.io.write_all(&UNRECOGNIZED_NAME).await?;
            start.io.shutdown().await?;
            Err(io::Error::new(io::ErrorKind::InvalidInput, refused))
        }
    }
}

fn config(mint: &Mint, name: Option<&str>) -> Result<Arc<ServerConfig>, String> {
    let name = name.ok_or("the caller indicates no name")?;
    // a name with a final dot is the same name
    let host = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    mint.server_config(&host).map_err(|error| {
        let error = &error as &dyn std::error::Error;
        error
            .source()
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
    })
}
