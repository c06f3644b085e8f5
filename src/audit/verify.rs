//! Tells whether a chain of lines is as it was written, and what was done to it if not.
//!
//! Files are read in the order in which they were written, a line at a time. Every fault is told with
//! its place: a changed line, one that is missing, moved, inserted, or not written by who has the key,
//! and an end that was cut off, where the newest hash is known from elsewhere ([`head_beside`], the log,
//! `/status`). Pure, but for reading.

use std::{
    fmt,
    io::{self, BufRead},
    path::Path,
};

use serde_json::Value;

use super::{
    chain::{Authentic, BEGINNING, Head, Key, Line},
    file::read_head,
    runs::{Begun, Runs},
};

/// Faults that are told one by one; more are counted.
const TOLD: usize = 1000;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub lines: u64,
    /// The number of the first line; 0: there is none.
    pub first: u64,
    /// The end of the chain.
    pub last: Head,
    /// In the order of the files.
    pub faults: Vec<(Place, Fault)>,
    /// Faults that are not among these.
    pub more: u64,
    /// What the chain says of itself: rotations, new starts, lost lines.
    pub remarks: Vec<(Place, String)>,
    /// Runs of the program of which it cannot be told whether their last lines are there.
    pub doubts: Vec<(Place, String)>,
    /// Runs that begin in these lines.
    pub runs: u64,
    /// Whether it was written to a stream, in which one run knows nothing of the one before.
    pub stream: bool,
    /// Lines whose code was made with a key that was given.
    pub authentic: u64,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    /// From 1 on; 0: the end of the file.
    pub line: u64,
}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no line of a chain.
    Unreadable,
    /// It does not say what it said when it was written.
    Changed { seq: u64 },
    /// These lines are not there.
    Removed { from: u64, to: u64 },
    /// It stood before others that stand before it now.
    Moved { seq: u64 },
    /// There was one with this number before.
    Inserted { seq: u64 },
    /// It does not follow the line before it: one of the two was put in another's place.
    Replaced { seq: u64 },
    /// A new chain begins where the old one had not ended.
    NewChain,
    /// The program began this run before, at another place.
    Repeated { run: String },
    /// Their codes were not made with a key that was given; which key the run names.
    Forged {
        from: u64,
        to: u64,
        named: Option<String>,
    },
    /// They have no code, though a key was given.
    Unsigned { from: u64, to: u64 },
    /// The chain went on after its last line.
    Cut { from: u64, to: u64 },
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it was written, by who has the key.
    Authentic,
    /// As it was written, unless all of it was made anew.
    Consistent,
    /// Each run is as it was written by who has the key; whether all runs are there cannot be told.
    Unlinked,
    /// Nothing shows tampering, but the end of a run may have been cut off.
    Doubtful,
    TamperedWith,
    /// There is no line.
    Empty,
}

impl Checked {
    pub fn verdict(&self) -> Verdict {
        if !self.faults.is_empty() {
            Verdict::TamperedWith
        } else if self.lines == 0 {
            Verdict::Empty
        } else if !self.doubts.is_empty() {
            Verdict::Doubtful
        } else if self.stream && self.authentic == self.lines {
            Verdict::Unlinked
        } else if self.authentic == self.lines {
            Verdict::Authentic
        } else {
            Verdict::Consistent
        }
    }
}

/// The end of the chain as it is kept beside the file that it is written to.
pub fn head_beside(file: &Path) -> Option<Head> {
    read_head(file)
}

/// Checks the chain in `files` (each with its name), in this order; `known` are ends that it is known to
/// have had.
///
/// # Errors
/// When a file cannot be read.
pub fn check<R: BufRead>(
    files: impl IntoIterator<Item = (String, R)>,
    keys: &[Key],
    known: &[Head],
) -> io::Result<Checked> {
    let mut walk = Walk {
        keys,
        known,
        found: Checked::default(),
        heads: Vec::new(),
        runs: Runs::default(),
        met: Vec::new(),
        missing: Vec::new(),
        unreadable: None,
    };
    let mut place = Place {
        file: String::new(),
        line: 0,
    };
    for (file, mut reader) in files {
        place = Place { file, line: 0 };
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            place.line += 1;
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            walk.line(&place, text);
        }
        place.line = 0;
    }
    walk.end(&place);
    Ok(walk.found)
}

