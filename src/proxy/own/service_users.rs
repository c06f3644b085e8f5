//! The security token service that agents of iModel.js 0.x and 1.x sign in at as a service user.
//!
//! Whatever name and password they send, they get an assertion of ours, another one for it, and with
//! that, at the token endpoint beside this, the token that everybody gets there. An assertion of
//! ours is worth nothing: it says who asks, to the agent itself, and who may ask is decided by the
//! gate. It is signed by nobody, and no other service takes it.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Response, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{document, handout::never_stored};
use crate::clock::Moment;

pub(super) const SIGN_IN: &str = "/rest/ActiveSTSService/json/IssueEx";
/// Clients add the last two segments.
pub(super) const DELEGATION: &str = "/rest/DelegationSTSService/json/IssueEx";
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:saml-token";

/// What clients ask for.
const SIGNED_IN: Duration = Duration::from_secs(7 * 24 * 3600);
const DELEGATED: Duration = Duration::from_secs(3600);
/// By which ours are known.
const MARK: &str = "AssertionID=\"_stand-in-of-itwin-auth-proxy\"";
/// Before and after the user's name.
const NAME: [&str; 2] = ["<saml:NameIdentifier>", "</saml:NameIdentifier>"];
/// Clients want to see some certificate.
const CERTIFICATE: &str = "bm8gY2VydGlmaWNhdGU=";

/// The answer to name and password, whatever they are.
pub(super) fn signed_in(headers: &HeaderMap, now: Moment) -> Response<Bytes> {
    let basic = headers.get(AUTHORIZATION).and_then(|value| {
        let packed = value.to_str().ok()?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(STANDARD.decode(packed).ok()?).ok()?;
        pair.split_once(':').map(|(name, _)| name.to_owned())
    });
    issued(basic.as_deref().unwrap_or_default(), SIGNED_IN, now)
}

/// The answer to such an assertion.
pub(super) fn delegated(body: &[u8], now: Moment) -> Response<Bytes> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let shown = body["ActAs"].as_str().unwrap_or_default();
    let name = shown
        .split_once(NAME[0])
        .and_then(|(_, rest)| rest.split_once(NAME[1]));
    issued(name.map_or("", |(name, _)| name), DELEGATED, now)
}

/// Whether the parameter `assertion` of a token request is one of ours.
pub(super) fn is_ours(assertion: &str) -> bool {
    let xml = STANDARD.decode(assertion).unwrap_or_default();
    memchr::memmem::find(&xml, MARK.as_bytes()).is_some()
}

fn issued(name: &str, life: Duration, now: Moment) -> Response<Bytes> {
    let body = json!({"RequestedSecurityToken": assertion(name, life, now), "TokenType": ""});
    never_stored(document("application/json", body.to_string().into()))
}

fn assertion(name: &str, life: Duration, now: Moment) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    let name = if !name.is_empty() && name.len() <= 256 && name.chars().all(plain) {
        name
    } else {
        "service-user"
    };
    let time = |at: Duration| humantime::format_rfc3339_millis(UNIX_EPOCH + at).to_string();
    let (from, ends) = (time(now.wall), time(now.wall.saturating_add(life)));
    let attribute = |what: &str| {
        format!(
            "<saml:Attribute AttributeName=\"{what}\" AttributeNamespace=\"urn:itwin-auth-proxy\">\
             <saml:AttributeValue>{name}</saml:AttributeValue></saml:Attribute>"
        )
    };
    let attributes = ["userid", "name", "emailaddress"].map(attribute).concat();
    let [before, after] = NAME;
    format!(
        "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\" MajorVersion=\"1\" \
         MinorVersion=\"1\" {MARK} Issuer=\"itwin-auth-proxy\" IssueInstant=\"{from}\">\
         <saml:Conditions NotBefore=\"{from}\" NotOnOrAfter=\"{ends}\"/>\
         <saml:AttributeStatement><saml:Subject>{before}{name}{after}</saml:Subject>{attributes}\
         </saml:AttributeStatement><ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\
         <ds:KeyInfo><ds:X509Data><ds:X509Certificate>{CERTIFICATE}</ds:X509Certificate>\
         </ds:X509Data></ds:KeyInfo></ds:Signature></saml:Assertion>"
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::clock::Clock;

    fn token(answer: &Response<Bytes>) -> String {
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        body["RequestedSecurityToken"].as_str().unwrap().to_owned()
    }

    fn now() -> Moment {
        Clock::for_tests(Duration::from_secs(1_800_000_000)).now()
    }

    fn headers(pair: &str) -> HeaderMap {
        let basic = format!("Basic {}", STANDARD.encode(pair));
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(basic).unwrap())])
    }

    #[test]
    fn the_assertion_names_who_asks_and_never_the_password() {
        let first = token(&signed_in(&headers("svc.user@example.com:s3cret"), now()));
        assert!(first.contains(">svc.user@example.com<"), "{first}");
        assert!(!first.contains("s3cret"));
        assert!(
            first.contains("NotOnOrAfter=\"2027-01-22T08:00:00.000Z\""),
            "{first}"
        );
        let body = json!({"ActAs": first}).to_string();
        let second = token(&delegated(body.as_bytes(), now()));
        assert!(second.contains(">svc.user@example.com<"), "{second}");
        assert!(
            second.contains("NotOnOrAfter=\"2027-01-15T09:00:00.000Z\""),
            "{second}"
        );
        assert!(is_ours(&STANDARD.encode(second)));
    }

    #[test]
    fn what_is_no_name_is_not_written_into_the_assertion() {
        for pair in ["<a>:x", "a b:x", ":x", "\"/>:x", "ä:x"] {
            let xml = token(&signed_in(&headers(pair), now()));
            assert!(
                xml.contains("<saml:NameIdentifier>service-user<"),
                "{pair}: {xml}"
            );
        }
        assert!(token(&signed_in(&HeaderMap::new(), now())).contains("service-user"));
        assert!(token(&delegated(b"nonsense", now())).contains("service-user"));
        assert!(!is_ours("nonsense"));
        assert!(!is_ours(
            &STANDARD.encode("<saml:Assertion AssertionID=\"_1\"/>")
        ));
    }
}
