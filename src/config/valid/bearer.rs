//! What a caller's own access token must be like.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        AdmitRule, Algorithm, Endpoints, KeysLocation, LONGEST_SKEW, Provider, ProviderKeys,
        TokenRules, path::Path, problem::shown, raw,
    },
    Check,
    provider::Providers,
    scalar::{HOUR, MINUTE},
};

const DAY: Duration = HOUR.saturating_mul(24);

impl Check<'_> {
    pub(super) fn bearer(
        &mut self,
        path: &Path,
        raw: &raw::BearerRule,
        providers: &Providers,
    ) -> Option<AdmitRule> {
        let provider_path = path.key("provider");
        let provider = self.provider_called(&provider_path, raw.provider.as_deref(), providers);
        if let Some(provider) = &provider {
            self.has_keys(&provider_path, provider);
        }
        let audiences = self.token_words(path, "audiences", raw.audiences.as_ref());
        let scopes = self.token_words(path, "scopes", raw.scopes.as_ref());
        for scope in &scopes {
            // RFC 6749 section 3.3
            if !scope
                .bytes()
                .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                let at = path.key("scopes");
                self.error(&at, format!("{} is not a scope", shown(&at, scope)), "");
            }
        }
        let clients = self.token_words(path, "clients", raw.clients.as_ref());
        if raw.audiences.is_none() {
            self.missing(
                &path.key("audiences"),
                "is missing: a token for any other service of the provider would open this one",
                "name what the provider writes into `aud` for this service, such as audiences: [bentley-api-management]",
            );
        }
        let clock_skew = self.duration(
            &path.key("clock_skew"),
            raw.clock_skew.as_deref(),
            MINUTE,
            Duration::ZERO..=LONGEST_SKEW,
        );
        let max_lifetime = match raw.max_lifetime.as_deref() {
            None | Some("none") => None,
            written => {
                let range = MINUTE..=365 * DAY;
                Some(self.duration(&path.key("max_lifetime"), written, DAY, range))
            }
        };
        Some(AdmitRule::Bearer {
            provider: provider?,
            rules: Arc::new(TokenRules {
                audiences,
                scopes,
                clients,
                clock_skew,
                max_lifetime,
            }),
        })
    }

    /// A set of words; an empty one looks like "none", but would mean "any".
    fn token_words(
        &mut self,
        path: &Path,
        key: &str,
        words: Option<&raw::Words>,
    ) -> BTreeSet<String> {
        let path = path.key(key);
        if words.is_some_and(|words| words.0.is_empty()) {
            self.missing(&path, "the list is empty", "");
        }
        let words = words.iter().flat_map(|words| words.0.iter());
        words.cloned().collect()
    }

    fn has_keys(&mut self, path: &Path, provider: &Provider) {
        let unknown = matches!(provider.endpoints, Endpoints::Given { .. })
            && provider.keys.location == KeysLocation::Discover;
        if unknown {
            let text = format!(
                "nothing says where the keys of {} are: it has a token_endpoint, so that nothing is discovered",
                provider.name
            );
            self.error(path, text, "give the provider a jwks_uri as well");
        }
    }

    pub(super) fn provider_keys(&mut self, path: &Path, raw: &raw::Provider) -> ProviderKeys {
        let given = raw.jwks_uri.as_ref();
        let given = given.and_then(|url| self.secure_url(&path.key("jwks_uri"), url));
        let at = path.key("algorithms");
        let algorithms = match &raw.algorithms {
            None => Algorithm::ALL.to_vec(),
            Some(words) if words.0.is_empty() => {
                self.missing(&at, "the list is empty", "leave it out to take all");
                Vec::new()
            }
            Some(words) => {
                let words = words.0.iter().enumerate();
                words
                    .filter_map(|(n, word)| self.algorithm(&at.index(n), word))
                    .collect()
            }
        };
        let max_stale = self.duration(
            &path.key("max_stale"),
            raw.max_stale.as_deref(),
            DAY,
            MINUTE..=30 * DAY,
        );
        ProviderKeys {
            location: given.map_or(KeysLocation::Discover, KeysLocation::Given),
            algorithms,
            max_stale,
        }
    }

    fn algorithm(&mut self, path: &Path, word: &str) -> Option<Algorithm> {
        let algorithm = Algorithm::named(word);
        if algorithm.is_none() {
            let hint = if word.eq_ignore_ascii_case("none") || word.starts_with("HS") {
                "whoever could check such a token could also make one"
            } else {
                "write RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA"
            };
            let text = format!("{} is not an algorithm that is taken", shown(path, word));
            self.error(path, text, hint);
        }
        algorithm
    }
}
