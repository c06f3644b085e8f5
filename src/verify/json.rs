//! JSON as a token's issuer must write it: one meaning only.
//!
//! A member that is there twice means one thing to us and another to the service behind us, so
//! objects know whether they repeat themselves, at any depth. Nesting is bounded.

use std::fmt;

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::Number;

/// Deeper than any claim that is known, shallower than a stack.
const DEEPEST: u8 = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// An object's members, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    members: Vec<(String, Json)>,
    repeats: bool,
}

/// Not JSON, not an object, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object that can be read")]
pub(super) struct Unreadable;

impl Object {
    /// Reads a whole document.
    pub(super) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        match Json::read(text)? {
            Json::Object(object) => Ok(object),
            _ => Err(Unreadable),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn members(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.members.iter().map(|(name, value)| (&**name, value))
    }

    /// Octets that it takes in memory, about.
    pub(super) fn size(&self) -> usize {
        let one = |(name, value): (&str, &Json)| name.len() + size_of::<String>() + value.size();
        self.members().map(one).sum()
    }

    /// Whether it, or an object within, has a member twice.
    pub(super) fn repeats(&self) -> bool {
        self.repeats || self.members.iter().any(|(_, value)| value.repeats())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.len()))?;
        for (name, value) in self.members() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Json {
    /// Reads a whole document.
    pub(super) fn read(text: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Nested(DEEPEST).deserialize(&mut reader);
        match (value, reader.end()) {
            (Ok(value), Ok(())) => Ok(value),
            _ => Err(Unreadable),
        }
    }

    /// Its items; one value counts as a list of it.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }

    fn size(&self) -> usize {
        let within = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Object(object) => object.size(),
        };
        size_of::<Self>() + within
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn repeats(&self) -> bool {
        match self {
            Self::Object(object) => object.repeats(),
            Self::List(list) => list.iter().any(Self::repeats),
            _ => false,
        }
    }
}

/// Reads a value that may hold so many levels.
#[derive(Clone, Copy)]
struct Nested(u8);

impl Nested {
    fn within<E: Error>(self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Json, E> {
        Ok(Json::Bool(truth))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        let number = Number::from_f64(number);
        number
            .map(Json::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let within = self.within()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(within)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let within = self.within()?;
        let mut members = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            members.push((name, entries.next_value_seed(within)?));
        }
        let repeats = repeated(&members);
        Ok(Json::Object(Object { members, repeats }))
    }
}

/// Sorted, so that a hostile document costs no more than its length.
fn repeated(members: &[(String, Json)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_there_twice_is_seen_at_any_depth() {
        let repeats = |text: &str| Object::read(text.as_bytes()).map(|object| object.repeats());
        assert_eq!(repeats(r#"{"a":1,"b":{"a":2}}"#), Ok(false));
        assert_eq!(repeats(r#"{"a":1,"a":1}"#), Ok(true));
        assert_eq!(repeats(r#"{"a":1,"\u0061":1}"#), Ok(true), "escaped");
        assert_eq!(repeats(r#"{"a":[{"b":1,"c":2,"b":3}]}"#), Ok(true));
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_not_read() {
        let deep = |levels: usize| {
            let text = format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
            Object::read(text.as_bytes()).is_ok()
        };
        assert!(deep(15));
        assert!(!deep(16));
        assert!(!deep(100_000));
        for text in [
            "",
            "[]",
            "{} {}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            assert_eq!(Object::read(text.as_bytes()), Err(Unreadable), "{text}");
        }
        assert_eq!(Object::read(b"{\"a\":\"\xff\"}"), Err(Unreadable));
    }
}
