//! The log for whoever asks to read along (`GET /log`): the newest lines, then those that come.
//!
//! The log's thread hands over what it writes, as it stands in the log; nobody who logs waits, and
//! without a reader it costs that thread a copy. A reader that is too slow misses whole lines, and is
//! told how many; one that goes away is forgotten with the next lines.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::steer::Log;
use crate::health::Followed;

/// What is kept of the newest lines.
const KEPT_BYTES: usize = 256 * 1024;
/// What may wait for a reader.
const WAITING_BYTES: usize = 1024 * 1024;
/// How many may follow at once.
const READERS: usize = 16;
/// Lines that are shown first, unless asked otherwise.
const LINES: usize = 20;

/// Lines as they are written. Clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct Hub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whole lines, at most twice [`KEPT_BYTES`].
    newest: Vec<u8>,
    readers: Vec<Weak<Reader>>,
}

#[derive(Debug, Default)]
struct Reader {
    waiting: Mutex<Missed>,
    more: Notify,
}

/// What waits for a reader, and how much it has missed.
#[derive(Debug, Default)]
struct Missed {
    lines: Vec<u8>,
    missed: usize,
}

impl Hub {
    /// Takes whole lines.
    pub(super) fn publish(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        state.readers.retain(|reader| {
            let Some(reader) = reader.upgrade() else {
                return false;
            };
            reader.take(lines);
            true
        });
        let newest = &mut state.newest;
        let last = last_lines(lines, KEPT_BYTES);
        if last.len() < lines.len() {
            // no gap between what is kept
            newest.clear();
        }
        newest.extend_from_slice(last);
        if newest.len() > 2 * KEPT_BYTES {
            let surplus = newest.len() - last_lines(newest, KEPT_BYTES).len();
            newest.drain(..surplus);
        }
    }

    /// The newest lines that are wanted, at most this many.
    fn newest(state: &State, wanted: Wanted, lines: usize) -> Vec<u8> {
        let mut all: Vec<&[u8]> = state
            .newest
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| wanted.has(line))
            .collect();
        all.drain(..all.len().saturating_sub(lines));
        all.concat()
    }

    /// The newest lines, without a gap before those that come.
    fn read(&self, asked: &Asked) -> Result<BoxStream<'static, Bytes>, Vec<String>> {
        let wanted = asked.wanted;
        let mut state = self.0.lock();
        let first = Bytes::from(Self::newest(&state, wanted, asked.lines));
        let first = stream::iter((!first.is_empty()).then_some(first));
        if asked.then == Then::End {
            return Ok(first.boxed());
        }
        state.readers.retain(|reader| reader.strong_count() > 0);
        if state.readers.len() >= READERS {
            return Err(vec![format!("{READERS} follow the log already")]);
        }
        let reader = Arc::new(Reader::default());
        state.readers.push(Arc::downgrade(&reader));
        drop(state);
        let live = stream::unfold(reader, |reader| async {
            let lines = reader.next().await;
            Some((lines, reader))
        });
        let live = live.filter_map(move |lines| {
            let kept = lines.split_inclusive(|byte| *byte == b'\n');
            let kept: Vec<u8> = kept
                .filter(|line| wanted.has(line))
                .flatten()
                .copied()
                .collect();
            std::future::ready((!kept.is_empty()).then(|| kept.into()))
        });
        Ok(first.chain(live).boxed())
    }
}

impl Reader {
    fn take(&self, lines: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() + lines.len() > WAITING_BYTES {
            waiting.missed += memchr::memchr_iter(b'\n', lines).count();
        } else {
            waiting.lines.extend_from_slice(lines);
        }
        drop(waiting);
        self.more.notify_one();
    }

    async fn next(&self) -> Vec<u8> {
        loop {
            let Missed { mut lines, missed } = std::mem::take(&mut *self.waiting.lock());
            if missed > 0 {
                let note = format!(
                    "{{\"level\":\"warn\",\"kind\":\"event\",\"message\":\"read too slowly: lines are missing\",\"missed\":{missed}}}\n"
                );
                lines.extend_from_slice(note.as_bytes());
            }
            if !lines.is_empty() {
                return lines;
            }
            self.more.notified().await;
        }
    }
}

