//! Files whose new content is taken over while the program runs: secrets, certificates, keys,
//! authorities.
//!
//! They are looked at now and then: Kubernetes swaps a symbolic link, certbot renames, an NFS client
//! sends no events, and looking works for all of them. What cannot be used changes nothing, and is told
//! only when it is still there at the next look: a certificate and its key are written one after the
//! other. What was taken over, and what was not, is in log, metric, audit stream and `/status`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    audit::{Audit, Event},
    clock::{Clock, Moment},
    health::Report,
    metrics::{Metrics, RotationLabels},
    trace::Tracer,
};

/// How often files are looked at. What is renewed is renewed days before its end.
pub const EVERY: Duration = Duration::from_secs(10);

/// What came of the files so far, for all who look at any. Clones share.
#[derive(Debug, Clone)]
pub struct Rotations {
    clock: Clock,
    metrics: Arc<Metrics>,
    audit: Audit,
    tracer: Tracer,
    last: Arc<Mutex<BTreeMap<Whose, Last>>>,
}

/// What is read from files, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// `credential agent`, `listener 0.0.0.0:8443`, `upstream https://api.bentley.com` …
    pub of: String,
    /// `client_secret`, `certificate`, `client_certificate`, `assertion`, `ca` …
    pub what: &'static str,
}

#[derive(Debug, Clone)]
struct Last {
    files: Vec<PathBuf>,
    at: Moment,
    applied: Option<Moment>,
    /// Why what the files hold is not used.
    refused: Option<String>,
}

impl Rotations {
    pub fn new(clock: Clock, metrics: Arc<Metrics>, audit: Audit, tracer: Tracer) -> Self {
        Self {
            clock,
            metrics,
            audit,
            tracer,
            last: Arc::default(),
        }
    }

    /// When a file was last taken over that `of` shows who it is by; the previous of two secrets
    /// is none.
    pub fn changed(&self, of: &str) -> Option<Moment> {
        let last = self.last.lock();
        let own = last
            .iter()
            .filter(|(whose, _)| whose.of == of && whose.what != "previous_secret");
        own.filter_map(|(_, last)| last.applied)
            .max_by_key(|at| at.wall)
    }

    /// Tells everybody what came of other content.
    pub fn tell(&self, whose: &Whose, files: &[PathBuf], result: Result<(), String>) {
        let Whose { of, what } = whose;
        let source = shown(files);
        let word = match &result {
            Ok(()) => {
                tracing::info!(of, what, files = source, "changed files were taken over");
                "applied"
            }
            Err(error) => {
                tracing::error!(
                    of,
                    what,
                    files = source,
                    error,
                    "changed files cannot be used; what they held before stays in use"
                );
                "refused"
            }
        };
        let labels = RotationLabels {
            of: of.clone(),
            what,
            result: word,
        };
        self.metrics.rotations.get_or_create(&labels).inc();
        let attributes = [
            ("itwin_auth_proxy.rotation.of", of.clone().into()),
            ("itwin_auth_proxy.rotation.what", (*what).into()),
            ("itwin_auth_proxy.rotation.result", word.into()),
        ];
        let mut span = self.tracer.background("rotation", attributes);
        if let Err(error) = &result {
            span.fails("refused", error.clone());
        }
        drop(span);
        self.audit.note(Event::SecretChanged {
            of: of.clone(),
            what,
            source,
            result: word,
        });
        let at = self.clock.now();
        let mut all = self.last.lock();
        let applied = match &result {
            Ok(()) => Some(at),
            Err(_) => all.get(whose).and_then(|last| last.applied),
        };
        let last = Last {
            files: files.to_vec(),
            at,
            applied,
            refused: result.err(),
        };
        all.insert(whose.clone(), last);
    }
}

fn shown(files: &[PathBuf]) -> String {
    let all: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    all.join(", ")
}

impl Report for Rotations {
    fn name(&self) -> &'static str {
        "rotations"
    }

    fn report(&self) -> Value {
        let last = self.last.lock();
        let describe = |(whose, last): (&Whose, &Last)| {
            let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + last.at.wall);
            json!({
                "of": whose.of,
                "what": whose.what,
                "files": last.files,
                "at": at.to_string(),
                "result": if last.refused.is_none() { "applied" } else { "refused" },
                "error": last.refused,
            })
        };
        last.iter().map(describe).collect()
    }
}

/// What some files held when they were looked at.
pub type Content = [u8; 32];

/// More is no secret, certificate or configuration.
const LARGEST: u64 = 16 << 20;

/// Reads a file that is looked at again and again: nothing else, such as a pipe, which would keep the
/// reader waiting and hold nothing the next time.
///
/// # Errors
/// When it cannot be read, is no file, or is too large.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let known = fs::metadata(path)?;
    if !known.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    if known.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 16 MiB",
        ));
    }
    fs::read(path)
}

