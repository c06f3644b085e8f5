//! What is wrong with a configuration, said so that a person can put it right.
//!
//! Every problem names the key, the place where it was written (file and line, or variable), what
//! is wrong, and where possible what to do. Problems are collected, never thrown: a user sees all
//! of them at once. Nothing here shows a value that could be a secret; those who report use
//! [`shown`].

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::Serialize;

use super::path::Path;

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Line and column count from 1.
    File {
        name: Arc<str>,
        line: usize,
        column: usize,
    },
    /// An environment variable, by name.
    Variable(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Whether the program can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look; the program starts.
    Warning,
    /// Nothing starts.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// The key, as `routes[0].inject.scopes`; empty for the configuration as a whole.
    pub path: String,
    /// Where it was written.
    #[serde(serialize_with = "place_as_text")]
    pub origin: Option<Place>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn place_as_text<S: serde::Serializer>(
    place: &Option<Place>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match place {
        Some(place) => serializer.collect_str(place),
        None => serializer.serialize_none(),
    }
}

/// Everything that is wrong, in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// How [`Problems::render`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    Plain,
    /// With ANSI colours, for a terminal.
    Coloured,
}

impl Problems {
    /// Notes one problem; the same one twice is noted once.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keep the program from starting.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many do not.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|p| p.severity == severity).count()
    }

    /// Whether so much is wrong with the text itself that no key can be looked at.
    pub(super) fn unreadable(&self) -> bool {
        self.0.iter().any(|problem| {
            problem.severity == Severity::Error
                && problem.path.is_empty()
                && !matches!(problem.origin, Some(Place::Variable(_)))
        })
    }

    /// Whether a problem is known at `path` or below it.
    pub(super) fn touches(&self, path: &Path) -> bool {
        let path = path.to_string();
        self.0.iter().any(|problem| {
            problem
                .path
                .strip_prefix(path.as_str())
                .is_some_and(|rest| {
                    path.is_empty() || rest.is_empty() || rest.starts_with(['.', '['])
                })
        })
    }

    /// For people: one block a problem, errors first.
    pub fn render(&self, rendering: Rendering) -> String {
        let (red, yellow, bold, dim, off) = match rendering {
            Rendering::Plain => ("", "", "", "", ""),
            Rendering::Coloured => ("\x1b[1;31m", "\x1b[1;33m", "\x1b[1m", "\x1b[2m", "\x1b[0m"),
        };
        let mut out = String::new();
        let mut sorted: Vec<&Problem> = self.0.iter().collect();
        sorted.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        for problem in sorted {
            let (colour, word) = match problem.severity {
                Severity::Error => (red, "error"),
                Severity::Warning => (yellow, "warning"),
            };
            let _ = write!(out, "{colour}{word}{off}: ");
            if !problem.path.is_empty() {
                let _ = write!(out, "{bold}{}{off}: ", problem.path);
            }
            out.push_str(&problem.text);
            if let Some(place) = &problem.origin {
                let _ = write!(out, "\n  {dim}at{off} {place}");
            }
            if let Some(hint) = &problem.hint {
                let _ = write!(out, "\n  {dim}hint:{off} {hint}");
            }
            out.push('\n');
        }
        out
    }

    /// For programs: `{"errors":1,"warnings":0,"problems":[…]}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "errors": self.errors(),
            "warnings": self.warnings(),
            "problems": self.0,
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Rendering::Plain).trim_end())
    }
}

impl std::error::Error for Problems {}

/// A written value, for a message: short, without control characters, and not at all where it
/// could be a secret (by the name of its key, or a URL with a user in it).
pub(super) fn shown(path: &Path, value: &str) -> String {
    const LONGEST: usize = 60;
    if path.names_a_secret() || value.contains('@') {
        return "what is written there".into();
    }
    let mut text: String = value.chars().take(LONGEST).collect();
    if value.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    format!("'{}'", text.escape_debug())
}

/// ` did you mean …?` for the nearest of `known`, if one is near.
pub(super) fn did_you_mean<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean '{name}'?"))
}

/// The nearest of `known`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = written.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| {
            let other = name.to_ascii_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&lower, &other), name)
        })
        .filter(|(distance, name)| *distance <= 1 + name.len().max(written.len()) / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, path: &str) -> Problem {
        Problem {
            severity,
            path: path.into(),
            origin: Some(Place::File {
                name: "/etc/x.yaml".into(),
                line: 12,
                column: 5,
            }),
            text: "no credential is called 'agnet'".into(),
            hint: Some("did you mean 'agent'?".into()),
        }
    }

    #[test]
    fn a_person_reads_what_where_and_what_to_do_errors_first() {
        let mut problems = Problems::default();
        problems.push(problem(Severity::Warning, "log"));
        problems.push(problem(Severity::Error, "routes[0].inject"));
        problems.push(problem(Severity::Error, "routes[0].inject"));
        let text = problems.render(Rendering::Plain);
        assert_eq!(
            text.lines().take(3).collect::<Vec<_>>(),
            [
                "error: routes[0].inject: no credential is called 'agnet'",
                "  at /etc/x.yaml:12:5",
                "  hint: did you mean 'agent'?",
            ]
        );
        assert_eq!(text.lines().count(), 6, "one problem is said once: {text}");
        assert!(problems.render(Rendering::Coloured).contains("\x1b[1;31m"));
    }

    #[test]
    fn a_program_reads_json() {
        let mut problems = Problems::default();
        problems.push(problem(Severity::Error, "routes[0].inject"));
        assert_eq!(
            problems.to_json(),
            serde_json::json!({"errors": 1, "warnings": 0, "problems": [{
                "severity": "error", "path": "routes[0].inject", "origin": "/etc/x.yaml:12:5",
                "text": "no credential is called 'agnet'", "hint": "did you mean 'agent'?",
            }]})
        );
    }

    #[test]
    fn near_names_are_offered_and_far_ones_are_not() {
        let known = ["client_id", "client_secret", "scopes"];
        for (written, meant) in [
            ("clientid", Some("client_id")),
            ("client-secret", Some("client_secret")),
            ("Scopes", Some("scopes")),
            ("scope", Some("scopes")),
            ("audience", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        let root = Path::root();
        assert_eq!(shown(&root.key("bind"), "8o8o"), "'8o8o'");
        assert_eq!(shown(&root.key("bind"), "a\x1b[31m"), "'a\\u{1b}[31m'");
        for (key, value) in [
            ("client_secret", "hunter2"),
            ("password", "hunter2"),
            ("issuer", "https://joe:hunter2@idp.example"),
        ] {
            assert!(!shown(&root.key(key), value).contains("hunter2"), "{key}");
        }
    }
}
