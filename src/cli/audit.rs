//! `itwin-auth-proxy audit verify`: whether the audit stream is as it was written.

use std::{
    fs::File,
    io::{BufRead, BufReader, stdin},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueHint};
use serde_json::json;

use super::{Configuration, Exit, complain, output, say};
use crate::{
    audit::{self, Checked, Head, Key, Target, Verdict},
    config::{Config, SecretSource},
    secret::Secret,
};

/// The audit stream of a proxy.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
}

/// Tell whether lines of the audit stream were changed, cut, removed, reordered or inserted.
///
/// Exit code 0: it is as it was written; 1: it was tampered with, a run of a stream has no end, or there
/// is nothing; 69: a file cannot be read; 78: the configuration is wrong.
#[derive(Debug, Args)]
struct Verify {
    /// The files in the order in which they were written, the oldest first; `-` is standard input
    /// [default: the configured file].
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    configuration: Configuration,
    /// A file that holds the key; more than once where it was replaced [default: the configured key,
    /// if no file is named].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Vec<PathBuf>,
    /// The number and hash of a line as they are known from elsewhere: from the log, from `/status`,
    /// or from what this command said before.
    #[arg(long, value_name = "NUMBER:HASH", value_parser = known)]
    expect: Vec<Known>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct Known(Head);

fn known(text: &str) -> Result<Known, String> {
    let form = || "expected NUMBER:HASH, such as 1024:5f3c… with 64 digits".to_owned();
    let (seq, hash) = text.split_once(':').ok_or_else(form)?;
    let right = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(Known(Head {
        seq: seq.parse().ok().filter(|_| right).ok_or_else(form)?,
        hash: hash.to_ascii_lowercase(),
    }))
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let Command::Verify(verify) = &arguments.command;
    verify.run()
}

impl Verify {
    fn run(&self) -> Result<Exit, Exit> {
        let (files, mut keys) = if self.files.is_empty() {
            let config = self.configuration.load()?.config;
            configured(&config)?
        } else {
            (self.files.clone(), Vec::new())
        };
        for file in &self.key_file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                complain(format!("error: {}: {error}", file.display()));
                Exit::Unavailable
            })?;
            keys.push(Key::new(&Secret::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            )));
        }
        let mut ends: Vec<Head> = self.expect.iter().map(|known| known.0.clone()).collect();
        ends.extend(files.last().and_then(|last| audit::head_beside(last)));
        let opened = files
            .iter()
            .map(|file| open(file))
            .collect::<Result<Vec<_>, _>>()?;
        let checked = audit::check(opened, &keys, &ends).map_err(|error| {
            complain(format!("error: the lines cannot be read: {error}"));
            Exit::Unavailable
        })?;
        if self.json {
            say(as_json(&checked).to_string());
        } else {
            tell(&checked);
        }
        Ok(match checked.verdict() {
            Verdict::Authentic | Verdict::Consistent | Verdict::Unlinked => Exit::Ok,
            Verdict::Doubtful | Verdict::TamperedWith | Verdict::Empty => Exit::No,
        })
    }
}

/// The file of the configuration, and its key.
fn configured(config: &Config) -> Result<(Vec<PathBuf>, Vec<Key>), Exit> {
    let Some(audit) = &config.audit else {
        complain("error: the configuration has no audit, and no file is named");
        return Err(Exit::Config);
    };
    let Target::File(file) = &audit.target else {
        complain("error: the audit goes to a stream: name the files that it was kept in");
        return Err(Exit::Config);
    };
    let key = audit.key.as_ref().map(SecretSource::read).transpose();
    let key = key.map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::Config
    })?;
    let keys = key.iter().map(Key::new).collect();
    Ok((vec![file.clone()], keys))
}

fn open(file: &Path) -> Result<(String, Box<dyn BufRead>), Exit> {
    if file == Path::new("-") {
        return Ok(("-".into(), Box::new(stdin().lock())));
    }
    let opened = File::open(file).map_err(|error| {
        complain(format!("error: {}: {error}", file.display()));
        Exit::Unavailable
    })?;
    Ok((file.display().to_string(), Box::new(BufReader::new(opened))))
}

fn tell(checked: &Checked) {
    for (place, fault) in &checked.faults {
        say(format!("{place}: {fault}"));
    }
    if checked.more > 0 {
        say(format!("and {} faults more", checked.more));
    }
    for (place, doubt) in &checked.doubts {
        say(format!("{place}: doubtful: {doubt}"));
    }
    for (place, remark) in &checked.remarks {
        say(format!("{place}: note: {remark}"));
    }
    let Head { seq, hash } = &checked.last;
    let lines = if checked.stream {
        format!("{} lines of {} runs", checked.lines, checked.runs)
    } else {
        format!("{} lines, {} to {seq}", checked.lines, checked.first)
    };
    say(match checked.verdict() {
        Verdict::Empty => "there is no line".to_owned(),
        Verdict::Authentic => format!("authentic: {lines}, all signed with the key"),
        Verdict::Consistent => format!(
            "consistent: {lines}; without the key it cannot be told whether all of it was written anew"
        ),
        Verdict::Unlinked => format!(
            "signed: {lines}, all with the key; runs of a stream are not linked, so that it cannot be told whether one is missing as a whole"
        ),
        Verdict::Doubtful => {
            format!("DOUBTFUL: {lines}; nothing was changed, and lines may have been cut off")
        }
        Verdict::TamperedWith => format!("TAMPERED WITH: {lines}"),
    });
    if checked.lines > 0 {
        say(format!("the last line is {seq}:{hash}"));
    }
}

fn as_json(checked: &Checked) -> serde_json::Value {
    let told = |place: &audit::Place, text: String| json!({"file": place.file, "line": place.line, "message": text});
    let faults = checked.faults.iter();
    let (doubts, remarks) = (checked.doubts.iter(), checked.remarks.iter());
    json!({
        "verdict": match checked.verdict() {
            Verdict::Authentic => "authentic",
            Verdict::Consistent => "consistent",
            Verdict::Unlinked => "unlinked",
            Verdict::Doubtful => "doubtful",
            Verdict::TamperedWith => "tampered_with",
            Verdict::Empty => "empty",
        },
        "lines": checked.lines,
        "first": checked.first,
        "last": checked.last.seq,
        "hash": checked.last.hash,
        "faults": faults.map(|(place, fault)| told(place, fault.to_string())).collect::<Vec<_>>(),
        "more_faults": checked.more,
        "runs": checked.runs,
        "doubts": doubts.map(|(place, text)| told(place, text.clone())).collect::<Vec<_>>(),
        "notes": remarks.map(|(place, text)| told(place, text.clone())).collect::<Vec<_>>(),
    })
}
