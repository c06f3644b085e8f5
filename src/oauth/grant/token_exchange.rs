//! RFC 8693: another token for one that a caller showed.

use bytes::Bytes;
use http::{Request, header};
use oauth2::RequestTokenError;
use url::form_urlencoded;

use super::TokenRequest;
use crate::{
    clock::Moment,
    http::client::{ClientError, HttpClient},
    oauth::{
        token_endpoint::TokenEndpoint,
        types::{ExchangeError, Issued},
    },
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
    let endpoint = TokenEndpoint::new(http, request.endpoint, now);
    let message = message(request, subject, subject_type)?;
    let answer = endpoint.answer(message).await;
    endpoint.read(answer.map_err(RequestTokenError::Request))
}

fn message(
    request: &TokenRequest<'_>,
    subject: &Secret,
    subject_type: &str,
) -> Result<Request<Bytes>, ClientError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", GRANT_TYPE)
        .append_pair("subject_token", subject.expose())
        .append_pair("subject_token_type", subject_type)
        .append_pair("requested_token_type", ACCESS_TOKEN);
    if !request.scopes.is_empty() {
        form.append_pair("scope", &request.scopes.to_string());
    }
    for (name, value) in request.extra {
        form.append_pair(name, value);
    }
    let mut message = Request::post(request.endpoint.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(field) = request.proof.write(request.client_id, &mut form) {
        message = message.header(header::AUTHORIZATION, field);
    }
    message
        .body(form.finish().into())
        .map_err(|_| ClientError::Url)
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
        let message = message(&request, &Secret::new("the+callers"), ACCESS_TOKEN).unwrap();
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
