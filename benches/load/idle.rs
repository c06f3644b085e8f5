//! Connections that are open before anything is measured, and are told by lines on the standard input
//! when to go on.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Stdin, stdin},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    Error,
    wire::{self, answer, length, request},
};

/// Opens `count` connections and asks once on each, one after the other, so that a proxy needs one
/// connection to its backend only; says `open`. At the first line asks `requests` times on each, all
/// connections at once, and says `asked`. At the second closes them.
pub(crate) async fn run(
    address: SocketAddr,
    path: &str,
    count: usize,
    requests: usize,
) -> Result<String, Error> {
    let request = request("GET", address, path, "");
    let mut lines = BufReader::new(stdin()).lines();
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = wire::connect(address).await?;
        ask(&mut stream, &request).await?;
        all.push(stream);
    }
    say("open", &mut lines).await?;
    let mut callers = JoinSet::new();
    for mut stream in all {
        let request = request.clone();
        callers.spawn_local(async move {
            for _ in 0..requests {
                ask(&mut stream, &request).await?;
            }
            Ok::<TcpStream, Error>(stream)
        });
    }
    let mut done = Vec::with_capacity(count);
    while let Some(caller) = callers.join_next().await {
        done.push(caller??);
    }
    say("asked", &mut lines).await?;
    drop(done);
    Ok("closed".to_owned())
}

async fn say(word: &str, lines: &mut Lines<BufReader<Stdin>>) -> Result<(), Error> {
    println!("{word}");
    lines.next_line().await?;
    Ok(())
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<(), Error> {
    stream.write_all(request).await?;
    let mut rest = Vec::with_capacity(2048);
    let head = answer(stream, &mut rest, "200").await?;
    let mut left = vec![0; length(&head)? - rest.len()];
    stream.read_exact(&mut left).await?;
    Ok(())
}
