//! Bulk that wrk cannot send: large bodies up, and bytes both ways through a tunnel.

use std::{
    net::SocketAddr,
    rc::Rc,
    str::FromStr,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    Error,
    wire::{self, Stream, answer, request},
};

/// WebSocket's, because some proxies let nothing else through (RFC 6455 section 1.3).
const SWITCH: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[derive(Clone, Copy)]
pub(crate) enum Way {
    Up,
    /// After `Upgrade`, half of the bytes each way.
    Tunnel,
    /// The same, through a CONNECT to there.
    Connect(SocketAddr),
}

impl FromStr for Way {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "up" => Self::Up,
            "tunnel" => Self::Tunnel,
            _ => match name.strip_prefix("connect=") {
                Some(to) => Self::Connect(to.parse()?),
                None => return Err(format!("up, tunnel or connect=TO, not {name}").into()),
            },
        })
    }
}

pub(crate) async fn run(
    address: SocketAddr,
    way: Way,
    size: usize,
    connections: usize,
    time: Duration,
) -> Result<String, Error> {
    let block: Rc<[u8]> = vec![b'x'; 256 * 1024].into();
    let end = Instant::now() + time;
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        let block = Rc::clone(&block);
        callers.spawn_local(async move {
            let stream = wire::connect(address).await?;
            caller(stream, address, way, size, &block, end).await
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(json!({"requests": done, "bytes": done * size}).to_string())
}

async fn caller(
    mut stream: impl Stream,
    address: SocketAddr,
    way: Way,
    size: usize,
    block: &[u8],
    end: Instant,
) -> Result<usize, Error> {
    let mut buffer = Vec::new();
    if let Way::Connect(to) = way {
        let connect = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await?;
        answer(&mut stream, &mut buffer, "200").await?;
    }
    if matches!(way, Way::Tunnel | Way::Connect(_)) {
        let switch = request("GET", address, "/tunnel", SWITCH);
        stream.write_all(&switch).await?;
        answer(&mut stream, &mut buffer, "101").await?;
    }
    let post = request(
        "POST",
        address,
        "/upload",
        &format!("Content-Length: {size}\r\n"),
    );
    let half = size / 2;
    let command = [half.to_be_bytes(), (size - half).to_be_bytes()].concat();
    let mut done = 0;
    while done == 0 || Instant::now() < end {
        match way {
            Way::Up => {
                stream.write_all(&post).await?;
                fill(&mut stream, block, size).await?;
                answer(&mut stream, &mut buffer, "204").await?;
            }
            Way::Tunnel | Way::Connect(_) => {
                stream.write_all(&command).await?;
                swallow(&mut stream, &mut buffer, half).await?;
                fill(&mut stream, block, size - half).await?;
                swallow(&mut stream, &mut buffer, 1).await?;
            }
        }
        done += 1;
    }
    Ok(done)
}

async fn fill(stream: &mut impl Stream, block: &[u8], size: usize) -> Result<(), Error> {
    for start in (0..size).step_by(block.len()) {
        stream
            .write_all(&block[..block.len().min(size - start)])
            .await?;
    }
    stream.flush().await?;
    Ok(())
}

/// Reads `size` bytes, the first of which are in `buffer` already.
async fn swallow(stream: &mut impl Stream, buffer: &mut Vec<u8>, size: usize) -> Result<(), Error> {
    let mut left = size
        .checked_sub(buffer.len())
        .ok_or("more came than was asked for")?;
    buffer.clear();
    let mut scratch = vec![0; 256 * 1024];
    while left > 0 {
        let most = left.min(scratch.len());
        match stream.read(&mut scratch[..most]).await? {
            0 => return Err("ended in a body".into()),
            read => left -= read,
        }
    }
    Ok(())
}
