//! Which credential a command is for.

use std::sync::Arc;

use clap::Args;

use super::{Exit, complain};
use crate::config::{Config, Credential, Login};

/// A credential by name.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The credential's name [default: the only one].
    #[arg(value_name = "CREDENTIAL", conflicts_with = "credential")]
    name: Option<String>,
    /// The same.
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
}

impl Which {
    fn name(&self) -> Option<&str> {
        self.name.as_deref().or(self.credential.as_deref())
    }

    /// The one that is named, or the only one.
    pub(super) fn any<'a>(&self, config: &'a Config) -> Result<&'a Arc<Credential>, Exit> {
        let all: Vec<_> = config.credentials.values().collect();
        self.among(&all)
    }

    /// The same among those that people sign in for by `login`.
    pub(super) fn kept<'a>(
        &self,
        config: &'a Config,
    ) -> Result<(&'a Arc<Credential>, &'a Login), Exit> {
        let of_people = all_kept(config);
        if of_people.is_empty() {
            complain("error: no credential is for people who sign in at this desk");
            complain(
                "hint: such a one has `grant: refresh_token` and no refresh_token_file; ITWIN_CLIENT_ID=native-… is enough",
            );
            return Err(Exit::Usage);
        }
        if let Some(name) = self.name()
            && let Some(other) = config.credentials.get(name)
            && !other.grant.is_kept()
        {
            complain(format!(
                "error: people do not sign in for the credential {name}: its grant is {}, from a place of its own",
                other.grant.grant_type()
            ));
            return Err(Exit::Usage);
        }
        let found = self.among(&of_people)?;
        let login = found.grant.login();
        // only those are among them
        login.map(|login| (found, login)).ok_or(Exit::Software)
    }

    fn among<'a>(&self, all: &[&'a Arc<Credential>]) -> Result<&'a Arc<Credential>, Exit> {
        let found = match (self.name(), all) {
            (Some(name), all) => all.iter().find(|credential| &*credential.name == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|credential| &*credential.name).collect();
            let names = names.join(", ");
            complain(match self.name() {
                Some(name) => format!(
                    "error: no credential is called '{}'; there are: {names}",
                    name.escape_debug()
                ),
                None => format!("error: name one of the credentials: {names}"),
            });
            Exit::Usage
        })
    }
}

/// Credentials of people who sign in by `login`.
pub(super) fn all_kept(config: &Config) -> Vec<&Arc<Credential>> {
    let all = config.credentials.values();
    all.filter(|credential| credential.grant.is_kept())
        .collect()
}
