//! A client that sends exactly the bytes it is given.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    ops::Deref,
};

use serde_json::Value;

use super::{
    message::{Message, Messages, Unframed},
    wire::{self, Wire},
};

/// A connection to the proxy.
#[derive(Debug)]
pub(crate) struct Client {
    messages: Messages<Box<dyn Wire>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer(Message);

impl Deref for Answer {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.0
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(wire::tcp(address))
    }

    /// One to read with, and the same connection for another thread to send on.
    pub(crate) fn connect_for_two(address: SocketAddr) -> (Self, TcpStream) {
        let stream = wire::tcp(address);
        let sender = stream.try_clone().unwrap();
        (Self::over(stream), sender)
    }

    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        let messages = Messages::new(Box::new(wire) as Box<dyn Wire>);
        Self { messages }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // the proxy may have answered and closed before all was sent
        let stream = &mut self.messages.stream;
        let _ = stream
            .write_all(bytes.as_ref())
            .and_then(|()| stream.flush());
        self
    }

    /// No more will be sent.
    pub(crate) fn finish(&mut self) -> &mut Self {
        self.messages.stream.finish();
        self
    }

    /// The next answer, whole; it must not be an interim one.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        self.messages.body(&mut answer.0, Unframed::ToTheEnd);
        answer
    }

    /// The next answer to a HEAD request, or one whose body is left where it is.
    pub(crate) fn head(&mut self) -> Answer {
        Answer(
            self.messages
                .head()
                .expect("an answer before the connection's end"),
        )
    }

    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.messages.exactly(length)
    }

    /// Waits until the proxy has closed; what came before.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        self.messages.rest()
    }
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let code = self.start_line().split(' ').nth(1).unwrap_or_default();
        code.parse()
            .unwrap_or_else(|_| panic!("no status in {:?}", self.head))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text()))
    }

    /// The upstream's answer: what every one of ours would have is not there.
    pub(crate) fn is_the_upstreams(&self, status: u16) -> &Self {
        assert_eq!(self.status(), status, "{} {}", self.head, self.text());
        assert_eq!(
            self.field("proxy-status"),
            None,
            "{} {}",
            self.head,
            self.text()
        );
        self
    }

    /// An answer of the proxy's own: iTwin's shape, RFC 9209, a request id in both, no caching.
    pub(crate) fn is_refused(&self, status: u16, code: &str) -> &Self {
        let told = format!("{} {}", self.head, String::from_utf8_lossy(&self.body));
        assert_eq!(self.status(), status, "{told}");
        assert_eq!(
            self.field("content-type"),
            Some("application/json"),
            "{told}"
        );
        assert_eq!(self.field("cache-control"), Some("no-store"), "{told}");
        let proxy_status = self.field("proxy-status").expect("a Proxy-Status field");
        assert!(
            proxy_status.starts_with("itwin-auth-proxy; error="),
            "{told}"
        );
        let error = &self.json()["error"];
        assert_eq!(error["code"], code, "{told}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.ends_with('.') && message.len() > 20, "{told}");
        let details = error["details"].as_array().expect("details");
        for detail in details {
            assert!(
                detail["code"].is_string() && detail["message"].is_string(),
                "{told}"
            );
        }
        let id = details.iter().find(|detail| detail["code"] == "RequestId");
        let id = id
            .and_then(|detail| detail["message"].as_str())
            .expect("a request id");
        assert!(!id.is_empty() && proxy_status.contains(id), "{told}");
        self
    }
}
