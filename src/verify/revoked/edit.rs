//! The list as operators read and change it, in JSON: `{"sid": "…"}`, or `jti` or `sub`, perhaps
//! with `issuer`, `before` and `until`; one, or a list of them.
//!
//! An order is done as a whole or not at all, and all that is wrong with it is said. To give it
//! once more changes nothing. Entries of the file are the file's: they are not taken back here.

use std::{
    fmt::Display,
    pin::Pin,
    slice,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use super::{
    super::{
        json::{Json, Object},
        refusal::shown,
    },
    Claim, Entry, Full, List, Name, Revoked,
    file::{seconds_since, time},
};
use crate::{
    clock::Moment,
    health::{Change, Editable, Unchanged},
};

const PATH: &str = "/revocations";
/// Entries on a page.
const PAGE: usize = 1000;
/// Octets of a name or an issuer.
pub(in crate::verify) const LONGEST: usize = 512;
/// Faults of an order that are named, and entries of it that are logged.
const MOST_NAMED: usize = 20;

impl Editable for Revoked {
    fn path(&self) -> &'static str {
        PATH
    }

    fn page(&self, from: usize, _: Moment) -> Value {
        let lists = self.now.load();
        let mut all: Vec<(&Name, &Entry)> = lists.said.entries().collect();
        all.sort_unstable_by_key(|(name, entry)| (name.claim, &name.value, &entry.issuer));
        let rest = all.get(from..).unwrap_or_default();
        let next = (rest.len() > PAGE).then(|| format!("{PATH}?from={}", from + PAGE));
        let page = rest.iter().take(PAGE);
        json!({
            "entries": page.map(|(name, entry)| written(name, entry)).collect::<Vec<_>>(),
            "entries_in_all": all.len(),
            "entries_of_file": lists.file.len(),
            "next": next,
        })
    }

    fn change(&self, change: Change, body: &[u8], now: Moment) -> Result<Value, Unchanged> {
        let order = order(body, change, now).map_err(Unchanged::Faults)?;
        for (name, _) in order.iter().take(MOST_NAMED) {
            let (claim, value) = (name.claim.name(), shown(&name.value));
            tracing::info!(
                claim,
                value,
                entries = order.len(),
                "told to {}",
                verb(change)
            );
        }
        match change {
            Change::Add => {
                let entries = order.len();
                let Ok(all) = self.add_all(order, now) else {
                    return Err(Unchanged::Full);
                };
                Ok(json!({"revoked": entries, "entries_in_all": all}))
            }
            Change::Remove => {
                let (removed, all) = self.remove_all(&order, now);
                let file = &self.now.load().file;
                let still = order.iter().filter(|(name, _)| file.0.contains_key(name));
                let still = still.map(|(name, _)| json!({name.claim.name(): &*name.value}));
                Ok(json!({
                    "taken_back": removed,
                    "entries_in_all": all,
                    "still_in_file": still.collect::<Vec<_>>(),
                }))
            }
        }
    }

    fn survives(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let changes = *self.changes.borrow();
        let kept = self.kept.get().cloned();
        Box::pin(async move {
            let Some(mut kept) = kept else {
                return false;
            };
            let written = kept.wait_for(|written| written.changes >= changes).await;
            written.is_ok_and(|written| written.well)
        })
    }
}

fn verb(change: Change) -> &'static str {
    match change {
        Change::Add => "revoke tokens",
        Change::Remove => "take back that tokens are revoked",
    }
}

/// An entry as it is read again.
pub(super) fn written(name: &Name, entry: &Entry) -> Value {
    let time = |time: Duration| humantime::format_rfc3339(UNIX_EPOCH + time).to_string();
    let mut members = Map::new();
    members.insert(name.claim.name().into(), (*name.value).into());
    if let Some(issuer) = &entry.issuer {
        members.insert("issuer".into(), (**issuer).into());
    }
    for (member, at) in [("before", entry.before), ("until", entry.until)] {
        if let Some(at) = at {
            members.insert(member.into(), time(at).into());
        }
    }
    members.into()
}

/// What [`written`] wrote; what has ended by now is left out.
pub(super) fn read_again(text: &[u8], now: Moment) -> Option<List> {
    let mut list = List::default();
    let json = Json::read(text).ok()?;
    for item in json.items() {
        // one that cannot be read takes no other with it
        let read = match item {
            Json::Object(object) => entry(object, &mut |_, _| ()),
            _ => None,
        };
        match read {
            Some((name, entry)) if !entry.ended(now) => list.add(name, entry),
            Some(_) => {}
            None => tracing::error!("an entry of what was revoked before the start cannot be read"),
        }
    }
    Some(list)
}

