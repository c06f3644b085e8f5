//! Requests over TLS, each caller on one connection that it keeps: to a server of its own, or
//! through a CONNECT of the proxy's that is opened there. wrk has no CONNECT.

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use rustls::{client::Resumption, pki_types::ServerName};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    Error,
    wire::{self, answer, length, request, server_name},
};

/// `host`: what to ask the proxy to connect to; `-` for none.
pub(crate) async fn run(
    address: SocketAddr,
    path: &str,
    host: &str,
    certificate: &str,
    connections: usize,
    time: Duration,
) -> Result<String, Error> {
    let named = (host != "-").then(|| host.to_owned());
    let name: ServerName<'static> = match &named {
        None => server_name(address),
        Some(host) => ServerName::try_from(host.clone())?,
    };
    let asked: Rc<[u8]> = match &named {
        None => request("GET", address, path, "").into(),
        Some(host) => format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            .into_bytes()
            .into(),
    };
    let tls = wire::tls(certificate, Resumption::disabled())?;
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        let (tls, name, named, asked) =
            (tls.clone(), name.clone(), named.clone(), Rc::clone(&asked));
        callers.spawn_local(async move {
            let mut stream = wire::connect(address).await?;
            let mut buffer = Vec::new();
            if let Some(host) = named {
                let connect = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
                stream.write_all(connect.as_bytes()).await?;
                answer(&mut stream, &mut buffer, "200").await?;
            }
            let mut stream = tls.connect(name, stream).await?;
            let mut done = 0;
            while Instant::now() < end {
                stream.write_all(&asked).await?;
                stream.flush().await?;
                let head = answer(&mut stream, &mut buffer, "200").await?;
                let whole = length(&head)?;
                while buffer.len() < whole {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Err("ended in a body".into());
                    }
                }
                done += 1;
            }
            Ok::<usize, Error>(done)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(json!({"requests": done}).to_string())
}
