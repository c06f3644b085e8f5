//! Links in JSON, rewritten while the text flows by.
//!
//! Every `href` inside the value of a `_links` member, however deep, that is a string or an array of
//! strings and has exactly the upstream's origin gets ours instead. Nothing else changes, not by a
//! byte: not spaces, escapes or numbers, not text that is not JSON at all. It never fails.
//!
//! Outside of `_links` nothing is parsed: in JSON an unescaped quote, the name, a quote and a colon
//! are a member wherever they stand. So the search runs at the speed of `memchr`, and several
//! documents in one stream are as good as one. At most one escaped origin is held back.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::{
    origin::{Progress, Verdict, Wanted},
    text::{Escape, Name, Named, Read},
};
use crate::config::Origin;

/// Rewrites one stream.
#[derive(Debug)]
pub struct LinkRewriter {
    from: Wanted,
    to: Box<[u8]>,
    state: State,
    inside: Inside,
    /// The beginning of a link whose origin is not decided yet, from earlier chunks.
    held: Vec<u8>,
    changed: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Outside; `quote`: the character before was a quote that no backslash escapes.
    Scan {
        quote: bool,
    },
    /// Outside, behind a backslash.
    ScanEscape,
    /// In a string that may turn out to be `_links`.
    Links(Name),
    /// Behind the string `_links`: a colon makes it a member.
    Colon,
    /// Behind `"_links":`.
    Value,
    /// Inside of `_links`, between strings.
    Between,
    /// In a string that may turn out to be `href`.
    Href(Name),
    /// In the rest of a string that does not matter.
    Skip,
    SkipEscape,
    /// In a link, as long as its origin is open.
    Link {
        progress: Progress,
        escape: Escape,
        /// Where the character under way began, counted from the link's beginning.
        character: usize,
    },
}

/// What there is to know about the inside of a `_links` value.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    depth: usize,
    /// A bit per container, the innermost lowest: an array that is the value of `href`. Containers
    /// 128 levels up are forgotten, and not rewritten in any more.
    href_arrays: u128,
    before: Before,
}

/// What the last token was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Anything,
    Href,
    HrefColon,
}

impl LinkRewriter {
    /// Points links at `from` back at `to`.
    pub fn new(from: &Origin, to: &Origin) -> Self {
        Self {
            from: Wanted::new(from),
            to: to.to_string().into_bytes().into(),
            state: State::Scan { quote: false },
            inside: Inside::default(),
            held: Vec::new(),
            changed: false,
        }
    }