/// A digest of what they hold; a file that cannot be read holds nothing.
pub fn content<'a>(files: impl IntoIterator<Item = &'a Path>) -> Content {
    let mut digest = Context::new(&SHA256);
    for path in files {
        let content = zeroize::Zeroizing::new(read(path).unwrap_or_default());
        digest.update(&content.len().to_be_bytes());
        digest.update(&content);
    }
    let mut out = Content::default();
    out.copy_from_slice(digest.finish().as_ref());
    out
}

/// One set of files, looked at again and again.
#[derive(Debug, Clone)]
pub struct Look {
    /// What is in use, or was told to be unusable.
    known: Content,
    /// What could not be used at the last look.
    doubted: Option<Content>,
}

impl Look {
    /// What is in use holds `now`.
    pub fn new(now: Content) -> Self {
        Self {
            known: now,
            doubted: None,
        }
    }

    /// Looks at what the files hold now; `take` takes it over where it is new. `Some`: what is to be told.
    pub fn at<E>(
        &mut self,
        now: Content,
        take: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        if now == self.known {
            self.doubted = None;
            return None;
        }
        match take() {
            Ok(()) => {
                *self = Self::new(now);
                Some(Ok(()))
            }
            Err(_) if self.doubted != Some(now) => {
                self.doubted = Some(now);
                None
            }
            Err(error) => {
                *self = Self::new(now);
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Audit;

    #[test]
    fn the_last_change_is_of_what_one_shows_and_was_taken_over() {
        let clock = Clock::for_tests(Duration::from_secs(1_000_000));
        let (audit, _captured) = Audit::captured(clock.clone());
        let metrics = Arc::new(Metrics::new());
        let rotations = Rotations::new(clock.clone(), metrics, audit, Tracer::off());
        let tell = |of: &str, what, result| {
            let of = of.to_owned();
            rotations.tell(&Whose { of, what }, &[], result);
            clock.jump(60_000);
        };
        let minutes = |of| {
            let changed = rotations.changed(of)?;
            Some((changed.wall.as_secs() - 1_000_000) / 60)
        };
        assert_eq!(minutes("credential agent"), None);
        tell("credential agent", "client_secret", Ok(()));
        tell("credential agent", "client_secret", Err("empty".into()));
        tell("credential agent", "previous_secret", Ok(()));
        tell("credential other", "client_secret", Ok(()));
        assert_eq!(minutes("credential agent"), Some(0));
        assert_eq!(minutes("credential other"), Some(3));
    }

    #[test]
    fn what_is_new_is_taken_at_once_and_refused_at_the_second_look() {
        let (old, half, new, bad) = ([0; 32], [1; 32], [2; 32], [3; 32]);
        let mut look = Look::new(old);
        let usable = |content: Content| {
            if content == half || content == bad {
                Err("unusable")
            } else {
                Ok(())
            }
        };
        for (n, (content, told)) in [
            (old, None),
            // half-written: the next look finds the rest
            (half, None),
            (new, Some(Ok(()))),
            (new, None),
            (bad, None),
            (bad, Some(Err("unusable"))),
            // once
            (bad, None),
            (new, Some(Ok(()))),
            (half, None),
            // as it was
            (new, None),
            (half, None),
            (half, Some(Err("unusable"))),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(look.at(content, || usable(content)), told, "{n}");
        }
    }

    #[test]
    fn what_came_of_it_is_in_metric_audit_stream_and_status() {
        let clock = Clock::for_tests(Duration::from_secs(1_800_000_000));
        let (audit, captured) = Audit::captured(clock.clone());
        let metrics = Arc::new(Metrics::new());
        let rotations = Rotations::new(clock, Arc::clone(&metrics), audit, Tracer::off());
        let whose = Whose {
            of: "credential agent".into(),
            what: "client_secret",
        };
        let files = [PathBuf::from("/run/secrets/itwin")];
        rotations.tell(&whose, &files, Err("it is empty".into()));
        assert_eq!(rotations.report()[0]["error"], "it is empty");
        rotations.tell(&whose, &files, Ok(()));
        let report = rotations.report();
        assert_eq!(report.as_array().unwrap().len(), 1, "the last word counts");
        assert_eq!(report[0]["result"], "applied");
        assert_eq!(report[0]["at"], "2027-01-15T08:00:00Z");
        let noted = captured.take();
        let Event::SecretChanged { source, result, .. } = &noted[1] else {
            panic!("{noted:?}");
        };
        assert_eq!(
            (source.as_str(), *result),
            ("/run/secrets/itwin", "applied")
        );
    }
}
