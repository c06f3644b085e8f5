//! Text that cannot leave its line: control characters are shown, never passed on.
//!
//! A caller chooses its path, a provider its error text. Neither may end a log line, move a
//! terminal's cursor or turn the reading direction round. What needs none of this is copied as a
//! whole, after a look at eight bytes at a time: nearly all that requests are made of.

use std::{fmt, io::Write, time::Duration};

/// Appends `text` as the inside of a JSON string (RFC 8259 section 7); what a terminal would act
/// on is escaped too.
pub(crate) fn json(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        return put(out, text);
    }
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if c != '"' && c != '\\' && !acts(c) {
            continue;
        }
        put(out, &text[plain..at]);
        plain = at + c.len_utf8();
        match c {
            '"' => put(out, "\\\""),
            '\\' => put(out, "\\\\"),
            '\n' => put(out, "\\n"),
            '\r' => put(out, "\\r"),
            '\t' => put(out, "\\t"),
            // every character that `acts` is in the basic plane: one escape is enough
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    put(out, &text[plain..]);
}

/// Appends `text` for a person: as it is, but what a terminal would act on, and what nobody could
/// see, is shown as an escape.
pub(crate) fn human(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        return put(out, text);
    }
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if acts(c) || is_invisible(c) {
            put(out, &text[plain..at]);
            plain = at + c.len_utf8();
            let _ = write!(out, "{}", c.escape_default());
        }
    }
    put(out, &text[plain..]);
}

/// Appends `text` for a person, in quotes if it would not be seen as one value otherwise.
pub(crate) fn human_value(out: &mut Vec<u8>, text: &str) {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        out.push(b'"');
        human(out, text);
        out.push(b'"');
    } else {
        human(out, text);
    }
}

/// Appends `text` as it is.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends a number in decimal.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    put(out, itoa::Buffer::new().format(number));
}

/// Appends `took` in milliseconds with three decimals: made from a whole number of microseconds, so
/// that it is always the same text for the same time.
pub(super) fn milliseconds(out: &mut Vec<u8>, took: Duration) {
    let millis = took.as_secs().saturating_mul(1000);
    let millis = millis.saturating_add(took.subsec_millis().into());
    number(out, millis);
    out.extend_from_slice(&thousandths(took.subsec_micros() % 1000));
}

/// The wall clock's time as RFC 3339 in UTC, with milliseconds. Calculating a date costs as much as
/// the rest of a line, so the text of the second is kept.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: u64,
    /// Up to the fraction; empty before the first.
    text: String,
}

impl Date {
    pub(super) fn write(&mut self, out: &mut Vec<u8>, wall: Duration) {
        if self.second != wall.as_secs() || self.text.is_empty() {
            self.second = wall.as_secs();
            let second = std::time::UNIX_EPOCH + Duration::from_secs(self.second);
            self.text.clear();
            // fails only for years past 9999
            let _ = fmt::write(
                &mut self.text,
                format_args!("{}", humantime::format_rfc3339_seconds(second)),
            );
            self.text.pop();
        }
        put(out, &self.text);
        out.extend_from_slice(&thousandths(wall.subsec_millis()));
        out.push(b'Z');
    }
}

/// A point and the three digits of a number below 1000.
fn thousandths(number: u32) -> [u8; 4] {
    let digit = |number: u32| b"0123456789"[(number % 10) as usize];
    [b'.', digit(number / 100), digit(number / 10), digit(number)]
}

/// Whether nothing in it may need an escape, in JSON or for a person: printable ASCII without quote
/// and backslash. Eight bytes at a time; the last word overlaps the one before it, which is cheaper
/// than to go on byte by byte.
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let words = bytes.as_chunks::<8>().0.iter().chain([last]);
        words.fold(0, |wrong, word| {
            wrong | not_plain(u64::from_le_bytes(*word))
        }) == 0
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
        not_plain(first << 32 | last) == 0
    } else {
        bytes.iter().all(|byte| is_plain_byte(*byte))
    }
}