    /// Whether any link was rewritten so far.
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// Appends what `chunk` becomes to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut BytesMut) {
        out.reserve(self.held.len() + chunk.len());
        let rest = self.read(chunk, out);
        out.extend_from_slice(&chunk[rest]);
    }

    /// What `chunk` becomes: itself, not copied, when nothing in it changes.
    pub fn pass(&mut self, chunk: &Bytes) -> Bytes {
        let mut out = BytesMut::new();
        let rest = self.read(chunk, &mut out);
        if out.is_empty() {
            return chunk.slice(rest);
        }
        out.extend_from_slice(&chunk[rest]);
        out.freeze()
    }

    /// Appends what changes in `chunk`, and what stands before it; answers with what is to be
    /// appended as it is.
    fn read(&mut self, chunk: &[u8], out: &mut BytesMut) -> Range<usize> {
        let mut cursor = Cursor {
            chunk,
            at: 0,
            copied: 0,
            link: 0,
        };
        while let Some(byte) = cursor.chunk.get(cursor.at).copied() {
            match self.state {
                State::Scan { quote } => self.scan(&mut cursor, quote),
                State::ScanEscape => {
                    cursor.at += 1;
                    self.state = State::Scan { quote: false };
                }
                State::Links(name) => self.links(&mut cursor, name, byte),
                State::Colon => self.colon(&mut cursor, byte),
                State::Value => self.value(&mut cursor, byte),
                State::Between => self.between(&mut cursor),
                State::Href(name) => self.href(&mut cursor, name, byte),
                State::Skip => self.skip(&mut cursor),
                State::SkipEscape => {
                    cursor.at += 1;
                    self.state = State::Skip;
                }
                State::Link { .. } => self.link(&mut cursor, out),
            }
        }
        let end = if matches!(self.state, State::Link { .. }) {
            self.held.extend_from_slice(&chunk[cursor.link..]);
            cursor.link
        } else {
            chunk.len()
        };
        cursor.copied..end
    }

    /// The stream has ended: what was held back is no link.
    pub fn finish(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.held);
        self.held.clear();
        self.state = State::Scan { quote: false };
    }

    /// Whether nothing is held back.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Looks for a string that begins like `_links`, escaped or not.
    fn scan(&mut self, cursor: &mut Cursor<'_>, quote: bool) {
        let (chunk, start) = (cursor.chunk, cursor.at);
        let mut from = start;
        while let Some(found) = memchr2(b'_', b'\\', &chunk[from..]) {
            let at = from + found;
            let quoted = if at == start {
                quote
            } else {
                chunk[at - 1] == b'"'
            };
            if quoted {
                cursor.at = at;
                self.state = State::Links(Name::default());
                return;
            }
            if chunk[at] == b'\\' {
                cursor.at = at + 1;
                self.state = State::ScanEscape;
                return;
            }
            from = at + 1;
        }
        cursor.at = chunk.len();
        let quote = chunk.last() == Some(&b'"');
        self.state = State::Scan { quote };
    }

    fn links(&mut self, cursor: &mut Cursor<'_>, mut name: Name, byte: u8) {
        let nothing = State::Scan { quote: false };
        self.state = match name.read(b"_links", byte) {
            Named::More => State::Links(name),
            Named::Equal => State::Colon,
            Named::Other => nothing,
            Named::OtherEnded => State::Scan { quote: true },
            Named::OtherBefore => {
                self.state = nothing;
                return;
            }
        };
        cursor.at += 1;
    }

    fn colon(&mut self, cursor: &mut Cursor<'_>, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => cursor.at += 1,
            b':' => {
                cursor.at += 1;
                self.state = State::Value;
            }
            _ => self.state = State::Scan { quote: false },
        }
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => cursor.at += 1,
            b'{' | b'[' => {
                self.inside = Inside::default();
                self.state = State::Between;
            }
            _ => self.state = State::Scan { quote: false },
        }
    }

    fn between(&mut self, cursor: &mut Cursor<'_>) {
        for &byte in &cursor.chunk[cursor.at..] {
            cursor.at += 1;
            match byte {
                b'"' => {
                    let link = self.inside.string_is_link();
                    self.inside.before = Before::Anything;
                    if link {
                        cursor.link = cursor.at;
                        self.state = State::Link {
                            progress: Progress::default(),
                            escape: Escape::None,
                            character: 0,
                        };
                    } else {
                        self.state = State::Href(Name::default());
                    }
                    return;
                }
                _ => {
                    if self.inside.structure(byte) == 0 {
                        self.state = State::Scan { quote: false };
                        return;
                    }
                }
            }
        }
    }

    fn href(&mut self, cursor: &mut Cursor<'_>, mut name: Name, byte: u8) {
        if name.is_fresh() && cursor.chunk[cursor.at..].starts_with(b"href\"") {
            cursor.at += b"href\"".len();
            self.inside.before = Before::Href;
            self.state = State::Between;
            return;
        }
        self.state = match name.read(b"href", byte) {
            Named::More => State::Href(name),
            Named::Equal => {
                self.inside.before = Before::Href;
                State::Between
            }
            Named::Other => State::Skip,
            Named::OtherEnded => State::Between,
            Named::OtherBefore => {
                self.state = State::Skip;
                return;
            }
        };
        cursor.at += 1;
    }

    fn skip(&mut self, cursor: &mut Cursor<'_>) {
        let Some(found) = memchr2(b'"', b'\\', &cursor.chunk[cursor.at..]) else {
            cursor.at = cursor.chunk.len();
            return;
        };
        cursor.at += found + 1;
        self.state = if cursor.chunk[cursor.at - 1] == b'"' {
            State::Between
        } else {
            State::SkipEscape
        };
    }

    fn link(&mut self, cursor: &mut Cursor<'_>, out: &mut BytesMut) {
        let State::Link {
            mut progress,
            mut escape,
            mut character,
        } = self.state
        else {
            return;
        };
        let offset = self.held.len();
        if offset == 0
            && cursor.at == cursor.link
            && let Some(length) = self.from.usual(&cursor.chunk[cursor.at..])
        {
            cursor.at += length + 1;
            self.state = State::Skip;
            self.replace(cursor, length, out);
            return;
        }
        while let Some(&byte) = cursor.chunk.get(cursor.at) {
            if matches!(escape, Escape::None) {
                character = offset + cursor.at - cursor.link;
            }
            let read = escape.read(byte);
            let verdict = match read {
                Read::Partial => Verdict::More,
                Read::Character(c) => self.from.step(&mut progress, c),
                Read::End if self.from.ends(progress) => Verdict::Same,
                Read::End | Read::Foreign | Read::Broken => Verdict::Other,
            };
            if read != Read::Broken {
                cursor.at += 1;
            }
            if verdict == Verdict::More {
                continue;
            }
            self.state = if read == Read::End {
                State::Between
            } else {
                State::Skip
            };
            if verdict == Verdict::Same {
                self.replace(cursor, character, out);
            } else {
                out.extend_from_slice(&self.held);
                self.held.clear();
            }
            return;
        }
        self.state = State::Link {
            progress,
            escape,
            character,
        };
    }

    /// Writes our origin in place of the link's first `length` bytes.
    fn replace(&mut self, cursor: &mut Cursor<'_>, length: usize, out: &mut BytesMut) {
        if out.is_empty() {
            out.reserve(self.held.len() + self.to.len() + cursor.chunk.len());
        }
        out.extend_from_slice(&cursor.chunk[cursor.copied..cursor.link]);
        out.extend_from_slice(&self.to);
        let held = self.held.len();
        if let Some(rest) = self.held.get(length..) {
            out.extend_from_slice(rest);
        }
        cursor.copied = cursor.link + length.saturating_sub(held);
        self.held.clear();
        self.changed = true;
    }
}

