//! The audit stream: one place, perhaps a key, how often.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{super::raw, Check, files::Forms};
use crate::{
    audit::{Every, Target},
    config::{AuditStream, path::Path},
};

/// Less would be a line a request, more would be too late for an alarm.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

impl Check<'_> {
    pub(super) fn audit(&mut self, raw: Option<&raw::Audit>) -> Option<AuditStream> {
        let raw = raw?;
        let path = Path::root().key("audit");
        let target = match (&raw.file, raw.stream) {
            (Some(file), None) => {
                let path = path.key("file");
                if PathBuf::from(file).is_dir() {
                    self.error(&path, format!("{file} is a directory"), "name a file in it");
                    return None;
                }
                self.writable_directory(&path, file)
                    .then(|| Target::File(file.into()))
            }
            (None, Some(raw::Stream::Stdout)) => Some(Target::Stdout),
            (None, Some(raw::Stream::Stderr)) => Some(Target::Stderr),
            (Some(_), Some(_)) => {
                let hint = "leave one of them out";
                self.error(&path, "has file and stream", hint);
                None
            }
            (None, None) => {
                let hint = "give file, or stream: stdout";
                self.missing(&path, "says nowhere to write to", hint);
                None
            }
        };
        let forms = Forms {
            key: "key",
            value: raw.key.as_ref(),
            file: raw.key_file.as_ref(),
            env: raw.key_env.as_ref(),
        };
        let key = self.secret(&path, forms);
        self.long_enough(&path, "key", key.as_ref());
        let every = match raw.every.as_deref() {
            Some("request") => Every::Request,
            written => {
                let minute = Duration::from_secs(60);
                Every::Interval(self.duration(&path.key("every"), written, minute, INTERVAL))
            }
        };
        Some(AuditStream {
            target: target?,
            key,
            every,
        })
    }
}
