//! Grants that show an assertion: where it comes from, and that no two credentials wait for each
//! other's tokens.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use url::Url;

use super::{
    super::{
        Credential, Grant, JwtSource, Name, Provider, SamlDialect, SamlSource, SecretSource, Sts,
        path::Path, raw,
    },
    Check,
    provider::{BENTLEY_RELYING_PARTY, preset_of},
    scalar::{DAY, MINUTE},
};

/// Of the delegation service, below the URL by which it is known.
const ISSUE: &str = "/json/IssueEx";

/// Credentials in an order in which each comes after the one whose token it shows; and those that
/// go round in a circle.
pub(super) fn in_order(
    written: &BTreeMap<String, raw::Credential>,
) -> (Vec<&str>, Vec<(&str, &str)>) {
    let mut left: Vec<(&str, Option<&str>)> = written
        .iter()
        .map(|(name, raw)| (name.as_str(), shown(raw)))
        .collect();
    let mut order = Vec::with_capacity(left.len());
    loop {
        let waiting: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        let (free, bound): (Vec<_>, Vec<_>) = left
            .iter()
            .partition(|(_, needs)| needs.is_none_or(|other| !waiting.contains(&other)));
        if free.is_empty() {
            let round = bound.into_iter();
            return (
                order,
                round
                    .filter_map(|(name, needs)| Some((name, needs?)))
                    .collect(),
            );
        }
        order.extend(free.into_iter().map(|(name, _)| name));
        left = bound;
    }
}

fn shown(raw: &raw::Credential) -> Option<&str> {
    raw.assertion.as_ref()?.credential.as_deref()
}

impl Check<'_> {
    /// Who waits for whom, where nobody would ever get a token.
    pub(super) fn in_a_circle(&mut self, round: &[(&str, &str)]) {
        for (name, other) in round {
            let path = Path::root().key("credentials").key(name);
            self.error(
                &path.key("assertion").key("credential"),
                format!("the token of {other} needs one of {name}: neither can be had first"),
                "one of them must get its token in another way",
            );
        }
    }

    pub(super) fn jwt_bearer(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        others: &BTreeMap<Name, Arc<Credential>>,
    ) -> Option<Grant> {
        let path = path.key("assertion");
        let missing = raw::GrantAssertion::default();
        let assertion = raw.assertion.as_ref().unwrap_or(&missing);
        let source = match (&assertion.credential, &assertion.file) {
            (Some(name), None) => {
                let path = path.key("credential");
                let other = self.credential_called(&path, name, others)?;
                if other.grant.exchanges() {
                    self.error(
                        &path,
                        "exchanges callers' tokens, and there is no caller here",
                        "",
                    );
                    return None;
                }
                JwtSource::Credential(other)
            }
            (None, Some(file)) => JwtSource::File(self.readable(&path.key("file"), file)?),
            (Some(_), Some(_)) => {
                self.error(
                    &path,
                    "credential and file are both given",
                    "keep one of them",
                );
                return None;
            }
            // a route that injects it says on_behalf_of, or is told to
            (None, None) if raw.assertion.is_none() => JwtSource::Caller,
            (None, None) => {
                self.missing(
                    &path,
                    "names nothing",
                    "write assertion: {credential: NAME} or assertion: {file: PATH}, or leave it \
                     out: then callers' tokens are the assertions",
                );
                return None;
            }
        };
        Some(Grant::JwtBearer { assertion: source })
    }

    /// `user`: name and password, where they are given.
    pub(super) fn saml_bearer(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        provider: Option<&Provider>,
        user: Option<(String, SecretSource)>,
    ) -> Option<Grant> {
        let dialect = |default| match raw.dialect {
            None => default,
            Some(raw::SamlDialect::Bentley) => SamlDialect::Bentley,
            Some(raw::SamlDialect::Rfc7522) => SamlDialect::Rfc7522,
        };
        if let Some(written) = &raw.assertion {
            let file = self.saml_file(path, raw, written)?;
            return Some(Grant::SamlBearer {
                assertion: SamlSource::File(file),
                dialect: dialect(SamlDialect::Rfc7522),
            });
        }
        let sts = self.sts(path, raw, provider?, user)?;
        Some(Grant::SamlBearer {
            assertion: SamlSource::Sts(Box::new(sts)),
            dialect: dialect(SamlDialect::Bentley),
        })
    }

    fn saml_file(
        &mut self,
        path: &Path,
        raw: &raw::Credential,
        written: &raw::GrantAssertion,
    ) -> Option<PathBuf> {
        let path = path.key("assertion");
        if written.credential.is_some() {
            self.error(
                &path.key("credential"),
                "a credential's token is not SAML",
                "did you mean grant: jwt_bearer?",
            );
            return None;
        }
        let Some(file) = &written.file else {
            self.missing(&path.key("file"), "is missing", "");
            return None;
        };
        if raw.sts.is_some() {
            let text = "has no effect with an assertion from a file";
            self.error(&path, text, "keep one of assertion and sts");
        }
        self.readable(&path.key("file"), file)
    }

    fn sts(
        &mut self,
        above: &Path,
        raw: &raw::Credential,
        provider: &Provider,
        user: Option<(String, SecretSource)>,
    ) -> Option<Sts> {
        let path = above.key("sts");
        let none = raw::Sts::default();
        let written = raw.sts.as_ref().unwrap_or(&none);
        let preset = preset_of(provider);
        let known = |text: &str| Url::parse(text).ok();
        let url = match (&written.url, preset) {
            (Some(url), _) => self.secure_url(&path.key("url"), url),
            (None, Some(preset)) => known(preset.sts),
            (None, None) => {
                self.missing(
                    &path.key("url"),
                    "is missing: nothing says where name and password become an assertion",
                    "give sts: {url: …}, or assertion: {file: …}",
                );
                None
            }
        };
        let delegation = match (&written.delegation_url, preset) {
            (Some(url), _) => Some(self.secure_url(&path.key("delegation_url"), url)?),
            (None, Some(preset)) if written.url.is_none() => known(preset.delegation),
            (None, _) => None,
        };
        let bentley = || match preset {
            Some(_) => BENTLEY_RELYING_PARTY.to_owned(),
            None => provider.issuer.as_str().trim_end_matches('/').to_owned(),
        };
        let lifetime = self.duration(
            &path.key("lifetime"),
            written.lifetime.as_deref(),
            7 * DAY,
            MINUTE..=30 * DAY,
        );
        let client_id = raw.client_id.as_deref().unwrap_or_default();
        let (url, (username, password)) = (url?, user?);
        Some(Sts {
            url,
            delegation: delegation.map(issuing),
            applies_to: written.applies_to.clone().unwrap_or_else(bentley),
            device_id: written
                .device_id
                .clone()
                .unwrap_or_else(|| "backend".into()),
            app_id: written
                .app_id
                .clone()
                .unwrap_or_else(|| format!("imodeljs {client_id}")),
            lifetime,
            username,
            password,
        })
    }
}

fn issuing(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(ISSUE) {
        let path = format!("{path}{ISSUE}");
        url.set_path(&path);
    }
    url
}
