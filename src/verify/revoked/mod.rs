//! Tokens that are good no longer, though nothing in them says so.
//!
//! A list names them by `jti`, `sid` or `sub`. It has two parts with a writer each: what a file
//! holds ([`mod@file`]), and what was said: by providers ([`Revoked::add`]) and operators ([`edit`]). The
//! latter survives a restart where there is a token store ([`kept`]). It is asked each time that a
//! token is used, after the rules of the route; while it is empty that costs one load.

mod edit;
mod file;
mod kept;

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(super) use self::edit::LONGEST as LONGEST_NAME;
pub(super) use self::file::follow;
use super::{Claims, Refusal, issuer::without_slash, json::Json};
use crate::{clock::Moment, health::Report, metrics::Counter};

/// Entries that were said; each takes about 100 octets, 1,100 at most.
const MOST: usize = 100_000;

/// The list as it is now. All threads share it.
#[derive(Debug, Default)]
pub struct Revoked {
    now: ArcSwap<Lists>,
    /// Held by who replaces one of the two.
    writing: Mutex<()>,
    /// How often what was said has changed since the start.
    changes: watch::Sender<u64>,
    /// Set where that is written to a file.
    kept: OnceLock<watch::Receiver<kept::Written>>,
    refused: Counter,
}

#[derive(Debug, Clone, Default)]
struct Lists {
    file: Arc<List>,
    said: Arc<List>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct List(HashMap<Name, Vec<Entry>>);

/// What an entry names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub claim: Claim,
    pub value: Box<str>,
}

/// A claim that tokens are revoked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// One token.
    Jti,
    /// All tokens of a session.
    Sid,
    /// All tokens of a user or client.
    Sub,
}

/// Which tokens with the name an entry is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Those of this issuer; `None`: of any.
    pub issuer: Option<Box<str>>,
    /// Those that are older, by the wall clock; `None`: of any age. Who signs in anew is let in.
    pub before: Option<Duration>,
    /// When the entry ends, by the wall clock; `None`: it does not.
    pub until: Option<Duration>,
}

/// A session of ours, as it may be named.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn<'s> {
    pub name: &'s str,
    pub sid: Option<&'s str>,
    pub subject: &'s str,
    pub issuer: &'s str,
    /// When the person signed in.
    pub since: Duration,
}

/// There is no room for a further entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of revoked tokens is full")]
pub struct Full;

impl Claim {
    const ALL: [Self; 3] = [Self::Jti, Self::Sid, Self::Sub];

    fn name(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Sid => "sid",
            Self::Sub => "sub",
        }
    }
}

impl Revoked {
    /// An empty list that counts there how often it was the reason of a refusal.
    pub(super) fn counting(refused: Counter) -> Self {
        Self {
            refused,
            ..Self::default()
        }
    }

    /// How many entries there are.
    pub(super) fn entries(&self) -> usize {
        let lists = self.now.load();
        lists.file.len() + lists.said.len()
    }

    /// # Errors
    /// When the token is on the list.
    pub fn check(&self, claims: &Claims, now: Moment) -> Result<(), Refusal> {
        let lists = self.now.load();
        if lists.file.0.is_empty() && lists.said.0.is_empty() {
            return Ok(());
        }
        for claim in Claim::ALL {
            let Some(value) = claims.get(claim.name()).and_then(Json::text) else {
                continue;
            };
            let value = value.into();
            let name = Name { claim, value };
            let mut entries = [&lists.file, &lists.said].into_iter();
            if entries.any(|list| list.has(&name, claims, now)) {
                self.refused.inc();
                let claim = claim.name();
                return Err(Refusal::Revoked { claim });
            }
        }
        Ok(())
    }

    /// Whether a session of ours is on the list: by its own name, as `jti`, or by what the provider calls
    /// it and the person.
    pub fn has_session(&self, session: &SignedIn<'_>, now: Moment) -> bool {
        let lists = self.now.load();
        let named = [
            (Claim::Jti, Some(session.name)),
            (Claim::Sid, session.sid),
            (Claim::Sub, Some(session.subject)),
        ];
        let mut named = named.into_iter().filter_map(|(claim, value)| {
            let value = value?.into();
            Some(Name { claim, value })
        });
        named.any(|name| {
            let entries = [&lists.file, &lists.said].into_iter();
            let mut entries = entries.filter_map(|list| list.0.get(&name)).flatten();
            entries.any(|entry| entry.is_about_one(session.issuer, Some(session.since), now))
        })
    }

    /// Puts a session of ours on the list. Where that is full, it ends all the same: its cookie is
    /// taken away.
    pub fn add_session(&self, name: &str, until: Duration, now: Moment) {
        let name = Name {
            claim: Claim::Jti,
            value: name.into(),
        };
        let entry = Entry {
            until: Some(until),
            ..Entry::default()
        };
        if let Err(full) = self.add(name, entry, now) {
            tracing::warn!(error = %full, "that a session has ended is not remembered");
        }
    }

