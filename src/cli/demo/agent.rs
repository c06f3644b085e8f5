//! The agent of the demonstration: software that calls an iTwin API and has never heard of OAuth.
//!
//! It sends no `Authorization`, follows the links it is given, and keeps count.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::Value;

use crate::{clock::Clock, config::ClientTls, http::client::HttpClient};

/// No call of the demonstration may take longer.
const CALL_MAX: Duration = Duration::from_secs(15);

/// The agent.
#[derive(Debug)]
pub(super) struct Agent {
    client: HttpClient,
    clock: Clock,
}

/// What came of one call.
#[derive(Debug)]
pub(super) struct Call {
    /// 0: there was no answer.
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

/// What came of many.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slowest: Duration,
}

impl Agent {
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let tls = ClientTls::default();
        let client = HttpClient::new(&tls, CALL_MAX, CALL_MAX).map_err(io::Error::other)?;
        Ok(Self { client, clock })
    }

    pub(super) async fn get(&self, url: &str) -> Call {
        self.send(Request::get(url).body(Bytes::new())).await
    }

    pub(super) async fn send(&self, request: http::Result<Request<Bytes>>) -> Call {
        let began = self.clock.now();
        let answer = match request {
            Ok(request) => self.client.send(request).await.ok(),
            Err(_) => None,
        };
        let took = self.clock.now().mono.saturating_duration_since(began.mono);
        let Some(answer) = answer else {
            return Call {
                status: 0,
                headers: HeaderMap::new(),
                body: Bytes::new(),
                took,
            };
        };
        let (parts, body) = answer.into_parts();
        Call {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            took,
        }
    }
}

impl Call {
    pub(super) fn ok(&self) -> bool {
        self.status == 200
    }

    /// The body; null if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Tally {
    pub(super) fn add(&mut self, call: &Call) {
        self.calls += 1;
        self.failed += u32::from(!call.ok());
        self.slowest = self.slowest.max(call.took);
    }
}
