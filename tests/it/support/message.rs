//! HTTP/1.1 messages as bytes: read whole, kept as they came.

use std::io::{ErrorKind, Read};

use super::DEADLINE;

/// A message: the bytes of its header, and its body without chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Start line and fields with all line ends, the empty line included.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body as it was on the wire.
    pub(crate) wire_body: Vec<u8>,
    /// The trailer section behind a chunked body, with line ends.
    pub(crate) trailers: String,
    /// Whether the connection ended before the message did.
    pub(crate) cut: bool,
}

impl Message {
    pub(crate) fn start_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Name and value of every field, as they were written.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        let lines = self.head.split("\r\n").skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect()
    }

    /// The values of a field, one per line.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields()
            .into_iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a field that stands there once at most.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once in {:?}", self.head);
        all.first().copied()
    }

    /// The names of all fields, lower case, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .fields()
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.sort();
        names
    }

    /// `METHOD target` of a request.
    pub(crate) fn request(&self) -> &str {
        self.start_line().trim_end_matches(" HTTP/1.1")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    fn says_chunked(&self) -> bool {
        self.all("transfer-encoding")
            .iter()
            .any(|codings| codings.to_ascii_lowercase().ends_with("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.all("content-length").first()?.parse().ok()
    }
}

/// Where a body ends when no field says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unframed {
    /// A request: there is none.
    Empty,
    /// An answer: the connection's end is the body's.
    ToTheEnd,
}

/// Reads messages from a stream.
#[derive(Debug)]
pub(crate) struct Messages<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: Read> Messages<S> {
    pub(crate) fn new(stream: S) -> Self {
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    /// The next header; `None` if the stream ended before it began.
    pub(crate) fn head(&mut self) -> Option<Message> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                if self.buffer.is_empty() {
                    return None;
                }
                let head = self.take(self.buffer.len());
                return Some(Message {
                    head: text(head),
                    cut: true,
                    ..Message::default()
                });
            }
        };
        let head = text(self.take(end));
        Some(Message {
            head,
            ..Message::default()
        })
    }

    /// Reads the body of a message.
    pub(crate) fn body(&mut self, message: &mut Message, unframed: Unframed) {
        if message.cut {
            return;
        }
        if message.says_chunked() {
            self.chunks(message);
        } else if let Some(length) = message.length() {
            message.cut = !self.fill(length);
            message.body = self.take(length.min(self.buffer.len()));
            message.wire_body.clone_from(&message.body);
        } else if unframed == Unframed::ToTheEnd {
            while self.more() {}
            message.body = self.take(self.buffer.len());
            message.wire_body.clone_from(&message.body);
        }
    }

    fn chunks(&mut self, message: &mut Message) {
        loop {
            let Some(line) = self.line(message) else {
                return;
            };
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            if size == 0 {
                break;
            }
            message.cut = !self.fill(size + 2);
            if message.cut {
                return;
            }
            let chunk = self.take(size + 2);
            message.body.extend_from_slice(&chunk[..size]);
            message.wire_body.extend_from_slice(&chunk);
        }
        while let Some(line) = self.line(message) {
            if line.is_empty() {
                return;
            }
            message.trailers += &line;
            message.trailers += "\r\n";
        }
    }

    fn line(&mut self, message: &mut Message) -> Option<String> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            if !self.more() {
                message.cut = true;
                return None;
            }
        };
        let line = self.take(end + 2);
        message.wire_body.extend_from_slice(&line);
        Some(text(line[..end].to_vec()))
    }

    /// Exactly so many bytes, of no message.
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        assert!(
            self.fill(length),
            "the stream ended early: {:?}",
            self.buffer
        );
        self.take(length)
    }

    /// Waits for the stream's end; what came before it.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        self.take(self.buffer.len())
    }

    fn fill(&mut self, length: usize) -> bool {
        while self.buffer.len() < length {
            if !self.more() {
                return false;
            }
        }
        true
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    /// Reads on; false at the end.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing came in {DEADLINE:?}; before: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                )
            }
            Err(_) => false,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        // bytes above 127 stay visible, one character each
        error.into_bytes().iter().map(|b| char::from(*b)).collect()
    })
}
