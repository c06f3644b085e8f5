//! The file with revoked tokens: one on a line, as `sid VALUE`, perhaps with `issuer=URL`,
//! `before=TIME` and `until=TIME` behind it; `#` begins a comment.
//!
//! A line that cannot be read is named in the log and costs the others nothing. A file that cannot
//! be read leaves what was known.

use std::{
    collections::HashMap, fmt::Write as _, path::PathBuf, sync::Arc, time::Duration,
    time::UNIX_EPOCH,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Claim, Entry, List, Name, Revoked};
use crate::health::Waiting;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);
const LARGEST: u64 = 64 << 20;
/// The last second that RFC 3339 can write.
const LAST: u64 = 253_402_300_799;
/// Lines that are named in one line of the log.
const MOST_NAMED: usize = 10;

/// A line that means nothing.
#[derive(Debug, PartialEq, Eq)]
struct BadLine {
    number: usize,
    why: &'static str,
}

/// Reads the file, and again when it has changed; runs until the stop. Not ready until it was read
/// once.
pub(in crate::verify) async fn follow(revoked: Arc<Revoked>, path: PathBuf, waiting: Waiting) {
    let mut waiting = Some(waiting);
    let mut seen = None;
    let mut failed = false;
    loop {
        match read(path.clone()).await {
            Ok(text) => {
                failed = false;
                let new = Some(digest(&SHA256, &text).as_ref().to_vec());
                if seen != new {
                    seen = new;
                    take(&revoked, &path, &String::from_utf8_lossy(&text));
                    drop(waiting.take());
                }
            }
            Err(error) => {
                if !failed {
                    let path = path.display();
                    tracing::error!(%path, %error, "revoked tokens not read; those that were known stay");
                }
                failed = true;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Revoked {
    /// Reads the file once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_file(&self, path: PathBuf) -> std::io::Result<()> {
        let text = read(path).await?;
        self.replace_file(parse(&String::from_utf8_lossy(&text)).0);
        Ok(())
    }
}

async fn read(path: PathBuf) -> std::io::Result<Vec<u8>> {
    if tokio::fs::metadata(&path).await?.len() > LARGEST {
        return Err(std::io::Error::other("the file is larger than 64 MiB"));
    }
    tokio::fs::read(path).await
}

fn take(revoked: &Revoked, path: &std::path::Path, text: &str) {
    let (list, bad) = parse(text);
    let (path, entries) = (path.display(), list.0.len());
    if bad.is_empty() {
        tracing::info!(%path, entries, "revoked tokens read");
    } else {
        let mut lines = String::new();
        for line in bad.iter().take(MOST_NAMED) {
            let _ = write!(lines, "line {}: {}; ", line.number, line.why);
        }
        let lines = lines.trim_end_matches("; ");
        tracing::error!(%path, entries, bad = bad.len(), lines, "revoked tokens read, but for some lines");
    }
    revoked.replace_file(list);
}

fn parse(text: &str) -> (List, Vec<BadLine>) {
    let mut list: HashMap<Name, Vec<Entry>> = HashMap::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some((name, entry))) => list.entry(name).or_default().push(entry),
            Err(why) => bad.push(BadLine { number, why }),
        }
    }
    (List(list), bad)
}

fn parse_line(line: &str) -> Result<Option<(Name, Entry)>, &'static str> {
    let mut words = line.split_whitespace();
    let Some(claim) = words.next().filter(|word| !word.starts_with('#')) else {
        return Ok(None);
    };
    let claim = Claim::ALL.into_iter().find(|known| known.name() == claim);
    let claim = claim.ok_or("it begins with none of jti, sid and sub")?;
    let value = words.next().filter(|word| !word.starts_with('#'));
    let value = value.ok_or("it names nothing")?.into();
    let mut entry = Entry::default();
    for word in words.take_while(|word| !word.starts_with('#')) {
        match word.split_once('=') {
            Some(("issuer", issuer)) if !issuer.is_empty() => entry.issuer = Some(issuer.into()),
            Some(("before", text)) => entry.before = Some(time(text)?),
            Some(("until", text)) => entry.until = Some(time(text)?),
            _ => return Err("it has a word that is none of issuer=, before= and until="),
        }
    }
    Ok(Some((Name { claim, value }, entry)))
}

/// RFC 3339, or seconds since 1970.
pub(super) fn time(text: &str) -> Result<Duration, &'static str> {
    if let Ok(seconds) = text.parse() {
        return seconds_since(seconds);
    }
    let time = humantime::parse_rfc3339(text).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.ok_or("a time is neither like 2026-01-31T12:00:00Z nor seconds since 1970")
}

pub(super) fn seconds_since(seconds: u64) -> Result<Duration, &'static str> {
    match seconds {
        0..=LAST => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is after the year 9999: seconds are meant, not milliseconds"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bad_line_is_named_and_costs_the_others_nothing() {
        let text = "# revoked\n\
            jti a\n\
            sid b issuer=https://idp.example before=2023-11-14T22:13:20Z # why\n\
            \n\
            jit c\n\
            sub\n\
            sub # d\n\
            sub e before=yesterday\n\
            sub f until=1700000000\n\
            sub f issuer=https://idp.example\n\
            sub g h\n";
        let (list, bad) = parse(text);
        let numbers: Vec<usize> = bad.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [5, 6, 7, 8, 11]);
        let entries = |claim, value: &str| {
            let value = value.into();
            list.0[&Name { claim, value }].clone()
        };
        assert_eq!(list.0.len(), 3);
        assert_eq!(entries(Claim::Jti, "a"), [Entry::default()]);
        let at = Some(Duration::from_secs(1_700_000_000));
        let issuer: Option<Box<str>> = Some("https://idp.example".into());
        let expected = Entry {
            issuer,
            before: at,
            until: None,
        };
        assert_eq!(entries(Claim::Sid, "b"), [expected]);
        assert_eq!(entries(Claim::Sub, "f").len(), 2);
        assert_eq!(entries(Claim::Sub, "f")[0].until, at);
    }

    proptest! {
        #[test]
        fn no_file_can_do_harm(text in "((jti|sid|sub|#|before=|until=|issuer=|[ -~]|\n){0,12}|.{0,40})") {
            let (list, bad) = parse(&text);
            prop_assert!(list.0.len() + bad.len() <= text.lines().count());
        }
    }
}