/// The end of `lines` that begins with a line and is not longer than `limit`.
fn last_lines(lines: &[u8], limit: usize) -> &[u8] {
    let Some(surplus) = lines
        .len()
        .checked_sub(limit)
        .filter(|surplus| *surplus > 0)
    else {
        return lines;
    };
    match memchr::memchr(b'\n', &lines[surplus - 1..]) {
        Some(end) => &lines[surplus + end..],
        None => &[],
    }
}

/// What somebody asks to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    lines: usize,
    wanted: Wanted,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    Follow,
}

/// Lines of this level and of weightier ones; 1 is an error, 5 a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted(u8);

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

impl Wanted {
    fn has(self, line: &[u8]) -> bool {
        self == Self(5) || level(line) <= self.0
    }
}

/// The level of a line. Requests have none on a line for people: those that we failed are warnings.
fn level(line: &[u8]) -> u8 {
    let mark = b"\"level\":\"";
    let word = if line.starts_with(b"{") {
        memchr::memmem::find(line, mark).map(|at| &line[at + mark.len()..])
    } else {
        let text = line
            .iter()
            .position(|byte| *byte == b' ')
            .map(|at| &line[at + 1..]);
        // a terminal is told its colour before the word
        text.map(|text| match text.first() {
            Some(b'\x1b') => text
                .iter()
                .position(|byte| *byte == b'm')
                .map_or(text, |at| &text[at + 1..]),
            _ => text,
        })
    };
    let failed = |word: &[u8]| {
        let status = word.get(..4).is_some_and(|word| {
            word[0] == b'5'
                && word[1..3].iter().all(u8::is_ascii_digit)
                && !word[3].is_ascii_digit()
        });
        status && memchr::memmem::find(word, b" answered_by=proxy ").is_some()
    };
    let found = word.and_then(|word| {
        if failed(word) {
            return Some(1);
        }
        LEVELS
            .iter()
            .position(|level| word.starts_with(level.as_bytes()))
    });
    found.map_or(3, |at| u8::try_from(at + 1).unwrap_or(3))
}

impl Asked {
    /// Reads `follow&level=warn&lines=100`.
    fn parse(query: &str) -> Result<Self, Vec<String>> {
        let mut asked = Self {
            lines: LINES,
            wanted: Wanted(5),
            then: Then::End,
        };
        let mut wrong = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match (name, value) {
                ("follow", "" | "true") => asked.then = Then::Follow,
                ("follow", "false") => asked.then = Then::End,
                ("level", value) => match LEVELS.iter().position(|level| *level == value) {
                    Some(at) => asked.wanted = Wanted(u8::try_from(at + 1).unwrap_or(5)),
                    None => wrong.push(format!("`level` is one of {}", LEVELS.join(", "))),
                },
                ("lines", value) => match value.parse() {
                    Ok(lines) => asked.lines = lines,
                    Err(_) => wrong.push("`lines` is a number".to_owned()),
                },
                _ => wrong.push("there is `follow`, `level` and `lines`".to_owned()),
            }
        }
        if wrong.is_empty() {
            Ok(asked)
        } else {
            Err(wrong)
        }
    }
}

