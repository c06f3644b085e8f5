//! Which credential goes with a request.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        ActsFor, Admit, AdmitRule, Credential, Grant, Inject, Preflight, PresentedAuthorization,
        Strangers,
        path::Path,
        problem::did_you_mean,
        raw::{self, Presented},
        tree::Node,
    },
    Check,
    route::Credentials,
    scalar::{MINUTE, SECOND},
};

/// What clients send that must send something.
const PLACEHOLDERS: [&str; 5] = ["dummy", "placeholder", "none", "undefined", "null"];

impl Check<'_> {
    pub(super) fn inject(
        &mut self,
        path: &Path,
        raw: &raw::Inject,
        credentials: &Credentials,
    ) -> Option<Inject> {
        let name_path = path.key("credential");
        let min_remaining = self.duration(
            &path.key("min_remaining"),
            raw.min_remaining.as_deref(),
            MINUTE,
            Duration::ZERO..=30 * MINUTE,
        );
        let wait = self.duration(
            &path.key("wait"),
            raw.wait.as_deref(),
            15 * SECOND,
            Duration::ZERO..=2 * MINUTE,
        );
        let credential = raw
            .credential
            .as_deref()
            .and_then(|name| self.credential_called(&name_path, name, credentials));
        let acts_for = match raw.on_behalf_of {
            Some(raw::OnBehalfOf::Caller) => ActsFor::Caller,
            None => ActsFor::Itself,
        };
        match (&credential, acts_for) {
            (Some(one), ActsFor::Itself) if one.grant.exchanges() => self.error(
                &name_path,
                "exchanges callers' tokens, and has none of its own",
                match one.grant {
                    Grant::JwtBearer { .. } => {
                        "write on_behalf_of: caller beside it, or give it an assertion: {credential: NAME}"
                    }
                    _ => "write on_behalf_of: caller beside it",
                },
            ),
            (Some(one), ActsFor::Caller) if !one.grant.exchanges() => self.error(
                &path.key("on_behalf_of"),
                format!(
                    "the credential {} gets its token without a caller's",
                    one.name
                ),
                "give it grant: token_exchange, or grant: jwt_bearer without assertion",
            ),
            _ => {}
        }
        if acts_for == ActsFor::Caller {
            let given = [
                ("min_remaining", raw.min_remaining.is_some()),
                ("presented_bearer", raw.presented_bearer.is_some()),
                ("presented_other", raw.presented_other.is_some()),
                ("placeholders", raw.placeholders.is_some()),
            ];
            for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                let text = "has no effect with on_behalf_of: the caller's token is exchanged, whatever else is presented goes no further";
                self.error(&path.key(key), text, "leave it out");
            }
        }
        let scopes = raw.scopes.as_ref().map(|words| {
            let grant = credential.as_ref().map(|credential| &credential.grant);
            let for_person = !matches!(grant, Some(Grant::ClientCredentials));
            self.scopes(&path.key("scopes"), &words.0, for_person)
        });
        let credential = credential?;
        let placeholders: BTreeSet<String> = match &raw.placeholders {
            Some(words) => words.0.iter().cloned().collect(),
            None => PLACEHOLDERS.iter().map(ToString::to_string).collect(),
        };
        Some(Inject {
            scopes: scopes.unwrap_or_else(|| credential.scopes.clone()),
            credential,
            acts_for,
            min_remaining,
            presented_bearer: raw
                .presented_bearer
                .map_or(PresentedAuthorization::Replace, presented),
            presented_other: raw
                .presented_other
                .map_or(PresentedAuthorization::Keep, presented),
            placeholders,
            wait,
        })
    }

    pub(super) fn takes_what_it_asks_for(
        &mut self,
        path: &Path,
        inject: &Inject,
        rules: &[AdmitRule],
    ) {
        if inject.acts_for == ActsFor::Caller {
            return self.has_callers_tokens(path, rules);
        }
        for (n, rule) in rules.iter().enumerate() {
            if let AdmitRule::Bearer { rules, .. } = rule
                && (rules.strangers == Strangers::Admitted || rules.preflight == Preflight::Passed)
            {
                self.error(
                    &path.key("admit").index(n).key("bearer"),
                    "lets callers without a token act as the service, because the route injects ours",
                    "take optional and preflight away; or write admit: anyone, if that is meant",
                );
            }
        }
        if inject.presented_bearer == PresentedAuthorization::Refuse
            && rules.iter().any(AdmitRule::is_bearer)
        {
            self.error(
                &path.key("inject").key("presented_bearer"),
                "refuses the token that admit asks for",
                "write replace: ours takes the caller's place once that was checked",
            );
        }
    }

    /// Whom the token that is injected is for: a caller whom another rule admits has nothing to
    /// exchange.
    pub(super) fn has_callers_tokens(&mut self, path: &Path, rules: &[AdmitRule]) {
        let has_token =
            |rule: &AdmitRule| rule.is_bearer() || matches!(rule, AdmitRule::Session(_));
        if !rules.iter().any(has_token) {
            self.error(
                &path.key("inject").key("on_behalf_of"),
                "has no token to exchange: no rule of admit asks callers for one",
                "write admit: [{bearer: …}], or admit: {session: NAME}",
            );
            return;
        }
        for (n, rule) in rules.iter().enumerate() {
            if !has_token(rule) {
                self.error(
                    &path.key("admit").index(n),
                    "admits callers without a token, and the route acts on behalf of callers, by their tokens",
                    "keep the rules with bearer and session here, and give the others a route of their own",
                );
            }
        }
    }

    /// The credential that callers' tokens are exchanged by.
    pub(super) fn exchange(
        &mut self,
        path: &Path,
        raw: Option<&raw::CallersToken>,
        credentials: &Credentials,
        admit: Option<&Admit>,
        injects: bool,
    ) -> Option<Arc<Credential>> {
        let raw = raw?;
        let name = raw.exchange.as_deref()?;
        let path = path.key("exchange");
        let rules = match admit {
            Some(Admit::Rules(rules)) => rules.as_slice(),
            _ => &[],
        };
        if raw.goes.is_some() {
            self.error(&path, "is given together with goes", "keep one of them");
        } else if injects {
            self.error(
                &path,
                "has no effect, because the route injects a token of ours",
                "take one of them away",
            );
        } else if admit.is_some() && !rules.iter().any(AdmitRule::is_bearer) {
            self.error(
                &path,
                "has no token to exchange: no rule of admit asks callers for one",
                "write admit: [{bearer: …}]",
            );
        }
        let credential = self.credential_called(&path, name, credentials)?;
        if !credential.grant.exchanges() {
            self.error(
                &path,
                format!("the credential {name} has another grant"),
                "give it grant: token_exchange, or grant: jwt_bearer without assertion",
            );
        }
        Some(credential)
    }

    pub(super) fn credential_called(
        &mut self,
        path: &Path,
        name: &str,
        credentials: &Credentials,
    ) -> Option<Arc<Credential>> {
        if let Some(credential) = credentials.get(name) {
            return Some(Arc::clone(credential));
        }
        let declared = self
            .tree
            .get("credentials")
            .map(Node::keys)
            .unwrap_or_default();
        if declared.contains(&name) {
            return None; // it is there, with problems of its own
        }
        let hint = did_you_mean(name, declared.iter().copied()).unwrap_or_else(|| {
            match declared.as_slice() {
                [] => "declare it under credentials".into(),
                names => format!("known: {}", names.join(", ")),
            }
        });
        self.error(
            path,
            format!("no credential is called '{}'", name.escape_debug()),
            hint,
        );
        None
    }
}

fn presented(raw: Presented) -> PresentedAuthorization {
    match raw {
        Presented::Replace => PresentedAuthorization::Replace,
        Presented::Keep => PresentedAuthorization::Keep,
        Presented::Refuse => PresentedAuthorization::Refuse,
    }
}