/// The entries that the body names, or all its faults.
fn order(body: &[u8], change: Change, now: Moment) -> Result<Vec<(Name, Entry)>, Vec<String>> {
    let Ok(json) = Json::read(body) else {
        return Err(vec!["the body is not JSON".into()]);
    };
    let (items, listed) = match &json {
        Json::List(items) => (&**items, true),
        one => (slice::from_ref(one), false),
    };
    let mut faults = Faults::default();
    let mut entries = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let mut fault = |member: &str, why: &dyn Display| {
            let at = if listed {
                format!("[{number}]")
            } else {
                String::new()
            };
            let member = if listed && !member.is_empty() {
                format!(".{member}")
            } else {
                member.to_owned()
            };
            let colon = if at.is_empty() && member.is_empty() {
                ""
            } else {
                ": "
            };
            faults.add(format!("{at}{member}{colon}{why}"));
        };
        let Json::Object(object) = item else {
            fault("", &"it is no object like {\"sid\": \"…\"}");
            continue;
        };
        let Some((name, entry)) = entry(object, &mut fault) else {
            continue;
        };
        if change == Change::Remove {
            for (member, at) in [("before", entry.before), ("until", entry.until)] {
                if at.is_some() {
                    fault(member, &"entries are taken back by name and issuer only");
                }
            }
        } else if entry.ended(now) {
            fault("until", &"that time has passed");
        }
        entries.push((name, entry));
    }
    faults.none().map(|()| entries)
}

/// The first are named, the others counted.
#[derive(Default)]
struct Faults {
    named: Vec<String>,
    others: usize,
}

impl Faults {
    fn add(&mut self, fault: String) {
        if self.named.len() < MOST_NAMED {
            self.named.push(fault);
        } else {
            self.others += 1;
        }
    }

    fn none(mut self) -> Result<(), Vec<String>> {
        if self.named.is_empty() {
            return Ok(());
        }
        if self.others > 0 {
            self.named.push(format!("and {} more", self.others));
        }
        Err(self.named)
    }
}

/// One entry; `None` when something is wrong with it.
fn entry(object: &Object, fault: &mut dyn FnMut(&str, &dyn Display)) -> Option<(Name, Entry)> {
    let mut good = true;
    let mut fault = |member: &str, why: &dyn Display| {
        good = false;
        fault(member, why);
    };
    if object.repeats() {
        fault("", &"it has a member twice");
    }
    let (mut name, mut entry) = (None, Entry::default());
    for (member, value) in object.members() {
        let claim = Claim::ALL.into_iter().find(|claim| claim.name() == member);
        match (claim, member) {
            (Some(_), _) if name.is_some() => {
                fault(member, &"it names one already: one of jti, sid and sub");
            }
            (Some(claim), _) => match text(value) {
                Ok(value) => name = Some(Name { claim, value }),
                Err(why) => fault(member, &why),
            },
            (None, "issuer") => match text(value) {
                Ok(issuer) => entry.issuer = Some(issuer),
                Err(why) => fault(member, &why),
            },
            (None, "before") => match date(value) {
                Ok(at) => entry.before = Some(at),
                Err(why) => fault(member, &why),
            },
            (None, "until") => match date(value) {
                Ok(at) => entry.until = Some(at),
                Err(why) => fault(member, &why),
            },
            (None, other) => {
                let other = shown(other);
                fault(
                    &other,
                    &"it is none of jti, sid, sub, issuer, before and until",
                );
            }
        }
    }
    let named = Claim::ALL.iter().any(|claim| object.has(claim.name()));
    if !named {
        fault("", &"it names nothing: one of jti, sid and sub is needed");
    }
    name.filter(|_| good).map(|name| (name, entry))
}

fn text(value: &Json) -> Result<Box<str>, &'static str> {
    match value.text() {
        None => Err("it is not text"),
        Some("") => Err("it is empty"),
        Some(text) if text.len() > LONGEST => Err("it is longer than 512 octets"),
        Some(text) => Ok(text.into()),
    }
}

fn date(value: &Json) -> Result<Duration, &'static str> {
    match value {
        Json::Text(text) => time(text),
        Json::Number(number) => {
            let seconds = number
                .as_u64()
                .ok_or("it is no whole number of seconds since 1970")?;
            seconds_since(seconds)
        }
        _ => Err("it is neither like \"2026-01-31T12:00:00Z\" nor seconds since 1970"),
    }
}

impl Revoked {
    fn add_all(&self, order: Vec<(Name, Entry)>, now: Moment) -> Result<usize, Full> {
        self.change_said(now, |said| {
            for (name, entry) in order {
                said.add(name, entry);
            }
            said.has_room()
        })
    }

