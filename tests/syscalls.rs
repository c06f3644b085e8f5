//! How often the kernel is asked for one request: of all that a request costs the part that is the
//! same on every machine and in every build, so that it can be guarded.
//!
//! The built program runs under `strace -c` twice, with few requests and with many; start and stop
//! cost the same both times, and the difference is what requests cost. Everything is on that is on
//! by default, the log included.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Two reads, two writes, and a tenth of a wait.
const MOST: f64 = 4.2;
const CALLERS: u32 = 32;

/// What other threads do a few hundred times a second at most, however many requests there are:
/// lines of the log are collected and written in batches, memory is given back. On a machine that
/// is slow (and `strace` makes every machine slow) that is more for each request.
const BY_TIME: [&str; 3] = ["futex", "write", "madvise"];

/// Calls by name.
type Calls = Vec<(String, f64)>;

#[test]
fn a_request_asks_the_kernel_for_no_more_than_it_needs() {
    let (few, many) = (20, 220);
    let (before, after) = (calls(few), calls(many));
    let requests = f64::from((many - few) * CALLERS);
    let mut per_request: Calls = after
        .into_iter()
        .map(|(name, count)| {
            let start = before.iter().find(|(other, _)| *other == name);
            let count = (count - start.map_or(0.0, |(_, start)| *start)) / requests;
            (name, count)
        })
        .collect();
    per_request.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let counted = |(name, _): &&(String, f64)| !BY_TIME.contains(&name.as_str());
    let sum: f64 = per_request.iter().filter(counted).map(|(_, n)| n).sum();
    let list: Vec<String> = per_request
        .iter()
        .filter(|(_, count)| count.abs() >= 0.005)
        .map(|(name, count)| format!("{name} {count:.2}"))
        .collect();
    let found = format!("{sum:.2} system calls a request: {}", list.join(", "));
    println!("{found}");
    assert!(sum > 3.9, "not counted right: {found}");
    assert!(sum <= MOST, "at most {MOST}, not {found}");
    // none of them belongs to each request
    let others: f64 = per_request.iter().map(|(_, n)| n).sum::<f64>() - sum;
    assert!(others < 0.9, "too many of other threads: {found}");
}

/// The system calls of a whole life with `requests` of each caller.
fn calls(requests: u32) -> Calls {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let servers = runtime.block_on(Servers::start());
    let report = folder.path().join("calls");
    let proxy = Traced::start(folder.path(), &report, &servers.config());
    let address = proxy.address;
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call(address, requests));
        }
        callers.join_all().await;
    });
    proxy.stop();
    drop(runtime);
    read(&fs::read_to_string(report).unwrap())
}

/// The columns of `strace -c`: share, seconds, each, calls, errors or nothing, name.
fn read(report: &str) -> Calls {
    let rows = report.lines().map(str::split_whitespace);
    rows.filter_map(|row| {
        let row: Vec<&str> = row.collect();
        let name = *row.last()?;
        let calls = row.get(3)?.parse().ok()?;
        (name != "total").then(|| (name.to_owned(), calls))
    })
    .collect()
}

/// The program under strace.
struct Traced {
    strace: Child,
    program: Pid,
    address: SocketAddr,
}

impl Traced {
    fn start(folder: &Path, report: &Path, config: &Value) -> Self {
        let file = folder.join("config.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-o"])
            .arg(report)
            // The shell says which process the program becomes.
            .args(["sh", "-c", "echo $$; exec \"$0\" run --config \"$1\""])
            .arg(env!("CARGO_BIN_EXE_itwin-auth-proxy"))
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is needed; tests/run installs it");
        let (found, listening) = mpsc::channel();
        let mut log = BufReader::new(strace.stderr.take().unwrap());
        let mut early = String::new();
        thread::spawn(move || {
            let mut line = String::new();
            while log.read_line(&mut line).is_ok_and(|read| read > 0) {
                found.send(line.clone()).ok();
                line.clear();
            }
        });
        let mut program = String::new();
        BufReader::new(strace.stdout.as_mut().unwrap())
            .read_line(&mut program)
            .unwrap();
        let address = listening.iter().find_map(|line| {
            early += &line;
            let event: Value = serde_json::from_str(&line).ok()?;
            let text = event.to_string();
            (text.contains("\"listening\"") && !text.contains("admin"))
                .then(|| find_address(&event))?
        });
        let (Some(address), Ok(program)) = (address, program.trim().parse()) else {
            strace.kill().ok();
            strace.wait().ok();
            panic!(
                "the program does not run under strace (may processes be traced here?):\n{early}"
            );
        };
        Self {
            strace,
            program: Pid::from_raw(program).unwrap(),
            address,
        }
    }

    fn stop(mut self) {
        kill_process(self.program, Signal::TERM).unwrap();
        assert!(self.strace.wait().unwrap().success(), "a clean end");
    }
}

/// The only text in the event that is an address.
fn find_address(event: &Value) -> Option<SocketAddr> {
    match event {
        Value::Object(members) => members.values().find_map(find_address),
        Value::String(text) => text.rsplit('/').next()?.parse().ok(),
        _ => None,
    }
}

/// The provider and the upstream.
struct Servers {
    provider: SocketAddr,
    upstream: SocketAddr,
}

impl Servers {
    async fn start() -> Self {
        let token = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600});
        Self {
            provider: serve("application/json", &token.to_string()).await,
            upstream: serve("application/octet-stream", &"x".repeat(1024)).await,
        }
    }

    fn config(&self) -> Value {
        let provider = format!("http://{}", self.provider);
        json!({
            "workers": 1,
            "providers": {"test": {"issuer": provider, "token_endpoint": provider}},
            "credentials": {"agent": {"provider": "test", "client_id": "c", "client_secret": "s"}},
            "listeners": ["127.0.0.1:0"],
            "routes": [{"inject": "agent", "upstream": format!("http://{}", self.upstream)}],
            "admin": "none",
        })
    }
}

/// Answers every request with `body`.
async fn serve(content_type: &str, body: &str) -> SocketAddr {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut connections = JoinSet::new();
    let serving = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            connections.spawn(async move {
                let mut request = Vec::new();
                while stream
                    .read_buf(&mut request)
                    .await
                    .is_ok_and(|read| read > 0)
                {
                    if is_whole(&request) {
                        request.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    };
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(serving);
    address
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    length.is_none_or(|length| {
        length
            .trim()
            .parse()
            .is_ok_and(|length: usize| body.len() >= length)
    })
}

/// One caller: request, answer, request …
async fn call(address: SocketAddr, requests: u32) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /imodels HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut answer = Vec::new();
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.unwrap();
        answer.clear();
        while !answer.ends_with(&[b'x'; 1024]) {
            let read = stream.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
