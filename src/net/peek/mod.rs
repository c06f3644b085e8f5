//! What a connection begins with: TLS and for which host, an HTTP request and to which, or neither.
//!
//! Bytes are read until that is known and no further, and are all given to whoever takes the
//! connection. What is remembered is bounded; how long it takes the caller bounds. Nothing is
//! judged: what looks like neither is somebody else's protocol, not an error.

mod hello;
mod request;

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use self::hello::ServerName;
use self::request::Request;

/// The longest beginning that is waited for. A `ClientHello` with tickets and post-quantum keys has
/// two to four kilobytes, split over records it may take more.
pub const LONGEST: usize = 18 * 1024;

/// Read at once; most beginnings fit.
const PIECE: usize = 2048;

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// A TLS `ClientHello` (RFC 8446 section 4.1.2).
    Tls(ServerName),
    /// An HTTP/1 request, and its authority as written: of the absolute form, or the first `Host`
    /// field. `None` when there is none in the header's first kilobytes, or it is no text.
    Http1 { authority: Option<String> },
    /// The preface of HTTP/2 (RFC 9113 section 3.4). To which host, its requests say.
    Http2,
    /// None of these.
    Other,
}

/// What is known from the bytes that have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Known(First),
    /// Not before there are so many bytes.
    Wants(usize),
}

/// What has come of a connection that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    Nothing,
    /// The start of a TLS handshake.
    Tls,
    /// Something else.
    Else,
}

/// Reads what a connection begins with.
pub fn read(bytes: &[u8]) -> Reading {
    Reader::default().read(bytes)
}

/// Reads it as it comes.
#[derive(Debug, Default)]
pub struct Reader {
    request: Request,
}

impl Reader {
    /// `all` the bytes that have come, those that were seen before included.
    pub fn read(&mut self, all: &[u8]) -> Reading {
        // what is later makes no difference, however many come at once
        let bytes = &all[..all.len().min(LONGEST)];
        let (reading, too_long) = match bytes.first() {
            None => return Reading::Wants(1),
            Some(&hello::HANDSHAKE) => (hello::read(bytes), First::Tls(ServerName::Unreadable)),
            Some(_) => (self.request.read(bytes), First::Other),
        };
        match reading {
            Reading::Wants(more) if more > LONGEST => Reading::Known(too_long),
            reading => reading,
        }
    }
}

/// The beginning of one connection.
#[derive(Debug, Default)]
pub struct Peek {
    bytes: BytesMut,
    reader: Reader,
}

impl Peek {
    /// What `io` begins with. When this is dropped nothing that was read is lost: it can be asked
    /// again.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn first<I: AsyncRead + Unpin>(&mut self, io: &mut I) -> io::Result<First> {
        loop {
            let wanted = match self.reader.read(&self.bytes) {
                Reading::Known(first) => return Ok(first),
                Reading::Wants(wanted) => wanted,
            };
            while self.bytes.len() < wanted {
                self.bytes.reserve(PIECE);
                if io.read_buf(&mut self.bytes).await? == 0 {
                    // it was no beginning of anything that goes on
                    return Ok(First::Other);
                }
            }
        }
    }

    pub fn begun(&self) -> Begun {
        match self.bytes.first() {
            None => Begun::Nothing,
            Some(&hello::HANDSHAKE) => Begun::Tls,
            Some(_) => Begun::Else,
        }
    }

    /// All that was read.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// As it is known when the bytes come in these pieces.
    fn in_pieces(bytes: &[u8], ends: impl Iterator<Item = usize>) -> (First, usize) {
        let (mut reader, mut wanted) = (Reader::default(), 1);
        for end in ends.chain([bytes.len()]) {
            if end < wanted {
                continue;
            }
            match reader.read(&bytes[..end]) {
                Reading::Known(first) => return (first, end),
                Reading::Wants(more) => {
                    assert!(more > end && more <= LONGEST, "{more} wanted of {end}");
                    wanted = more;
                }
            }
        }
        (First::Other, bytes.len())
    }

    fn beginnings() -> impl Strategy<Value = Vec<u8>> {
        let seeds: Vec<Vec<u8>> = vec![
            hello::tests::hello(Some(b"api.bentley.com")),
            hello::tests::in_records(&hello::tests::message(Some(b"api.bentley.com")), 7),
            hello::tests::hello(None),
            b"GET /imodels HTTP/1.1\r\nAccept: */*\r\nHost: api.bentley.com\r\n\r\n".to_vec(),
            b"POST http://api.bentley.com:80/x HTTP/1.1\r\nHost: other\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            vec![b'x'; 30_000],
            [b"GET / HTTP/1.1\r\n".as_slice(), &b"A: b\r\n".repeat(5000)].concat(),
        ];
        let changed = (
            proptest::sample::select(seeds),
            any::<prop::sample::Index>(),
            any::<u8>(),
        )
            .prop_map(|(mut seed, at, byte)| {
                let at = at.index(seed.len());
                seed[at] = byte;
                seed
            });
        prop_oneof![4 => changed, 1 => proptest::collection::vec(any::<u8>(), 0..300)]
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_split_makes_no_difference(
            bytes in beginnings(),
            mut ends in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut ends: Vec<usize> = ends.drain(..).map(|end| end.index(bytes.len() + 1)).collect();
            ends.sort_unstable();
            let (each, at) = in_pieces(&bytes, 1..bytes.len());
            prop_assert!(at <= LONGEST);
            prop_assert_eq!(&in_pieces(&bytes, ends.into_iter()).0, &each);
            prop_assert_eq!(in_pieces(&bytes, std::iter::empty()).0, each);
        }
    }

    #[tokio::test]
    async fn all_that_was_read_is_given_on_and_a_wait_can_be_given_up() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let mut peek = Peek::default();
        assert_eq!(peek.begun(), Begun::Nothing);
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\nbody";
        for byte in &request[..20] {
            far.write_all(&[*byte]).await.unwrap();
            let waited = futures_util::future::poll_immediate(peek.first(&mut near)).await;
            assert!(waited.is_none());
            assert_eq!(peek.begun(), Begun::Else);
        }
        far.write_all(&request[20..]).await.unwrap();
        let authority = Some("a.example".into());
        assert_eq!(
            peek.first(&mut near).await.unwrap(),
            First::Http1 { authority }
        );
        let mut all = peek.into_bytes().to_vec();
        drop(far);
        near.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, request);
    }

    #[tokio::test]
    async fn a_connection_that_ends_early_is_something_else() {
        for begun in [&b""[..], b"GET ", &hello::tests::hello(None)[..9]] {
            let (mut near, mut far) = tokio::io::duplex(64);
            far.write_all(begun).await.unwrap();
            drop(far);
            let mut peek = Peek::default();
            assert_eq!(peek.first(&mut near).await.unwrap(), First::Other);
            assert_eq!(peek.into_bytes(), begun);
        }
    }
}
