//! Text that cannot leave its line: control characters are shown, never passed on.
//!
//! A caller chooses its path, a provider its error text. Neither may end a log line, move a
//! terminal's cursor or turn the reading direction round.

use std::{fmt::Write, time::Duration};

/// Appends `text` as the inside of a JSON string (RFC 8259 section 7); what a terminal would act
/// on is escaped too.
pub(super) fn json(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if c != '"' && c != '\\' && !acts(c) {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // every character that `acts` is in the basic plane: one escape is enough
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push_str(&text[plain..]);
}

/// Appends `text` for a person: as it is, but what a terminal would act on is shown as an escape.
pub(super) fn human(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if acts(c) {
            out.push_str(&text[plain..at]);
            plain = at + c.len_utf8();
            out.extend(c.escape_default());
        }
    }
    out.push_str(&text[plain..]);
}

/// Appends `text` for a person, in quotes if it would not be seen as one value otherwise.
pub(super) fn human_value(out: &mut String, text: &str) {
    if text.is_empty() || text.contains([' ', '"', '=']) {
        out.push('"');
        human(out, text);
        out.push('"');
    } else {
        human(out, text);
    }
}

/// Appends the wall clock's time as RFC 3339 in UTC, with milliseconds.
pub(super) fn time(out: &mut String, wall: Duration) {
    let time = std::time::UNIX_EPOCH + wall;
    // fails only for years past 9999
    let _ = write!(out, "{}", humantime::format_rfc3339_millis(time));
}

/// Appends `took` in milliseconds with three decimals.
pub(super) fn milliseconds(out: &mut String, took: Duration) {
    let micros = took.as_micros();
    let _ = write!(out, "{}.{:03}", micros / 1000, micros % 1000);
}

/// Whether a terminal or a line-based reader would act on `c` instead of showing it: the controls
/// of C0 and C1, line and paragraph separators, and what changes the reading direction.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_json(text: &str) -> String {
        let mut out = String::new();
        json(&mut out, text);
        out
    }

    fn as_human(text: &str) -> String {
        let mut out = String::new();
        human(&mut out, text);
        out
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
    fn times_are_rfc_3339() {
        let mut out = String::new();
        time(&mut out, Duration::from_millis(1_700_000_000_123));
        assert_eq!(out, "2023-11-14T22:13:20.123Z");
        out.clear();
        milliseconds(&mut out, Duration::from_micros(12_045));
        assert_eq!(out, "12.045");
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
        fn no_text_leaves_its_line(text in any::<String>()) {
            prop_assert!(!as_human(&text).chars().any(acts));
        }
    }
}