    /// Adds what a provider said.
    ///
    /// # Errors
    /// When there is no room.
    pub fn add(&self, name: Name, entry: Entry, now: Moment) -> Result<(), Full> {
        let add = |said: &mut List| {
            said.add(name, entry);
            said.has_room()
        };
        self.change_said(now, add).map(drop)
    }

    /// Changes what was said, or leaves it; how many entries it has then. All threads see it when
    /// this returns.
    fn change_said(
        &self,
        now: Moment,
        change: impl FnOnce(&mut List) -> Result<(), Full>,
    ) -> Result<usize, Full> {
        let _writing = self.writing.lock();
        let mut lists = Lists::clone(&self.now.load());
        let mut said = List::clone(&lists.said);
        said.forget_ended(now);
        change(&mut said)?;
        let entries = said.len();
        lists.said = Arc::new(said);
        self.now.store(Arc::new(lists));
        self.changes.send_modify(|changes| *changes += 1);
        Ok(entries)
    }

    fn restore(&self, said: List) {
        let _writing = self.writing.lock();
        let mut lists = Lists::clone(&self.now.load());
        lists.said = Arc::new(said);
        self.now.store(Arc::new(lists));
    }

    fn replace_file(&self, list: List) {
        let _writing = self.writing.lock();
        let mut lists = Lists::clone(&self.now.load());
        lists.file = Arc::new(list);
        self.now.store(Arc::new(lists));
    }
}

impl Report for Revoked {
    fn name(&self) -> &'static str {
        "revoked_tokens"
    }

    fn report(&self) -> Value {
        let lists = self.now.load();
        let kept = self.kept.get().map(|kept| kept.borrow().well);
        json!({
            "from_file": lists.file.len(),
            "said": lists.said.len(),
            "survive_restart": kept.unwrap_or(false),
        })
    }
}

impl List {
    fn has(&self, name: &Name, claims: &Claims, now: Moment) -> bool {
        let entries = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        entries.iter().any(|entry| entry.is_about(claims, now))
    }

    fn entries(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        let of_name = |(name, entries)| std::iter::repeat(name).zip(entries);
        self.0.iter().flat_map(of_name)
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn has_room(&self) -> Result<(), Full> {
        if self.len() > MOST { Err(Full) } else { Ok(()) }
    }

    /// What says no more than the others say is left out.
    fn add(&mut self, name: Name, entry: Entry) {
        let entries = self.0.entry(name).or_default();
        if entries.iter().any(|known| known.says_all_of(&entry)) {
            return;
        }
        entries.retain(|known| !entry.says_all_of(known));
        entries.push(entry);
    }

    /// Of this issuer, or whatever issuer an entry names.
    fn remove(&mut self, name: &Name, issuer: Option<&str>) {
        let Some(entries) = self.0.get_mut(name) else {
            return;
        };
        entries.retain(|entry| {
            issuer.is_some()
                && entry.issuer.as_deref().map(without_slash) != issuer.map(without_slash)
        });
        if entries.is_empty() {
            self.0.remove(name);
        }
    }

    fn forget_ended(&mut self, now: Moment) {
        self.0.retain(|_, entries| {
            entries.retain(|entry| !entry.ended(now));
            !entries.is_empty()
        });
    }
}

impl Entry {
    fn ended(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now.wall)
    }

    /// Whether every token that `other` is about is one that this is about, for as long.
    fn says_all_of(&self, other: &Self) -> bool {
        let as_late = |ours: Option<Duration>, theirs: Option<Duration>| {
            ours.is_none_or(|ours| theirs.is_some_and(|theirs| theirs <= ours))
        };
        (self.issuer.is_none() || self.issuer == other.issuer)
            && as_late(self.before, other.before)
            && as_late(self.until, other.until)
    }

    fn is_about(&self, claims: &Claims, now: Moment) -> bool {
        // a token that was renewed is as old as the sign-in; one that does not say is old
        let age = claims.signed_in.or(claims.issued);
        self.is_about_one(&claims.issuer, age, now)
    }

