//! ID tokens (`OpenID` Connect Core section 2), right, and wrong in the ways that a client has to see.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::super::{
    faults::{Point, SignInFault},
    idp::{FOREIGN_ISSUER, Idp, OAuthError, random_text},
    signing::Forgery,
};
use super::Granted;

/// Seconds that an ID token is good for.
const LIFE: u64 = 300;

/// What an `id_token_hint` of ours says.
#[derive(Debug)]
pub(super) struct Hint {
    pub(super) subject: String,
    pub(super) client_id: String,
}

impl Idp {
    pub(in crate::sandbox) fn id_token(
        &self,
        granted: &Granted,
        access_token: &str,
    ) -> Result<String, OAuthError> {
        let now = self.clock.now().unix_seconds();
        let mut claims = json!({
            "iss": self.issuer,
            "sub": granted.person.subject(),
            "aud": granted.client_id,
            "azp": granted.client_id,
            "exp": now + LIFE,
            "iat": now,
            "auth_time": granted.auth_time,
            "sid": granted.sid,
            "amr": ["pwd"],
            "at_hash": half_hash(access_token),
        });
        if let Some(nonce) = &granted.nonce {
            claims["nonce"] = nonce.as_str().into();
        }
        if let Some(claims) = claims.as_object_mut() {
            granted.person.describe(&granted.scopes, claims);
        }
        let fault = self.faults.strike_sign_in(Point::IdToken);
        if let Some(fault) = &fault {
            spoil(fault, &mut claims, now);
        }
        let sign = |typ, forgery| {
            let signed = self.signer.sign_as(typ, &claims, forgery);
            signed.map_err(|error| OAuthError::new("server_error", &error.to_string()))
        };
        match fault {
            Some(SignInFault::AccessToken) => Ok(access_token.to_owned()),
            Some(SignInFault::LogoutToken) => sign("logout+jwt", Forgery::Genuine),
            Some(SignInFault::ForeignKey) => sign("JWT", Forgery::ForeignKey),
            Some(SignInFault::AlgNone) => sign("JWT", Forgery::None),
            Some(SignInFault::Hs256) => {
                let client = self.clients.known(&granted.client_id)?;
                let secret = client.secrets.into_iter().next().unwrap_or_default();
                sign("JWT", Forgery::Hs256(secret))
            }
            _ => sign("JWT", Forgery::Genuine),
        }
    }

    /// Reads what a client shows of an earlier sign-in, expired or not.
    pub(super) fn hinted(&self, token: &str) -> Option<Hint> {
        let claims: Value = self.signer.read(token).ok()?;
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        Some(Hint {
            subject: text("sub")?,
            client_id: text("azp")?,
        })
    }
}

fn spoil(fault: &SignInFault, claims: &mut Value, now: u64) {
    let mut remove = |name: &str| {
        if let Some(claims) = claims.as_object_mut() {
            claims.remove(name);
        }
    };
    match fault {
        SignInFault::MissingNonce => remove("nonce"),
        SignInFault::MissingAtHash => remove("at_hash"),
        SignInFault::MissingSubject => remove("sub"),
        SignInFault::WrongNonce => claims["nonce"] = random_text().into(),
        SignInFault::WrongAtHash => claims["at_hash"] = half_hash("another token").into(),
        SignInFault::WrongIssuer => claims["iss"] = FOREIGN_ISSUER.into(),
        SignInFault::OtherClient => {
            claims["aud"] = "somebody-else".into();
            claims["azp"] = "somebody-else".into();
        }
        SignInFault::OtherParty => claims["azp"] = "somebody-else".into(),
        SignInFault::OtherSubject => claims["sub"] = super::guid(0xc2, "somebody else").into(),
        SignInFault::TwoAudiences => {
            remove("azp");
            claims["aud"] = json!([claims["aud"], "somebody-else"]);
        }
        SignInFault::Expired => {
            claims["iat"] = (now - 7200).into();
            claims["exp"] = (now - 3600).into();
        }
        SignInFault::FromTheFuture => {
            claims["iat"] = (now + 3600).into();
            claims["nbf"] = (now + 3600).into();
            claims["exp"] = (now + 7200).into();
        }
        SignInFault::OldSignIn => claims["auth_time"] = (now - 864_000).into(),
        SignInFault::LogoutToken => {
            for name in ["nonce", "at_hash", "auth_time", "amr", "azp"] {
                remove(name);
            }
            claims["jti"] = random_text().into();
            claims["events"] = super::notify::events();
        }
        _ => {}
    }
}

/// `at_hash`: the left half (`OpenID` Connect Core section 3.1.3.6).
fn half_hash(token: &str) -> String {
    let hash = digest(&SHA256, token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}
