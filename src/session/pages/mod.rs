//! stub
use bytes::Bytes;
use http::{Response, StatusCode};
use std::path::Path;
#[derive(Debug)]
pub struct Pages;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct PagesError;
pub struct SignIn<'a> {
    pub session: &'a str,
    pub login: &'a str,
}
pub struct SignedOut<'a> {
    pub login: &'a str,
}
pub struct SignOut<'a> {
    pub action: &'a str,
}
pub struct ErrorPage<'a> {
    pub title: &'a str,
    pub text: &'a str,
    pub detail: Option<&'a str>,
    pub ways: &'a [(&'a str, &'a str)],
    pub request_id: &'a str,
}
fn page(status: StatusCode, text: String) -> Response<Bytes> {
    let mut r = Response::new(text.into());
    *r.status_mut() = status;
    r
}
impl Pages {
    pub fn new(_: Option<&Path>) -> Result<Self, PagesError> {
        Ok(Self)
    }
    pub fn sign_in(&self, p: &SignIn<'_>) -> Response<Bytes> {
        page(
            StatusCode::UNAUTHORIZED,
            format!("{} {}", p.session, p.login),
        )
    }
    pub fn signed_out(&self, p: &SignedOut<'_>) -> Response<Bytes> {
        page(StatusCode::OK, p.login.into())
    }
    pub fn sign_out(&self, p: &SignOut<'_>) -> Response<Bytes> {
        page(StatusCode::OK, p.action.into())
    }
    pub fn error(&self, s: StatusCode, p: &ErrorPage<'_>) -> Response<Bytes> {
        page(
            s,
            format!(
                "{} {} {:?} {:?} {}",
                p.title, p.text, p.detail, p.ways, p.request_id
            ),
        )
    }
}
