//! What a caller's own access token must be like.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        ABSENT, Admit, AdmitRule, Algorithm, ClaimRule, ClaimTest, ClaimValue, Endpoints,
        InsufficientScope, KeysLocation, LONGEST_SKEW, NEVER_ACCESS, Preflight, Provider,
        ProviderKeys, Strangers, TokenRules, path::Path, problem::shown, raw,
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
        let scopes = self.token_scopes(path, "scopes", raw.scopes.as_ref());
        let any_scopes = self.token_scopes(path, "any_scopes", raw.any_scopes.as_ref());
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
        let max_age = match raw.max_age.as_deref() {
            None | Some("none") => None,
            written => {
                let range = MINUTE..=365 * DAY;
                Some(self.duration(&path.key("max_age"), written, DAY, range))
            }
        };
        let claims_path = path.key("claims");
        let claims = raw.claims.iter();
        let claims = claims.flat_map(|(name, rule)| self.claim(&claims_path.key(name), name, rule));
        let claims = claims.collect();
        let types = self.token_types(&path.key("types"), raw.types.as_ref());
        let (bound, proofs) = self.bound(path, raw);
        Some(AdmitRule::Bearer {
            provider: provider?,
            rules: Arc::new(TokenRules {
                audiences,
                scopes,
                any_scopes,
                clients,
                claims,
                types,
                max_age,
                clock_skew,
                max_lifetime,
                strangers: match raw.optional {
                    Some(true) => Strangers::Admitted,
                    _ => Strangers::Refused,
                },
                preflight: match raw.preflight {
                    Some(raw::Preflight::Pass) => Preflight::Passed,
                    _ => Preflight::Refused,
                },
                insufficient_scope: match raw.insufficient_scope {
                    None | Some(403) => InsufficientScope::Forbidden,
                    Some(401) => InsufficientScope::Unauthorized,
                    Some(_) => {
                        let at = path.key("insufficient_scope");
                        self.error(&at, "is neither 401 nor 403", "");
                        InsufficientScope::Forbidden
                    }
                },
                bound,
                proofs,
            }),
        })
    }

    /// The URL that callers know a protected resource by (RFC 9728 section 1.2).
    pub(super) fn resource(&mut self, path: &Path, written: &str) -> Option<url::Url> {
        let url = self.secure_url(path, written)?;
        // it stands in quotes in a challenge
        if url.as_str().contains(['"', '\\']) {
            self.error(path, "holds a quote or a backslash", "");
            return None;
        }
        Some(url)
    }

    pub(super) fn resource_asks_for_tokens(&mut self, path: &Path, admit: &Admit) {
        let bearer = |rule: &AdmitRule| matches!(rule, AdmitRule::Bearer { .. });
        let asks = matches!(admit, Admit::Rules(rules) if rules.iter().any(bearer));
        if !asks {
            let hint = "it tells clients where to get a token: add a bearer rule, or leave it out";
            self.error(
                path,
                "names a resource on a route that asks for no token",
                hint,
            );
        }
    }

    fn token_scopes(
        &mut self,
        path: &Path,
        key: &str,
        words: Option<&raw::Words>,
    ) -> BTreeSet<String> {
        let scopes = self.token_words(path, key, words);
        let at = path.key(key);
        for scope in &scopes {
            // RFC 6749 section 3.3
            if !scope
                .bytes()
                .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                self.error(&at, format!("{} is not a scope", shown(&at, scope)), "");
            }
        }
        scopes
    }

    fn token_types(&mut self, path: &Path, words: Option<&raw::Words>) -> BTreeSet<String> {
        let Some(words) = words else {
            return TokenRules::default().types;
        };
        if words.0.is_empty() {
            self.missing(path, "the list is empty", "leave it out to take any");
        }
        let mut types = BTreeSet::new();
        for (n, word) in words.0.iter().enumerate() {
            let word = word.to_ascii_lowercase();
            let word = word.strip_prefix("application/").unwrap_or(&word);
            if NEVER_ACCESS.contains(&word) {
                let text = format!("a JWT of the type {word} is never an access token");
                let hint = format!("write at+jwt, jwt or {ABSENT}");
                self.error(&path.index(n), text, hint);
            }
            types.insert(word.to_owned());
        }
        types
    }

    /// One rule for each key that is written.
    fn claim(&mut self, path: &Path, name: &str, raw: &raw::ClaimRule) -> Vec<ClaimRule> {
        let list = |scalars: &raw::Scalars| match &scalars.0 {
            serde_json::Value::Array(all) => all.iter().filter_map(claim_value).collect(),
            one => Vec::from_iter(claim_value(one)),
        };
        let equals = raw.equals.as_ref().and_then(|one| claim_value(&one.0));
        let tests: Vec<ClaimTest> = [
            equals.map(ClaimTest::Equals),
            raw.contains.as_ref().map(list).map(ClaimTest::Contains),
            raw.any_of.as_ref().map(list).map(ClaimTest::AnyOf),
        ]
        .into_iter()
        .flatten()
        .collect();
        if tests.is_empty() {
            let hint = "write the value that it must have, or one of equals, contains, any_of";
            self.missing(path, "the rule says nothing", hint);
        }
        for (key, test) in [
            ("contains", raw.contains.as_ref()),
            ("any_of", raw.any_of.as_ref()),
        ] {
            if test.is_some_and(|scalars| list(scalars).is_empty()) {
                self.missing(&path.key(key), "the list is empty", "");
            }
        }
        let claim = |test| ClaimRule {
            claim: name.to_owned(),
            test,
        };
        tests.into_iter().map(claim).collect()
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
        if unknown && !provider.answers_for_all() {
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
        let algorithms = self.algorithms(&path.key("algorithms"), raw.algorithms.as_ref());
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

    pub(super) fn algorithms(&mut self, at: &Path, words: Option<&raw::Words>) -> Vec<Algorithm> {
        match words {
            None => Algorithm::ALL.to_vec(),
            Some(words) if words.0.is_empty() => {
                self.missing(at, "the list is empty", "leave it out to take all");
                Vec::new()
            }
            Some(words) => {
                let words = words.0.iter().enumerate();
                words
                    .filter_map(|(n, word)| self.algorithm(&at.index(n), word))
                    .collect()
            }
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

fn claim_value(value: &serde_json::Value) -> Option<ClaimValue> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(ClaimValue::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(ClaimValue::Number),
        Value::Bool(truth) => Some(ClaimValue::Truth(*truth)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