struct Walk<'a> {
    keys: &'a [Key],
    known: &'a [Head],
    found: Checked,
    /// What the next line may follow: more than one after an inserted line.
    heads: Vec<Head>,
    runs: Runs,
    /// Known lines that are there.
    met: Vec<Head>,
    /// Numbers that were left out until now.
    missing: Vec<(Place, u64, u64)>,
    /// The line before, if it could not be read: a crash may have cut it.
    unreadable: Option<(Place, usize)>,
}

impl Walk<'_> {
    fn line(&mut self, place: &Place, text: &[u8]) {
        let Some(line) = Line::read(text) else {
            self.settle(None);
            self.unreadable = Some((place.clone(), text.len()));
            return;
        };
        self.settle(Some(&line.event));
        self.found.lines += 1;
        if !line.whole {
            self.fault(place, Fault::Changed { seq: line.seq });
        }
        let begun = self.runs.line(place, &line);
        if !self.keys.is_empty() {
            match line.authentic(self.keys) {
                Authentic::Yes => self.found.authentic += 1,
                // that it was changed is said
                Authentic::No if !line.whole => {}
                Authentic::No => self.forged(place, line.seq),
                Authentic::Unsigned => self.unsigned(place, line.seq),
            }
        }
        self.remark(place, &line);
        self.follow(place, &line);
        if let Some(begun) = begun {
            self.began(place, begun);
        }
        self.compare(place, &line);
    }

    /// Compares the line with what is known from elsewhere.
    fn compare(&mut self, place: &Place, line: &Line) {
        let head = line.head();
        let mut known = self.known.iter().filter(|known| known.seq == line.seq);
        if known.clone().any(|known| *known == head) {
            self.met.push(head);
        } else if known.next().is_some() && line.whole && !self.found.stream {
            // in a stream it may be the line of another run
            self.fault(place, Fault::Replaced { seq: line.seq });
        }
    }

    /// Compares the line with what came before it.
    fn follow(&mut self, place: &Place, line: &Line) {
        let last = self.heads.iter().map(|head| head.seq).max();
        let begins = line.seq == 1 && line.prev == BEGINNING;
        let follows =
            |head: &Head| head.seq.checked_add(1) == Some(line.seq) && head.hash == line.prev;
        match last {
            None => {
                self.found.first = line.seq;
                if !begins {
                    let text = format!("the lines before {} are not in these files", line.seq);
                    self.found.remarks.push((place.clone(), text));
                }
            }
            Some(_) if self.heads.iter().any(follows) => {}
            // its chain begins anew with each run
            Some(_) if begins && self.found.stream => {}
            Some(_) if begins => self.fault(place, Fault::NewChain),
            Some(last) if line.seq > last.saturating_add(1) => {
                self.missing
                    .push((place.clone(), last.saturating_add(1), line.seq - 1));
            }
            Some(last) if line.seq == last.saturating_add(1) => {
                self.fault(place, Fault::Replaced { seq: line.seq });
            }
            Some(last) => {
                if self.was_missing(line.seq) {
                    self.fault(place, Fault::Moved { seq: line.seq });
                } else {
                    self.fault(place, Fault::Inserted { seq: line.seq });
                }
                if line.seq == last {
                    self.heads.push(line.head());
                }
                return;
            }
        }
        self.heads = vec![line.head()];
    }

    /// Takes a number out of those that are missing.
    fn was_missing(&mut self, seq: u64) -> bool {
        let inside = |(_, from, to): &(Place, u64, u64)| (*from..=*to).contains(&seq);
        let Some(at) = self.missing.iter().position(inside) else {
            return false;
        };
        let (place, from, to) = self.missing.remove(at);
        if from < seq {
            self.missing.push((place.clone(), from, seq - 1));
        }
        if seq < to {
            self.missing.push((place, seq.saturating_add(1), to));
        }
        true
    }

    /// Says of an unreadable line that it is one, unless the next one says that a crash has cut it.
    fn settle(&mut self, next: Option<&Value>) {
        let Some((place, length)) = self.unreadable.take() else {
            return;
        };
        let torn = next.is_some_and(|next| {
            next["event"] == "torn" && next["bytes"].as_u64() == u64::try_from(length).ok()
        });
        if !torn {
            self.fault(&place, Fault::Unreadable);
        }
    }

    /// What the chain says of itself.
    fn remark(&mut self, place: &Place, line: &Line) {
        let event = &line.event;
        let text = match event["event"].as_str() {
            Some("changed_by_others") => format!(
                "the file had {} bytes instead of {}: others changed it",
                event["found_bytes"], event["expected_bytes"]
            ),
            Some("short") => format!(
                "the file ended with line {}, though {} was written",
                event["last_line"], event["last_written"]
            ),
            Some("torn") => "a crash cut the line before".to_owned(),
            Some("lost") => format!("{} events are missing: there was no room", event["count"]),
            Some("rotated") => "goes on here after a rotation".to_owned(),
            _ => return,
        };
        self.found.remarks.push((place.clone(), text));
    }

    /// A run begins here.
    fn began(&mut self, place: &Place, begun: Begun) {
        self.found.runs += 1;
        if let Some(run) = begun.repeated {
            self.fault(place, Fault::Repeated { run });
        }
        let mut text = "the program started".to_owned();
        if let Some((before, last)) = begun.unfinished {
            if !self.found.stream {
                text.push_str("; it had not stopped in order before: it was killed");
            } else if !self.met.contains(&last) {
                let seq = last.seq;
                let text = format!(
                    "the run that begins here has no end: it was killed after line {seq}, or lines were cut off (if that line is known from elsewhere: --expect {seq}:HASH)"
                );
                self.found.doubts.push((before, text));
            }
        }
        self.found.stream = begun.stream;
        self.found.remarks.push((place.clone(), text));
    }

    fn forged(&mut self, place: &Place, seq: u64) {
        if let Some((_, Fault::Forged { to, .. })) = self.found.faults.last_mut()
            && to.checked_add(1) == Some(seq)
        {
            *to = seq;
            return;
        }
        // where it names a key that was given, it is not that key's
        let named = self.runs.key();
        let named = named.filter(|named| self.keys.iter().all(|key| key.id() != *named));
        let named = named.map(str::to_owned);
        let (from, to) = (seq, seq);
        self.fault(place, Fault::Forged { from, to, named });
    }

    fn unsigned(&mut self, place: &Place, seq: u64) {
        if let Some((_, Fault::Unsigned { to, .. })) = self.found.faults.last_mut()
            && to.checked_add(1) == Some(seq)
        {
            *to = seq;
            return;
        }
        let (from, to) = (seq, seq);
        self.fault(place, Fault::Unsigned { from, to });
    }

    fn end(&mut self, place: &Place) {
        self.settle(None);
        for (place, from, to) in std::mem::take(&mut self.missing) {
            self.fault(&place, Fault::Removed { from, to });
        }
        self.found.last = self.heads.pop().unwrap_or_default();
        let last = self.found.last.seq;
        if self.runs.goes_on() && !self.met.contains(&self.found.last) {
            let text = format!(
                "that line {last} is the last cannot be told from these lines: compare it with the log or `/status` (--expect NUMBER:HASH)"
            );
            self.found.remarks.push((place.clone(), text));
        }
        if self.found.stream {
            let known = self.known.iter().filter(|known| !self.met.contains(known));
            let missing: Vec<u64> = known.map(|known| known.seq).collect();
            for seq in missing {
                self.fault(place, Fault::Cut { from: seq, to: seq });
            }
            return;
        }
        let ends = self.known.iter().map(|known| known.seq);
        if let Some(to) = ends.max().filter(|to| *to > last) {
            self.fault(
                place,
                Fault::Cut {
                    from: last.saturating_add(1),
                    to,
                },
            );
        }
        self.found
            .faults
            .sort_by_key(|(place, _)| (place.line == 0, 0));
    }

    fn fault(&mut self, place: &Place, fault: Fault) {
        if self.found.faults.len() < TOLD {
            self.found.faults.push((place.clone(), fault));
        } else {
            self.found.more += 1;
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}, end", self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => write!(f, "changed or inserted: no line of the chain"),
            Self::Changed { seq } => write!(f, "changed: line {seq} is not what was written"),
            Self::Removed { from, to } if from == to => {
                write!(f, "removed: line {from} is missing before this one")
            }
            Self::Removed { from, to } => {
                write!(
                    f,
                    "removed: lines {from} to {to} are missing before this one"
                )
            }
            Self::Moved { seq } => write!(f, "reordered: line {seq} stands here, not in its place"),
            Self::Inserted { seq } => write!(f, "inserted: line {seq} is there already"),
            Self::Replaced { seq } => write!(
                f,
                "replaced: line {seq} does not follow the one before it, or is not the one that was written"
            ),
            Self::NewChain => write!(f, "replaced: a new chain begins here"),
            Self::Repeated { run } => write!(
                f,
                "repeated: run {run} has begun before: its lines are there twice"
            ),
            Self::Forged { from, to, named } => {
                write!(f, "forged: {} not written with this key", were(*from, *to))?;
                match named {
                    Some(key) => write!(f, ", but, they say, with {key}: give that one, too"),
                    None => Ok(()),
                }
            }
            Self::Unsigned { from, to } => {
                write!(f, "forged: {} not signed at all", were(*from, *to))
            }
            Self::Cut { from, to } if from == to => write!(f, "cut: line {from} is missing"),
            Self::Cut { from, to } => write!(f, "cut: lines {from} to {to} are missing"),
        }
    }
}

