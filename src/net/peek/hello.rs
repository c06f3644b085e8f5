//! The name that a TLS client asks for (RFC 6066 section 3), from its `ClientHello` (RFC 8446
//! section 4.1.2), which may be split over records and packets anywhere.
//!
//! The name is whatever the client says: good for choosing how to answer it, never for trusting it.
//! With Encrypted Client Hello it is the outer one, which is meant for whoever cannot read the other.

use std::borrow::Cow;

use rustls_pki_types::ServerName as Name;

use super::{First, LONGEST, Reading};

/// The content type of handshake records (RFC 8446 section 5.1), first byte of any TLS connection.
pub(super) const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Bytes of a record (RFC 8446 section 5.1).
const LONGEST_RECORD: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// The name that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerName {
    /// In lower case, without a final dot.
    Named(String),
    /// None, or an address, which RFC 6066 does not allow and servers take for none.
    Absent,
    /// It cannot be told: the message is malformed, or too long.
    Unreadable,
}

impl ServerName {
    fn known(self) -> Reading {
        Reading::Known(First::Tls(self))
    }
}

/// `bytes` are all that have come, and begin with [`HANDSHAKE`].
pub(super) fn read(bytes: &[u8]) -> Reading {
    let message = match message(bytes) {
        Ok(message) => message,
        Err(reading) => return reading,
    };
    server_name(&message)
        .unwrap_or(ServerName::Unreadable)
        .known()
}

