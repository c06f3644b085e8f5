//! The beginning of an HTTP request, as far as to know to which host it goes (RFC 9112 section 3).
//!
//! What follows the authority is not looked at: whoever serves the request reads all of it, by
//! stricter rules. A second `Host` that differs is its business too.

use memchr::{memchr, memchr3};

use super::{First, Reading};

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No method is longer; what has no space before is another protocol.
const LONGEST_METHOD: usize = 32;

/// What was read of a request. Whole lines are read once, however the bytes come.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// Where the line begins that is not whole yet.
    at: usize,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Line,
    Fields,
}

impl Request {
    /// `bytes` are all that have come.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Reading {
        if self.at == 0 {
            let common = bytes.len().min(PREFACE.len());
            if common == PREFACE.len() && bytes.starts_with(PREFACE) {
                return Reading::Known(First::Http2);
            }
            if PREFACE.starts_with(&bytes[..common]) {
                return Reading::Wants(PREFACE.len());
            }
        }
        while let Some(length) = memchr(b'\n', &bytes[self.at..]) {
            let line = &bytes[self.at..self.at + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.at += length + 1;
            if let Some(first) = self.line(line) {
                return Reading::Known(first);
            }
        }
        if self.stage == Stage::Line && !may_begin(&bytes[self.at..]) {
            return Reading::Known(First::Other);
        }
        Reading::Wants(bytes.len() + 1)
    }

    fn line(&mut self, line: &[u8]) -> Option<First> {
        let authority = match self.stage {
            // RFC 9112 section 2.2: empty lines before a request are ignored
            Stage::Line if line.is_empty() => return None,
            Stage::Line => match Form::of(line) {
                None => return Some(First::Other),
                Some(Form::Absolute(authority)) => Some(authority),
                Some(Form::Authority) => None,
                Some(Form::Path) => {
                    self.stage = Stage::Fields;
                    return None;
                }
            },
            Stage::Fields if line.is_empty() => None,
            Stage::Fields => Some(host(line)?),
        };
        let authority = authority.and_then(text);
        Some(First::Http1 { authority })
    }
}

/// The form of a request's target (RFC 9112 section 3.2).
enum Form<'a> {
    Absolute(&'a [u8]),
    /// Of `CONNECT`, which asks a proxy that we are not.
    Authority,
    /// Or an asterisk. The host is in a field.
    Path,
}

impl<'a> Form<'a> {
    /// `None`: it is no request line of HTTP/1.
    fn of(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let whole = words.next().is_none()
            && !method.is_empty()
            && is_method(method)
            && !target.is_empty()
            && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
            && matches!(version, b"HTTP/1.0" | b"HTTP/1.1");
        if !whole {
            return None;
        }
        let rest = [&b"http://"[..], b"https://"]
            .into_iter()
            .find_map(|scheme| {
                let (start, rest) = target.split_at_checked(scheme.len())?;
                start.eq_ignore_ascii_case(scheme).then_some(rest)
            });
        Some(match rest {
            Some(rest) => {
                let end = memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
                Self::Absolute(&rest[..end])
            }
            None if method == b"CONNECT" => Self::Authority,
            None => Self::Path,
        })
    }
}

/// Whether a request line may begin so.
fn may_begin(line: &[u8]) -> bool {
    let method = memchr(b' ', line).map_or(line, |end| &line[..end]);
    line == b"\r" || line.is_empty() || (!method.is_empty() && is_method(method))
}

