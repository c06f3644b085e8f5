//! RFC 8693: another token for one that a caller showed.

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::HttpClient,
    oauth::types::{ExchangeError, Issued},
    secret::Secret,
};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// One exchange, sent at `now`; `subject_type` says what `subject` is (RFC 8693 section 3).
///
/// # Errors
/// When it brings no token.
pub async fn exchange(
    request: &TokenRequest<'_>,
    subject: &Secret,
    subject_type: &str,
    http: &HttpClient,
    now: Moment,
) -> Result<Issued, ExchangeError> {
    let parameters = parameters(subject, subject_type);
    request.send(&parameters, http, now).await
}

fn parameters<'a>(subject: &'a Secret, subject_type: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", GRANT_TYPE),
        ("subject_token", subject.expose()),
        ("subject_token_type", subject_type),
        ("requested_token_type", ACCESS_TOKEN),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{config::ScopeSet, oauth::Proof};

    #[test]
    fn a_request_says_whose_token_is_exchanged_for_what() {
        let endpoint = "https://idp.example/token".parse().unwrap();
        let extra = BTreeMap::from([("resource".to_owned(), "https://api.example/".to_owned())]);
        let request = TokenRequest {
            endpoint: &endpoint,
            client_id: "proxy",
            proof: &Proof::Post(Secret::new("s")),
            scopes: &ScopeSet::new(["a", "b"]),
            extra: &extra,
        };
        let subject = Secret::new("the+callers");
        let message = request
            .message(&parameters(&subject, ACCESS_TOKEN))
            .unwrap();
        let form = String::from_utf8(message.into_body().into()).unwrap();
        assert_eq!(
            form,
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
             &subject_token=the%2Bcallers\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
             &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
             &scope=a+b&resource=https%3A%2F%2Fapi.example%2F&client_id=proxy&client_secret=s"
        );
    }
}
