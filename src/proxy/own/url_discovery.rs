//! The URL discovery service ("Buddi"), which clients of generation 1.x ask where services are.
//!
//! They take `result.url` and keep it for the life of their process, so a key that nobody has
//! configured is answered 404: the client then says which service it could not find, and once more
//! when it is asked again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Method, Response, header::ACCESS_CONTROL_ALLOW_ORIGIN};
use serde_json::json;

use super::{
    document, form,
    guarded::{Asked, Pages, Service},
    handout::never_stored,
    other_method, refusal,
};
use crate::{
    config::{Discovered, UrlDiscovery, Whereto},
    handbook::Code,
    tokens::TokenHandle,
};

/// What it is asked for, below its path.
const GET_URL: &str = "/geturl";

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Shim(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: UrlDiscovery,
    /// Of the first authority that we stand in for.
    authority: String,
}

impl Shim {
    pub(super) fn new(config: &UrlDiscovery, authority: &str) -> Self {
        Self(Arc::new(Shared {
            config: config.clone(),
            authority: authority.to_owned(),
        }))
    }
}

impl Service for Shim {
    fn serves(&self, path: &str) -> bool {
        let below = path.strip_prefix(self.0.config.path.as_str());
        below.is_some_and(|rest| rest.trim_end_matches('/').eq_ignore_ascii_case(GET_URL))
    }

    fn pages(&self) -> Pages {
        Pages::Welcome
    }

    fn answer(&self, asked: Asked) -> BoxFuture<'static, Response<Bytes>> {
        let answer = never_stored(self.0.answer(&asked));
        std::future::ready(answer).boxed()
    }

    fn tokens(&self) -> Vec<TokenHandle> {
        Vec::new()
    }
}

impl Shared {
    fn answer(&self, asked: &Asked) -> Response<Bytes> {
        let reference = &asked.reference;
        if !matches!(*asked.request.method(), Method::GET | Method::HEAD) {
            return other_method("GET, HEAD", reference);
        }
        let query = asked.request.uri().query().unwrap_or_default();
        let parameters = form::parameters(query.as_bytes()).unwrap_or_default();
        let Some(key) = parameters.get("url") else {
            let text = "Ask for one service by its key, as in GetUrl/?url=iModelHubApi&region=0.";
            return refusal(Code::UrlKeyMissing, text, reference);
        };
        let region = parameters.get("region").map_or(Ok(0), |text| text.parse());
        let found = self.config.urls.get(&key.to_ascii_lowercase());
        let place = found.zip(region.ok()).and_then(|(found, n)| of(found, n));
        let Some(place) = place else {
            tracing::warn!(
                request_id = reference.request_id,
                key = %key.escape_debug(),
                region = parameters.get("region").map(|text| text.escape_debug().to_string()),
                "a client asks for a URL that url_discovery.urls does not have"
            );
            let text = "This URL discovery service does not know the key in this region: add it to url_discovery.urls.";
            return refusal(Code::UrlKeyUnknown, text, reference);
        };
        let url = match place {
            Whereto::Url(url) => url.to_string(),
            Whereto::Here(path) => format!("{}{path}", asked.origin),
            Whereto::Authority => format!("{}{}", asked.origin, self.authority),
        };
        let text = json!({"result": {"url": url}}).to_string();
        let mut answer = document("application/json", text.into());
        let anyone = HeaderValue::from_static("*");
        let headers = answer.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
        answer
    }
}

fn of(found: &Discovered, region: u32) -> Option<&Whereto> {
    found.regions.get(&region).or(found.anywhere.as_ref())
}
