//! Whose trace a request belongs to, as callers say it and upstreams read it (W3C Trace Context).
//!
//! What is malformed is treated as if it were not there, as the specification wants it: a trace
//! begins here then, and `tracestate` goes no further. What is well formed is passed on to the byte,
//! but for `traceparent`'s parent, which is ours now.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

/// `traceparent`: which trace, and which span of it is the parent.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`: what other tracing systems on the way have to say.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// List members of `tracestate` (section 3.3.1.1).
const MOST_MEMBERS: usize = 32;

/// A trace: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A span of a trace: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Whether the spans of a trace are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampled {
    Yes,
    No,
}

/// A span, and what its children must know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: Sampled,
    /// The trace's id has seven random bytes at its end, as whoever made it says.
    random: bool,
}

const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

impl TraceId {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        // a zero is no id; it comes once in 2¹²⁸
        Self(rng.random_range(1..=u128::MAX).to_be_bytes())
    }
}

impl SpanId {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        Self(rng.random_range(1..=u64::MAX).to_be_bytes())
    }
}

impl Context {
    /// The first span of a trace that begins here.
    pub(super) fn root(trace: TraceId, span: SpanId, sampled: Sampled) -> Self {
        Self {
            trace,
            span,
            sampled,
            random: true,
        }
    }

    /// Another span of the same trace.
    pub(super) fn with(self, span: SpanId, sampled: Sampled) -> Self {
        Self {
            span,
            sampled,
            ..self
        }
    }

    /// The caller's span, if exactly one is named and well.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Self::parse(one.as_bytes().trim_ascii()),
            _ => None,
        }
    }

    /// Section 3.2. Later versions may have more behind a further `-`.
    fn parse(text: &[u8]) -> Option<Self> {
        let (version, rest) = byte(text)?;
        let rest = rest.strip_prefix(b"-")?;
        let (trace, rest) = bytes::<16>(rest)?;
        let rest = rest.strip_prefix(b"-")?;
        let (span, rest) = bytes::<8>(rest)?;
        let rest = rest.strip_prefix(b"-")?;
        let (flags, rest) = byte(rest)?;
        let ended = match version {
            0xff => false,
            0 => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let named = trace != [0; 16] && span != [0; 8];
        (ended && named).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: if flags & SAMPLED == 0 {
                Sampled::No
            } else {
                Sampled::Yes
            },
            random: flags & RANDOM != 0,
        })
    }

    /// `traceparent` for those that we call, as the version that we know has it.
    pub fn header(self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut write = |at: usize, bytes: &[u8]| {
            for (pair, byte) in text[at..].chunks_mut(2).zip(bytes) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
        };
        write(3, &self.trace.0);
        write(36, &self.span.0);
        write(53, &[self.flags()]);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
    }

    /// The flags that we know.
    pub fn flags(self) -> u8 {
        let sampled = if self.sampled == Sampled::Yes {
            SAMPLED
        } else {
            0
        };
        sampled | if self.random { RANDOM } else { 0 }
    }
}

/// Whether every line of `tracestate` is well formed (section 3.3.1). What is not, is not passed on.
pub(super) fn state_is_well_formed(headers: &HeaderMap) -> bool {
    let mut members = 0;
    headers.get_all(TRACESTATE).iter().all(|line| {
        let Ok(line) = line.to_str() else {
            return false;
        };
        line.split(',')
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
            .all(|member| {
                members += 1;
                members <= MOST_MEMBERS && is_member(member)
            })
    })
}

/// All lines of `tracestate`, as a span keeps them.
pub(super) fn state(headers: &HeaderMap) -> String {
    let lines = headers.get_all(TRACESTATE).iter();
    let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
    lines.join(",")
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let begins = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let goes_on = |c: char| begins(c) || matches!(c, '_' | '-' | '*' | '/' | '@');
    let in_value = |c: char| matches!(c, ' '..='~') && !matches!(c, ',' | '=');
    (1..=256).contains(&key.len())
        && key.starts_with(begins)
        && key.chars().all(goes_on)
        && (1..=256).contains(&value.len())
        && value.chars().all(in_value)
}

/// Two lower-case hexadecimal digits, and what follows.
fn byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let ([byte], rest) = bytes::<1>(text)?;
    Some((byte, rest))
}

