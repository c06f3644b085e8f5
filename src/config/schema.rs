//! The schema of the configuration, from the definition in `raw`.
//!
//! One form for ourselves, with the extensions that reading needs, and the published one without
//! them. "Nothing written" is the same as "key absent" here, so that `null` is no type of its own.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::raw::Raw;

/// The schema with our extensions.
pub(super) struct Schema(Value);

/// A schema in a schema, with references resolved.
pub(super) type Part = Map<String, Value>;

impl Schema {
    pub(super) fn new() -> Self {
        Self::of::<Raw>()
    }

    /// That of another file.
    pub(super) fn of<T: JsonSchema>() -> Self {
        let mut schema = Value::from(schemars::schema_for!(T));
        without_null(&mut schema);
        Self(schema)
    }

    /// What editors and other programs read.
    pub(super) fn published(mut self) -> Value {
        without_extensions(&mut self.0);
        self.0
    }

    pub(super) fn root(&self) -> Part {
        self.0.as_object().cloned().unwrap_or_default()
    }

    /// `part` itself, or what it refers to; what stands beside the reference wins.
    pub(super) fn resolve(&self, part: &Value) -> Part {
        let Some(part) = part.as_object() else {
            return Part::new();
        };
        let Some(target) = part
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.0.pointer(reference.trim_start_matches('#')))
        else {
            return part.clone();
        };
        let mut resolved = self.resolve(target);
        for (key, value) in part.iter().filter(|(key, _)| *key != "$ref") {
            resolved.insert(key.clone(), value.clone());
        }
        resolved
    }

    /// The alternatives of a part: those of `anyOf`, or the part itself.
    pub(super) fn alternatives(&self, part: &Part) -> Vec<Part> {
        match part.get("anyOf").and_then(Value::as_array) {
            Some(list) => list.iter().map(|one| self.resolve(one)).collect(),
            None => vec![part.clone()],
        }
    }

    /// The alternative that has this type.
    pub(super) fn of_type(&self, part: &Part, wanted: &str) -> Option<Part> {
        self.alternatives(part)
            .into_iter()
            .find(|alternative| has_type(alternative, wanted))
    }
}

/// Whether a part allows this JSON type.
pub(super) fn has_type(part: &Part, wanted: &str) -> bool {
    match part.get("type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name == wanted),
        _ => wanted == "string" && allowed(part).is_some(),
    }
}

/// The words that a part allows, if it is a choice of words.
pub(super) fn allowed(part: &Part) -> Option<Vec<String>> {
    if let Some(words) = part.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(word).collect());
    }
    let choices = part.get("oneOf").and_then(Value::as_array)?;
    Some(
        choices
            .iter()
            .filter_map(|c| c.get("const"))
            .filter_map(word)
            .collect(),
    )
}

fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A text that an extension or annotation of the part holds.
pub(super) fn text<'a>(part: &'a Part, key: &str) -> Option<&'a str> {
    part.get(key).and_then(Value::as_str)
}

/// The names in a list that the part holds.
pub(super) fn names<'a>(part: &'a Part, key: &str) -> Vec<&'a str> {
    let list = part.get(key).and_then(Value::as_array);
    list.map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(part) => {
            if let Some(Value::Array(types)) = part.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    part.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(alternatives)) = part.get_mut("anyOf") {
                alternatives.retain(|one| one.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = alternatives.as_slice() {
                    let only = only.clone();
                    part.remove("anyOf");
                    part.extend(only);
                }
            }
            if part.get("default").is_some_and(Value::is_null) {
                part.remove("default");
            }
            part.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn without_extensions(schema: &mut Value) {
    match schema {
        Value::Object(part) => {
            part.retain(|key, _| !key.starts_with("x-"));
            part.values_mut().for_each(without_extensions);
        }
        Value::Array(items) => items.iter_mut().for_each(without_extensions),
        _ => {}
    }
}
