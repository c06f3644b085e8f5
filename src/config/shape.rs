//! Checks what was written against the schema, and brings it into the one shape that `raw` reads.
//!
//! All problems are reported: unknown keys, wrong types, missing keys, words that are none of
//! those allowed. What is wrong is left out of the result, so that the rest can still be checked
//! for what it means. Short forms (`inject: agent`) become the long ones on the way.

use serde_json::{Map, Number, Value};

use super::{
    path::Path,
    problem::{Place, Problem, Problems, Severity, did_you_mean, shown},
    schema::{Part, Schema, allowed, has_type, names, text},
    tree::{Node, Style, Written},
};

/// The tree as JSON that fits the schema.
pub(super) fn check(tree: &Node, schema: &Schema, problems: &mut Problems) -> Value {
    let mut walk = Walk { schema, problems };
    walk.part(tree, &schema.root(), &Path::root())
        .unwrap_or_else(|| Value::Object(Map::new()))
}

struct Walk<'a> {
    schema: &'a Schema,
    problems: &'a mut Problems,
}

impl Walk<'_> {
    /// The value, or nothing when it is wrong or absent.
    fn part(&mut self, node: &Node, part: &Part, path: &Path) -> Option<Value> {
        match &node.value {
            Written::Null => None,
            Written::Scalar(written, style) => self.scalar(node, written, *style, part, path),
            Written::List(items) => {
                let Some(list) = self.schema.of_type(part, "array") else {
                    return self.wrong_type(node, part, path);
                };
                let item = self
                    .schema
                    .resolve(list.get("items").unwrap_or(&Value::Null));
                let items = items.iter().enumerate().filter_map(|(n, node)| {
                    if matches!(node.value, Written::Null) {
                        self.report(node, &path.index(n), "this item is empty".into(), None);
                    }
                    self.part(node, &item, &path.index(n))
                });
                Some(Value::Array(items.collect()))
            }
            Written::Map(_) => {
                if let Some(object) = self.schema.of_type(part, "object") {
                    return Some(self.map(node, &object, path));
                }
                let list = self.schema.of_type(part, "array");
                match list.filter(|_| text(part, "x-one") == Some("item")) {
                    Some(list) => {
                        let item = self
                            .schema
                            .resolve(list.get("items").unwrap_or(&Value::Null));
                        let one = self.part(node, &item, path)?;
                        Some(Value::Array(vec![one]))
                    }
                    None => self.wrong_type(node, part, path),
                }
            }
        }
    }

    fn scalar(
        &mut self,
        node: &Node,
        written: &str,
        style: Style,
        part: &Part,
        path: &Path,
    ) -> Option<Value> {
        let alternatives = self.schema.alternatives(part);
        for part in &alternatives {
            if let Some(short) = text(part, "x-short") {
                let inner = self.property(part, short)?;
                let value = self.scalar(node, written, style, &inner, &path.key(short))?;
                return Some(Value::Object(Map::from_iter([(short.to_owned(), value)])));
            }
            match text(part, "x-one") {
                Some("words") => {
                    return Some(Value::Array(words(written).map(Value::from).collect()));
                }
                Some("text") => return Some(Value::Array(vec![written.into()])),
                _ => {}
            }
            if style == Style::Quoted {
                continue;
            }
            if has_type(part, "boolean")
                && let Ok(value) = written.parse::<bool>()
            {
                return Some(value.into());
            }
            if has_type(part, "integer")
                && let Ok(number) = written.parse::<i64>()
            {
                return self.in_range(node, number, part, path);
            }
        }
        let Some(part) = alternatives.iter().find(|part| has_type(part, "string")) else {
            return self.wrong_type(node, part, path);
        };
        match allowed(part) {
            Some(words) if !words.iter().any(|word| word == written) => {
                self.not_allowed(node, written, &words, part, path);
                None
            }
            _ => Some(written.into()),
        }
    }

    fn in_range(&mut self, node: &Node, number: i64, part: &Part, path: &Path) -> Option<Value> {
        // a limit may be written as 1 or as 1.0
        let limit = |key| part.get(key).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let value = number as f64;
        let (least, most) = (
            limit("minimum").unwrap_or(0.0),
            limit("maximum").unwrap_or(f64::from(u32::MAX)),
        );
        if value < least || value > most {
            let what = format!("{number} is out of range: {least} to {most} is allowed");
            self.report(node, path, what, None);
            return None;
        }
        Some(Value::Number(Number::from(number)))
    }

    fn map(&mut self, node: &Node, part: &Part, path: &Path) -> Value {
        let Written::Map(entries) = &node.value else {
            return Value::Null;
        };
        let known = part.get("properties").and_then(Value::as_object);
        let others = part.get("additionalProperties").filter(|v| v.is_object());
        let mut object = Map::new();
        for entry in entries {
            let path = path.key(&entry.key);
            let property = known.and_then(|known| known.get(&entry.key)).or(others);
            let Some(property) = property else {
                self.unknown_key(&entry.key, &entry.place, part, &path);
                continue;
            };
            let property = self.schema.resolve(property);
            // a name without anything under it is still a name: its keys have their defaults
            let empty_entry = others.is_some() && has_type(&property, "object");
            let value = match &entry.node.value {
                Written::Null if empty_entry => Some(self.missing(&entry.node, &property, &path)),
                _ => self.part(&entry.node, &property, &path),
            };
            if let Some(value) = value {
                object.insert(entry.key.clone(), value);
            }
        }
        self.missing(node, part, path);
        Value::Object(object)
    }

    /// Reports required keys that are absent; an empty object.
    fn missing(&mut self, node: &Node, part: &Part, path: &Path) -> Value {
        for name in names(part, "required") {
            let given = node.get(name);
            let known_as_wrong = node
                .keys()
                .iter()
                .any(|key| super::problem::nearest(key, [name]).is_some() && *key != name);
            if given.is_none_or(|node| matches!(node.value, Written::Null)) && !known_as_wrong {
                let hint = self
                    .property(part, name)
                    .and_then(|property| text(&property, "description").map(first_sentence));
                self.report(node, &path.key(name), "is missing".into(), hint);
            }
        }
        Value::Object(Map::new())
    }

    fn property(&self, part: &Part, name: &str) -> Option<Part> {
        let property = part.get("properties")?.get(name)?;
        Some(self.schema.resolve(property))
    }

    fn unknown_key(&mut self, key: &str, place: &Place, part: &Part, path: &Path) {
        let (text, hint) = if names(part, "x-later").contains(&key) {
            ("is not available in this version".to_owned(), None)
        } else {
            let known: Vec<&str> = part
                .get("properties")
                .and_then(Value::as_object)
                .map(|known| known.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let hint = did_you_mean(key, known.iter().copied())
                .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            ("is not a known key".to_owned(), Some(hint))
        };
        self.problems.push(Problem {
            severity: Severity::Error,
            path: path.to_string(),
            origin: Some(place.clone()),
            text,
            hint,
        });
    }

    fn not_allowed(
        &mut self,
        node: &Node,
        written: &str,
        words: &[String],
        part: &Part,
        path: &Path,
    ) {
        if names(part, "x-later").contains(&written) {
            let text = format!("'{written}' is not available in this version");
            return self.report(node, path, text, None);
        }
        let hint = did_you_mean(written, words.iter().map(String::as_str));
        let text = format!("{} is none of: {}", shown(path, written), words.join(", "));
        self.report(node, path, text, hint);
    }

    fn wrong_type<T>(&mut self, node: &Node, part: &Part, path: &Path) -> Option<T> {
        let mut expected = Vec::new();
        for part in self.schema.alternatives(part) {
            for (name, words) in [
                ("string", "text"),
                ("boolean", "true or false"),
                ("integer", "a whole number"),
                ("array", "a list"),
                ("object", "a map"),
            ] {
                if has_type(&part, name) && !expected.contains(&words) {
                    expected.push(words);
                }
            }
        }
        let found = match &node.value {
            Written::Scalar(written, _)
                if !has_type(part, "object") && !has_type(part, "array") =>
            {
                shown(path, written)
            }
            _ => node.kind().into(),
        };
        let text = format!("must be {}, but {found} was found", expected.join(" or "));
        let hint =
            (expected == ["a map"] && matches!(node.value, Written::Scalar(..))).then(|| {
                "after ':' there is a space or a new line, and keys of a map are indented".into()
            });
        self.report(node, path, text, hint);
        None
    }

    fn report(&mut self, node: &Node, path: &Path, text: String, hint: Option<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            path: path.to_string(),
            origin: Some(node.place.clone()),
            text,
            hint,
        });
    }
}

/// Words with spaces or commas between them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\t', '\n'])
        .filter(|word| !word.is_empty())
}

fn first_sentence(description: &str) -> String {
    let one_line = description.replace('\n', " ");
    match one_line.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => one_line,
    }
}