/// Not zero if one of the eight bytes is not plain.
const fn not_plain(word: u64) -> u64 {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Subtracting from every byte sets the high bit of those that are less. One that is not may lend
    // to a lower byte, but only to one that is less: whether there is any is always right.
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let delete = word.wrapping_add(ONES);
    // once a high bit is set in `word`, that byte is not ASCII, and the others do not matter
    (control | quote | backslash | delete | word) & HIGH
}

const fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Whether a terminal or a line-based reader would act on `c` instead of showing it: the controls
/// of C0 and C1, line and paragraph separators, and what changes the reading direction.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether `c` looks like nothing, or like an ordinary space without being one: white space and
/// what Unicode lets a font ignore (`Default_Ignorable_Code_Point`), fillers and blanks. Two paths
/// that differ must not look the same.
fn is_invisible(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_json(text: &str) -> String {
        let mut out = Vec::new();
        json(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn as_human(text: &str) -> String {
        let mut out = Vec::new();
        human(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_is_shown_an_escape_sequence_instead_of_obeying_it() {
        assert_eq!(
            as_human("a\u{1b}[31mred\r\nb\u{9b}1m"),
            "a\\u{1b}[31mred\\r\\nb\\u{9b}1m"
        );
        assert_eq!(as_human("gnp\u{202e}.exe"), "gnp\\u{202e}.exe");
        assert_eq!(as_human("Grüße, 東京"), "Grüße, 東京");
    }

    #[test]
    fn a_person_sees_what_looks_like_nothing_or_like_a_space() {
        for (text, shown) in [
            ("/a\u{a0}b", "/a\\u{a0}b"),
            ("/a\u{200b}b\u{feff}", "/a\\u{200b}b\\u{feff}"),
            ("/\u{3000}\u{ad}\u{3164}", "/\\u{3000}\\u{ad}\\u{3164}"),
            ("/x\u{e0041}", "/x\\u{e0041}"),
            ("/a b", "/a b"),
        ] {
            assert_eq!(as_human(text), shown);
        }
        assert_eq!(
            as_json("/a\u{a0}b"),
            "/a\u{a0}b",
            "for a program it is a character"
        );
    }

    #[test]
    fn times_are_rfc_3339_to_the_millisecond() {
        let mut date = Date::default();
        for (millis, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_999, "2023-11-14T22:13:20.999Z"),
            (1_700_000_001_000, "2023-11-14T22:13:21.000Z"),
            (1_700_000_000_007, "2023-11-14T22:13:20.007Z"),
        ] {
            let mut out = Vec::new();
            date.write(&mut out, Duration::from_millis(millis));
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }

    #[test]
    fn milliseconds_are_decimals_without_noise() {
        for (nanos, shown) in [
            (0, "0.000"),
            (999, "0.000"),
            (12_045_000, "12.045"),
            (5_000_000_000, "5000.000"),
            (300_000, "0.300"),
        ] {
            let mut out = Vec::new();
            milliseconds(&mut out, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }

    proptest! {
        #[test]
        fn json_text_reads_back_as_what_it_was(text in any::<String>()) {
            let escaped = as_json(&text);
            prop_assert!(!escaped.chars().any(acts));
            let back: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn eight_bytes_at_once_are_looked_at_as_one_at_a_time(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'a'), Just(b'a'), 0x1e_u8..0x24, 0x5a_u8..0x5e, 0x7d_u8..0x81], 0..40,
        )) {
            prop_assert_eq!(is_plain(&bytes), bytes.iter().all(|byte| is_plain_byte(*byte)));
        }

        #[test]
        fn no_text_leaves_its_line(text in any::<String>()) {
            prop_assert!(!as_human(&text).chars().any(|c| acts(c) || is_invisible(c)));
        }
    }
}