/// A token (RFC 9110 section 5.6.2), and not too long.
fn is_method(word: &[u8]) -> bool {
    word.len() <= LONGEST_METHOD
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// The value of a `Host` field.
fn host(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr(b':', line)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    name.eq_ignore_ascii_case(b"host")
        .then(|| value.trim_ascii())
}

fn text(authority: &[u8]) -> Option<String> {
    let visible = !authority.is_empty() && authority.iter().all(u8::is_ascii_graphic);
    let text = visible.then(|| str::from_utf8(authority).ok())?;
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{LONGEST, read},
        *,
    };

    #[test]
    fn requests_and_what_only_looks_like_them() {
        let to = |authority: &str| {
            Some(First::Http1 {
                authority: Some(authority.into()),
            })
        };
        let nowhere = Some(First::Http1 { authority: None });
        let other = Some(First::Other);
        let rows: &[(&str, Option<First>)] = &[
            ("GET / HTTP/1.1\r\nHost: a.example\r\n", to("a.example")),
            (
                "GET / HTTP/1.1\r\nAccept: */*\r\nHOST:\t A.example:8080 \r\n",
                to("A.example:8080"),
            ),
            ("GET / HTTP/1.1\nHost: a.example\n", to("a.example")),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n", to("a")),
            ("OPTIONS * HTTP/1.1\r\nhost: [::1]:80\r\n", to("[::1]:80")),
            ("M-SEARCH /x HTTP/1.0\r\nHost: a\r\n", to("a")),
            // the absolute form wins, and needs no field
            ("GET http://a.example/x HTTP/1.1\r\n", to("a.example")),
            (
                "GET HTTPS://a.example:444?x HTTP/1.1\r\nHost: b\r\n",
                to("a.example:444"),
            ),
            ("GET http:///x HTTP/1.1\r\n", nowhere.clone()),
            ("GET ftp://a/x HTTP/1.1\r\nHost: b\r\n", to("b")),
            // of two the first
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", to("a")),
            // to a proxy that we are not
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n", nowhere.clone()),
            ("GET / HTTP/1.0\r\nAccept: */*\r\n\r\n", nowhere.clone()),
            ("GET / HTTP/1.1\r\nHost: \r\n\r\n", nowhere.clone()),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", nowhere.clone()),
            (
                "GET / HTTP/1.1\r\nHost: b\u{fc}cher\r\n\r\n",
                nowhere.clone(),
            ),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", nowhere),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(First::Http2)),
            // not known yet
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            ("PRI", None),
            ("\r", None),
            ("GET", None),
            ("GET / HTTP/1.1\r\nHost: a", None),
            ("GET / HTTP/1.1\r\nHost: a\r", None),
            ("SSH-2.0-OpenSSH", None),
            // something else, as soon as it can be known
            ("PRI * HTTP/2.0\r\n\r\nXX", other.clone()),
            ("SSH-2.0-OpenSSH_9.2\r", other.clone()),
            ("GET /\r\n", other.clone()),
            ("GET / HTTP/1.1 x\r\n", other.clone()),
            ("GET  / HTTP/1.1\r\n", other.clone()),
            ("GET / HTTP/2.0\r\n", other.clone()),
            ("GET /\u{7f} HTTP/1.1\r\n", other.clone()),
            (" GET / HTTP/1.1\r\n", other.clone()),
            ("PING\r\n", other.clone()),
            ("EHLO a.example\r\n", other.clone()),
            ("{\"id\": 1}", other.clone()),
            ("\u{0}\u{0}\u{0}\u{8}", other.clone()),
            ("AMETHODTHATISLONGERTHANANYTHATWAS", other),
        ];
        for (bytes, expected) in rows {
            let found = match read(bytes.as_bytes()) {
                Reading::Known(first) => Some(first),
                Reading::Wants(more) => {
                    assert!(more > bytes.len());
                    None
                }
            };
            assert_eq!(found, *expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_header_without_end_is_not_waited_for() {
        let header = [
            b"GET / HTTP/1.1\r\n".as_slice(),
            &b"A: b\r\n".repeat(LONGEST),
        ]
        .concat();
        assert_eq!(read(&header[..LONGEST - 1]), Reading::Wants(LONGEST));
        for length in [LONGEST, LONGEST + 1, header.len()] {
            assert_eq!(read(&header[..length]), Reading::Known(First::Other));
        }
    }
}