/// The message without its header, put together from its records.
fn message(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Reading> {
    let mut pieces = Vec::new();
    let (mut at, mut came) = (0, 0);
    let mut announced = None;
    loop {
        let length = record(bytes, at, &pieces)?;
        let begin = at + RECORD_HEADER;
        let piece = &bytes[begin.min(bytes.len())..(begin + length).min(bytes.len())];
        came += piece.len();
        pieces.push(piece);
        if announced.is_none() {
            announced = announced_length(&pieces)?;
        }
        at = begin + length;
        if bytes.len() < at {
            return Err(Reading::Wants(at));
        }
        if let Some(length) = announced.filter(|length| came >= MESSAGE_HEADER + length) {
            let range = MESSAGE_HEADER..MESSAGE_HEADER + length;
            return Ok(match pieces[..] {
                [whole] => Cow::Borrowed(&whole[range]),
                _ => Cow::Owned(pieces.concat()[range].to_vec()),
            });
        }
    }
}

/// The length of the record at `at`. Its header is checked as far as it has come.
fn record(bytes: &[u8], at: usize, before: &[&[u8]]) -> Result<usize, Reading> {
    let header = &bytes[at.min(bytes.len())..bytes.len().min(at + RECORD_HEADER)];
    // the major version has always been 3, the minor one is ignored (RFC 8446 section 5.1)
    let fits = |n: usize, byte: u8| match n {
        0 => byte == HANDSHAKE,
        1 => byte == 3,
        _ => true,
    };
    let length = match *header {
        [.., high, low] if header.len() == RECORD_HEADER => {
            Some(usize::from(u16::from_be_bytes([high, low])))
        }
        _ => None,
    };
    let right = header.iter().enumerate().all(|(n, byte)| fits(n, *byte))
        && length.is_none_or(|length| (1..=LONGEST_RECORD).contains(&length));
    match length {
        _ if !right && before.is_empty() => Err(Reading::Known(First::Other)),
        _ if !right => Err(ServerName::Unreadable.known()),
        None => Err(Reading::Wants(at + RECORD_HEADER)),
        Some(length) => Ok(length),
    }
}

/// The message's length, once its header has come; other messages than a `ClientHello` and such as
/// are too long are refused as soon as they show.
fn announced_length(pieces: &[&[u8]]) -> Result<Option<usize>, Reading> {
    let mut bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
    match bytes.next() {
        None => return Ok(None),
        Some(CLIENT_HELLO) => {}
        Some(_) => return Err(Reading::Known(First::Other)),
    }
    let (Some(a), Some(b), Some(c)) = (bytes.next(), bytes.next(), bytes.next()) else {
        return Ok(None);
    };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if length > LONGEST {
        return Err(ServerName::Unreadable.known());
    }
    Ok(Some(length))
}

/// `None`: malformed.
fn server_name(message: &[u8]) -> Option<ServerName> {
    let mut rest = message;
    let _version_and_random = take(&mut rest, 2 + 32)?;
    let _session = vector8(&mut rest)?;
    let _cipher_suites = vector16(&mut rest)?;
    let _compression_methods = vector8(&mut rest)?;
    if rest.is_empty() {
        return Some(ServerName::Absent);
    }
    let mut extensions = vector16(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.is_empty() {
        let kind = number16(&mut extensions)?;
        let extension = vector16(&mut extensions)?;
        // one of each kind (RFC 8446 section 4.2): of two names none is the client's
        if kind == SERVER_NAME && found.replace(named(extension)?).is_some() {
            return None;
        }
    }
    Some(found.unwrap_or(ServerName::Absent))
}

fn named(extension: &[u8]) -> Option<ServerName> {
    let mut rest = extension;
    let mut list = vector16(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    let mut found = None;
    while let Some((&kind, after)) = list.split_first() {
        list = after;
        if kind != HOST_NAME {
            // how long an entry of another kind is, nobody knows
            break;
        }
        if found.replace(vector16(&mut list)?).is_some() {
            return None;
        }
    }
    Some(match Name::try_from(found?).ok()? {
        Name::DnsName(name) => {
            let name = name.as_ref();
            let name = name.strip_suffix('.').unwrap_or(name);
            ServerName::Named(name.to_ascii_lowercase())
        }
        _ => ServerName::Absent,
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn number16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn vector8<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest, 1)?[0];
    take(rest, length.into())
}

fn vector16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number16(rest)?;
    take(rest, length.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore, server::Acceptor};

    use super::{super::read, *};

    fn vector(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - length_bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn host_name(name: &[u8]) -> Vec<u8> {
        [&[HOST_NAME][..], &vector(2, name)].concat()
    }

    fn message_with(extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &vector(1, &[9; 32]),
            &vector(2, &[0x13, 1, 0x1a, 0x1a]),
            &vector(1, &[0]),
            extensions,
        ];
        [&[CLIENT_HELLO][..], &vector(3, &body.concat())].concat()
    }

    /// A message that asks for `name`, among what else clients send.
    pub(in crate::net::peek) fn message(name: Option<&[u8]>) -> Vec<u8> {
        let grease = extension(0x2a2a, &[]);
        let name = name.map(|name| extension(SERVER_NAME, &vector(2, &host_name(name))));
        let encrypted = extension(0xfe0d, &[5; 200]);
        let all = [grease, name.unwrap_or_default(), encrypted].concat();
        message_with(&vector(2, &all))
    }

    /// The message in records of `size` bytes.
    pub(in crate::net::peek) fn in_records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector(2, piece)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    pub(in crate::net::peek) fn hello(name: Option<&[u8]>) -> Vec<u8> {
        in_records(&message(name), LONGEST_RECORD)
    }

    fn of(bytes: &[u8]) -> ServerName {
        match read(bytes) {
            Reading::Known(First::Tls(name)) => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_as_clients_write_them() {
        let named = |name: &str| ServerName::Named(name.into());
        let rows: &[(&[u8], ServerName)] = &[
            (b"api.bentley.com", named("api.bentley.com")),
            (b"API.Bentley.com", named("api.bentley.com")),
            (b"api.bentley.com.", named("api.bentley.com")),
            (b"_x.example", named("_x.example")),
            (b"localhost", named("localhost")),
            (b"192.0.2.1", ServerName::Absent),
            (b"::1", ServerName::Absent),
            (b"", ServerName::Unreadable),
            (b".", ServerName::Unreadable),
            (b"a..b", ServerName::Unreadable),
            (b"*.bentley.com", ServerName::Unreadable),
            (b"api.bentley.com:443", ServerName::Unreadable),
            (b"api.bentley.com\0.evil.example", ServerName::Unreadable),
            (b"b\xc3\xbccher.example", ServerName::Unreadable),
            (&[b'a'; 300], ServerName::Unreadable),
        ];
        for (name, expected) in rows {
            assert_eq!(of(&hello(Some(name))), *expected, "{}", name.escape_ascii());
        }
        assert_eq!(of(&hello(None)), ServerName::Absent);
        assert_eq!(of(&in_records(&message_with(&[]), 100)), ServerName::Absent);
    }

    #[test]
    fn of_several_names_none_is_taken() {
        let two = [host_name(b"a.example"), host_name(b"b.example")].concat();
        let another_kind = [&host_name(b"a.example")[..], &[1, 0, 1, 0]].concat();
        let name = |list: &[u8]| extension(SERVER_NAME, &vector(2, list));
        let twice = [
            name(&host_name(b"a.example")),
            name(&host_name(b"a.example")),
        ]
        .concat();
        let rows = [
            (name(&two), ServerName::Unreadable),
            (twice, ServerName::Unreadable),
            (name(&[1, 0, 1, 0]), ServerName::Unreadable),
            (name(&[]), ServerName::Unreadable),
            (extension(SERVER_NAME, &[]), ServerName::Unreadable),
            (extension(SERVER_NAME, &[0, 0, 0]), ServerName::Unreadable),
            (name(&another_kind), ServerName::Named("a.example".into())),
        ];
        for (extensions, expected) in rows {
            let bytes = in_records(&message_with(&vector(2, &extensions)), LONGEST_RECORD);
            assert_eq!(of(&bytes), expected, "{extensions:?}");
        }
    }

    #[test]
    fn a_message_is_put_together_from_records_of_any_size() {
        let message = message(Some(b"api.bentley.com"));
        for size in 1..message.len() {
            let bytes = in_records(&message, size);
            assert_eq!(
                of(&bytes),
                ServerName::Named("api.bentley.com".into()),
                "{size}"
            );
            for cut in 0..bytes.len() {
                assert!(
                    matches!(read(&bytes[..cut]), Reading::Wants(n) if n > cut && n <= bytes.len()),
                    "{size} {cut}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_long_or_malformed_is_tls_that_cannot_be_read() {
        // 64 KB of names, and a record that is not followed by one
        let long = in_records(&message(Some(&b"a".repeat(65_000))), LONGEST_RECORD);
        assert_eq!(of(&long[..10]), ServerName::Unreadable);
        let mut torn = in_records(&message(Some(b"a.example")), 30);
        torn[RECORD_HEADER + 30] = 21;
        assert_eq!(of(&torn), ServerName::Unreadable);
        let whole = message(Some(b"a.example"));
        // every length that is wrong
        let mut cut = whole[..whole.len() - 1].to_vec();
        let length = cut.len() - MESSAGE_HEADER;
        cut[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        assert_eq!(of(&in_records(&cut, 100)), ServerName::Unreadable);
        for end in MESSAGE_HEADER + 40..whole.len() - 1 {
            let mut cut = whole[..end].to_vec();
            cut[2..4].copy_from_slice(&u16::try_from(end - 4).unwrap().to_be_bytes());
            let found = of(&in_records(&cut, 100));
            assert!(!matches!(found, ServerName::Named(_)), "{end}");
        }
        // many small records of one long message
        let small = in_records(&message(Some(&b"a".repeat(10_000))), 1);
        assert_eq!(of(&small), ServerName::Unreadable);
    }

    #[test]
    fn other_protocols_with_the_same_first_byte() {
        for bytes in [
            &[22, 1][..],
            &[22, 3, 9, 0, 0],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0xff, 0xff],
            // a ServerHello
            &[22, 3, 3, 0, 50, 2],
        ] {
            assert_eq!(read(bytes), Reading::Known(First::Other), "{bytes:?}");
        }
    }

    /// What the TLS library of this program reads, which serves the connection afterwards.
    fn by_rustls(bytes: &[u8]) -> Result<Option<String>, ()> {
        let mut acceptor = Acceptor::default();
        let mut left = bytes;
        while !left.is_empty() {
            acceptor.read_tls(&mut left).unwrap();
        }
        let accepted = acceptor.accept().map_err(|_| ())?.ok_or(())?;
        let hello = accepted.client_hello();
        Ok(hello
            .server_name()
            .map(|name| name.strip_suffix('.').unwrap_or(name).to_owned()))
    }

    fn agree(bytes: &[u8]) {
        let ours = match of(bytes) {
            ServerName::Named(name) => Ok(Some(name)),
            ServerName::Absent => Ok(None),
            ServerName::Unreadable => Err(()),
        };
        assert_eq!(ours, by_rustls(bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_hello_is_read_as_the_tls_library_reads_it() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        for versions in [
            &[&rustls::version::TLS12][..],
            &[&rustls::version::TLS13],
            rustls::ALL_VERSIONS,
        ] {
            let mut config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let long = format!("{}.example", ["a".repeat(60).as_str(); 3].join("."));
            for name in [
                "api.bentley.com",
                "API.Bentley.COM",
                "a.example.",
                "localhost",
                "10.0.0.1",
                "::1",
                &long,
            ] {
                let name = Name::try_from(name.to_owned()).unwrap();
                let mut client = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
                let mut bytes = Vec::new();
                client.write_tls(&mut bytes).unwrap();
                agree(&bytes);
                // and in records of another size
                for size in [1, 3, 100] {
                    agree(&in_records(&bytes[RECORD_HEADER..], size));
                }
                // names that no library writes, in its place
                let at = bytes.windows(7).position(|window| window == b"bentley");
                for byte in at
                    .into_iter()
                    .flat_map(|at| [b'*', b'.', 0, b' ', b'-', b'_', 0xff].map(|byte| (at, byte)))
                {
                    let mut bytes = bytes.clone();
                    bytes[byte.0] = byte.1;
                    agree(&bytes);
                }
            }
        }
    }
}
