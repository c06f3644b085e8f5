//! The grant `refresh_token`: a token from a file, or what the command `login` keeps.

use std::path::PathBuf;

use super::{
    super::{
        Grant, Login, LoopbackHost, Provider, Redirect, RefreshSource, SecretSource, path::Path,
        raw, source::Environment,
    },
    Check,
    provider::{BENTLEY_SCOPE, preset_of},
};
use crate::secret::Secret;

/// The folder in the user's state directory.
const FOLDER: &str = "itwin-auth-proxy";

impl Check<'_> {
    pub(super) fn refresh_token(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        provider: Option<&Provider>,
    ) -> Option<Grant> {
        let Some(file) = &raw.refresh_token_file else {
            let login = self.login(path, raw, provider)?;
            return Some(Grant::RefreshToken {
                from: RefreshSource::Login(login),
            });
        };
        let key = path.key("refresh_token_file");
        if raw.redirect.is_some() {
            self.error(
                &path.key("redirect"),
                "has no effect with refresh_token_file",
                "leave one of them out: without the file, what the command login keeps is used",
            );
        }
        let readable = self.readable(&key, file).is_some();
        (self.writable_directory(&key, file) && readable).then(|| Grant::RefreshToken {
            from: RefreshSource::File(PathBuf::from(file)),
        })
    }

    fn login(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        provider: Option<&Provider>,
    ) -> Option<Login> {
        let default = match provider.and_then(preset_of) {
            Some(_) => Redirect::at_bentley(),
            None => Redirect::default(),
        };
        let redirect = self.redirect(&path.key("redirect"), raw.redirect.as_ref(), default)?;
        let directory = state_directory(self.environment);
        if directory.is_none() {
            self.missing(
                &path.key("grant"),
                "there is nowhere to keep a sign-in: neither XDG_STATE_HOME nor HOME is set",
                "set XDG_STATE_HOME to a directory that only you can read, or give refresh_token_file",
            );
        }
        Some(Login {
            redirect,
            directory: directory?,
            key: sealing_key(self.environment),
        })
    }

    fn redirect(
        &mut self,
        path: &Path,
        raw: Option<&raw::Redirect>,
        default: Redirect,
    ) -> Option<Redirect> {
        let Some(raw) = raw else {
            return Some(default);
        };
        let host = match raw.host.as_deref() {
            None => Some(default.host),
            Some("127.0.0.1") => Some(LoopbackHost::V4),
            Some("[::1]" | "::1") => Some(LoopbackHost::V6),
            Some("localhost") => Some(LoopbackHost::Name),
            Some(_) => {
                self.error(
                    &path.key("host"),
                    "must be 127.0.0.1, [::1] or localhost",
                    "a redirect to another machine would show the code to it (RFC 8252 section 8.3)",
                );
                None
            }
        };
        let good = |path: &&String| {
            path.starts_with('/')
                && path
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b))
        };
        let written = raw.path.as_ref();
        let found = written.filter(good).cloned();
        if written.is_some() && found.is_none() {
            self.error(
                &path.key("path"),
                "must begin with / and have no query and no fragment",
                "it is compared with the registration letter by letter",
            );
            return None;
        }
        let ports = raw.ports.clone().unwrap_or(default.ports);
        if ports.contains(&0) {
            let text = "0 is no port that a registration can have";
            self.error(&path.key("ports"), text, "leave ports out for any free one");
            return None;
        }
        Some(Redirect {
            host: host?,
            ports,
            path: found.unwrap_or(default.path),
        })
    }
}

/// What is asked for when a person signs in and the configuration does not say.
pub(super) fn default_scopes(at_bentley: bool) -> Vec<&'static str> {
    let mut scopes = vec!["openid", "offline_access"];
    if at_bentley {
        scopes.push(BENTLEY_SCOPE);
    }
    scopes
}

/// By the XDG base directory specification, which ignores relative paths.
fn state_directory(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let value = environment.values.get(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join(FOLDER))
}

fn sealing_key(environment: &Environment) -> Option<SecretSource> {
    let set = |name: &str| {
        environment
            .values
            .get(name)
            .filter(|value| !value.is_empty())
    };
    if let Some(file) = set("ITWIN_LOGIN_KEY_FILE") {
        return Some(SecretSource::File(PathBuf::from(file)));
    }
    set("ITWIN_LOGIN_KEY").map(|value| SecretSource::Value {
        secret: Secret::new(value.as_str()),
        variable: Some("ITWIN_LOGIN_KEY".into()),
    })
}
