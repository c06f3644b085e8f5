//! A provider's key set as it is served (RFC 7517 section 5); what is in it is read elsewhere.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use url::Url;

use crate::http::client::{ClientError, HttpClient};

/// A key set that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{host} answered {status} when asked for its keys")]
    Status { host: String, status: StatusCode },
}

/// Fetches the document at `url`.
///
/// # Errors
/// When the answer is another than 200, or too large, or does not come in time.
pub async fn fetch_jwks(http: &HttpClient, url: &Url) -> Result<Bytes, JwksError> {
    let request = Request::get(url.as_str())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Bytes::new())
        .map_err(|_| ClientError::Url)?;
    let response = http.send(request).await?;
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        status => Err(JwksError::Status {
            host: url.host_str().unwrap_or_default().to_owned(),
            status,
        }),
    }
}