    fn is_about_one(&self, its_issuer: &str, age: Option<Duration>, now: Moment) -> bool {
        let its = self
            .issuer
            .as_deref()
            .is_none_or(|issuer| without_slash(issuer) == without_slash(its_issuer));
        let old = self
            .before
            .is_none_or(|before| age.is_none_or(|age| age < before));
        its && old && !self.ended(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, verify::json::Object};

    const NOW: u64 = 1_700_000_000;

    fn entry(issuer: &str, before: Option<u64>, until: Option<u64>) -> Entry {
        Entry {
            issuer: (!issuer.is_empty()).then(|| issuer.into()),
            before: before.map(Duration::from_secs),
            until: until.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_token_is_revoked_by_what_names_it() {
        let now = Clock::for_tests(Duration::from_secs(NOW)).now();
        let (jti, sid, sub) = ((Claim::Jti, "t"), (Claim::Sid, "s"), (Claim::Sub, "u"));
        let any = entry("", None, None);
        let old = entry("", Some(NOW - 100), None);
        let iat = |ago: u64| json!({"iat": NOW - ago});
        for (number, (name, entry, token, revoked)) in (1..).zip([
            (jti, any.clone(), json!({}), Some("jti")),
            (sid, any.clone(), json!({}), Some("sid")),
            (sub, any.clone(), json!({}), Some("sub")),
            ((Claim::Jti, "T"), any.clone(), json!({}), None),
            ((Claim::Sid, "t"), any.clone(), json!({}), None),
            (jti, any.clone(), json!({"jti": ["t"]}), None),
            (
                sub,
                entry("https://a.example", None, None),
                json!({}),
                Some("sub"),
            ),
            (
                sub,
                entry("https://a.example/", None, None),
                json!({}),
                Some("sub"),
            ),
            (sub, entry("https://b.example", None, None), json!({}), None),
            (sub, old.clone(), json!({}), Some("sub")),
            (sub, old.clone(), iat(101), Some("sub")),
            (sub, old.clone(), iat(100), None),
            (
                sub,
                old.clone(),
                json!({"iat": NOW, "auth_time": NOW - 101}),
                Some("sub"),
            ),
            (
                sub,
                old,
                json!({"iat": NOW - 101, "auth_time": NOW - 100}),
                None,
            ),
            (sub, entry("", None, Some(NOW + 1)), json!({}), Some("sub")),
            (sub, entry("", None, Some(NOW)), json!({}), None),
        ]) {
            let mut claims = json!({
                "iss": "https://a.example", "exp": NOW + 60, "jti": "t", "sid": "s", "sub": "u",
            });
            for (name, value) in token.as_object().unwrap() {
                claims[name] = value.clone();
            }
            let members = Object::read(claims.to_string().as_bytes()).unwrap();
            let claims = Claims::read(members, None, now).unwrap();
            let (claim, value) = (name.0, name.1.into());
            let expected = revoked.map_or(Ok(()), |claim| Err(Refusal::Revoked { claim }));
            let name = Name { claim, value };
            let (told, of_file) = (Revoked::default(), Revoked::default());
            of_file.replace_file(List(HashMap::from([(name.clone(), vec![entry.clone()])])));
            assert_eq!(of_file.check(&claims, now), expected, "row {number}");
            // what has ended is not even remembered
            told.add(name, entry, now).unwrap();
            assert_eq!(told.check(&claims, now), expected, "row {number}");
        }
    }

    #[test]
    fn entries_that_say_no_more_than_others_take_no_room() {
        let name = || Name {
            claim: Claim::Sub,
            value: "u".into(),
        };
        let left = |entries: &[&Entry]| {
            let mut list = List::default();
            for entry in entries {
                list.add(name(), Entry::clone(entry));
            }
            list.len()
        };
        let all = &entry("", None, None);
        let (a, b) = (&entry("a", None, None), &entry("b", None, None));
        let (early, late) = (&entry("a", Some(1), None), &entry("a", Some(2), None));
        let (short, long) = (&entry("a", None, Some(1)), &entry("a", None, Some(2)));
        for (entries, expected) in [
            (&[all, all][..], 1),
            (&[a, all], 1),
            (&[all, a], 1),
            (&[a, b], 2),
            (&[a, b, all], 1),
            (&[early, late], 1),
            (&[late, early], 1),
            (&[a, late], 1),
            (&[short, long], 1),
            (&[long, short], 1),
            (&[late, short], 2),
        ] {
            assert_eq!(left(entries), expected, "{entries:?}");
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let now = Clock::for_tests(Duration::from_secs(NOW)).now();
        let revoked = Revoked::default();
        let names = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|n| format!(r#"{{"jti":"{n}"}}"#)).collect()
        };
        let order = |names: Vec<String>| format!("[{}]", names.join(","));
        let change = |body: String| {
            use crate::health::{Change, Editable};
            revoked.change(Change::Add, body.as_bytes(), now)
        };
        change(order(names(0..MOST - 1))).unwrap();
        let full = crate::health::Unchanged::Full;
        assert_eq!(change(order(names(MOST..MOST + 2))), Err(full));
        let all = change(order(names(MOST..MOST + 1))).unwrap();
        assert_eq!(all["entries_in_all"], MOST);
        change(order(names(0..10))).unwrap();
    }
}
