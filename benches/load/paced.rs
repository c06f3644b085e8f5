//! Requests at a fixed rate, whatever the server does: how long each took from the moment at which
//! it was due, so that a server that stalls cannot hide it (an open loop).

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::set_current_timer_slack,
};
use serde_json::json;

use crate::{
    Error,
    wire::{head_end, length, request},
};

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    read: Vec<u8>,
}

pub(crate) fn run(
    address: SocketAddr,
    path: &str,
    rate: f64,
    connections: usize,
    time: Duration,
) -> Result<String, Error> {
    // The kernel otherwise adds up to 50 µs to every wait, to save power.
    set_current_timer_slack(NonZeroU64::new(1))?;
    let request = request("GET", address, path, "");
    let mut all = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        all.push(Connection {
            stream,
            due: None,
            read: Vec::new(),
        });
    }
    let mut idle: VecDeque<usize> = (0..connections).collect();
    let mut took = Vec::new();
    let start = Instant::now();
    let mut sent = 0_u32;
    loop {
        let now = Instant::now();
        let due = start + Duration::from_secs_f64(f64::from(sent) / rate);
        let over = due >= start + time;
        if over && idle.len() == connections {
            break;
        }
        if now > start + time + Duration::from_secs(10) {
            return Err("answers are missing ten seconds after the last request".into());
        }
        if due <= now
            && !over
            && let Some(free) = idle.pop_front()
        {
            (&all[free].stream).write_all(&request)?;
            all[free].due = Some(due);
            sent += 1;
            continue;
        }
        let wait = if over || idle.is_empty() {
            Duration::from_secs(1)
        } else {
            due.saturating_duration_since(now)
        };
        let busy: Vec<usize> = (0..connections).filter(|&n| all[n].due.is_some()).collect();
        let ready: Vec<usize> = {
            let mut polled: Vec<_> = busy
                .iter()
                .map(|&n| PollFd::new(&all[n].stream, PollFlags::IN))
                .collect();
            poll(&mut polled, Some(&Timespec::try_from(wait)?))?;
            busy.iter()
                .zip(&polled)
                .filter(|(_, p)| !p.revents().is_empty())
                .map(|(&n, _)| n)
                .collect()
        };
        for n in ready {
            if all[n].receive()?
                && let Some(due) = all[n].due.take()
            {
                took.push(due.elapsed());
                idle.push_back(n);
            }
        }
    }
    took.sort_unstable();
    let micros = |permille| {
        let at: usize = took.len() * permille / 1000;
        took.get(at).map(|time: &Duration| time.as_secs_f64() * 1e6)
    };
    Ok(json!({
        "requests": took.len(), "p50_us": micros(500), "p99_us": micros(990), "p999_us": micros(999),
    })
    .to_string())
}

impl Connection {
    /// Reads what is there; whether the answer is complete.
    fn receive(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the connection was closed".into()),
            Ok(count) => self.read.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Some(end) = head_end(&self.read) else {
            return Ok(false);
        };
        if self.read.get(9..12) != Some(b"200") {
            return Err(String::from_utf8_lossy(&self.read[..end]).into());
        }
        let complete = self.read.len() >= end + length(&self.read[..end])?;
        if complete {
            self.read.clear();
        }
        Ok(complete)
    }
}
