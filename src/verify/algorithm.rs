//! The signature algorithms that a token may be signed with (RFC 7518 section 3, RFC 8037).
//!
//! None that needs a secret shared with the issuer is here, so that a public key can never be taken
//! for one, and none that signs nothing.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    VerificationAlgorithm,
};

use crate::config::Algorithm;

/// What signs with an algorithm.
pub(super) enum Kind {
    Rsa(&'static RsaParameters),
    Curve {
        /// The JWK's `crv`.
        name: &'static str,
        /// Octets of a coordinate (RFC 7518 section 6.2.1.2).
        coordinate: usize,
        algorithm: &'static dyn VerificationAlgorithm,
    },
    Edwards(&'static dyn VerificationAlgorithm),
}

pub(super) fn kind(algorithm: Algorithm) -> Kind {
    let curve = |name, coordinate, algorithm| Kind::Curve {
        name,
        coordinate,
        algorithm,
    };
    match algorithm {
        Algorithm::Rs256 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Kind::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Kind::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Kind::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Kind::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 => curve("P-256", 32, &ECDSA_P256_SHA256_FIXED),
        Algorithm::Es384 => curve("P-384", 48, &ECDSA_P384_SHA384_FIXED),
        Algorithm::Es512 => curve("P-521", 66, &ECDSA_P521_SHA512_FIXED),
        Algorithm::EdDsa => Kind::Edwards(&ED25519),
    }
}
