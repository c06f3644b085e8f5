//! Another token for one of the provider's own (RFC 8693).
//!
//! It is its user's as before and says who acts for them (`act`, section 4.1); it is for the
//! resource that was asked for, and may do no more than the one that was shown. Delegation
//! (`actor_token`) is not offered.

use serde_json::{Value, json};
use url::Url;

use super::{
    clients::Authenticated,
    hub::serial,
    idp::{Form, Idp, OAuthError},
    signing::Claims,
    token::Issue,
};

pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Whose token is exchanged, and what for.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) shown: Claims,
    /// Empty: as before.
    pub(super) audience: Vec<String>,
    pub(super) named: Named,
}

/// Whether the token says who acts for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Yes,
    No,
}

impl Exchanged {
    /// What the new token says of that.
    pub(super) fn mark(&self, claims: &mut Claims) {
        let mut act = json!({"client_id": claims.client_id, "sub": claims.sub});
        claims.sub.clone_from(&self.shown.sub);
        claims.others.clone_from(&self.shown.others);
        if let Some(before) = claims.others.remove("act") {
            act["act"] = before;
        }
        if self.named == Named::Yes {
            claims.others.insert("act".to_owned(), act);
        }
        if !self.audience.is_empty() {
            claims.aud.clone_from(&self.audience);
        }
    }
}

impl Idp {
    pub(super) fn exchange(&self, who: &Authenticated, form: &Form) -> Result<Issue, OAuthError> {
        if who.method == "none" {
            let text = "a public client exchanges nothing";
            return Err(OAuthError::new("unauthorized_client", text));
        }
        let (token, kind) = form
            .get("subject_token")
            .zip(form.get("subject_token_type"))
            .ok_or_else(|| OAuthError::request("subject_token or its type is missing"))?;
        if ![ACCESS_TOKEN, JWT].contains(&kind) {
            return Err(OAuthError::request("this type of token is not exchanged"));
        }
        if form
            .get("requested_token_type")
            .is_some_and(|wanted| wanted != ACCESS_TOKEN)
        {
            return Err(OAuthError::request("only access tokens are issued"));
        }
        if form.get("actor_token").is_some() {
            return Err(OAuthError::request("delegation is not offered"));
        }
        let shown = self.signer.verify(token, self.clock.now()).ok();
        let shown = shown.filter(|claims| !self.faults.is_revoked(serial(claims)));
        // section 2.2.2: not `invalid_grant`
        let shown = shown.ok_or_else(|| OAuthError::request("the subject token is not good"))?;
        let scopes = match form.get("scope") {
            None => shown.scope.clone(),
            Some(asked) => asked.split_ascii_whitespace().map(str::to_owned).collect(),
        };
        let allowed = &who.client.scopes;
        let too_much = |scope: &String| {
            !shown.scope.contains(scope) || !(allowed.is_empty() || allowed.contains(scope))
        };
        if scopes.iter().any(too_much) {
            let text = "more than the subject token or the client may";
            return Err(OAuthError::new("invalid_scope", text));
        }
        let audience = audience(form)?;
        Ok(Issue {
            client_id: who.client.id.clone(),
            user: None,
            scopes,
            renewable: Vec::new(),
            exchanged: Some(Exchanged {
                shown,
                audience,
                named: Named::Yes,
            }),
            granted: None,
        })
    }
}

fn audience(form: &Form) -> Result<Vec<String>, OAuthError> {
    let resource = form.get("resource");
    // RFC 8707 section 2
    let is_absolute = |text: &str| Url::parse(text).is_ok_and(|url| url.fragment().is_none());
    if resource.is_some_and(|text| !is_absolute(text)) {
        return Err(OAuthError::new("invalid_target", "no absolute URI"));
    }
    let named = resource.into_iter().chain(form.get("audience"));
    Ok(named.map(str::to_owned).collect())
}

/// What the answer says besides (section 2.2.1).
pub(super) fn say(issue: &Issue, document: &mut Value) {
    if issue
        .exchanged
        .as_ref()
        .is_some_and(|exchanged| exchanged.named == Named::Yes)
    {
        document["issued_token_type"] = ACCESS_TOKEN.into();
    }
}
