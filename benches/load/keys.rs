//! What admission by bearer token needs: a key, its JWKS, its public half, and tokens that it signed.

use std::{fmt::Write, fs, path::Path};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::json;

use crate::Error;

pub(crate) fn write(folder: &Path, issuer: &str, count: usize) -> Result<String, Error> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let public = key.public_key();
    let code = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({"keys": [{
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "bench",
        "n": code(public.modulus().big_endian_without_leading_zero()),
        "e": code(public.exponent().big_endian_without_leading_zero()),
    }]});
    fs::write(folder.join("jwks.json"), jwks.to_string())?;
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(public)?;
    let pem = BASE64_STANDARD.encode(der.as_ref());
    fs::write(
        folder.join("jwt.pem"),
        format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n"),
    )?;
    let head = code(
        json!({"alg": "RS256", "typ": "JWT", "kid": "bench"})
            .to_string()
            .as_bytes(),
    );
    let mut tokens = String::new();
    for n in 0..count {
        let claims = json!({
            "iss": issuer, "aud": "api://bench", "sub": format!("user-{n}"), "iat": 1_700_000_000,
            "exp": 4_000_000_000_u32, "scope": ["itwin-platform"], "email": format!("user-{n}@example.com"),
        });
        let signed = format!("{head}.{}", code(claims.to_string().as_bytes()));
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )?;
        writeln!(tokens, "{signed}.{}", code(&signature))?;
    }
    fs::write(folder.join("tokens"), tokens)?;
    Ok(json!({"tokens": count}).to_string())
}
