//! The backend: knows its answers by heart, so that it costs little beside a proxy.

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

use crate::{
    Error,
    wire::{field, head_end},
};

/// What large bodies are made of, and how much of one is taken at a time.
const BLOCK: usize = 256 * 1024;

/// Whole answers, head and body.
struct Answers {
    kilobyte: Vec<u8>,
    /// A page of JSON whose links point here, the same without links, and that as mere bytes.
    links: Vec<u8>,
    page: Vec<u8>,
    bytes: Vec<u8>,
    block: Vec<u8>,
}

/// Serves on a port that the kernel chooses and that is printed; never returns.
pub(crate) async fn serve() -> Result<String, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("{}", address.port());
    let origin = format!("http://{address}");
    let plain = page(None);
    let answers = Rc::new(Answers {
        kilobyte: whole("application/octet-stream", &[b'x'; 1024]),
        links: whole("application/json", page(Some(&origin)).as_bytes()),
        page: whole("application/json", plain.as_bytes()),
        bytes: whole("application/octet-stream", plain.as_bytes()),
        block: vec![b'x'; BLOCK],
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let answers = Rc::clone(&answers);
        // Whoever hangs up in the middle of something is no concern of ours.
        spawn_local(async move { connection(stream, &answers).await.ok() });
    }
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let end = loop {
            if let Some(end) = head_end(&buffer) {
                break end;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let path = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        match path {
            b"/1k" => stream.write_all(&answers.kilobyte).await?,
            b"/links" => stream.write_all(&answers.links).await?,
            b"/page" => stream.write_all(&answers.page).await?,
            b"/bytes" => stream.write_all(&answers.bytes).await?,
            b"/authorization" => {
                stream
                    .write_all(&whole("text/plain", &authorization(&head)))
                    .await?;
            }
            b"/tunnel" => return tunnel(stream, buffer, answers).await,
            b"/upload" => upload(&mut stream, &mut buffer, &head).await?,
            _ => {
                let size = std::str::from_utf8(path)?
                    .trim_start_matches("/body/")
                    .parse()?;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
                fill(&mut stream, answers, size).await?;
            }
        }
        if field(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
}

/// Every `Authorization` of the request, a line each.
fn authorization(head: &[u8]) -> Vec<u8> {
    let lines = head.split(|&byte| byte == b'\n');
    let name = b"authorization:";
    let ours = lines.filter(|line| {
        line.get(..name.len())
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    });
    ours.flat_map(|line| {
        [
            line.get(name.len()..).unwrap_or_default().trim_ascii(),
            b"\n",
        ]
        .concat()
    })
    .collect()
}

async fn upload(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &[u8]) -> Result<(), Error> {
    let length: usize = field(head, "content-length").ok_or("chunked")?.parse()?;
    swallow(stream, buffer, length).await?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    Ok(())
}

/// After the switch: each command is how much we shall send and then read, 8 bytes each; what was
/// read is confirmed with one byte.
async fn tunnel(
    mut stream: TcpStream,
    mut buffer: Vec<u8>,
    answers: &Answers,
) -> Result<(), Error> {
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )
        .await?;
    loop {
        while buffer.len() < 16 {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let mut sizes = buffer.drain(..16);
        let mut size = || {
            sizes
                .by_ref()
                .take(8)
                .fold(0, |size, byte| size << 8 | usize::from(byte))
        };
        let (down, up) = (size(), size());
        drop(sizes);
        fill(&mut stream, answers, down).await?;
        swallow(&mut stream, &mut buffer, up).await?;
        stream.write_all(b"k").await?;
    }
}

async fn fill(stream: &mut TcpStream, answers: &Answers, size: usize) -> Result<(), Error> {
    for start in (0..size).step_by(BLOCK) {
        stream
            .write_all(&answers.block[..BLOCK.min(size - start)])
            .await?;
    }
    Ok(())
}

async fn swallow(stream: &mut TcpStream, buffer: &mut Vec<u8>, size: usize) -> Result<(), Error> {
    let mut left = size - size.min(buffer.len());
    buffer.drain(..size - left);
    let mut scratch = vec![0; BLOCK];
    while left > 0 {
        let most = left.min(BLOCK);
        match stream.read(&mut scratch[..most]).await? {
            0 => return Err("ended in a body".into()),
            read => left -= read,
        }
    }
    Ok(())
}

fn whole(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A page as iModelHub writes it, with links to `origin` or none.
fn page(origin: Option<&str>) -> String {
    let link = |path: &str| origin.map(|origin| json!({"href": format!("{origin}/imodels{path}")}));
    let links = |names: &[(&str, String)]| -> Value {
        let links = names
            .iter()
            .filter_map(|(name, path)| Some(((*name).to_owned(), link(path)?)));
        Value::Object(links.collect())
    };
    let models = (0..20).map(|n| {
        let id = format!("5e19bee0-3aea-4355-a9f0-c6df9989ee{n:02}");
        let mut model = json!({
            "id": id, "displayName": format!("Sun City Renewable-energy Plant {n}"), "dataCenterLocation": "East US",
            "name": format!("Sun City Renewable-energy Plant {n}"), "state": "initialized", "createdDateTime": "2020-10-20T10:51:33.1700000Z",
            "description": "Overall model of wind and solar farms in Sun City", "iTwinId": "ab8c3f9d-1c4c-4ee1-8a5e-5c8b8ee0a7d2",
        });
        if origin.is_some() {
            model["_links"] = links(&[
                ("creator", format!("/{id}/users/1")),
                ("namedVersions", format!("/{id}/namedversions")),
                ("changesets", format!("/{id}/changesets")),
            ]);
        }
        model
    });
    let mut page = json!({"iModels": models.collect::<Vec<_>>()});
    if origin.is_some() {
        page["_links"] = links(&[
            ("self", "?$skip=0".to_owned()),
            ("next", "?$skip=20".to_owned()),
        ]);
    }
    page.to_string()
}
