//! A new connection for each request: TCP, TLS with a full handshake, TLS resumed.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use rustls::{HandshakeKind, client::Resumption};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use crate::{
    Error,
    wire::{self, Stream, request, server_name},
};

/// `None` for TCP alone.
fn tls(how: &str, certificate: &str) -> Result<Option<TlsConnector>, Error> {
    let resumption = match how {
        "tcp" => return Ok(None),
        "full" => Resumption::disabled(),
        "resumed" => Resumption::in_memory_sessions(1),
        _ => return Err(format!("tcp, full or resumed, not {how}").into()),
    };
    wire::tls(certificate, resumption).map(Some)
}

pub(crate) async fn run(
    address: SocketAddr,
    path: &str,
    how: &str,
    certificate: &str,
    concurrency: usize,
    time: Duration,
) -> Result<String, Error> {
    let request: Rc<[u8]> = request("GET", address, path, "Connection: close\r\n").into();
    let end = Instant::now() + time;
    let resumed = Rc::new(Cell::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let (request, resumed) = (Rc::clone(&request), Rc::clone(&resumed));
        // Each caller is a client of its own, with tickets of its own.
        let tls = tls(how, certificate)?;
        callers.spawn_local(async move {
            let mut done = 0;
            while Instant::now() < end {
                let tcp = wire::connect(address).await?;
                match &tls {
                    None => exchange(tcp, &request).await?,
                    Some(tls) => {
                        let mut tls = tls.connect(server_name(address), tcp).await?;
                        let kind = tls.get_mut().1.handshake_kind();
                        resumed
                            .set(resumed.get() + u32::from(kind == Some(HandshakeKind::Resumed)));
                        exchange(tls, &request).await?;
                    }
                }
                done += 1;
            }
            Ok::<u32, Error>(done)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(json!({"requests": done, "resumed": resumed.get()}).to_string())
}

async fn exchange(mut stream: impl Stream, request: &[u8]) -> Result<(), Error> {
    stream.write_all(request).await?;
    let mut answer = Vec::with_capacity(4096);
    stream.read_to_end(&mut answer).await?;
    if answer.get(9..12) == Some(b"200") {
        return Ok(());
    }
    Err(format!("not 200: {}", String::from_utf8_lossy(&answer)).into())
}