    /// How many entries that were, and how many are left.
    fn remove_all(&self, order: &[(Name, Entry)], now: Moment) -> (usize, usize) {
        let mut removed = 0;
        let left = self.change_said(now, |said| {
            let before = said.len();
            for (name, entry) in order {
                said.remove(name, entry.issuer.as_deref());
            }
            removed = before - said.len();
            Ok(())
        });
        // there is always room for less
        (removed, left.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    fn faults(change: Change, body: &str) -> String {
        let now = Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
        match order(body.as_bytes(), change, now) {
            Ok(entries) => format!("{} good", entries.len()),
            Err(faults) => faults.join("; "),
        }
    }

    #[test]
    fn all_that_is_wrong_with_an_order_is_said() {
        for (body, expected) in [
            (r#"{"jti": "a"}"#, "1 good"),
            (
                r#"[{"jti": "a"}, {"sub": "b", "issuer": "i", "before": 1, "until": 1800000000}]"#,
                "2 good",
            ),
            (
                r#"{"sub": "b", "before": "2023-01-01T00:00:00Z", "until": "1800000000"}"#,
                "1 good",
            ),
            ("[]", "0 good"),
            ("", "the body is not JSON"),
            ("{} {}", "the body is not JSON"),
            ("\"a\"", "it is no object like {\"sid\": \"…\"}"),
            ("[1]", "[0]: it is no object like {\"sid\": \"…\"}"),
            ("{}", "it names nothing: one of jti, sid and sub is needed"),
            (r#"{"jti": 1}"#, "jti: it is not text"),
            (r#"{"jti": ""}"#, "jti: it is empty"),
            (
                r#"{"jti": "a", "jti": "a"}"#,
                "it has a member twice; jti: it names one already: one of jti, sid and sub",
            ),
            (
                r#"{"jti": "a", "sid": "b"}"#,
                "sid: it names one already: one of jti, sid and sub",
            ),
            (
                r#"{"jti": "a", "util": 1}"#,
                "util: it is none of jti, sid, sub, issuer, before and until",
            ),
            (r#"{"jti": "a", "until": 1}"#, "until: that time has passed"),
            (
                r#"{"jti": "a", "until": 1.5}"#,
                "until: it is no whole number of seconds since 1970",
            ),
            (
                r#"[{"jti": "a"}, {"sub": "b", "before": "soon", "until": 1800000000000}]"#,
                "[1].before: a time is neither like 2026-01-31T12:00:00Z nor seconds since 1970; \
                 [1].until: a time is after the year 9999: seconds are meant, not milliseconds",
            ),
        ] {
            assert_eq!(faults(Change::Add, body), expected, "{body}");
        }
        assert_eq!(
            faults(Change::Remove, r#"{"jti": "a", "issuer": "i"}"#),
            "1 good"
        );
        let body = r#"{"jti": "a", "before": 1}"#;
        let expected = "before: entries are taken back by name and issuer only";
        assert_eq!(faults(Change::Remove, body), expected);
        let many = format!("[{}]", vec!["1"; 30].join(","));
        assert!(faults(Change::Add, &many).ends_with("; and 10 more"));
    }

    #[test]
    fn an_entry_that_cannot_be_read_takes_no_other_with_it() {
        let now = crate::clock::Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
        let long = "s".repeat(LONGEST + 1);
        let text = format!(r#"[{{"sid":"{long}"}}, 7, {{"sub":"ann"}}]"#);
        let list = read_again(text.as_bytes(), now).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(read_again(b"[", now), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            value in ".{1,20}",
            issuer in prop::option::of("[ -~]{1,20}"),
            before in prop::option::of(0..253_402_300_799_u64),
        ) {
            let now = Clock::for_tests(Duration::from_secs(1_700_000_000)).now();
            let name = Name { claim: Claim::Sid, value: value.into() };
            let entry = Entry {
                issuer: issuer.map(Into::into),
                before: before.map(Duration::from_secs),
                until: Some(now.wall + Duration::from_nanos(1)),
            };
            let mut list = List::default();
            list.add(name.clone(), entry.clone());
            let text = json!([written(&name, &entry)]).to_string();
            prop_assert_eq!(read_again(text.as_bytes(), now), Some(list));
        }

        #[test]
        fn no_body_can_do_harm(body in "(\\[|\\]|\\{|\\}|,|:|\"jti\"|\"before\"|\"until\"|[0-9]{1,20}|\"[ -~]{0,5}\"){0,20}") {
            let _ = faults(Change::Add, &body);
        }
    }
}
