//! YAML of other programs, such as Kubernetes' manifests, as JSON: several documents, and scalars as
//! those programs read them.
//!
//! Kubernetes reads YAML 1.1's words and octal numbers (`yes`, `0644`); what is read here and written
//! again must mean the same there.

use serde_json::{Map, Number, Value};

use super::{
    problem::Problems,
    tree::{Node, Style, Written},
    yaml,
};

/// The documents of a text, empty ones left out; `name` stands in the places of problems.
///
/// # Errors
/// When it is no YAML that can be read.
pub fn read(text: &str, name: &str) -> Result<Vec<Value>, Problems> {
    let mut problems = Problems::default();
    let all = yaml::read_all(text, &yaml::in_file(name), &mut problems);
    if problems.errors() > 0 {
        return Err(problems);
    }
    let values = all.iter().map(value).filter(|value| !value.is_null());
    Ok(values.collect())
}

fn value(node: &Node) -> Value {
    match &node.value {
        Written::Null => Value::Null,
        Written::Scalar(text, Style::Quoted) => Value::from(text.as_str()),
        Written::Scalar(text, Style::Plain) => plain(text),
        Written::List(items) => items.iter().map(value).collect(),
        Written::Map(entries) => {
            let pairs = entries.iter().map(|e| (e.key.clone(), value(&e.node)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    number(text).map_or_else(|| Value::from(text), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let of = |digits: &str, radix| i64::from_str_radix(digits, radix).ok().map(|n| sign * n);
    let whole = if let Some(digits) = digits.strip_prefix("0x") {
        of(digits, 16)
    } else if let Some(digits) = digits.strip_prefix("0o") {
        of(digits, 8)
    } else if let Some(digits) = digits.strip_prefix('0').filter(|rest| !rest.is_empty()) {
        of(digits, 8)
    } else {
        of(digits, 10)
    };
    if let Some(whole) = whole {
        return Some(whole.into());
    }
    let float = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !digits.chars().all(float) {
        return None;
    }
    text.parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_read_as_kubernetes_reads_them() {
        let text = "a: 0644\nb: yes\nc: '0644'\nd: 1.5\ne: 10m\nf: -3\ng:\nh: 1.2.3\ni: 2026-01-02\nj: 0x1f\n---\n# nothing\n---\n- on\n";
        assert_eq!(
            read(text, "x.yaml").unwrap(),
            [
                json!({ "a": 420, "b": true, "c": "0644", "d": 1.5, "e": "10m", "f": -3, "g": null,
                        "h": "1.2.3", "i": "2026-01-02", "j": 31 }),
                json!([true]),
            ]
        );
        assert!(read("a: [", "x.yaml").is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[a-zA-Z0-9./:_+~ -]{0,12}") {
            let value = json!({ "text": text, "list": [text, 1, true, {}] });
            let written = super::super::print::block::yaml(&value);
            proptest::prop_assert_eq!(read(&written, "x.yaml").unwrap(), [value]);
        }
    }
}
