//! The sandbox as its clients see it, over real connections.

use std::collections::HashSet;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

mod exchange;
mod faults;
mod hub;
mod idp;
mod people;

use super::*;

/// An answer, read whole.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends one request on a connection of its own.
async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Got> {
    let uri: http::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().to_string();
    let stream = tokio::net::TcpStream::connect(&authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let stop = Shutdown::new();
    stop.spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().unwrap().as_str())
        .header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    stop.advance(Stage::Hard);
    Ok(Got {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn token(sandbox: &Sandbox, form: &str) -> Got {
    let url = format!("{}/connect/token", sandbox.issuer());
    send("POST", &url, &[FORM], form).await.unwrap()
}

/// A valid `Authorization` value.
async fn bearer(sandbox: &Sandbox) -> String {
    let got = token(sandbox, &client_credentials(sandbox)).await;
    format!("Bearer {}", got.json()["access_token"].as_str().unwrap())
}

fn client_credentials(sandbox: &Sandbox) -> String {
    format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        sandbox.client_id(),
        sandbox.client_secret()
    )
}

async fn sandbox(change: impl FnOnce(&mut SandboxConfig)) -> Sandbox {
    let mut config = SandboxConfig::default();
    change(&mut config);
    Sandbox::start(config).await.unwrap()
}

async fn get(sandbox: &Sandbox, url: &str) -> Got {
    let bearer = bearer(sandbox).await;
    let url = url.replace(' ', "%20");
    send("GET", &url, &[("authorization", &bearer)], "")
        .await
        .unwrap()
}
