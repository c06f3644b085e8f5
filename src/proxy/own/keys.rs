//! The public keys of identity JWTs, for the services that check them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, Request, Response, header::CACHE_CONTROL};
use hyper::body::Incoming;

use super::{Endpoint, Visitor, document, other_method};
use crate::{health::Document, proxy::identity::Signer};

/// Serves what the signer has now.
#[derive(Debug)]
pub(super) struct Keys(pub(super) Arc<Signer>);

impl Endpoint for Keys {
    fn answer(
        &self,
        request: Request<Incoming>,
        Visitor { reference, .. }: Visitor,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let answer = if matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = document(
                "application/jwk-set+json",
                self.0.text().unwrap_or_default(),
            );
            let minutes = HeaderValue::from_static("max-age=300");
            answer.headers_mut().insert(CACHE_CONTROL, minutes);
            answer
        } else {
            other_method("GET, HEAD", &reference)
        };
        std::future::ready(answer).boxed()
    }
}
