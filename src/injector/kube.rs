//! The Kubernetes API, as far as the injector needs it: its version, one Secret, one
//! `MutatingWebhookConfiguration`.
//!
//! A handful of requests does not need a client library with its own HTTP and TLS stack: this is our
//! own client with a token and JSON. Token and authority are read again for every request, because
//! the kubelet replaces both. A write says which version of the object it is for; when somebody else
//! was first, that is [`ApiError::Conflict`], and to be read again.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;

use crate::{
    config::{ClientTls, injector::ApiServer, source},
    http::client::{ClientError, HttpClient},
    secret::Secret,
};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const CONNECT: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(15);
/// No token is larger.
const TOKEN_MAX_BYTES: usize = 64 * 1024;

/// Why the API gave no answer that helps.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set): name the API server in api_server"
    )]
    NotInCluster,
    #[error("the token {} cannot be read", path.display())]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the token {} cannot be sent", path.display())]
    BadToken { path: PathBuf },
    #[error("the API server cannot be asked")]
    Client(#[from] ClientError),
    #[error("{what}: somebody else changed it first")]
    Conflict { what: String },
    #[error("{what}: the API server answered {status}: {message}")]
    Refused {
        what: String,
        status: StatusCode,
        message: String,
    },
    #[error("{what}: the API server's answer is not JSON")]
    Json { what: String },
}

/// An API server. Nothing is kept between requests.
#[derive(Debug, Clone)]
pub struct Api(ApiServer);

/// Where it is, and what we show it.
struct Place {
    base: String,
    token: PathBuf,
    ca: PathBuf,
}

/// The files that the server is asked with.
pub fn files(server: &ApiServer) -> [PathBuf; 2] {
    match server {
        ApiServer::InCluster => ["token", "ca.crt"].map(|name| PathBuf::from(ACCOUNT).join(name)),
        ApiServer::At {
            token_file,
            ca_file,
            ..
        } => [token_file.clone(), ca_file.clone()],
    }
}

impl Api {
    pub fn new(server: ApiServer) -> Self {
        Self(server)
    }

    fn place(&self) -> Result<Place, ApiError> {
        let base = match &self.0 {
            ApiServer::InCluster => {
                let (host, port) = source::kubernetes_service().ok_or(ApiError::NotInCluster)?;
                if host.contains(':') {
                    format!("https://[{host}]:{port}")
                } else {
                    format!("https://{host}:{port}")
                }
            }
            ApiServer::At { url, .. } => url.as_str().trim_end_matches('/').to_owned(),
        };
        let [token, ca] = files(&self.0);
        Ok(Place { base, token, ca })
    }

    /// An object, if there is one.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.send(Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object; `path` is that of its list.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = ("application/json", object);
        self.send(Method::POST, path, Some(body)).await
    }

    /// Replaces an object of the version that is in it.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = ("application/json", object);
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Changes an object by JSON Patch.
    pub async fn patch(&self, path: &str, operations: &Value) -> Result<Value, ApiError> {
        let body = ("application/json-patch+json", operations);
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, ApiError> {
        let place = self.place()?;
        let what = format!("{method} {path}");
        let tls = ClientTls {
            extra_ca: vec![place.ca],
            ..ClientTls::default()
        };
        let client = HttpClient::new(&tls, CONNECT, TOTAL)?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", place.base))
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer(&place.token).await?);
        let bytes = match body {
            None => Bytes::new(),
            Some((kind, value)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                Bytes::from(value.to_string())
            }
        };
        let request = request.body(bytes).map_err(|_| ClientError::Url)?;
        let answer = client.send(request).await?;
        let json = serde_json::from_slice::<Value>(answer.body());
        match answer.status() {
            status if status.is_success() => json.map_err(|_| ApiError::Json { what }),
            StatusCode::CONFLICT => Err(ApiError::Conflict { what }),
            status => {
                // a Status object; it says why, and holds no secret
                let json = json.unwrap_or_default();
                let message = json["message"].as_str().unwrap_or_default();
                Err(ApiError::Refused {
                    what,
                    status,
                    message: message.chars().take(300).collect(),
                })
            }
        }
    }
}

async fn bearer(file: &std::path::Path) -> Result<HeaderValue, ApiError> {
    let path = file.to_path_buf();
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| ApiError::Token {
        path: path.clone(),
        source,
    })?;
    let token = Secret::new(text.trim());
    let value = format!("Bearer {}", token.expose());
    if token.is_empty() || value.len() > TOKEN_MAX_BYTES {
        return Err(ApiError::BadToken { path });
    }
    HeaderValue::from_str(&value).map_err(|_| ApiError::BadToken { path })
}
