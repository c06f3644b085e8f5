//! A pod that is being changed, and the JSON Patch (RFC 6902) that does the same to the original.
//!
//! Every change goes through [`Draft::add`], which writes both, so that they cannot differ.

use serde_json::{Map, Value, json};

/// The pod so far, and how it came to be so.
#[derive(Debug, Clone)]
pub struct Draft {
    pod: Value,
    operations: Vec<Value>,
}

/// Where in the pod: keys, and indices of lists as numbers or `-` for the end.
pub(super) type Way<'a> = &'a [&'a str];

impl Draft {
    pub(super) fn new(pod: Value) -> Self {
        Self {
            pod,
            operations: Vec::new(),
        }
    }

    pub fn pod(&self) -> &Value {
        &self.pod
    }

    pub fn into_pod(self) -> Value {
        self.pod
    }

    /// The patch; empty when nothing was changed.
    pub fn operations(&self) -> &[Value] {
        &self.operations
    }

    /// The list at `way`; empty when there is none.
    pub(super) fn list(&self, way: Way<'_>) -> &[Value] {
        let there = self.pod.pointer(&pointer(way));
        there.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Sets a key, inserts into a list, or appends to it; what is absent above is made: a list where
    /// an item is added, an object otherwise. What is there and neither stays as it is, and nothing
    /// is added: the checks before have refused it.
    pub(super) fn add(&mut self, way: Way<'_>, value: Value) {
        let Some((last, above)) = way.split_last() else {
            return;
        };
        let place = pointer(above);
        if self.pod.pointer(&place).is_none_or(Value::is_null) {
            let empty = if index(last, 0).is_some() {
                json!([])
            } else {
                Value::Object(Map::new())
            };
            self.add(above, empty);
        }
        match self.pod.pointer_mut(&place) {
            Some(Value::Array(items)) => {
                let Some(at) = index(last, items.len()) else {
                    return;
                };
                items.insert(at, value.clone());
            }
            Some(Value::Object(map)) => {
                if map.get(*last) == Some(&value) {
                    return;
                }
                map.insert((*last).to_owned(), value.clone());
            }
            _ => return,
        }
        // `add` replaces a key that is there (RFC 6902 section 4.1)
        let mut operation = json!({ "op": "add", "path": pointer(way) });
        operation["value"] = value;
        self.operations.push(operation);
    }
}

/// Where an item goes in a list of this length.
fn index(step: &str, length: usize) -> Option<usize> {
    if step == "-" {
        return Some(length);
    }
    step.parse().ok().filter(|at| *at <= length)
}

/// A JSON Pointer (RFC 6901).
pub(super) fn pointer(way: Way<'_>) -> String {
    let mut text = String::new();
    for step in way {
        text.push('/');
        text.push_str(&step.replace('~', "~0").replace('/', "~1"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_above_is_made_and_keys_are_escaped() {
        let mut draft = Draft::new(json!({ "metadata": { "annotations": null }, "spec": {} }));
        draft.add(&["metadata", "annotations", "a/b~c"], json!("1"));
        draft.add(&["spec", "volumes", "-"], json!({ "name": "x" }));
        draft.add(&["spec", "volumes", "0"], json!({ "name": "first" }));
        assert_eq!(
            json!(draft.operations()),
            json!([
                { "op": "add", "path": "/metadata/annotations", "value": {} },
                { "op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "1" },
                { "op": "add", "path": "/spec/volumes", "value": [] },
                { "op": "add", "path": "/spec/volumes/-", "value": { "name": "x" } },
                { "op": "add", "path": "/spec/volumes/0", "value": { "name": "first" } },
            ])
        );
        assert_eq!(
            draft.pod(),
            &json!({ "metadata": { "annotations": { "a/b~c": "1" } },
                     "spec": { "volumes": [{ "name": "first" }, { "name": "x" }] } })
        );
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let mut draft = Draft::new(json!({ "a": "b" }));
        draft.add(&["a"], json!("b"));
        assert!(draft.operations().is_empty());
    }
}
