//! Reads YAML 1.2 into a tree that knows the place of everything.
//!
//! Bounded: text, depth and number of nodes have limits, aliases count what they repeat. Refused:
//! several documents, duplicate keys (which one counts?), keys that are not text, tags other than
//! the core schema's. A message never quotes what was written.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{
    path::Path,
    problem::{Place, Problem, Problems, Severity},
    tree::{Entry, Node, Style, Written},
};

/// No configuration is larger.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 50_000;

/// The tree of `text`, as far as it can be read; what cannot be is in `problems`.
pub(super) fn read(text: &str, place: &dyn Fn(Marker) -> Place, problems: &mut Problems) -> Node {
    let start = place(Marker::new(0, 1, 0));
    let first = documents(text, place, problems, 1).into_iter().next();
    first.unwrap_or_else(|| Node::null(start))
}

/// The same for a text that may hold several documents.
pub(super) fn read_all(
    text: &str,
    place: &dyn Fn(Marker) -> Place,
    problems: &mut Problems,
) -> Vec<Node> {
    documents(text, place, problems, usize::MAX)
}

fn documents(
    text: &str,
    place: &dyn Fn(Marker) -> Place,
    problems: &mut Problems,
    most: usize,
) -> Vec<Node> {
    let mut builder = Builder {
        place,
        problems,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        roots: Vec::new(),
        documents: 0,
        most,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let going_on = match event {
            Ok((event, span)) => builder.take(event, span.start),
            Err(error) => {
                builder.refuse(
                    *error.marker(),
                    format!("this is not YAML: {}", error.info()),
                    None,
                );
                false
            }
        };
        if !going_on {
            break;
        }
    }
    builder.roots
}

/// Places in a file.
pub(super) fn in_file(name: &str) -> impl Fn(Marker) -> Place {
    let name: Arc<str> = name.into();
    move |marker| Place::File {
        name: name.clone(),
        line: marker.line(),
        column: marker.col() + 1,
    }
}

struct Builder<'a> {
    place: &'a dyn Fn(Marker) -> Place,
    problems: &'a mut Problems,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    roots: Vec<Node>,
    documents: usize,
    /// As many documents are allowed.
    most: usize,
}

/// A list or map that has begun.
struct Open {
    anchor: usize,
    place: Place,
    what: Half,
}

enum Half {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// A key whose value comes next.
        key: Option<(String, Place)>,
    },
}

impl Builder<'_> {
    /// Takes one event; `false` when reading on makes no sense.
    fn take(&mut self, event: Event<'_>, marker: Marker) -> bool {
        let place = (self.place)(marker);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > self.most {
                    let hint = "keep one document: remove what follows the second '---'";
                    return self.refuse(
                        marker,
                        "the file holds more than one document",
                        Some(hint),
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag.as_deref() {
                    Some(tag) if !is_core(tag) => {
                        self.refuse(
                            marker,
                            "tags have no meaning here",
                            Some("write the value without '!'"),
                        );
                        Written::Null
                    }
                    Some(tag) if tag.suffix == "str" => Written::Scalar(text.into(), Style::Quoted),
                    _ if style != ScalarStyle::Plain => Written::Scalar(text.into(), Style::Quoted),
                    _ if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Written::Null,
                    _ => Written::Scalar(text.into(), Style::Plain),
                };
                return self.put(Node { place, value }, anchor, marker);
            }
            Event::SequenceStart(anchor, _) => {
                return self.begin(anchor, place, Half::List(Vec::new()), marker);
            }
            Event::MappingStart(anchor, _) => {
                let map = Half::Map {
                    entries: Vec::new(),
                    key: None,
                };
                return self.begin(anchor, place, map, marker);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let anchor = open.anchor;
                    return self.put(open.into_node(), anchor, marker);
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return self.refuse(marker, "this alias stands inside its own anchor", None);
                };
                self.nodes += size(&node);
                return self.put(node, 0, marker);
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn begin(&mut self, anchor: usize, place: Place, what: Half, marker: Marker) -> bool {
        if self.open.len() == MAX_DEPTH {
            return self.refuse(marker, "lists and maps are nested too deeply", None);
        }
        self.open.push(Open {
            anchor,
            place,
            what,
        });
        true
    }

    /// Gives a finished node to what is open, or makes it the root.
    fn put(&mut self, node: Node, anchor: usize, marker: Marker) -> bool {
        self.nodes += 1;
        if anchor != 0 {
            self.nodes += size(&node);
            self.anchors.insert(anchor, node.clone());
        }
        if self.nodes > MAX_NODES {
            return self.refuse(marker, "the file holds too many values", None);
        }
        let Some(open) = self.open.last_mut() else {
            self.roots.push(node);
            return true;
        };
        let (entries, waiting) = match &mut open.what {
            Half::List(items) => {
                items.push(node);
                return true;
            }
            Half::Map { entries, key } => (entries, key),
        };
        let Some((key, place)) = waiting.take() else {
            let (key, text) = match node.value {
                Written::Scalar(text, _) => (text, None),
                Written::Null => ("null".into(), None),
                _ => (String::new(), Some("a key must be text")),
            };
            *waiting = Some((key, node.place));
            return text.is_none_or(|text| self.refuse(marker, text, None));
        };
        if let Some(first) = entries.iter().find(|e| e.key == key) {
            let hint = format!("it was written before, at {}; keep one", first.place);
            let path = self.path().key(&key);
            self.report(&path, place, "this key is written twice".into(), Some(hint));
        } else {
            entries.push(Entry { key, place, node });
        }
        true
    }

    /// The path of what is open.
    fn path(&self) -> Path {
        let mut path = Path::root();
        // the innermost one is where we are; those around it know which key or index they wait for
        for open in &self.open[..self.open.len().saturating_sub(1)] {
            path = match &open.what {
                Half::List(items) => path.index(items.len()),
                Half::Map { key, .. } => match key {
                    Some((key, _)) => path.key(key),
                    None => path,
                },
            };
        }
        path
    }

    /// Reports what ends the reading; always `false`.
    fn refuse(&mut self, marker: Marker, text: impl Into<String>, hint: Option<&str>) -> bool {
        let place = (self.place)(marker);
        self.report(&Path::root(), place, text.into(), hint.map(Into::into));
        false
    }

    fn report(&mut self, path: &Path, place: Place, text: String, hint: Option<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            path: path.to_string(),
            origin: Some(place),
            text,
            hint,
        });
    }
}

