//! Tokens that must pass.

use super::*;

#[tokio::test]
async fn real_shapes_of_tokens_are_taken() {
    let issuer = issuer(&[&RSA]);
    let rfc9068 = json!({"alg": "RS256", "kid": RSA.id(), "typ": "at+jwt"});
    let shapes = [
        ("of Bentley IMS", RSA.header(), ims()),
        (
            "of its other name",
            RSA.header(),
            ims_with(&json!({"iss": "https://imsoidc.bentley.com"})),
        ),
        (
            "refreshed: nbf of long ago",
            RSA.header(),
            ims_with(&json!({"nbf": NOW - 250_000})),
        ),
        (
            "of IdentityServer",
            json!({"alg": "RS256", "kid": RSA.id(), "typ": "at+jwt", "x5t": "abc"}),
            ims_with(&json!({"iat": NOW, "jti": "1", "nbf": NOW})),
        ),
        (
            "of RFC 9068",
            rfc9068.clone(),
            ims_with(
                &json!({"scope": "openid itwin-platform", "aud": "bentley-api-management", "iat": NOW, "jti": "1"}),
            ),
        ),
        (
            "with a typ in full and a nonce",
            json!({"alg": "RS256", "kid": RSA.id(), "typ": "application/AT+JWT"}),
            ims_with(&json!({"nonce": "1"})),
        ),
        (
            "of Keycloak",
            json!({"alg": "RS256", "kid": RSA.id(), "typ": "JWT"}),
            ims_with(
                &json!({"typ": "Bearer", "nonce": "1", "client_id": null, "azp": "webapp-1", "realm_access": {"roles": ["a"]}}),
            ),
        ),
        (
            "with a slash behind the issuer",
            RSA.header(),
            ims_with(&json!({"iss": "https://ims.bentley.com/"})),
        ),
        ("without kid", json!({"alg": "RS256"}), ims()),
        (
            "with fractions of seconds",
            RSA.header(),
            ims_with(&json!({"exp": 1_700_000_010.5_f64, "iat": 1_699_999_999.25_f64})),
        ),
        (
            "that names a key of its own, which nobody looks at",
            json!({"alg": "RS256", "kid": RSA.id(), "jku": "https://evil.example", "x5c": ["AAAA"], "jwk": EC.jwk}),
            ims(),
        ),
        (
            "just expired by our clock",
            RSA.header(),
            ims_with(&json!({"exp": NOW - 59})),
        ),
    ];
    for (shape, header, claims) in shapes {
        let taken = admit(&issuer, &rules(), &RSA.sign(&header, &claims));
        let taken = taken.unwrap_or_else(|refusal| panic!("{shape}: {refusal}"));
        assert_eq!(taken.holder.client.as_deref(), Some("webapp-1"), "{shape}");
        assert!(taken.scopes.iter().any(|s| **s == *"itwin-platform"));
    }
}

#[tokio::test]
async fn every_algorithm_with_a_public_key_is_understood() {
    use jsonwebtoken::Algorithm::{PS256, PS384, PS512, RS384, RS512};
    let rsa = [RS384, RS512, PS256, PS384, PS512];
    let rsa = rsa.map(|algorithm| Pair::new(RSA.private.clone(), algorithm, "k"));
    let others = [Pair::ec("k"), Pair::p384("k"), Pair::edwards("k")];
    for pair in rsa.iter().chain(&others) {
        let taken = admit(&issuer(&[pair]), &rules(), &pair.token(&ims()));
        assert!(taken.is_ok(), "{:?}: {taken:?}", pair.algorithm);
    }
}
