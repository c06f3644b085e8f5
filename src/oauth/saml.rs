//! SAML assertions, as far as somebody must read them who only passes them on: until when one holds,
//! and the certificate of its signature. Versions 1.1 and 2.0.
//!
//! The signature is not verified: that is for whom we show it to. A document type is refused, and so
//! there are no entities.

use std::time::{Duration, UNIX_EPOCH};

use base64::{
    Engine as _,
    alphabet::{STANDARD as PLAIN, URL_SAFE as URL},
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    },
};
use roxmltree::{Document, Node};

use crate::{config::SamlDialect, secret::Secret};

/// An assertion.
#[derive(Debug, Clone)]
pub struct SamlAssertion {
    xml: Secret,
    /// `NotOnOrAfter` of its conditions, since 1970.
    pub ends: Option<Duration>,
    /// Of the signature, in Base64 as it stands there.
    pub(super) certificate: Option<String>,
}

/// What is no assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SamlError {
    #[error("it is not XML")]
    NotXml,
    #[error("it is XML, but no SAML assertion")]
    NoAssertion,
}

const SAML: [&str; 2] = [
    "urn:oasis:names:tc:SAML:1.0:assertion",
    "urn:oasis:names:tc:SAML:2.0:assertion",
];
const SIGNATURES: &str = "http://www.w3.org/2000/09/xmldsig#";

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl SamlAssertion {
    /// Reads the XML of one.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(xml: &str) -> Result<Self, SamlError> {
        let document = Document::parse(xml).map_err(|_| SamlError::NotXml)?;
        let root = document.root_element();
        let namespace = root.tag_name().namespace();
        if root.tag_name().name() != "Assertion" || !namespace.is_some_and(|ns| SAML.contains(&ns))
        {
            return Err(SamlError::NoAssertion);
        }
        let ends = child(root, namespace, "Conditions")
            .and_then(|conditions| conditions.attribute("NotOnOrAfter"))
            .and_then(|text| humantime::parse_rfc3339(text).ok())
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let certificate = ["Signature", "KeyInfo", "X509Data", "X509Certificate"]
            .into_iter()
            .try_fold(root, |node, name| child(node, Some(SIGNATURES), name))
            .and_then(|node| node.text())
            .filter(|text| !text.trim().is_empty());
        Ok(Self {
            xml: Secret::new(xml),
            ends,
            certificate: certificate.map(str::to_owned),
        })
    }

    /// Reads a file's content: XML, or XML in either Base64.
    ///
    /// # Errors
    /// When it is no assertion.
    pub fn from_file(content: &Secret) -> Result<Self, SamlError> {
        let text = content.expose().trim();
        if text.starts_with('<') {
            return Self::read(text);
        }
        let packed: String = text.split_ascii_whitespace().collect();
        let decoded = GeneralPurpose::new(&PLAIN, LENIENT)
            .decode(&packed)
            .or_else(|_| GeneralPurpose::new(&URL, LENIENT).decode(&packed));
        let xml = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        Self::read(xml.as_deref().ok_or(SamlError::NotXml)?.trim())
    }

    /// The assertion itself.
    pub(super) fn xml(&self) -> &Secret {
        &self.xml
    }

    #[cfg(test)]
    pub(crate) fn xml_for_tests(&self) -> &str {
        self.xml.expose()
    }

    /// As the parameter `assertion` holds it.
    pub(super) fn parameter(&self, dialect: SamlDialect) -> Secret {
        let xml = self.xml.expose();
        Secret::new(match dialect {
            SamlDialect::Bentley => STANDARD.encode(xml),
            SamlDialect::Rfc7522 => URL_SAFE_NO_PAD.encode(xml),
        })
    }
}

