//! What was written, before anybody asks what it means: scalars, lists and maps, each with the
//! place where it was written.
//!
//! It may hold secrets, so that it has no `Debug`.

use super::{
    path::{Path, Step},
    problem::Place,
};

/// A written value.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Written,
}

/// The four things that can be written.
#[derive(Clone)]
pub(super) enum Written {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String, Style),
    List(Vec<Node>),
    /// In the order written; keys are unique.
    Map(Vec<Entry>),
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes, or in a variable: may be a number or a truth value.
    Plain,
    /// Text in any case.
    Quoted,
}

/// A key of a map with its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn null(place: Place) -> Self {
        Self {
            place,
            value: Written::Null,
        }
    }

    pub(super) fn text(text: impl Into<String>, place: Place) -> Self {
        Self {
            place,
            value: Written::Scalar(text.into(), Style::Plain),
        }
    }

    /// What was found, for "found …".
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Written::Null => "nothing",
            Written::Scalar(..) => "a single value",
            Written::List(_) => "a list",
            Written::Map(_) => "a map",
        }
    }

    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Written::List(items) if items.is_empty())
    }

    /// The value of `key`, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Written::Map(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// The names of a map's keys.
    pub(super) fn keys(&self) -> Vec<&str> {
        match &self.value {
            Written::Map(entries) => entries.iter().map(|e| e.key.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Where `path` was written, or the nearest thing above it; nothing for the top itself.
    pub(super) fn place_of(&self, path: &Path) -> Option<Place> {
        self.follow(path).1
    }

    /// The path as a user would name it: of a short form, such as `inject: agent` or a single item
    /// for a list, only what was written.
    pub(super) fn written_path(&self, path: &Path) -> Path {
        self.follow(path).0
    }

    /// Goes down as far as was written.
    fn follow(&self, path: &Path) -> (Path, Option<Place>) {
        let mut node = self;
        let mut place = None;
        let mut written = Path::root();
        let mut steps = path.steps().iter();
        while let Some(step) = steps.next() {
            let next = match (step, &node.value) {
                (Step::Key(key), Written::Map(entries)) => entries
                    .iter()
                    .find(|e| e.key == *key)
                    .map(|e| (&e.place, &e.node)),
                (Step::Index(index), Written::List(items)) => {
                    items.get(*index).map(|item| (&item.place, item))
                }
                // a single item stands for a list of one
                (Step::Index(0), Written::Map(_)) => continue,
                // a single value stands for one key of a map, or for a list
                (_, Written::Scalar(..)) => return (written, place),
                _ => None,
            };
            written = written.with(step.clone());
            let Some((at, below)) = next else {
                written = steps.fold(written, |written, step| written.with(step.clone()));
                break;
            };
            place = Some(match &below.value {
                // the value itself is the better place to look at, when it has one
                Written::Scalar(..) => below.place.clone(),
                _ => at.clone(),
            });
            node = below;
        }
        (written, place)
    }
}
