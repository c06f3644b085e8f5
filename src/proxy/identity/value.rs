//! Claims as field values that say one thing only.
//!
//! A text of visible ASCII, with spaces within, is sent as it is. Any other text, and one that could
//! be taken for something else, is sent as RFC 8187 writes it (section 3.2.1): `UTF-8''` and its
//! octets, percent-encoded. Other values are JSON in ASCII. So what begins with `UTF-8''` is a text
//! in that form, what begins with `[` or `{` is JSON, and every other value means itself.

use std::fmt::Write as _;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::verify::Json;

const MARK: &str = "UTF-8''";

/// A longer one is not sent at all: a piece of it would be somebody else's.
const LONGEST: usize = 4 << 10;

/// All but `attr-char` (RFC 8187 section 3.2.1).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Why a value is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value would be longer than {LONGEST} octets")]
pub(super) struct Unsent;

/// A text.
pub(super) fn text(text: &str) -> Result<HeaderValue, Unsent> {
    if text.len() > LONGEST {
        return Err(Unsent);
    }
    if means_itself(text) {
        return sendable(text.to_owned());
    }
    sendable(format!("{MARK}{}", utf8_percent_encode(text, ENCODED)))
}

/// A claim of any kind; nothing for `null`.
pub(super) fn claim(claim: &Json) -> Option<Result<HeaderValue, Unsent>> {
    match claim {
        Json::Null => None,
        Json::Text(said) => Some(text(said)),
        other => Some(sendable(ascii(&serde_json::to_string(other).ok()?))),
    }
}

fn means_itself(text: &str) -> bool {
    let marked = text
        .get(..MARK.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(MARK));
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
        && !text.starts_with([' ', '[', '{'])
        && !text.ends_with(' ')
        && !marked
}

fn sendable(text: String) -> Result<HeaderValue, Unsent> {
    if text.len() > LONGEST {
        return Err(Unsent);
    }
    HeaderValue::try_from(text).map_err(|_| Unsent)
}

/// JSON, with escapes for whatever is not visible ASCII; that stands in texts only.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// As the reference tells services to read a value.
    fn read(value: &str) -> Value {
        if let Some(encoded) = value.strip_prefix("UTF-8''") {
            let text = percent_decode_str(encoded).decode_utf8().unwrap();
            return text.into_owned().into();
        }
        if value.starts_with(['[', '{']) {
            return serde_json::from_str(value).unwrap();
        }
        value.into()
    }

    fn json(value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Number(number) => Json::Number(number.clone()),
            Value::String(text) => Json::Text(text.clone()),
            Value::Array(items) => Json::List(items.iter().map(json).collect()),
            Value::Object(_) => unreachable!("objects are read from tokens in other tests"),
        }
    }

    #[test]
    fn what_is_plain_is_sent_as_it_is_and_the_rest_marked() {
        let table = [
            ("ann", "ann"),
            ("", ""),
            ("100 %, \"x\"; a=b", "100 %, \"x\"; a=b"),
            ("Ren\u{e9}", "UTF-8''Ren%C3%A9"),
            (
                "a\r\nX-Itwin-Email: b",
                "UTF-8''a%0D%0AX-Itwin-Email%3A%20b",
            ),
            ("a\0b", "UTF-8''a%00b"),
            ("a\tb", "UTF-8''a%09b"),
            ("\u{7f}", "UTF-8''%7F"),
            (" a", "UTF-8''%20a"),
            ("a ", "UTF-8''a%20"),
            ("[\"Admin\"]", "UTF-8''%5B%22Admin%22%5D"),
            ("{}", "UTF-8''%7B%7D"),
            ("utf-8''x", "UTF-8''utf-8%27%27x"),
            ("\u{1f600}", "UTF-8''%F0%9F%98%80"),
        ];
        for (said, sent) in table {
            assert_eq!(text(said).unwrap(), sent, "{said:?}");
            assert_eq!(read(sent), said);
        }
    }

    #[test]
    fn lists_are_json_that_a_field_can_carry() {
        let table = [
            (
                json!(["Admin", "iModel Owner"]),
                r#"["Admin","iModel Owner"]"#,
            ),
            (
                json!(["Ren\u{e9}\u{1f600}\u{7f}\n"]),
                r#"["Ren\u00e9\ud83d\ude00\u007f\n"]"#,
            ),
            (json!(7), "7"),
            (json!(true), "true"),
        ];
        for (said, sent) in table {
            assert_eq!(claim(&json(&said)).unwrap().unwrap(), sent);
        }
        assert_eq!(claim(&Json::Null), None);
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        assert_eq!(text(&"x".repeat(LONGEST)).unwrap().len(), LONGEST);
        assert_eq!(text(&"x".repeat(LONGEST + 1)), Err(Unsent));
        assert_eq!(text(&"\u{e9}".repeat(LONGEST / 6)), Err(Unsent));
        let list = json!(["x".repeat(LONGEST)]);
        assert_eq!(claim(&json(&list)), Some(Err(Unsent)));
    }

    proptest! {
        #[test]
        fn whatever_a_text_holds_is_valid_and_reads_back(said in any::<String>()) {
            let sent = text(&said).unwrap();
            prop_assert_eq!(read(sent.to_str().unwrap()), said);
        }

        #[test]
        fn whatever_a_list_holds_is_valid_and_reads_back(said in any::<Vec<String>>()) {
            let said = json!(said);
            if let Ok(sent) = claim(&json(&said)).unwrap() {
                prop_assert_eq!(read(sent.to_str().unwrap()), said);
            }
        }
    }
}
