//! The value of a public key in a JWK (RFC 7517, RFC 7518 section 6, RFC 8037), whoever wrote it.
//!
//! What a key may be used for is not decided here: an issuer's keys ([`super::keys`]) check access
//! tokens, the keys that proofs bring along ([`super::dpop`]) check those proofs, and neither can
//! be had from the other.

use std::ops::RangeInclusive;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    algorithm::{Kind, kind},
    json::{Json, Object},
};
use crate::config::Algorithm;

const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// A public key, ready to check signatures of one algorithm.
pub(super) struct PublicKey {
    pub(super) parsed: ParsedPublicKey,
    /// What makes it this key and no other.
    pub(super) value: Vec<u8>,
    pub(super) bits: usize,
}

/// Whether a key with this `kty` and `crv` can be for `algorithm`.
pub(super) fn is_for(algorithm: Algorithm, kty: Option<&str>, crv: Option<&str>) -> bool {
    match kind(algorithm) {
        Kind::Rsa(_) => kty == Some("RSA"),
        Kind::Curve { name, .. } => kty == Some("EC") && crv == Some(name),
        Kind::Edwards(_) => kty == Some("OKP") && crv == Some("Ed25519"),
    }
}

/// Refuses keys that are for something else than signatures (RFC 7517 sections 4.2 and 4.3).
pub(super) fn check_use(jwk: &Object) -> Result<(), &'static str> {
    if jwk.has("use") && text(jwk, "use") != Some("sig") {
        return Err("its `use` is not `sig`");
    }
    let verify = |all: &Json| match all {
        Json::List(all) => all.iter().any(|one| one.text() == Some("verify")),
        _ => false,
    };
    if jwk.get("key_ops").is_some_and(|all| !verify(all)) {
        return Err("its `key_ops` lack `verify`");
    }
    Ok(())
}

pub(super) fn text<'o>(jwk: &'o Object, name: &str) -> Option<&'o str> {
    jwk.get(name).and_then(Json::text)
}

impl PublicKey {
    /// The key that `jwk` holds, for an algorithm that it [`is_for`].
    pub(super) fn read(jwk: &Object, algorithm: Algorithm) -> Result<Self, &'static str> {
        let (parsed, value, bits) = match kind(algorithm) {
            Kind::Rsa(parameters) => {
                let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
                let bits = check_rsa(&n, &e)?;
                let value = [n.as_slice(), &[0], e.as_slice()].concat();
                let components = RsaPublicKeyComponents { n: &n, e: &e };
                (components.to_parsed_public_key(parameters), value, bits)
            }
            Kind::Curve {
                coordinate,
                algorithm,
                ..
            } => {
                let (x, y) = (octets(jwk, "x")?, octets(jwk, "y")?);
                if x.len() != coordinate || y.len() != coordinate {
                    return Err("its coordinates are not as long as its curve's");
                }
                // SEC 1 section 2.3.4: uncompressed
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let parsed = ParsedPublicKey::new(algorithm, &point);
                (parsed, point, coordinate * 8)
            }
            Kind::Edwards(algorithm) => {
                let x = octets(jwk, "x")?;
                let bits = x.len() * 8;
                (ParsedPublicKey::new(algorithm, &x), x, bits)
            }
        };
        Ok(Self {
            parsed: parsed.map_err(|_| "its value is not that of a key")?,
            value,
            bits,
        })
    }
}

fn octets(jwk: &Object, name: &'static str) -> Result<Vec<u8>, &'static str> {
    let octets = text(jwk, name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    octets.ok_or("a value is missing or not base64url")
}

/// `Base64urlUInt` (RFC 7518 section 2), without the zero octet that some put in front.
fn number(jwk: &Object, name: &'static str) -> Result<Vec<u8>, &'static str> {
    let octets = octets(jwk, name)?;
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    Ok(octets[zeros..].to_vec())
}

/// What the library would only find out with each signature. A huge exponent makes each cost
/// milliseconds.
fn check_rsa(n: &[u8], e: &[u8]) -> Result<usize, &'static str> {
    let bits = n.len() * 8 - n.first().map_or(0, |octet| octet.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("an RSA key has 2,048 to 8,192 bits");
    }
    if e.is_empty() || e.len() > 4 || e == [1] || e.last().is_some_and(|octet| octet % 2 == 0) {
        return Err("its exponent is not that of an RSA key");
    }
    Ok(bits)
}
