//! The mock security token service: assertions for names and passwords, assertions for those, and
//! the grants that take assertions.
//!
//! Bodies, header fields and answers are those of Bentley's `ActiveSTSService` and
//! `DelegationSTSService` as the clients of iModel.js 0.x and 1.x use them. Signatures are none: an
//! assertion is good because it was issued here.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    answer,
    clients::{Authenticated, plain_basic},
    exchange::{Exchanged, Named},
    hub::serial,
    idp::{Form, Idp, OAuthError, random_text},
    server::Body,
    token::{Issue, scopes},
};

pub(super) const SIGN_IN: &str = "/rest/ActiveSTSService/json/IssueEx";
pub(super) const DELEGATION: &str = "/rest/DelegationSTSService/json/IssueEx";

/// No assertion lives longer: ten years.
const FAR: u64 = 10 * 365 * 24 * 3600;

/// As Bentley IMS has it.
pub(super) const SAML_TOKEN: &str = "urn:ietf:params:oauth:grant-type:saml-token";
/// RFC 7522.
pub(super) const SAML2_BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
/// RFC 7523.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Assertions that are good, by their XML.
#[derive(Debug, Default)]
pub(super) struct Assertions(Mutex<HashMap<String, Issued>>);

#[derive(Debug, Clone)]
struct Issued {
    user: String,
    by: By,
    /// Since 1970.
    ends: Duration,
    certificate: String,
}

/// Which service issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    SignIn,
    Delegation,
}

impl Assertions {
    /// None of those issued so far is good any more.
    pub(super) fn revoke(&self) {
        self.0.lock().clear();
    }
}

impl Idp {
    /// `ActiveSTSService`: name and password by Basic, the rest in JSON.
    pub(super) fn sign_in(&self, request: &Request<Bytes>) -> Response<Body> {
        let Some(asked) = body(request) else {
            return slip("the request is not understood");
        };
        let user = request.headers().get(AUTHORIZATION);
        // not form-encoded, other than at the token endpoint
        let user = user.and_then(|value| plain_basic(value.as_bytes()));
        let user = user.filter(|(name, password)| self.users.get(name) == Some(password));
        let Some((name, _)) = user else {
            return answer::empty(StatusCode::UNAUTHORIZED);
        };
        match (asked["AppliesTo"].as_str(), asked["Lifetime"].as_u64()) {
            (Some(applies_to), Some(minutes)) if !applies_to.is_empty() && minutes > 0 => {
                self.assertion(&name, applies_to, minutes, By::SignIn)
            }
            _ => slip("AppliesTo or Lifetime is missing"),
        }
    }

    /// `DelegationSTSService`: who holds an assertion shows its certificate in the header.
    pub(super) fn delegate(&self, request: &Request<Bytes>) -> Response<Body> {
        let Some(asked) = body(request) else {
            return slip("the request is not understood");
        };
        let shown = asked["ActAs"].as_str().and_then(|xml| self.known(xml));
        let shown = shown.filter(|issued| {
            let wanted = STANDARD.encode(&issued.certificate);
            let field = request.headers().get(AUTHORIZATION);
            let field = field.and_then(|value| value.to_str().ok());
            issued.by == By::SignIn
                && field.and_then(|text| text.strip_prefix("X509 access_token=")) == Some(&*wanted)
        });
        let Some(shown) = shown else {
            return answer::empty(StatusCode::UNAUTHORIZED);
        };
        let applies_to = asked["AppliesTo"].as_str();
        let bootstrap = asked["AppliesToBootstrapToken"].as_str();
        match (applies_to.zip(bootstrap), asked["Lifetime"].as_u64()) {
            (Some((applies_to, _)), Some(minutes @ 1..=60)) => {
                self.assertion(&shown.user, applies_to, minutes, By::Delegation)
            }
            _ => slip("AppliesTo, AppliesToBootstrapToken or Lifetime is wrong"),
        }
    }

    fn assertion(&self, user: &str, applies_to: &str, minutes: u64, by: By) -> Response<Body> {
        let now = self.clock.now().wall;
        let ends = now + Duration::from_secs(minutes.saturating_mul(60).min(FAR));
        let time = |time: Duration| humantime::format_rfc3339_millis(UNIX_EPOCH + time).to_string();
        let id = random_text();
        let certificate = STANDARD.encode(format!("not a certificate of the sandbox, but {id}"));
        let xml = xml(&Written {
            id: &id,
            issuer: &self.issuer,
            from: &time(now),
            ends: &time(ends),
            applies_to,
            user,
            certificate: &certificate,
        });
        let mut all = self.assertions.0.lock();
        all.retain(|_, issued| issued.ends > now);
        all.insert(
            xml.clone(),
            Issued {
                user: user.to_owned(),
                by,
                ends,
                certificate,
            },
        );
        let document = json!({"RequestedSecurityToken": xml, "TokenType": ""});
        answer::no_store(answer::json(StatusCode::OK, &document))
    }