fn bytes<const N: usize>(text: &[u8]) -> Option<([u8; N], &[u8])> {
    let (digits, rest) = text.split_at_checked(2 * N)?;
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some((read, rest))
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "12345678901234567890123456789012";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    /// The trace that is continued, if one is.
    fn continued(values: &[&str]) -> Option<String> {
        let lines: Vec<_> = values.iter().map(|one| ("traceparent", *one)).collect();
        Context::read(&headers(&lines)).map(|context| context.trace.to_string())
    }

    /// The cases of the specification's own test suite (`test/test.py` of `w3c/trace-context`).
    #[test]
    fn a_trace_is_continued_exactly_when_the_specifications_test_suite_says_so() {
        let p = "1234567890123456";
        let good = [
            format!("00-{TRACE}-{p}-01"),
            format!("00-{TRACE}-{p}-00"),
            format!("cc-{TRACE}-{p}-01"),
            format!("cc-{TRACE}-{p}-01-what-the-future-will-be-like"),
            format!("00-{TRACE}-{p}-ff"),
            format!(" 00-{TRACE}-{p}-01"),
            format!("\t00-{TRACE}-{p}-01\t "),
        ];
        for one in &good {
            assert_eq!(continued(&[one]).as_deref(), Some(TRACE), "{one:?}");
        }
        let zeros = "0".repeat(32);
        let bad = [
            format!("00-{TRACE}-{p}-01."),
            format!("00-{TRACE}-{p}-01-what-the-future-will-be-like"),
            format!("cc-{TRACE}-{p}-01.what-the-future-will-be-like"),
            format!("ff-{TRACE}-{p}-01"),
            format!(".0-{TRACE}-{p}-01"),
            format!("0.-{TRACE}-{p}-01"),
            format!("000-{TRACE}-{p}-01"),
            format!("0000-{TRACE}-{p}-01"),
            format!("0-{TRACE}-{p}-01"),
            format!("00-{zeros}-{p}-01"),
            format!("00-.2345678901234567890123456789012-{p}-01"),
            format!("00-1234567890123456789012345678901.-{p}-01"),
            format!("00-1234567890123456789012345678901A-{p}-01"),
            format!("00-{TRACE}1-{p}-01"),
            format!("00-1234567890123456789012345678901-{p}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-.234567890123456-01"),
            format!("00-{TRACE}-123456789012345.-01"),
            format!("00-{TRACE}-12345678901234567-01"),
            format!("00-{TRACE}-123456789012345-01"),
            format!("00-{TRACE}-{p}-.0"),
            format!("00-{TRACE}-{p}-0."),
            format!("00-{TRACE}-{p}-001"),
            format!("00-{TRACE}-{p}-1"),
            format!("00-{TRACE}-{p}-"),
            format!("00-{TRACE}-{p}"),
            String::new(),
        ];
        for one in &bad {
            assert_eq!(continued(&[one]), None, "{one:?}");
        }
        assert_eq!(continued(&[]), None);
        assert_eq!(continued(&[&good[0], &good[0]]), None, "two of them");
    }

    #[test]
    fn what_other_systems_say_goes_on_exactly_when_it_is_well_formed() {
        let long = |n| format!("{}=1", "z".repeat(n));
        let many = |n| (0..n).map(|i| format!("bar{i}={i}")).collect::<Vec<_>>();
        let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
        let good: Vec<Vec<String>> = vec![
            vec![],
            vec!["foo=1".into(), String::new()],
            vec!["foo=1,bar=2".into(), "rojo=1,congo=2".into()],
            vec!["foo=1,foo=2".into()],
            vec!["foo=1 \t , \t bar=2, \t baz=3".into()],
            vec![format!("a0_-*/@a-z0-9_-*/={value}")],
            vec!["foo@=1,bar=2".into()],
            vec!["foo@@bar=1".into()],
            vec![many(16).join(","), many(16).join(",")],
            vec![long(256)],
        ];
        let bad: Vec<Vec<String>> = vec![
            vec!["foo".into()],
            vec!["foo =1".into()],
            vec!["FOO=1".into()],
            vec!["foo.bar=1".into()],
            vec!["@foo=1,bar=2".into()],
            vec![many(17).join(","), many(16).join(",")],
            vec![long(257)],
            vec!["foo=bar=baz".into()],
            vec!["foo=,bar=3".into()],
            vec![format!("foo={}", "1".repeat(257))],
        ];
        for (all, expected) in [(good, true), (bad, false)] {
            for lines in all {
                let pairs: Vec<_> = lines.iter().map(|one| ("tracestate", &**one)).collect();
                let headers = headers(&pairs);
                assert_eq!(state_is_well_formed(&headers), expected, "{lines:?}");
            }
        }
    }

    #[test]
    fn a_flag_of_the_future_is_not_passed_on_and_randomness_is() {
        let read = |flags: &str| {
            let line = format!("00-{TRACE}-1234567890123456-{flags}");
            let context = Context::read(&headers(&[("traceparent", &line)])).unwrap();
            context.header().to_str().unwrap()[53..].to_owned()
        };
        assert_eq!(
            [read("00"), read("01"), read("02"), read("ff")],
            ["00", "01", "02", "03"]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace: [u8; 16], span: [u8; 8], flags in 0u8..4) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let context = Context {
                trace: TraceId(trace),
                span: SpanId(span),
                sampled: if flags & 1 == 0 { Sampled::No } else { Sampled::Yes },
                random: flags & 2 != 0,
            };
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, context.header());
            prop_assert_eq!(Context::read(&headers), Some(context));
        }

        #[test]
        fn nothing_makes_it_panic(line: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let mut headers = HeaderMap::new();
                headers.insert(TRACEPARENT, value.clone());
                headers.insert(TRACESTATE, value);
                Context::read(&headers);
                state_is_well_formed(&headers);
            }
        }
    }
}