impl Open {
    fn into_node(self) -> Node {
        Node {
            place: self.place,
            value: match self.what {
                Half::List(items) => Written::List(items),
                Half::Map { entries, .. } => Written::Map(entries),
            },
        }
    }
}

fn is_core(tag: &Tag) -> bool {
    tag.is_yaml_core_schema()
}

fn size(node: &Node) -> usize {
    match &node.value {
        Written::Null | Written::Scalar(..) => 1,
        Written::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Written::Map(entries) => 1 + entries.iter().map(|e| size(&e.node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn read_text(text: &str) -> (Node, Problems) {
        let mut problems = Problems::default();
        let node = read(text, &in_file("x.yaml"), &mut problems);
        (node, problems)
    }

    fn first(text: &str) -> String {
        let (_, problems) = read_text(text);
        problems.iter().next().map_or_else(String::new, |p| {
            let origin = p.origin.as_ref().map(ToString::to_string);
            format!("{} {} {}", origin.unwrap_or_default(), p.path, p.text)
        })
    }

    #[test]
    fn every_node_knows_its_place() {
        let (node, problems) = read_text("a:\n  - b: 1\n    c: [x, y]\n");
        assert!(problems.is_empty(), "{problems}");
        let path = Path::root().key("a").index(0).key("c").index(1);
        assert_eq!(node.place_of(&path).unwrap().to_string(), "x.yaml:3:12");
        let missing = Path::root().key("a").index(0).key("d");
        assert_eq!(node.place_of(&missing).unwrap().to_string(), "x.yaml:2:5");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, problem) in [
            (
                "a: 1\nb:\n  c: 1\n  c: 2\n",
                "x.yaml:4:3 b.c this key is written twice",
            ),
            ("a: 1\n---\nb: 1\n", "the file holds more than one document"),
            ("[a]: 1\n", "a key must be text"),
            ("a: !secret x\n", "tags have no meaning here"),
            ("a: &x [*x]\n", "this alias stands inside its own anchor"),
            ("a: [1, 2\nb: 3\n", "this is not YAML"),
        ] {
            assert!(first(text).contains(problem), "{text:?}: {}", first(text));
        }
    }

    #[test]
    fn a_bomb_of_aliases_or_depth_is_refused_quickly() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            let nine = vec![before; 9].join(", ");
            writeln!(bomb, "a{n}: &a{n} [{nine}]").unwrap();
        }
        assert!(first(&bomb).contains("too many values"), "{}", first(&bomb));
        let deep = "[".repeat(100_000);
        assert!(!first(&deep).is_empty());
    }

    #[test]
    fn an_empty_file_is_nothing() {
        for text in ["", "# only a comment\n", "---\n"] {
            let (node, problems) = read_text(text);
            assert!(problems.is_empty());
            assert_eq!(node.kind(), "nothing");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            read_text(&text);
        }

        #[test]
        fn no_yaml_like_text_makes_it_panic(text in "([a-c&*!|>\\-\\[\\]{}:,\"'#? \n]{0,80})") {
            read_text(&text);
        }
    }
}