    fn known(&self, xml: &str) -> Option<Issued> {
        let now = self.clock.now().wall;
        let issued = self.assertions.0.lock().get(xml).cloned();
        issued.filter(|issued| issued.ends > now)
    }

    /// A token for an assertion of ours; in the older form, of the delegation service's only.
    pub(super) fn for_saml(&self, who: &Authenticated, form: &Form) -> Result<Issue, OAuthError> {
        let shown = form
            .get("assertion")
            .ok_or_else(|| OAuthError::request("assertion is missing"))?;
        let older = form.get("grant_type") == Some(SAML_TOKEN);
        let xml = if older {
            STANDARD.decode(shown)
        } else {
            URL_SAFE_NO_PAD.decode(shown)
        };
        let xml = xml.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let issued = xml.and_then(|xml| self.known(&xml));
        let issued = issued
            .filter(|issued| !older || issued.by == By::Delegation)
            .ok_or_else(|| OAuthError::new("invalid_grant", "the assertion is not good"))?;
        Ok(Issue {
            client_id: who.client.id.clone(),
            user: Some(issued.user),
            scopes: scopes(who, form.get("scope"))?,
            renewable: Vec::new(),
            exchanged: None,
            granted: None,
        })
    }

    /// A token for another one of ours: the same user, this client, the scopes that it may have.
    pub(super) fn for_jwt(&self, who: &Authenticated, form: &Form) -> Result<Issue, OAuthError> {
        if who.method == "none" {
            let text = "a public client acts for nobody";
            return Err(OAuthError::new("unauthorized_client", text));
        }
        let shown = form
            .get("assertion")
            .ok_or_else(|| OAuthError::request("assertion is missing"))?;
        let shown = self.signer.verify(shown, self.clock.now()).ok();
        let shown = shown
            .filter(|claims| !self.faults.is_revoked(serial(claims)))
            .ok_or_else(|| OAuthError::new("invalid_grant", "the assertion is not good"))?;
        Ok(Issue {
            client_id: who.client.id.clone(),
            user: None,
            scopes: scopes(who, form.get("scope"))?,
            renewable: Vec::new(),
            exchanged: Some(Exchanged {
                shown,
                audience: Vec::new(),
                named: Named::No,
            }),
            granted: None,
        })
    }
}

/// What differs between assertions.
struct Written<'a> {
    id: &'a str,
    issuer: &'a str,
    from: &'a str,
    ends: &'a str,
    applies_to: &'a str,
    user: &'a str,
    certificate: &'a str,
}

fn xml(written: &Written<'_>) -> String {
    const CLAIMS: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims";
    let Written {
        id,
        issuer,
        from,
        ends,
        certificate,
        ..
    } = written;
    let (applies_to, user) = (escaped(written.applies_to), escaped(written.user));
    let attribute = |name: &str| {
        format!(
            "<saml:Attribute AttributeName=\"{name}\" AttributeNamespace=\"{CLAIMS}\">\
             <saml:AttributeValue>{user}</saml:AttributeValue></saml:Attribute>"
        )
    };
    let attributes = ["name", "emailaddress", "userid"].map(attribute).concat();
    format!(
        "<saml:Assertion MajorVersion=\"1\" MinorVersion=\"1\" AssertionID=\"_{id}\" \
         Issuer=\"{issuer}/\" IssueInstant=\"{from}\" \
         xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\">\
         <saml:Conditions NotBefore=\"{from}\" NotOnOrAfter=\"{ends}\">\
         <saml:AudienceRestrictionCondition><saml:Audience>{applies_to}</saml:Audience>\
         </saml:AudienceRestrictionCondition></saml:Conditions>\
         <saml:AttributeStatement><saml:Subject><saml:NameIdentifier>{user}</saml:NameIdentifier>\
         </saml:Subject>{attributes}</saml:AttributeStatement>\
         <ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\
         <ds:SignatureValue>bm9uZQ==</ds:SignatureValue>\
         <KeyInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data>\
         <X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo></ds:Signature>\
         </saml:Assertion>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

fn body(request: &Request<Bytes>) -> Option<Value> {
    let value: Value = serde_json::from_slice(request.body()).ok()?;
    (request.method() == Method::POST && value.is_object()).then_some(value)
}

fn slip(why: &str) -> Response<Body> {
    answer::json(StatusCode::BAD_REQUEST, &json!({"Message": why}))
}
