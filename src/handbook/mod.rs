//! What can go wrong as somebody else sees it: every error code that we answer with, every exit code,
//! and what is seen when something is wrong. Each with its meaning and what to do.
//!
//! A [`Code`] can be had from here only, so none is answered that is not explained.
//! `docs/troubleshooting.md`, the admin listener's page and `explain CODE` are made from this list;
//! the `details` of an error say where it is ([`Help`]). It knows no request: who fails says why.

mod admin;
mod exits;
mod help;
mod html;
mod own;
mod page;
mod people;
mod provider;
mod requests;
mod symptoms;
mod tokens;
mod upstream;

use std::fmt;

use http::StatusCode;

pub use self::{
    exits::Exit,
    help::{Help, Reference},
    html::html,
    page::markdown,
    provider::{Answered, PROVIDER_ANSWERS},
    symptoms::{SYMPTOMS, Symptom},
};

/// The code of an error, as callers, logs and metrics see it.
#[derive(Clone, Copy)]
pub struct Code(&'static Entry);

/// What there is to say of a code. Texts are Markdown: code between backticks, links to other pages.
struct Entry {
    name: &'static str,
    /// The first is the usual one; none where an answer had begun.
    statuses: &'static [u16],
    means: &'static str,
    remedy: &'static str,
}

/// Codes that belong together.
pub struct Part {
    pub title: &'static str,
    pub codes: &'static [Code],
}

/// All there are, in the order of the page.
pub const PARTS: &[Part] = &[
    Part {
        title: "The request",
        codes: requests::CODES,
    },
    Part {
        title: "The caller and its token",
        codes: tokens::CODES,
    },
    Part {
        title: "The upstream",
        codes: upstream::CODES,
    },
    Part {
        title: "People who sign in",
        codes: people::CODES,
    },
    Part {
        title: "Tokens for the asking, URL discovery, an authority of our own",
        codes: own::CODES,
    },
    Part {
        title: "The admin listener and the injector",
        codes: admin::CODES,
    },
];

impl Code {
    /// The code that is written so; case does not matter.
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|code| code.name().eq_ignore_ascii_case(name))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        PARTS.iter().flat_map(|part| part.codes).copied()
    }

    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// The status that it is usually answered with.
    pub fn status(self) -> StatusCode {
        let status = self.statuses().first().copied();
        status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// All statuses that it is answered with; none where the answer had begun.
    pub const fn statuses(self) -> &'static [u16] {
        self.0.statuses
    }

    /// What it means, in Markdown.
    pub const fn means(self) -> &'static str {
        self.0.means
    }

    /// What to do about it, in Markdown.
    pub const fn remedy(self) -> &'static str {
        self.0.remedy
    }

    /// Where it is on the page: `#` and this.
    pub fn anchor(self) -> String {
        self.name().to_ascii_lowercase()
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Code {}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text for readers who see no Markdown: links become the names of the pages.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((_, link)) = after.split_once("](") else {
            break;
        };
        let Some((page, end)) = link.split_once(')') else {
            break;
        };
        plain.push_str(before);
        plain.push_str("docs/");
        plain.push_str(page);
        rest = end;
    }
    plain.push_str(rest);
    plain
}

/// Writes down codes: name, statuses, meaning, what to do.
macro_rules! codes {
    ($($name:ident [$($status:literal),*] $means:literal $remedy:literal;)+) => {
        #[expect(non_upper_case_globals, reason = "named as callers read them")]
        impl Code {
            $(pub const $name: Self = Self(&Entry {
                name: stringify!($name),
                statuses: &[$($status),*],
                means: $means,
                remedy: $remedy,
            });)+
        }

        /// In the order of the page.
        pub(super) const CODES: &[Code] = &[$(Code::$name),+];
    };
}
use codes;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_there_once_and_has_something_to_say() {
        let mut seen = BTreeSet::new();
        for code in Code::all() {
            assert!(seen.insert(code.anchor()), "{code} is there twice");
            assert!(code.means().len() > 20, "{code}");
            assert!(!code.remedy().is_empty(), "{code}");
            for text in [code.means(), code.remedy()] {
                assert!(text.ends_with(['.', ')']), "{code}: {text}");
                assert!(!text.contains('\n') && !text.contains("  "), "{code}");
                assert_eq!(text.matches('`').count() % 2, 0, "{code}: {text}");
            }
            assert_eq!(Code::find(&code.anchor()), Some(code));
        }
        assert!(seen.len() > 80);
    }

    #[test]
    fn a_code_never_looks_like_success() {
        for code in Code::all() {
            let statuses = code.statuses().iter();
            assert!(
                statuses.clone().all(|status| (400..600).contains(status)),
                "{code}"
            );
            assert!(code.status().as_u16() >= 400);
        }
    }

    #[test]
    fn links_become_pages_where_nobody_can_follow_them() {
        assert_eq!(
            plain("see [people](people.md), or [this](a.md#b) [not"),
            "see docs/people.md, or docs/a.md#b [not"
        );
    }
}
