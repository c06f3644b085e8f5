//! A value as YAML in block style.

use std::fmt::Write as _;

use serde_json::Value;

/// A value as a document in block style.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

/// Writes a value in block style.
pub(super) fn block(value: &Value, indent: usize, out: &mut String) {
    let space = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(out, "{space}{}:", scalar(key));
                below(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, indent + 2, &mut inner);
                let inner = inner
                    .strip_prefix(&" ".repeat(indent + 2))
                    .unwrap_or(&inner);
                let _ = write!(out, "{space}- {inner}");
            }
        }
        other => {
            let _ = writeln!(out, "{space}{}", flow(other));
        }
    }
}

/// Writes what follows a key.
fn below(value: &Value, indent: usize, out: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => items.iter().any(Value::is_object),
        _ => false,
    };
    if nested {
        out.push('\n');
        block(value, indent + 2, out);
    } else {
        let _ = writeln!(out, " {}", flow(value));
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

/// A text as YAML, in quotes where it could be read as something else.
pub fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-:%+=".contains(c))
        && !text.ends_with(':');
    let other_type = text.parse::<f64>().is_ok()
        || looks_like_a_number(text)
        || matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain && !other_type {
        text.to_owned()
    } else {
        // JSON strings are YAML strings
        Value::from(text).to_string()
    }
}

/// To readers of YAML 1.1: other bases, times, dates.
fn looks_like_a_number(text: &str) -> bool {
    let based = ["0x", "0o", "0b"];
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || "_:".contains(c));
    based.iter().any(|base| text.starts_with(base))
        || digits(text)
        || text
            .split_once('-')
            .is_some_and(|(year, _)| year.len() == 4 && digits(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_where_it_could_be_something_else() {
        for (text, expected) in [
            ("bentley", "bentley"),
            ("https://api.bentley.com", "https://api.bentley.com"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("1m 30s", "\"1m 30s\""),
            ("0600", "\"0600\""),
            ("true", "\"true\""),
            ("1e3", "\"1e3\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("*.example.com", "\"*.example.com\""),
            ("it's #1", "\"it's #1\""),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }
}
