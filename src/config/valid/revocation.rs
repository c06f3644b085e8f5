//! Where it is learnt which tokens are revoked.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::{
    super::{Admit, AdmitRule, BackchannelLogout, Revocation, path::Path, raw},
    Check,
    provider::Providers,
    route::Numbered,
    scalar::{HOUR, MINUTE},
};

const DEFAULT_PATH: &str = "/.itwin-auth/backchannel-logout";

impl Check<'_> {
    pub(super) fn revocation(
        &mut self,
        raw: Option<&raw::Revocation>,
        providers: &Providers,
        routes: &[Numbered],
    ) -> Revocation {
        let Some(raw) = raw else {
            return Revocation::default();
        };
        let path = Path::root().key("revocation");
        let file = raw.file.as_deref();
        Revocation {
            file: file.and_then(|file| self.list_of_tokens(&path.key("file"), file)),
            logout: raw.backchannel_logout.as_ref().and_then(|raw| {
                self.backchannel_logout(&path.key("backchannel_logout"), raw, providers, routes)
            }),
        }
    }

    /// It may be empty, unlike other files.
    fn list_of_tokens(&mut self, path: &Path, file: &str) -> Option<PathBuf> {
        let text = match fs::File::open(file).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => return Some(file.into()),
            Ok(_) => format!("{file} is not a file"),
            Err(error) => format!("cannot read the file {file}: {error}"),
        };
        self.error(path, text, "make it, even if it is empty for now");
        None
    }

    fn backchannel_logout(
        &mut self,
        path: &Path,
        raw: &raw::BackchannelLogout,
        providers: &Providers,
        routes: &[Numbered],
    ) -> Option<BackchannelLogout> {
        let at = path.key("provider");
        let provider = self.provider_called(&at, raw.provider.as_deref(), providers)?;
        let takes = |rule: &AdmitRule| match rule {
            AdmitRule::Bearer { provider: its, .. } => its.name == provider.name,
            _ => false,
        };
        let asked = routes.iter().any(|numbered| match &numbered.route.admit {
            Admit::Rules(rules) => rules.iter().any(takes),
            Admit::Local | Admit::Anyone => false,
        });
        if !asked {
            let text = format!("no route takes access tokens of {}", provider.name);
            self.missing(&at, text, "");
        } else if provider.answers_for_all() {
            let text = format!(
                "{} is asked about all tokens, so that its keys are not known",
                provider.name
            );
            let hint = "it says of each token whether it is revoked: leave backchannel_logout out";
            self.error(&at, text, hint);
        }
        let at = path.key("clients");
        let clients: BTreeSet<String> = raw.clients.iter().flat_map(|all| all.0.clone()).collect();
        if clients.is_empty() {
            self.missing(
                &at,
                "names no client: a logout token says for which one it is",
                "name the client ids that the provider signs users in for",
            );
        }
        let at = path.key("path");
        let where_ = self.plain_path(&at, raw.path.as_deref(), DEFAULT_PATH);
        let keep = self.duration(
            &path.key("keep"),
            raw.keep.as_deref(),
            HOUR.saturating_mul(24),
            MINUTE..=HOUR.saturating_mul(24 * 30),
        );
        Some(BackchannelLogout {
            path: where_?,
            provider,
            clients,
            keep,
        })
    }
}
