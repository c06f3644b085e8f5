//! Why a pod cannot be given a sidecar: all reasons at once, in words for the person who wrote it.
//!
//! Whoever reaches the webhook writes pods: what is said of one is bounded, however much is wrong
//! with it.

use std::fmt;

/// Reasons that are told; of others, their number.
const MOST: usize = 50;
const LONGEST_SUBJECT: usize = 300;
const LONGEST_TEXT: usize = 1000;
/// Names that are told of a list.
const NAMED: usize = 10;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it is about: an annotation, a field.
    pub subject: String,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

/// All reasons, in the order found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    told: Vec<Fault>,
    /// How many came after these.
    more: usize,
}

impl Faults {
    pub(super) fn push(&mut self, fault: &Fault) {
        let Fault { subject, text } = fault;
        let fault = Fault {
            subject: short(subject, LONGEST_SUBJECT),
            text: short(text, LONGEST_TEXT),
        };
        if self.told.contains(&fault) {
            return;
        }
        if self.told.len() < MOST {
            self.told.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Whether more of them are but counted: what is dear to find out need not be.
    pub(super) fn are_many(&self) -> bool {
        self.told.len() == MOST
    }

    pub(super) fn extend(&mut self, others: &Self) {
        for fault in &others.told {
            self.push(fault);
        }
        self.more += others.more;
    }

    pub(super) fn say(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.push(&Fault {
            subject: subject.into(),
            text: text.into(),
        });
    }

    /// `value`, if there is no reason against it.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.told.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.told.iter()
    }

    pub fn count(&self) -> usize {
        self.told.len() + self.more
    }
}

/// One line each.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.told.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "- {fault}")?;
        }
        if self.more > 0 {
            write!(f, "\n- and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A value as it is shown: short, without control characters.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    format!("\"{}\"", short(text, LONGEST).escape_debug())
}

/// The first characters of a text, with a sign where there are more.
pub(super) fn short(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The first names of a list, each short.
pub(super) fn some(names: &[&str]) -> String {
    let told: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| short(name, 63))
        .collect();
    let told = told.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_faults_the_first_are_told_and_the_others_counted() {
        let mut faults = Faults::default();
        for number in 0..10_000 {
            faults.say(format!("s{number}"), "x".repeat(10_000));
        }
        assert!(faults.are_many());
        faults.say("s1", "x".repeat(10_000));
        assert_eq!(faults.count(), 10_000, "the same is said once");
        let text = faults.to_string();
        assert!(text.len() < 60_000, "{}", text.len());
        assert!(text.ends_with("\n- and 9950 more"));
    }

    #[test]
    fn of_a_long_list_the_first_names_are_told() {
        assert_eq!(some(&["a", "b"]), "a, b");
        let all = vec!["a"; 5000];
        assert_eq!(some(&all), "a, a, a, a, a, a, a, a, a, a and 4990 more");
    }
}
