//! Where the lines of the chain go: a file that may be rotated under us, or a stream.
//!
//! A file that was renamed or removed is made anew under its name, and the chain goes on in it. The end
//! of the chain is kept beside it, in `FILE.head`, so that it goes on over restarts, and lines that are
//! cut off the end are missed. A file that others changed is said to be so, in the chain itself. Who
//! holds the lock of `FILE.head` writes: of two processes, one that takes over waits for the other.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::chain::{Head, Line};

/// No line is longer than this; what is read back from the end of a file.
const LONGEST_LINE: u64 = 256 * 1024;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    Stdout,
    Stderr,
}

/// An open target.
#[derive(Debug)]
pub(super) enum Sink {
    File(Opened),
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    file: File,
    /// `FILE.head`, locked as long as it is open.
    beside: File,
    /// As long as we have made it.
    length: u64,
}

/// Something about the file that the chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Another file stands under its name now, or none: the lines before are elsewhere.
    Rotated,
    /// It is not as long as we left it.
    Changed { expected: u64, found: u64 },
    /// The end of a line that a crash has cut.
    Torn { bytes: usize },
    /// It ends before the line that was written last.
    Short { ends: u64, head: u64 },
}

impl Sink {
    /// Opens the target; where the chain is to go on, and what was found.
    pub(super) fn open(target: &Target) -> io::Result<(Self, Head, Vec<Found>)> {
        match target {
            Target::Stdout => Ok((Self::Stdout, Head::default(), Vec::new())),
            Target::Stderr => Ok((Self::Stderr, Head::default(), Vec::new())),
            Target::File(path) => Opened::open(path),
        }
    }

    /// Looks whether the file is still the one we write to; opens the one that should be there.
    pub(super) fn check(&mut self) -> io::Result<Option<Found>> {
        match self {
            Self::File(opened) => opened.check(),
            _ => Ok(None),
        }
    }

    /// Writes whole lines, after which the chain ends with `head`.
    pub(super) fn write(&mut self, lines: &[u8], head: &Head) -> io::Result<()> {
        match self {
            Self::File(opened) => opened.write(lines, head),
            Self::Stdout => write_all(io::stdout().lock(), lines),
            Self::Stderr => write_all(io::stderr().lock(), lines),
        }
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&self) {
        if let Self::File(opened) = self {
            // the next one tells, if it matters
            let _ = opened.file.sync_data();
        }
    }
}

fn write_all(mut stream: impl Write, lines: &[u8]) -> io::Result<()> {
    stream.write_all(lines)?;
    stream.flush()
}

impl Opened {
    fn open(path: &Path) -> io::Result<(Sink, Head, Vec<Found>)> {
        let mut file = append(path)?;
        let beside = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(head_file(path))?;
        rustix::fs::flock(&beside, rustix::fs::FlockOperation::LockExclusive)?;
        let mut found = Vec::new();
        let mut length = file.metadata()?.len();
        let from = length.saturating_sub(LONGEST_LINE);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        let torn = end.len() - memchr::memrchr(b'\n', &end).map_or(0, |at| at + 1);
        if torn > 0 {
            // what is there of it stays, on a line of its own
            file.write_all(b"\n")?;
            length += 1;
            found.push(Found::Torn { bytes: torn });
        }
        let lines = end[..end.len() - torn].split(|byte| *byte == b'\n');
        let last = lines.rev().find_map(Line::read);
        let last = last.map(|line| line.head()).unwrap_or_default();
        let head = read_head(path).unwrap_or_default();
        if head.seq > last.seq && length > 0 {
            found.push(Found::Short {
                ends: last.seq,
                head: head.seq,
            });
        }
        let head = if head.seq > last.seq { head } else { last };
        let opened = Self {
            path: path.into(),
            file,
            beside,
            length,
        };
        Ok((Sink::File(opened), head, found))
    }

    fn check(&mut self) -> io::Result<Option<Found>> {
        let ours = self.file.metadata()?;
        let named = fs::metadata(&self.path);
        let same = |named: &fs::Metadata| (named.dev(), named.ino()) == (ours.dev(), ours.ino());
        if named.is_ok_and(|named| same(&named)) {
            let (expected, found) = (self.length, ours.len());
            self.length = found;
            return Ok((expected != found).then_some(Found::Changed { expected, found }));
        }
        let _ = self.file.sync_data();
        self.file = append(&self.path)?;
        self.length = self.file.metadata()?.len();
        Ok(Some(Found::Rotated))
    }

    fn write(&mut self, lines: &[u8], head: &Head) -> io::Result<()> {
        let before = self.file.metadata().map(|now| now.len());
        let written = self.file.write_all(lines);
        if let (Err(_), Ok(before)) = (&written, before) {
            // all of it comes again: what has arrived would be there twice. Where it cannot be taken back
            // the next opening finds half a line
            let _ = self.file.set_len(before);
        }
        self.length = self.file.metadata().map_or(self.length, |now| now.len());
        written?;
        self.beside.rewind()?;
        // in place and always as long: there is no moment in which it is empty
        writeln!(self.beside, "{:020} {}", head.seq, head.hash)
    }
}

/// For our user and its group: who collects it is not always who writes it.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// The end of the chain, as it is kept beside the file.
pub(super) fn read_head(path: &Path) -> Option<Head> {
    let text = fs::read_to_string(head_file(path)).ok()?;
    let (seq, hash) = text.trim_end().split_once(' ')?;
    Some(Head {
        // a number that could not be counted on is nobody's
        seq: seq.parse().ok().filter(|seq| *seq < u64::MAX / 2)?,
        hash: (hash.len() == 64).then(|| hash.to_owned())?,
    })
}

fn head_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}
