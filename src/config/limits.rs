//! Limits and timeouts that hold for every listener.

use std::time::Duration;

/// What we accept from callers, and how long we wait for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header fields together; 431 above it.
    pub header_bytes: usize,
    /// Header fields of a request; 431 above it.
    pub header_count: usize,
    /// Request body; `None`: unlimited. 413 above it.
    pub body_bytes: Option<u64>,
    /// Connections at once over all listeners; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Requests under way at once; 503 above it.
    pub requests: usize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// An idle keep-alive connection is closed after this time.
    pub idle_timeout: Duration,
    /// Streams at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// After SIGTERM: time in which we are not ready but still accept.
    pub drain_delay: Duration,
    /// After that: time for requests under way to finish.
    pub drain_timeout: Duration,
}
