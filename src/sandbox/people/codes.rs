//! Authorization codes (RFC 6749 section 4.1.3, RFC 7636): good for one use and a minute.
//!
//! One that comes a second time takes back what it gave (RFC 6749 section 4.1.2).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::super::{
    idp::{Form, Idp, OAuthError, random_text},
    token::{Issue, OFFLINE},
};
use super::{Granted, request::Ask};

/// Seconds that a code is good for.
const LIFE: u64 = 60;

/// What a code stands for.
#[derive(Debug)]
pub(in crate::sandbox) struct Code {
    granted: Arc<Granted>,
    redirect_uri: String,
    challenge: Option<String>,
    ends: u64,
    used: bool,
}

impl Idp {
    pub(super) fn new_code(&self, ask: &Ask, granted: Arc<Granted>) -> String {
        let code = random_text();
        let now = self.clock.now().unix_seconds();
        let mut desk = self.desk.lock();
        // used ones are remembered for longer than they are good, to know them again
        desk.codes.retain(|_, code| now < code.ends + 60 * LIFE);
        desk.earlier_code = desk.last_code.replace(code.clone());
        desk.codes.insert(
            code.clone(),
            Code {
                granted,
                redirect_uri: ask.back.redirect_uri.clone(),
                challenge: ask.challenge.clone(),
                ends: now + LIFE,
                used: false,
            },
        );
        code
    }

    /// What the code gives.
    pub(in crate::sandbox) fn redeem(
        &self,
        client_id: String,
        form: &Form,
    ) -> Result<Issue, OAuthError> {
        self.journal.count(|counts| counts.code_exchanges += 1);
        let shown = form.get("code");
        let shown = shown.ok_or_else(|| OAuthError::request("code is missing"))?;
        let bad = |text: &str| OAuthError::new("invalid_grant", text);
        let now = self.clock.now().unix_seconds();
        let mut desk = self.desk.lock();
        let code = desk
            .codes
            .get_mut(shown)
            .filter(|code| code.granted.client_id == client_id)
            .ok_or_else(|| bad("the code is not good"))?;
        let granted = Arc::clone(&code.granted);
        if std::mem::replace(&mut code.used, true) {
            drop(desk);
            self.journal.count(|counts| counts.code_reuses += 1);
            self.revoke_family(granted.family);
            return Err(bad("the code was used before"));
        }
        if now >= code.ends {
            return Err(bad("the code has expired"));
        }
        if form.get("redirect_uri") != Some(&code.redirect_uri) {
            return Err(bad("redirect_uri is another than before"));
        }
        let verifier = form.get("code_verifier").map(|verifier| {
            let hash = digest(&SHA256, verifier.as_bytes());
            URL_SAFE_NO_PAD.encode(hash)
        });
        if verifier != code.challenge {
            return Err(bad("code_verifier does not match"));
        }
        drop(desk);
        Ok(Issue::of(client_id, granted))
    }

    /// No token that came of this grant is good any more.
    pub(in crate::sandbox) fn revoke_family(&self, family: u64) {
        for serial in self.desk.lock().serials(family) {
            self.faults.revoke_token(*serial);
        }
        let of_family = |granted: &Arc<Granted>| granted.family == family;
        for token in self.refresh_tokens.lock().values_mut() {
            if token.granted.as_ref().is_some_and(of_family) {
                token.spent = true;
            }
        }
    }
}

impl Issue {
    /// All that was granted.
    pub(super) fn of(client_id: String, granted: Arc<Granted>) -> Self {
        let offline = granted.scopes.iter().any(|scope| scope == OFFLINE);
        Self {
            client_id,
            user: Some(granted.person.mail.clone()),
            renewable: if offline {
                granted.scopes.clone()
            } else {
                Vec::new()
            },
            scopes: granted.scopes.clone(),
            exchanged: None,
            granted: Some(granted),
        }
    }
}
