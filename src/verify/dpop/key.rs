//! The key that a proof brings along (RFC 9449 section 4.2), and its thumbprint (RFC 7638).
//!
//! Anybody can bring a key, so that it says nothing until its thumbprint is found in a token that
//! an issuer signed. It is a type of its own: no access token can be checked with it.

use aws_lc_rs::digest::{SHA256, digest};

use super::{
    super::{
        bound::Thumbprint,
        json::{Json, Object},
        jwk::{self, PublicKey},
    },
    BadProof,
};
use crate::config::Algorithm;

/// Each proof brings its own: nobody is made to compute with larger ones.
const MOST_BITS: usize = 4096;
/// What only who holds the key may know, and shared keys (RFC 7518 section 6).
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A proof's key.
pub(super) struct ProofKey {
    public: PublicKey,
    pub(super) thumbprint: Thumbprint,
}

impl ProofKey {
    pub(super) fn read(written: Option<&Json>, algorithm: Algorithm) -> Result<Self, BadProof> {
        let bad = |why| BadProof::Key { why };
        let Some(Json::Object(jwk)) = written else {
            return Err(bad("there is none"));
        };
        if SECRET.iter().any(|member| jwk.has(member)) {
            return Err(bad("it shows its secret"));
        }
        jwk::check_use(jwk).map_err(bad)?;
        let said = jwk::text(jwk, "alg").and_then(Algorithm::named);
        if jwk.has("alg") && said != Some(algorithm) {
            return Err(bad("it is for another algorithm"));
        }
        if !jwk::is_for(algorithm, jwk::text(jwk, "kty"), jwk::text(jwk, "crv")) {
            return Err(bad("it is of another type than the algorithm's"));
        }
        let public = PublicKey::read(jwk, algorithm).map_err(bad)?;
        if public.bits > MOST_BITS {
            return Err(bad("it has more than 4,096 bits"));
        }
        Ok(Self {
            public,
            thumbprint: thumbprint(jwk).ok_or(bad("a member is missing"))?,
        })
    }

    pub(super) fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        self.public.parsed.verify_sig(text, signature).is_ok()
    }
}

/// RFC 7638 section 3, of a key that was read: its members are base64url, which JSON writes as it
/// stands.
fn thumbprint(jwk: &Object) -> Option<Thumbprint> {
    let member = |name| jwk::text(jwk, name);
    let canonical = match member("kty")? {
        "RSA" => format!(
            r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
            member("e")?,
            member("n")?
        ),
        "EC" => format!(
            r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
            member("crv")?,
            member("x")?,
            member("y")?
        ),
        "OKP" => format!(
            r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#,
            member("crv")?,
            member("x")?
        ),
        _ => return None,
    };
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, canonical.as_bytes()).as_ref());
    Some(Thumbprint::of(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(jwk: &str, algorithm: Algorithm) -> Result<Thumbprint, BadProof> {
        let jwk = Json::Object(Object::read(jwk.as_bytes()).unwrap());
        ProofKey::read(Some(&jwk), algorithm).map(|key| key.thumbprint)
    }

    #[test]
    fn the_examples_of_the_rfcs_have_the_thumbprints_that_they_say() {
        // RFC 7638 section 3.1
        let rsa = read(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
            Algorithm::Rs256,
        );
        let expected = Thumbprint::parse("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(rsa.ok(), expected);
        // RFC 8037 appendix A.3
        let okp = read(
            r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            Algorithm::EdDsa,
        );
        let expected = Thumbprint::parse("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(okp.ok(), expected);
    }
}
