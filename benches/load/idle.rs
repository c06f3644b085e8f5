//! Many connections that ask once and then say nothing.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin};

use crate::{
    Error,
    wire::{self, answer, length, request},
};

/// Opens them one after the other, prints `open`, and closes them when a line comes in. One after
/// the other, so that a proxy needs one connection to its backend only.
pub(crate) async fn run(address: SocketAddr, path: &str, count: usize) -> Result<String, Error> {
    let request = request("GET", address, path, "");
    let mut all = Vec::with_capacity(count);
    let mut buffer = Vec::new();
    for _ in 0..count {
        let mut stream = wire::connect(address).await?;
        stream.write_all(&request).await?;
        let head = answer(&mut stream, &mut buffer, "200").await?;
        let mut rest = vec![0; length(&head)? - buffer.len()];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut rest).await?;
        all.push(stream);
    }
    println!("open");
    BufReader::new(stdin())
        .read_line(&mut String::new())
        .await?;
    drop(all);
    Ok("closed".to_owned())
}