/// Where we are in a chunk.
struct Cursor<'a> {
    chunk: &'a [u8],
    at: usize,
    /// All before this is in the output, or replaced.
    copied: usize,
    /// Where the link under way begins; 0 if that was in an earlier chunk.
    link: usize,
}

impl Inside {
    fn string_is_link(&self) -> bool {
        self.before == Before::HrefColon || self.href_arrays & 1 == 1
    }

    /// Takes a byte between strings; returns the depth after it.
    fn structure(&mut self, byte: u8) -> usize {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => return self.depth,
            b'{' | b'[' => {
                let href = byte == b'[' && self.before == Before::HrefColon;
                self.href_arrays = self.href_arrays << 1 | u128::from(href);
                self.depth += 1;
            }
            b'}' | b']' => {
                self.href_arrays >>= 1;
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
        self.before = if byte == b':' && self.before == Before::Href {
            Before::HrefColon
        } else {
            Before::Anything
        };
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::*;

    fn origin(text: &str) -> Origin {
        let url = url::Url::parse(text).unwrap();
        Origin {
            https: url.scheme() == "https",
            host: url.host_str().unwrap().trim_matches(['[', ']']).into(),
            port: url.port_or_known_default().unwrap(),
        }
    }

    fn rewrite_in(chunks: &[&[u8]]) -> Vec<u8> {
        let (from, to) = (
            origin("https://api.bentley.com"),
            origin("http://127.0.0.1:8080"),
        );
        let mut rewriter = LinkRewriter::new(&from, &to);
        let mut passing = LinkRewriter::new(&from, &to);
        let (mut out, mut passed) = (BytesMut::new(), BytesMut::new());
        for chunk in chunks {
            rewriter.push(chunk, &mut out);
            passed.extend_from_slice(&passing.pass(&Bytes::copy_from_slice(chunk)));
        }
        rewriter.finish(&mut out);
        passing.finish(&mut passed);
        assert_eq!(out, passed, "appended or passed, it is the same");
        let before: usize = chunks.iter().map(|c| c.len()).sum();
        assert!(rewriter.changed() || out.len() == before);
        out.to_vec()
    }

    fn rewrite(text: &str) -> String {
        let whole = rewrite_in(&[text.as_bytes()]);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(whole, rewrite_in(&bytes), "byte by byte");
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn links_at_the_upstream_point_back_at_us() {
        for (before, after) in [
            (
                r#"{"_links":{"next":{"href":"https://api.bentley.com/imodels?$skip=2"}}}"#,
                r#"{"_links":{"next":{"href":"http://127.0.0.1:8080/imodels?$skip=2"}}}"#,
            ),
            (
                "\u{feff}{ \"_links\" :\r\n{ \"a\" :{ \"href\"\t: \"HTTPS://API.bentley.com:443/x\" } } }",
                "\u{feff}{ \"_links\" :\r\n{ \"a\" :{ \"href\"\t: \"http://127.0.0.1:8080/x\" } } }",
            ),
            (
                r#"{"_links":[{"rel":"a","href":"https://api.bentley.com"},{"href":"https://api.bentley.com?x"}]}"#,
                r#"{"_links":[{"rel":"a","href":"http://127.0.0.1:8080"},{"href":"http://127.0.0.1:8080?x"}]}"#,
            ),
            (
                r#"{"_links":{"a":{"href":["https://api.bentley.com/1",{"x":"https://api.bentley.com/2","href":["https://api.bentley.com/3"]},["https://api.bentley.com/4"],"https://api.bentley.com/5"],"b":"https://api.bentley.com/6"}}}"#,
                r#"{"_links":{"a":{"href":["http://127.0.0.1:8080/1",{"x":"https://api.bentley.com/2","href":["http://127.0.0.1:8080/3"]},["https://api.bentley.com/4"],"http://127.0.0.1:8080/5"],"b":"https://api.bentley.com/6"}}}"#,
            ),
            (
                r#"{"\u005fLinks":1,"\u005flink\u0073":{"a":{"\u0068ref":"https:\/\/a\u0050i.bentley\u002ecom\u002Fx\/y"}}}"#,
                r#"{"\u005fLinks":1,"\u005flink\u0073":{"a":{"\u0068ref":"http://127.0.0.1:8080\u002Fx\/y"}}}"#,
            ),
            (
                "{\"_links\":{\"a\":{\"href\":\"https://api.bentley.com/1\"}}}\n{\"_links\":{\"a\":{\"href\":\"https://api.bentley.com/2\"}}}\n",
                "{\"_links\":{\"a\":{\"href\":\"http://127.0.0.1:8080/1\"}}}\n{\"_links\":{\"a\":{\"href\":\"http://127.0.0.1:8080/2\"}}}\n",
            ),
        ] {
            assert_eq!(rewrite(before), after);
        }
    }

    #[test]
    fn everything_else_passes_byte_for_byte() {
        for text in [
            // Not in `_links`, not `href`, not a string.
            r#"{"href":"https://api.bentley.com/x","links":{"a":{"href":"https://api.bentley.com/x"}}}"#,
            r#"{"_links":{"a":{"url":"https://api.bentley.com/x"}},"b":{"href":"https://api.bentley.com/x"}}"#,
            r#"["_links",{"a":{"href":"https://api.bentley.com/x"}}]"#,
            r#"{"_links":null,"a":{"href":"https://api.bentley.com/x"}}"#,
            r#"{"_links":{"a":{"href":"\n","hre":"href","b":"https://api.bentley.com/x"}}}"#,
            r#"{"_links":{"a":{"\href":"https://api.bentley.com/x"}}}"#,
            r#"{"a\"_links":{"a":{"href":"https://api.bentley.com/x"}}}"#,
            r#"{"\"_links":{"a":{"href":"https://api.bentley.com/x"}}}"#,
            r#"{"text":"{\"_links\":{\"a\":{\"href\":\"https://api.bentley.com/x\"}}}"}"#,
            // Storage, and other origins.
            r#"{"_links":{"download":{"href":"https://x.blob.core.windows.net/a?sv=1&sig=a%2Bb%2F%3D\u0026se=1","storageType":"azure"}}}"#,
            r#"{"checkpoint":{"directoryAccessInfo":{"baseUrl":"https://api.bentley.com","google":{"authorization":"Bearer x"},"azure":{"sasToken":"sig=_a%2B"}}}}"#,
            r#"{"_links":{"a":{"href":"https://api.bentley.com.evil/"},"b":{"href":"https://api.bentley.com@evil/"},"c":{"href":"https://user@api.bentley.com/"},"d":{"href":"https:\\api.bentley.com/"},"e":{"href":"https://api.bentley.com\\@evil/"}}}"#,
            // Not JSON.
            "_links",
            "\"_links\":{\"href\":\"https://api.bentley.com",
            r#""_links":{"a":{"href":"https:\u00zz/""#,
            r#""_links":{"a":{"href":"https:\"#,
            "",
        ] {
            assert_eq!(rewrite(text), text);
        }
    }

    #[test]
    fn nesting_without_end_costs_no_memory_and_no_stack() {
        let depth = 100_000;
        let mut text = format!("{{\"_links\":{}", "[".repeat(depth));
        text += r#"{"href":"https://api.bentley.com/x"}"#;
        text += &"]".repeat(depth);
        text += r#","_links":{"a":{"href":["https://api.bentley.com/y"]}}}"#;
        let expected = text.replace("https://api.bentley.com", "http://127.0.0.1:8080");
        assert_eq!(rewrite(&text), expected);
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let (from, to) = (origin("https://api.bentley.com"), origin("http://h"));
        let mut rewriter = LinkRewriter::new(&from, &to);
        let elsewhere = br#"{"a":1,"_links":{"self":{"href":"https://elsewhere/x"}}}"#;
        let chunk = Bytes::copy_from_slice(elsewhere);
        assert_eq!(rewriter.pass(&chunk).as_ptr(), chunk.as_ptr());
        let begun = Bytes::from_static(br#"{"_links":{"self":{"href":"https://api"#);
        let passed = rewriter.pass(&begun);
        assert_eq!(passed.as_ptr(), begun.as_ptr());
        assert_eq!(passed, &begun[..begun.len() - "https://api".len()]);
        let ended = Bytes::from_static(b".bentley.com/y\"}}}");
        assert_eq!(&*rewriter.pass(&ended), b"http://h/y\"}}}");
    }

    #[test]
    fn what_is_held_back_is_short() {
        let (from, to) = (origin("https://api.bentley.com"), origin("http://h"));
        let mut rewriter = LinkRewriter::new(&from, &to);
        let mut out = BytesMut::new();
        rewriter.push(br#"{"_links":{"a":{"href":""#, &mut out);
        for c in "https://api.bentley.com:".chars() {
            rewriter.push(format!("\\u{:04x}", u32::from(c)).as_bytes(), &mut out);
        }
        rewriter.push(&[b'0'; 5], &mut out);
        assert_eq!(rewriter.held.len(), 24 * 6 + 5);
        rewriter.push(&vec![b'0'; 100_000], &mut out);
        assert_eq!(rewriter.held.len(), 0);
        assert!(!rewriter.changed());
    }

    /// What a parser of JSON says the answer should be.
    fn oracle(value: &mut Value, in_links: bool) {
        let fix = |text: &mut String| {
            let end = text
                .char_indices()
                .skip(8)
                .find(|(_, c)| "/?#".contains(*c));
            let (head, tail) = text.split_at(end.map_or(text.len(), |(n, _)| n));
            let same = !head.contains(['\\', '@'])
                && url::Url::parse(head).is_ok_and(|url| {
                    url.origin().ascii_serialization() == "https://api.bentley.com"
                });
            if same {
                *text = format!("http://127.0.0.1:8080{tail}");
            }
        };
        match value {
            Value::Array(items) => items.iter_mut().for_each(|i| oracle(i, in_links)),
            Value::Object(members) => {
                for (name, member) in members {
                    if in_links && name == "href" {
                        match &mut *member {
                            Value::String(text) => fix(text),
                            Value::Array(items) => items.iter_mut().for_each(|i| {
                                if let Value::String(text) = i {
                                    fix(text);
                                }
                            }),
                            _ => {}
                        }
                    }
                    oracle(member, in_links || name == "_links");
                }
            }
            _ => {}
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "(https|HTTPS|http)://(api|API|user@api|ims)\\.bentley\\.com(:|:443|:80|:4433|\\.evil|@evil)?[/?#]?[a-z\\\\\"/ü]{0,4}",
            1 => "[_a-z\\\\\"ü\n]{0,6}",
            1 => Just("_links".to_owned()),
            1 => Just("href".to_owned()),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("_links".to_owned()),
            3 => Just("href".to_owned()),
            1 => "[_a-zé\"\\\\]{0,3}(_links|href)?[\"\\\\]{0,1}",
        ]
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            1 => Just(Value::Null),
            1 => any::<i32>().prop_map(Value::from),
            6 => text().prop_map(Value::String),
        ];
        leaf.prop_recursive(7, 64, 5, |inner| {
            prop_oneof![
                1 => vec(inner.clone(), 0..5).prop_map(Value::Array),
                4 => vec((key(), inner), 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// Writes JSON with spaces and escapes wherever they are allowed, as `dice` falls.
    struct Writer<'a> {
        dice: std::iter::Cycle<std::slice::Iter<'a, u8>>,
        out: String,
    }

    impl Writer<'_> {
        fn roll(&mut self, faces: u8) -> u8 {
            self.dice.next().unwrap() % faces
        }

        fn space(&mut self) {
            match self.roll(8) {
                0 => self.out.push(' '),
                1 => self.out.push_str("\r\n\t"),
                _ => {}
            }
        }

        fn string(&mut self, text: &str) {
            self.out.push('"');
            for c in text.chars() {
                match (c, self.roll(9)) {
                    ('"' | '\\', _) => self.out.extend(['\\', c]),
                    ('/', 0..3) => self.out.push_str("\\/"),
                    (_, 0) => write!(self.out, "\\u{:04x}", u32::from(c)).unwrap(),
                    (_, 1) => write!(self.out, "\\u{:04X}", u32::from(c)).unwrap(),
                    _ if c.is_control() => write!(self.out, "\\u{:04x}", u32::from(c)).unwrap(),
                    _ => self.out.push(c),
                }
            }
            self.out.push('"');
        }

        fn value(&mut self, value: &Value) {
            self.space();
            match value {
                Value::String(text) => self.string(text),
                Value::Array(items) => {
                    self.out.push('[');
                    for (n, item) in items.iter().enumerate() {
                        if n > 0 {
                            self.out.push(',');
                        }
                        self.value(item);
                    }
                    self.out.push(']');
                }
                Value::Object(members) => {
                    self.out.push('{');
                    for (n, (name, member)) in members.iter().enumerate() {
                        if n > 0 {
                            self.out.push(',');
                        }
                        self.space();
                        self.string(name);
                        self.space();
                        self.out.push(':');
                        self.value(member);
                    }
                    self.out.push('}');
                }
                other => self.out += &other.to_string(),
            }
            self.space();
        }
    }

    fn split<'a>(mut bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut chunks = Vec::new();
        for cut in cuts.iter().cycle().take(bytes.len() + 1) {
            let (chunk, rest) = bytes.split_at((*cut).min(bytes.len()));
            chunks.push(chunk);
            bytes = rest;
        }
        chunks.push(bytes);
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn a_parser_of_json_agrees(
            mut value in document(),
            dice in vec(any::<u8>(), 1..64),
            cuts in vec(1_usize..30, 1..8),
        ) {
            let mut writer = Writer { dice: dice.iter().cycle(), out: String::new() };
            writer.value(&value);
            let text = writer.out;
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            let rewritten = rewrite_in(&split(text.as_bytes(), &cuts));
            let unchanged = value.clone();
            oracle(&mut value, false);
            prop_assert_eq!(&serde_json::from_slice::<Value>(&rewritten).unwrap(), &value);
            if unchanged == value {
                prop_assert_eq!(rewritten, text.into_bytes());
            }
        }

        #[test]
        fn where_chunks_end_never_matters(
            pieces in vec(prop_oneof![
                Just("\""), Just("_links"), Just("href"), Just(":"), Just("{"), Just("}"), Just("["), Just("]"),
                Just("\\"), Just("\\u00"), Just("5f"), Just("links"), Just("68"), Just("ref"), Just(" "), Just(","),
                Just("https://api.bentley.com"), Just("\"_links\":{"), Just("\"href\":\"https:\\/\\/api.bent"),
                Just("ley.com"), Just("/"), Just(":443"), Just("2f"),
            ], 0..40),
            cuts in vec(1_usize..6, 1..8),
        ) {
            let text = pieces.concat();
            let whole = rewrite_in(&[text.as_bytes()]);
            prop_assert_eq!(rewrite_in(&split(text.as_bytes(), &cuts)), whole);
        }

        #[test]
        fn bytes_without_links_pass_unchanged(
            bytes in vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'_'), Just(b'\\')], 0..400),
            cuts in vec(1_usize..60, 1..8),
        ) {
            prop_assert_eq!(rewrite_in(&split(&bytes, &cuts)), bytes);
        }
    }
}
