//! A compact JWS (RFC 7515 section 7.1) as a caller presents it: taken apart, believed in nothing.
//!
//! The header says which key to look for. It never brings a key of its own (`jwk`, `jku`, `x5u`
//! and `x5c` are not looked at), never chooses an algorithm that the issuer's key is not for, and
//! asks for no extension. The payload is not looked at here: nobody has signed it yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    json::{Json, Object},
    refusal::{Part, Refusal},
};
use crate::config::{Algorithm, NEVER_ACCESS};

/// Tokens of Bentley's users have 2 KB; servers take 8 to 16 KB of header fields.
pub const LONGEST: usize = 16 * 1024;
/// Certificates in `x5c` are tolerated.
const LONGEST_HEADER: usize = 8 * 1024;
const LONGEST_KEY_ID: usize = 256;
const LONGEST_TYPE: usize = 64;

/// A token's parts.
#[derive(Debug)]
pub struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// What the header says that the token is, in lower case and without `application/`.
    pub(super) typ: Option<Box<str>>,
    parts: Parts<'t>,
    signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// # Errors
    /// When it is not a JWS that could ever be taken.
    pub fn parse(token: &'t str) -> Result<Self, Refusal> {
        let token = Self::of_any_kind(token)?;
        let typ = token.typ.as_deref();
        if typ.is_some_and(|typ| NEVER_ACCESS.contains(&typ)) {
            return Err(Refusal::Type);
        }
        Ok(token)
    }

    /// Also one that says it is no access token.
    pub(super) fn of_any_kind(token: &'t str) -> Result<Self, Refusal> {
        let parts = Parts::of(token, LONGEST)?;
        let typ = declared(&parts.header)?;
        let algorithm = algorithm(&parts.header)?;
        Ok(Self {
            algorithm,
            key_id: key_id(&parts.header)?,
            typ,
            signature: parts.signature()?,
            parts,
        })
    }

    pub(super) fn signed(&self) -> &[u8] {
        self.parts.signed.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The payload. Only who has checked the signature may believe it.
    pub(super) fn payload(&self) -> Result<Object, Refusal> {
        self.parts.payload()
    }
}

/// A compact JWS, split. What is common to all kinds of token is checked.
#[derive(Debug)]
pub(super) struct Parts<'t> {
    pub(super) header: Object,
    /// Header and payload, as they were signed.
    pub(super) signed: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    /// # Errors
    /// When it is no JWS, is longer than `limit` octets, or asks for extensions.
    pub(super) fn of(token: &'t str, limit: usize) -> Result<Self, Refusal> {
        if token.len() > limit {
            return Err(Refusal::TooLarge { limit });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::NotJwt)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::NotJwt)?;
        match payload.bytes().filter(|byte| *byte == b'.').count() {
            0 => {}
            2 => return Err(Refusal::Encrypted), // RFC 7516 section 7.1
            _ => return Err(Refusal::NotJwt),
        }
        if header.is_empty() || payload.is_empty() {
            return Err(Refusal::NotJwt);
        }
        if header.len() > LONGEST_HEADER {
            let limit = LONGEST_HEADER;
            return Err(Refusal::TooLarge { limit });
        }
        let part = Part::Header;
        let header =
            Object::read(&decoded(header, part)?).map_err(|_| Refusal::Unreadable { part })?;
        if header.repeats() {
            return Err(Refusal::Repeated { part });
        }
        // `b64` is an extension as well, but one that `crit` may have been cut off from (RFC 7797)
        for member in ["crit", "b64"] {
            if header.has(member) {
                return Err(Refusal::Extension { member });
            }
        }
        Ok(Self {
            header,
            signed,
            payload,
            signature,
        })
    }

    pub(super) fn signature(&self) -> Result<Vec<u8>, Refusal> {
        if self.signature.is_empty() {
            return Err(Refusal::Unsigned);
        }
        decoded(self.signature, Part::Signature)
    }

    /// The payload. Only who has checked the signature may believe it.
    pub(super) fn payload(&self) -> Result<Object, Refusal> {
        let part = Part::Claims;
        let claims = Object::read(&decoded(self.payload, part)?)
            .map_err(|_| Refusal::Unreadable { part })?;
        if claims.repeats() {
            return Err(Refusal::Repeated { part });
        }
        Ok(claims)
    }
}

/// Whether a token is a JWT, be it a bad one: in three parts, of which the first is a JSON object.
pub(super) fn is_jwt(token: &str) -> bool {
    let part = Part::Header;
    let header = Refusal::Encoding { part };
    match Jws::parse(token) {
        Ok(_) => true,
        Err(Refusal::NotJwt | Refusal::Encrypted) => false,
        Err(refusal) => refusal != header && refusal != Refusal::Unreadable { part },
    }
}

/// Who a JWT says that it is from; nobody has checked that.
pub(super) fn said_issuer(token: &str) -> Option<String> {
    let payload = Jws::parse(token).ok()?.payload().ok()?;
    payload.get("iss")?.text().map(str::to_owned)
}

/// Strict: one text for the same octets, without padding (RFC 7515 section 2).
fn decoded(text: &str, part: Part) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Refusal::Encoding { part })
}

pub(super) fn algorithm(header: &Object) -> Result<Algorithm, Refusal> {
    let Some(Json::Text(name)) = header.get("alg") else {
        return Err(Refusal::HeaderMember { member: "alg" });
    };
    if name.eq_ignore_ascii_case("none") {
        return Err(Refusal::Unsigned);
    }
    Algorithm::named(name).ok_or(Refusal::Algorithm)
}

fn key_id(header: &Object) -> Result<Option<String>, Refusal> {
    match header.get("kid") {
        None => Ok(None),
        Some(Json::Text(id)) if id.len() <= LONGEST_KEY_ID => Ok(Some(id.clone())),
        Some(_) => Err(Refusal::HeaderMember { member: "kid" }),
    }
}

/// What the header says that the token is: without `application/`, and in lower case (RFC 7515
/// section 4.1.9). Which types a route takes is its rule; those of other kinds of JWT are none's.
pub(super) fn declared(header: &Object) -> Result<Option<Box<str>>, Refusal> {
    let typ = match header.get("typ") {
        None => return Ok(None),
        Some(Json::Text(typ)) if typ.len() <= LONGEST_TYPE => typ.to_ascii_lowercase(),
        Some(_) => return Err(Refusal::HeaderMember { member: "typ" }),
    };
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    Ok(Some(typ.into()))
}