fn child<'a, 'i>(node: Node<'a, 'i>, namespace: Option<&str>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| {
        child.is_element()
            && child.tag_name().name() == name
            && child.tag_name().namespace() == namespace
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Bentley's delegation service writes one.
    const ASSERTION: &str = r#"<saml:Assertion MajorVersion="1" MinorVersion="1" AssertionID="_1" Issuer="https://ims.example/" IssueInstant="2018-01-16T06:54:11.414Z" xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion"><saml:Conditions NotBefore="2018-01-16T06:54:11.383Z" NotOnOrAfter="2018-01-16T07:54:11.383Z"><saml:AudienceRestrictionCondition><saml:Audience>https://connect-wsg20.bentley.com</saml:Audience></saml:AudienceRestrictionCondition></saml:Conditions><saml:AttributeStatement><saml:Subject><saml:SubjectConfirmation><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>not this one</X509Certificate></X509Data></KeyInfo></saml:SubjectConfirmation></saml:Subject></saml:AttributeStatement><ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>MIIF+/A=</X509Certificate></X509Data></KeyInfo></ds:Signature></saml:Assertion>"#;

    #[test]
    fn an_assertion_says_until_when_it_holds_and_who_signed_it() {
        let read = SamlAssertion::read(ASSERTION).unwrap();
        assert_eq!(read.ends, Some(Duration::from_millis(1_516_089_251_383)));
        assert_eq!(read.certificate.as_deref(), Some("MIIF+/A="));
        assert!(!format!("{read:?}").contains("Assertion MajorVersion"));
    }

    #[test]
    fn one_of_version_2_is_read_too_and_may_say_nothing() {
        let read = SamlAssertion::read(
            r#"<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion"><Conditions NotOnOrAfter="soon"/></Assertion>"#,
        )
        .unwrap();
        assert_eq!((read.ends, read.certificate), (None, None));
    }

    #[test]
    fn a_file_holds_xml_or_either_base64_of_it() {
        let with = |text: String| SamlAssertion::from_file(&Secret::new(text)).unwrap();
        let mut packed = STANDARD.encode(ASSERTION);
        packed.insert(76, '\n');
        for content in [
            format!("\n{ASSERTION}\n"),
            packed,
            URL_SAFE_NO_PAD.encode(ASSERTION),
        ] {
            assert_eq!(with(content).xml().expose(), ASSERTION);
        }
    }

    #[test]
    fn what_is_no_assertion_is_refused() {
        let read = |text: &str| SamlAssertion::read(text).unwrap_err();
        assert_eq!(read("not at all"), SamlError::NotXml);
        assert_eq!(read("<Assertion/>"), SamlError::NoAssertion);
        assert_eq!(
            read(r#"<Response xmlns="urn:oasis:names:tc:SAML:2.0:assertion"/>"#),
            SamlError::NoAssertion
        );
        let with_entity = format!(r#"<!DOCTYPE a [<!ENTITY b "c">]>{ASSERTION}"#);
        assert_eq!(read(&with_entity), SamlError::NotXml);
        let deep = "<a>".repeat(200_000);
        assert_eq!(read(&deep), SamlError::NotXml);
    }

    #[test]
    fn each_dialect_writes_it_in_its_own_base64() {
        // the bytes of which the two Base64 differ, and padding
        let xml = r#"<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion">ÿ?~>ûï¾</Assertion>"#;
        let read = SamlAssertion::read(xml).unwrap();
        let bentley = read.parameter(SamlDialect::Bentley);
        let rfc = read.parameter(SamlDialect::Rfc7522);
        assert_eq!(STANDARD.decode(bentley.expose()).unwrap(), xml.as_bytes());
        assert_eq!(
            URL_SAFE_NO_PAD.decode(rfc.expose()).unwrap(),
            xml.as_bytes()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_an_assertion_or_none(text in any::<String>(), tail in "[<>/a&;\"= -]{0,40}") {
            let _ = SamlAssertion::read(&text);
            let _ = SamlAssertion::from_file(&Secret::new(text));
            let _ = SamlAssertion::read(&format!("{}{tail}", &ASSERTION[..ASSERTION.len() - 16]));
        }
    }
}