impl Followed for Log {
    fn path(&self) -> &'static str {
        "/log"
    }

    fn follow(&self, query: &str) -> Result<BoxStream<'static, Bytes>, Vec<String>> {
        self.0.hub.read(&Asked::parse(query)?)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn asked(query: &str) -> Asked {
        Asked::parse(query).unwrap()
    }

    /// All that is there now.
    fn now(lines: &mut BoxStream<'static, Bytes>) -> String {
        let mut all = Vec::new();
        while let Some(Some(more)) = lines.next().now_or_never() {
            all.extend_from_slice(&more);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn a_reader_gets_the_newest_lines_and_then_those_that_come() {
        let hub = Hub::default();
        hub.publish(b"one\ntwo\nthree\n");
        let mut lines = hub.read(&asked("follow&lines=2")).unwrap();
        hub.publish(b"four\n");
        assert_eq!(now(&mut lines), "two\nthree\nfour\n");
        hub.publish(b"five\nsix\n");
        assert_eq!(now(&mut lines), "five\nsix\n");
        let mut once = hub.read(&asked("lines=3")).unwrap();
        assert_eq!(now(&mut once), "four\nfive\nsix\n");
        assert_eq!(once.next().now_or_never(), Some(None), "it does not follow");
    }

    #[test]
    fn a_level_leaves_out_what_is_less_in_either_look() {
        let hub = Hub::default();
        let lines = [
            r#"{"time":"2023-11-14T22:13:20.000Z","level":"info","kind":"request","id":"1"}"#,
            r#"{"time":"2023-11-14T22:13:20.000Z","level":"error","kind":"event","message":"\"level\":\"info"}"#,
            "2023-11-14T22:13:20.000Z warn slow",
            "\x1b[2m2023-11-14T22:13:20.000Z\x1b[0m \x1b[31merror\x1b[0m broken",
            "2023-11-14T22:13:20.000Z 200 GET h/error 1.000 ms",
            "2023-11-14T22:13:20.000Z debug error",
        ];
        hub.publish(format!("{}\n", lines.join("\n")).as_bytes());
        for (level, shown) in [
            ("error", vec![1, 3]),
            ("warn", vec![1, 2, 3]),
            ("info", vec![0, 1, 2, 3, 4]),
            ("debug", vec![0, 1, 2, 3, 4, 5]),
            ("trace", vec![0, 1, 2, 3, 4, 5]),
        ] {
            let mut found = hub.read(&asked(&format!("level={level}"))).unwrap();
            let expected = shown
                .iter()
                .fold(String::new(), |all, at| all + lines[*at] + "\n");
            assert_eq!(now(&mut found), expected, "{level}");
        }
    }

    #[test]
    fn a_slow_reader_holds_up_nobody_and_is_told_what_it_missed() {
        let hub = Hub::default();
        let mut slow = hub.read(&asked("follow")).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        let batch = line.repeat(512);
        (0..5).for_each(|_| hub.publish(batch.as_bytes()));
        let shown = now(&mut slow);
        assert_eq!(shown.lines().count(), 1024 + 1);
        assert!(
            shown.trim_end().ends_with("\"missed\":1536}"),
            "{}",
            &shown[shown.len() - 200..]
        );
        hub.publish(b"again\n");
        assert_eq!(now(&mut slow), "again\n");
    }

    #[test]
    fn readers_are_few_and_those_who_left_are_forgotten() {
        let hub = Hub::default();
        let all: Vec<_> = (0..READERS)
            .map(|_| hub.read(&asked("follow")).unwrap())
            .collect();
        assert!(hub.read(&asked("follow")).is_err());
        assert!(
            hub.read(&asked("")).is_ok(),
            "who does not follow takes no place"
        );
        drop(all);
        assert!(hub.read(&asked("follow")).is_ok());
    }

    #[test]
    fn a_query_that_cannot_be_understood_is_explained() {
        assert_eq!(
            asked(""),
            Asked {
                lines: LINES,
                wanted: Wanted(5),
                then: Then::End
            }
        );
        let all = Asked::parse("level=loud&lines=-1&colour=red").unwrap_err();
        assert_eq!(all.len(), 3, "{all:?}");
    }

    proptest! {
        #[test]
        fn only_whole_lines_are_kept_and_never_too_many(
            batches in prop::collection::vec((1_usize..60_000, 1_usize..12), 1..30),
        ) {
            let hub = Hub::default();
            let mut all = Vec::new();
            for (length, count) in batches {
                let batch = format!("<{}>\n", "x".repeat(length)).repeat(count);
                hub.publish(batch.as_bytes());
                all.extend_from_slice(batch.as_bytes());
            }
            let state = hub.0.lock();
            prop_assert!(state.newest.len() <= 2 * KEPT_BYTES);
            prop_assert!(all.ends_with(&state.newest));
            prop_assert!(state.newest.is_empty() || state.newest.starts_with(b"<"));
        }
    }
}
