//! Puts the value of a variable at its path in the tree, guided by the schema.
//!
//! What is missing on the way is made; short forms (`inject: agent`, a word for a list) become long
//! where a path leads into them. A secret that a variable gives replaces the file's in any form.

use serde_json::Value;

use super::{
    problem::{Place, Problems, nearest},
    schema::{Part, Schema, has_type, text},
    shape,
    tree::{Entry, Node, Style, Written},
    yaml,
};

/// Why a variable cannot be written.
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

/// Puts one value at one path, making what is missing on the way.
pub(super) struct Setter<'a> {
    pub(super) schema: &'a Schema,
    pub(super) place: &'a Place,
    pub(super) value: &'a str,
    pub(super) problems: &'a mut Problems,
}

impl Setter<'_> {
    /// Sets the value at the path `steps` below `node`, whose schema is `part`.
    pub(super) fn set(
        &mut self,
        node: &mut Node,
        part: &Part,
        steps: &[&str],
    ) -> Result<(), Refusal> {
        let Some((step, rest)) = steps.split_first() else {
            let short = text(part, "x-short").filter(|_| !self.value.starts_with('{'));
            if let (Some(short), Written::Map(_)) = (short, &node.value) {
                return self.set_key(node, part, short, &[]);
            }
            *node = self.read(part)?;
            return Ok(());
        };
        if let Ok(index) = step.parse::<usize>()
            && let Some(list) = self.schema.of_type(part, "array")
        {
            return self.set_item(node, &list, index, rest);
        }
        let Some(object) = self.schema.of_type(part, "object") else {
            let hint = self
                .schema
                .of_type(part, "array")
                .map(|_| "items of a list are numbered from 0".into());
            let text = format!("'{}' leads nowhere", step.to_ascii_lowercase());
            return Err(Refusal { text, hint });
        };
        self.set_key(node, &object, step, rest)
    }

    fn set_item(
        &mut self,
        node: &mut Node,
        list: &Part,
        index: usize,
        rest: &[&str],
    ) -> Result<(), Refusal> {
        let item = self
            .schema
            .resolve(list.get("items").unwrap_or(&Value::Null));
        make_list(node);
        let Written::List(items) = &mut node.value else {
            return Err(Refusal {
                text: "items cannot be set: something else than a list is written above them"
                    .into(),
                hint: None,
            });
        };
        if index > items.len() {
            return Err(Refusal {
                text: format!(
                    "there are {} items, so that the next one is number {0}",
                    items.len()
                ),
                hint: None,
            });
        }
        if index == items.len() {
            items.push(Node::null(self.place.clone()));
        }
        self.set(&mut items[index], &item, rest)
    }

    fn set_key(
        &mut self,
        node: &mut Node,
        object: &Part,
        step: &str,
        rest: &[&str],
    ) -> Result<(), Refusal> {
        let known = object.get("properties").and_then(Value::as_object);
        let lower = step.to_ascii_lowercase();
        let (key, property) = if let Some(property) = known.and_then(|known| known.get(&lower)) {
            (lower, property.clone())
        } else if let Some(others) = object.get("additionalProperties").filter(|v| v.is_object()) {
            (entry_name(node, step)?, others.clone())
        } else {
            let names: Vec<&str> = known
                .map(|k| k.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let hint = match nearest(&lower, names.iter().copied()) {
                Some(name) => format!("did you mean {}?", name.to_ascii_uppercase()),
                None => format!("known here: {}", names.join(", ")),
            };
            return Err(Refusal {
                text: format!("'{lower}' is not a known key"),
                hint: Some(hint),
            });
        };
        let property = self.schema.resolve(&property);
        self.make_map(node, object);
        let Written::Map(entries) = &mut node.value else {
            return Err(Refusal {
                text: format!(
                    "'{key}' cannot be set: something else than a map is written above it"
                ),
                hint: None,
            });
        };
        if let Some(group) = text(&property, "x-secret") {
            // the variable overrides the file, also when it gives the secret in another form
            let others = [
                group.to_owned(),
                format!("{group}_file"),
                format!("{group}_env"),
            ];
            entries.retain(|e| {
                !(others.contains(&e.key) && matches!(e.node.place, Place::File { .. }))
            });
        }
        let at = entries
            .iter()
            .position(|e| e.key == key)
            .unwrap_or_else(|| {
                entries.push(Entry {
                    key,
                    place: self.place.clone(),
                    node: Node::null(self.place.clone()),
                });
                entries.len() - 1
            });
        self.set(&mut entries[at].node, &property, rest)
    }

    /// Makes a map of nothing, and of a short form its long one.
    fn make_map(&self, node: &mut Node, object: &Part) {
        let mut entries = Vec::new();
        match (&node.value, text(object, "x-short")) {
            (Written::Null, _) => node.place = self.place.clone(),
            (Written::Scalar(..), Some(short)) => entries.push(Entry {
                key: short.to_owned(),
                place: node.place.clone(),
                node: node.clone(),
            }),
            _ => return,
        }
        node.value = Written::Map(entries);
    }

    /// The value as the schema expects it: a text, words for a list, or YAML for what has keys.
    fn read(&mut self, part: &Part) -> Result<Node, Refusal> {
        let is = |wanted: &str| self.schema.of_type(part, wanted).is_some();
        let nested = is("array") || is("object");
        if nested && self.value.starts_with(['[', '{']) {
            let place = self.place.clone();
            let before = self.problems.errors();
            let node = yaml::read(self.value, &move |_| place.clone(), self.problems);
            return match node.value {
                Written::Null if self.problems.errors() == before => {
                    Ok(Node::null(self.place.clone()))
                }
                _ => Ok(node),
            };
        }
        let single = ["string", "boolean", "integer"]
            .iter()
            .any(|wanted| is(wanted));
        if nested && !single && !has_type(part, "array") {
            return Err(Refusal {
                text: "a single value cannot stand here".into(),
                hint: Some("add the key to the variable's name, or write {key: value}".into()),
            });
        }
        Ok(Node {
            place: self.place.clone(),
            value: Written::Scalar(self.value.to_owned(), Style::Plain),
        })
    }
}

/// The name in a map that a variable's step means: an existing one whatever its case and with `_`
/// for `-` and `.`, otherwise a new one in lower case.
fn entry_name(node: &Node, step: &str) -> Result<String, Refusal> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let wanted = plain(step);
    let fitting: Vec<&str> = node
        .keys()
        .into_iter()
        .filter(|name| plain(name) == wanted)
        .collect();
    match fitting.as_slice() {
        [] if wanted.is_empty() => Err(Refusal {
            text: "a name is missing between the underscores".into(),
            hint: None,
        }),
        [] => Ok(step.to_ascii_lowercase()),
        [one] => Ok((*one).to_owned()),
        several => Err(Refusal {
            text: format!("'{step}' may mean {}", several.join(" or ")),
            hint: Some("use names that differ in more than '-', '.' and '_'".into()),
        }),
    }
}

/// Makes a list of nothing, of words, or of a single item.
fn make_list(node: &mut Node) {
    let items = match &node.value {
        Written::List(_) => return,
        Written::Null => Vec::new(),
        Written::Scalar(text, _) => shape::words(text)
            .map(|word| Node::text(word, node.place.clone()))
            .collect(),
        Written::Map(_) => vec![node.clone()],
    };
    node.value = Written::List(items);
}
