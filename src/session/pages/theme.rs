//! Templates of the pages: ours, and those of a folder that replace them.
//!
//! A folder has files of the same names, and no others; what is not there stays ours. Everything that
//! is wrong with it is found when it is read: unknown files, templates that cannot be read or
//! rendered, and what the pages' policy would keep from working in a browser.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

const STYLE: &str = "style.css";
/// Of one file.
const LARGEST: u64 = 256 * 1024;

const OURS: [(&str, &str); 6] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("sign-in.html", include_str!("templates/sign-in.html")),
    ("sign-out.html", include_str!("templates/sign-out.html")),
    ("signed-out.html", include_str!("templates/signed-out.html")),
    ("error.html", include_str!("templates/error.html")),
    (STYLE, include_str!("templates/style.css")),
];

/// What is wrong with a folder of templates.
#[derive(Debug, thiserror::Error)]
pub struct PagesError(pub Vec<PagesProblem>);

/// One of the things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagesProblem {
    /// Its name in the folder; empty for the folder itself.
    pub file: String,
    pub text: String,
}

impl PagesProblem {
    pub(super) fn of(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
        }
    }
}

impl fmt::Display for PagesProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.file, self.text)
    }
}

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let between = if n > 0 { "; " } else { "" };
            write!(f, "{between}{problem}")?;
        }
        Ok(())
    }
}

/// The text of each file.
pub(super) struct Files(BTreeMap<&'static str, String>);

impl Default for Files {
    fn default() -> Self {
        Self(OURS.map(|(name, text)| (name, text.to_owned())).into())
    }
}

impl Files {
    pub(super) fn read(folder: &Path, problems: &mut Vec<PagesProblem>) -> Self {
        let mut files = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let text = format!("{} cannot be read: {error}", folder.display());
                problems.push(PagesProblem::of("", text));
                return files;
            }
        };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        for name in names {
            let shown = name.to_string_lossy();
            // Kubernetes keeps the versions of a mounted folder under such names
            if shown.starts_with('.') {
                continue;
            }
            let known = OURS.iter().find(|(known, _)| name == *known);
            let text = match known {
                Some((known, _)) => text(&folder.join(known)).map(|text| (*known, text)),
                None => Err(format!("is no template of ours: they are {}", all_names())),
            };
            match text {
                Ok((known, text)) => drop(files.0.insert(known, text)),
                Err(text) => problems.push(PagesProblem::of(&shown, text)),
            }
        }
        files
    }

    pub(super) fn templates(mut self, problems: &mut Vec<PagesProblem>) -> Environment<'static> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        let style = self.0.remove(STYLE).unwrap_or_default();
        if style.to_ascii_lowercase().contains("</style") {
            problems.push(PagesProblem::of(
                STYLE,
                "ends the element that it stands in",
            ));
        }
        templates.add_global("style", Value::from_safe_string(style));
        for (name, text) in self.0 {
            if let Err(error) = templates.add_template_owned(name, text) {
                problems.push(PagesProblem::of(name, said(&error)));
            }
        }
        templates
    }
}

fn text(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST {
        return Err(format!("has {size} bytes; {LARGEST} are allowed"));
    }
    fs::read_to_string(path).map_err(unreadable)
}

fn all_names() -> String {
    OURS.map(|(name, _)| name).join(", ")
}

/// With the line, and with what it was caused by.
pub(super) fn said(error: &minijinja::Error) -> String {
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}

/// What the policy of a template says of style: the hashes of what stands in its `style` elements.
#[derive(Debug, Default)]
pub(super) struct Style(String);

impl Style {
    /// Adds those of a page, and tells what the policy keeps from working.
    pub(super) fn of(&mut self, page: &str, name: &str, problems: &mut Vec<PagesProblem>) {
        let lower = page.to_ascii_lowercase();
        for (forbidden, instead) in [
            ("<script", "pages work without scripts"),
            (" style=", "put it into style.css"),
            ("rel=\"stylesheet\"", "put it into style.css"),
        ] {
            if lower.contains(forbidden) {
                let text = format!(
                    "has `{}`, which the policy forbids: {instead}",
                    forbidden.trim()
                );
                problems.push(PagesProblem::of(name, text));
            }
        }
        let mut rest = 0;
        while let Some(element) = lower.get(rest..).and_then(|rest| rest.find("<style")) {
            let element = rest + element;
            let Some(start) = lower[element..].find('>').map(|at| element + at + 1) else {
                break;
            };
            let end = lower[start..]
                .find("</style")
                .map_or(page.len(), |at| start + at);
            let hash = digest(&SHA256, &page.as_bytes()[start..end]);
            let source = format!("'sha256-{}'", STANDARD.encode(hash));
            if !self.0.contains(&source) {
                let between = if self.0.is_empty() { "" } else { " " };
                self.0 = format!("{}{between}{source}", self.0);
            }
            rest = end;
        }
    }

    pub(super) fn sources(&self) -> &str {
        if self.0.is_empty() { "'none'" } else { &self.0 }
    }
}