fn were(from: u64, to: u64) -> String {
    if from == to {
        format!("line {from} was")
    } else {
        format!("lines {from} to {to} were")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    fn key() -> Key {
        Key::new(&Secret::new("a key of the auditor".to_owned()))
    }

    /// A chain of `count` lines, without their line feeds.
    fn chain(count: u64, key: Option<&Key>) -> (Vec<String>, Head) {
        let mut head = Head::default();
        let lines = (0..count).map(|number| {
            let mut out = Vec::new();
            head.seal(
                &mut out,
                &format!(",\"event\":\"e\",\"number\":{number}"),
                key,
            );
            String::from_utf8(out).unwrap().trim_end().to_owned()
        });
        (lines.collect(), head)
    }

    fn text_of(lines: &[String]) -> String {
        lines
            .iter()
            .fold(String::new(), |all, line| all + line + "\n")
    }

    fn checked(lines: &[String], keys: &[Key], known: &[Head]) -> Checked {
        let text = text_of(lines);
        check([("audit.log".to_owned(), text.as_bytes())], keys, known).unwrap()
    }

    fn faults(lines: &[String], keys: &[Key], known: &[Head]) -> Vec<(u64, Fault)> {
        let found = checked(lines, keys, known).faults;
        found
            .into_iter()
            .map(|(place, fault)| (place.line, fault))
            .collect()
    }

    #[test]
    fn a_chain_as_it_was_written_has_no_fault_and_its_verdict_says_how_much_that_means() {
        let (lines, head) = chain(10, Some(&key()));
        let found = checked(&lines, &[key()], std::slice::from_ref(&head));
        assert_eq!((found.verdict(), found.last), (Verdict::Authentic, head));
        assert_eq!(checked(&lines, &[], &[]).verdict(), Verdict::Consistent);
        let (plain, _) = chain(10, None);
        assert_eq!(checked(&plain, &[], &[]).verdict(), Verdict::Consistent);
        assert_eq!(checked(&[], &[], &[]).verdict(), Verdict::Empty);
    }

    /// What is done to ten lines, and what is said of it.
    #[test]
    fn every_way_to_tamper_is_told_apart() {
        type Case = (&'static str, fn(&mut Vec<String>), Vec<(u64, Fault)>);
        let cases: [Case; 7] = [
            (
                "changed",
                |lines| lines[4] = lines[4].replace("\"number\":4", "\"number\":9"),
                vec![(5, Fault::Changed { seq: 5 })],
            ),
            (
                "removed",
                |lines| drop(lines.drain(3..5)),
                vec![(4, Fault::Removed { from: 4, to: 5 })],
            ),
            (
                "reordered",
                |lines| lines.swap(3, 4),
                vec![(5, Fault::Moved { seq: 4 })],
            ),
            (
                "inserted text",
                |lines| lines.insert(3, "{\"seq\":4}".into()),
                vec![(4, Fault::Unreadable)],
            ),
            (
                "inserted as the next line",
                |lines| {
                    let last = Line::read(lines[2].as_bytes()).unwrap();
                    let mut out = Vec::new();
                    last.head().seal(&mut out, ",\"event\":\"x\"", Some(&key()));
                    lines.insert(3, String::from_utf8(out).unwrap().trim_end().to_owned());
                },
                vec![(5, Fault::Inserted { seq: 4 })],
            ),
            (
                "repeated",
                |lines| lines.insert(6, lines[2].clone()),
                vec![(7, Fault::Inserted { seq: 3 })],
            ),
            (
                "cut",
                |lines| lines.truncate(8),
                vec![(0, Fault::Cut { from: 9, to: 10 })],
            ),
        ];
        for (name, tamper, expected) in cases {
            let (mut lines, head) = chain(10, Some(&key()));
            tamper(&mut lines);
            assert_eq!(faults(&lines, &[key()], &[head]), expected, "{name}");
        }
    }

    #[test]
    fn who_has_no_key_cannot_write_the_chain_anew() {
        let (_, head) = chain(5, Some(&key()));
        let (plain, _) = chain(5, None);
        let unsigned = Fault::Unsigned { from: 1, to: 5 };
        assert_eq!(faults(&plain, &[key()], &[]), [(1, unsigned)]);
        let other = Key::new(&Secret::new("another key".to_owned()));
        let (forged, _) = chain(5, Some(&other));
        assert_eq!(
            faults(&forged, &[key()], &[]),
            [(
                1,
                Fault::Forged {
                    from: 1,
                    to: 5,
                    named: None
                }
            )]
        );
        // and without any key, the newest hash from elsewhere tells
        let (mut anew, _) = chain(4, None);
        let last = Line::read(anew[3].as_bytes()).unwrap();
        let mut out = Vec::new();
        last.head().seal(&mut out, ",\"event\":\"other\"", None);
        anew.push(String::from_utf8(out).unwrap().trim_end().to_owned());
        let found = faults(&anew, &[], &[head]);
        assert_eq!(found, [(5, Fault::Replaced { seq: 5 })]);
    }

    /// A run of the program as a stream has it, and its last line.
    fn run(name: &str, events: u64, ended: bool) -> (Vec<String>, Head) {
        let (mut head, mut out) = (Head::default(), Vec::new());
        let id = key().id().to_owned();
        let begun =
            format!(",\"event\":\"begun\",\"run\":\"{name}\",\"to\":\"stdout\",\"key\":\"{id}\"");
        head.seal(&mut out, &begun, Some(&key()));
        (0..events).for_each(|_| head.seal(&mut out, ",\"event\":\"e\"", Some(&key())));
        if ended {
            head.seal(&mut out, ",\"event\":\"ended\"", Some(&key()));
        }
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(str::to_owned).collect(), head)
    }

    #[test]
    fn of_a_stream_each_run_is_vouched_for_and_not_that_all_are_there() {
        let ((one, _), (two, last)) = (run("a", 3, true), run("b", 3, false));
        let all = [one.clone(), two.clone()].concat();
        let found = checked(&all, &[key()], &[]);
        assert_eq!((found.verdict(), found.runs), (Verdict::Unlinked, 2));
        assert!(
            found
                .remarks
                .iter()
                .any(|(_, text)| text.contains("cannot be told"))
        );
        // the end of the one that runs is known
        let found = checked(&all, &[key()], std::slice::from_ref(&last));
        assert_eq!(found.verdict(), Verdict::Unlinked);
        assert!(
            !found
                .remarks
                .iter()
                .any(|(_, text)| text.contains("cannot be told"))
        );
        // and was cut off
        let cut = &all[..all.len() - 1];
        let fault = Fault::Cut { from: 4, to: 4 };
        assert_eq!(faults(cut, &[key()], &[last]), [(0, fault)]);
        assert_eq!(checked(&all, &[], &[]).verdict(), Verdict::Consistent);
    }

    /// What is done to three runs of a stream, and what is said of it.
    #[test]
    fn what_is_done_to_runs_of_a_stream_is_told() {
        let (one, _) = run("a", 3, true);
        let (two, killed) = run("b", 3, false);
        let (three, _) = run("c", 3, true);
        let of = |runs: &[&[String]]| runs.concat();
        let twice = faults(&of(&[&one, &two, &one]), &[key()], &[]);
        assert_eq!(twice, [(10, Fault::Repeated { run: "a".into() })]);
        let headless = faults(&of(&[&one, &two[1..]]), &[key()], &[]);
        assert_eq!(
            headless,
            [
                (6, Fault::Inserted { seq: 2 }),
                (7, Fault::Inserted { seq: 3 }),
                (8, Fault::Inserted { seq: 4 })
            ]
        );
        let middle = faults(&of(&[&one, &two[..2], &two[3..], &three]), &[key()], &[]);
        assert_eq!(middle, [(8, Fault::Removed { from: 3, to: 3 })]);
        // killed, or cut: only who knows its last line can tell
        let endless = of(&[&one, &two, &three]);
        let found = checked(&endless, &[key()], &[]);
        assert_eq!(found.verdict(), Verdict::Doubtful);
        assert_eq!((found.doubts.len(), found.doubts[0].0.line), (1, 6));
        let found = checked(&endless, &[key()], std::slice::from_ref(&killed));
        assert_eq!(found.verdict(), Verdict::Unlinked, "{found:?}");
        let cut = of(&[&one, &two[..2], &three]);
        let found = checked(&cut, &[key()], &[killed]);
        assert_eq!(found.verdict(), Verdict::TamperedWith);
    }

    #[test]
    fn lines_of_another_key_are_told_at_once_and_with_the_key_that_they_name() {
        let (lines, _) = run("a", 20, true);
        let other = Key::new(&Secret::new("another key".to_owned()));
        let found = checked(&lines, &[other], &[]);
        let said: Vec<_> = found
            .faults
            .iter()
            .map(|(_, fault)| fault.to_string())
            .collect();
        let expected = format!(
            "forged: lines 1 to 22 were not written with this key, but, they say, with {}: give that one, too",
            key().id()
        );
        assert_eq!(said, [expected]);
    }

    #[test]
    fn a_chain_goes_on_from_file_to_file_and_may_begin_in_the_middle() {
        let (lines, head) = chain(9, None);
        let part = |lines: &[String]| text_of(lines);
        let (one, two, three) = (part(&lines[..3]), part(&lines[3..6]), part(&lines[6..]));
        let files = |names: &[(&str, &str)]| -> Checked {
            let all = names
                .iter()
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes()));
            check(all.collect::<Vec<_>>(), &[], std::slice::from_ref(&head)).unwrap()
        };
        let all = files(&[("a.2", &one), ("a.1", &two), ("a", &three)]);
        assert!(all.faults.is_empty() && all.remarks.is_empty(), "{all:?}");
        let late = files(&[("a.1", &two), ("a", &three)]);
        assert!(late.faults.is_empty() && late.first == 4, "{late:?}");
        assert_eq!(
            late.remarks[0].1,
            "the lines before 4 are not in these files"
        );
        let gap = files(&[("a.2", &one), ("a", &three)]);
        let place = Place {
            file: "a".into(),
            line: 1,
        };
        assert_eq!(gap.faults, [(place, Fault::Removed { from: 4, to: 6 })]);
    }

    proptest! {
        #[test]
        fn no_line_can_be_changed_taken_out_moved_or_doubled_unnoticed(
            count in 2_usize..30, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
            how in 0..5, byte in any::<prop::sample::Index>(), with in any::<u8>(),
        ) {
            let (mut lines, head) = chain(count as u64, Some(&key()));
            let before = lines.clone();
            let (at, to) = (at.index(count), to.index(count));
            match how {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, to),
                2 => lines.insert(to, lines[at].clone()),
                3 => lines.truncate(at),
                _ => {
                    let mut bytes = lines[at].clone().into_bytes();
                    let byte = byte.index(bytes.len());
                    bytes[byte] = with & 0x7f;
                    lines[at] = String::from_utf8(bytes).unwrap();
                }
            }
            let found = checked(&lines, &[key()], &[head]);
            // where the first lines are gone, as after a rotation, the number of the first tells
            let fine = found.verdict() == Verdict::Authentic && found.first == 1;
            prop_assert_eq!(fine, lines == before, "{:?}", found.faults);
        }

        #[test]
        fn any_text_can_be_checked(text in prop::collection::vec(any::<u8>(), 0..500)) {
            let found = check([("x".to_owned(), &text[..])], &[key()], &[]).unwrap();
            prop_assert!(text.is_empty() || found.verdict() == Verdict::TamperedWith);
        }
    }
}
