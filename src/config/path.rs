//! The way to a key: `routes[0].inject.scopes`.

use std::fmt;

/// Keys and indices from the top of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn root() -> Self {
        Self::default()
    }

    pub(super) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    pub(super) fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The first `length` steps.
    pub(super) fn first(&self, length: usize) -> Self {
        Self(self.0.iter().take(length).cloned().collect())
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether what is written here could be a secret, going by the name of the key. The names of
    /// files and of variables are none.
    pub(super) fn names_a_secret(&self) -> bool {
        const WORDS: [&str; 8] = [
            "secret",
            "password",
            "passwd",
            "passphrase",
            "key",
            "token",
            "assertion",
            "credential",
        ];
        let Some(Step::Key(key)) = self
            .0
            .iter()
            .rev()
            .find(|step| matches!(step, Step::Key(_)))
        else {
            return false;
        };
        let key = key.to_ascii_lowercase();
        if matches!(key.as_str(), "credential" | "credentials") {
            return false; // the name of one
        }
        let named_elsewhere = ["_file", "_env", "_id", "_algorithm", "_endpoint"]
            .iter()
            .any(|end| key.ends_with(end));
        !named_elsewhere && WORDS.iter().any(|word| key.contains(word))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    if n > 0 {
                        f.write_str(".")?;
                    }
                    if key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) {
                        f.write_str(key)?;
                    } else {
                        let short: String = key.chars().take(60).collect();
                        write!(f, "{short:?}")?;
                    }
                }
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_one_would_write_it() {
        let path = Path::root().key("routes").index(0).key("inject").key("a.b");
        assert_eq!(path.to_string(), "routes[0].inject.\"a.b\"");
    }

    #[test]
    fn secrets_are_told_by_their_key() {
        for (key, secret) in [
            ("client_secret", true),
            ("client_secrt_password", true),
            ("apiKey", true),
            ("client_secret_file", false),
            ("client_id", false),
            ("token_endpoint", false),
            ("credential", false),
        ] {
            assert_eq!(Path::root().key(key).names_a_secret(), secret, "{key}");
        }
    }
}
