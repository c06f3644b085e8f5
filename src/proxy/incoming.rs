//! The upstream's answer as the caller gets it: hop-by-hop fields off, links pointed back at us,
//! login pages refused.

use std::time::Duration;

use http::{
    HeaderValue, Method, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, LOCATION},
};
use http_body_util::Either;

use super::{
    answer::{Answer, Relay},
    attempt::Exchanged,
    failure::Failure,
    outgoing::Injects,
    permit::Permit,
};
use crate::{
    config::{LinkRewriting, Origin},
    http::{headers, links},
};

/// What the answer's treatment depends on, read from the request before it left.
#[derive(Debug)]
pub(super) struct Asked {
    pub method: Method,
    /// Where the caller reached us, for links.
    pub origin: Option<Origin>,
    pub wants: WantsPage,
}

/// Whether the caller would take a page for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantsPage {
    Yes,
    No,
}

impl WantsPage {
    pub(super) fn read(accept: Option<&HeaderValue>) -> Self {
        let html = |accept: &HeaderValue| {
            let text = accept.to_str().unwrap_or_default();
            text.contains("text/html") || text.contains("application/xhtml")
        };
        if accept.is_some_and(html) {
            Self::Yes
        } else {
            Self::No
        }
    }

    /// As [`WantsPage::read`], of a request's fields.
    pub(super) fn of(headers: &http::HeaderMap) -> Self {
        Self::read(headers.get(ACCEPT))
    }
}

/// Makes the caller's answer of the upstream's; its body may take what is `left` of the request's
/// time, if that is limited.
///
/// # Errors
/// When it is a login page where the route expects an API.
pub(super) fn clean(
    exchanged: Exchanged,
    permit: &Permit,
    asked: &Asked,
    injects: Injects,
    left: Option<Duration>,
) -> Result<Response<Answer>, Failure> {
    let route = permit.route();
    let (mut parts, body) = exchanged.response.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    let config = &route.config;
    if config.refuse_login_pages && injects == Injects::Yes {
        let page = is_page(parts.status, parts.headers.get(CONTENT_TYPE), asked.wants)
            || leads_to_provider(
                parts.status,
                parts.headers.get(LOCATION),
                &route.provider_hosts,
            );
        if page {
            return Err(Failure::LoginPage {
                origin: route.origin(),
            });
        }
    }
    let body = Relay::new(body, exchanged.lease, config.timeouts.idle, left);
    let response = Response::from_parts(parts, body);
    let to = match &config.links {
        LinkRewriting::Off => None,
        LinkRewriting::On {
            public: Some(public),
        } => Some(public),
        LinkRewriting::On { public: None } => asked.origin.as_ref(),
    };
    let Some(to) = to else {
        return Ok(response.map(Answer::relay));
    };
    let rewritten = links::rewrite(&asked.method, response, &config.upstream.origin, to);
    Ok(rewritten.map(|body| match body {
        Either::Left(body) => Answer::relay(body),
        Either::Right(body) => Answer::links(body),
    }))
}

/// HTML with a 200 where nobody asked for HTML: a sign-in page that would pass for success.
fn is_page(status: StatusCode, content_type: Option<&HeaderValue>, wants: WantsPage) -> bool {
    let html = content_type.is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= 9 && value[..9].eq_ignore_ascii_case(b"text/html")
    });
    status.is_success() && html && wants == WantsPage::No
}

fn leads_to_provider(
    status: StatusCode,
    location: Option<&HeaderValue>,
    providers: &[String],
) -> bool {
    if !status.is_redirection() {
        return false;
    }
    let location = location.and_then(|value| value.to_str().ok()?.parse::<Uri>().ok());
    let host = location.as_ref().and_then(Uri::host);
    host.is_some_and(|host| {
        providers
            .iter()
            .any(|provider| host.eq_ignore_ascii_case(provider))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_nobody_asked_for_is_no_answer() {
        let html = HeaderValue::from_static("Text/HTML; charset=utf-8");
        let json = HeaderValue::from_static("application/json");
        let table = [
            (200, Some(&html), WantsPage::No, true),
            (200, Some(&html), WantsPage::Yes, false),
            (200, Some(&json), WantsPage::No, false),
            (404, Some(&html), WantsPage::No, false),
            (204, None, WantsPage::No, false),
        ];
        for (status, content_type, wants, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                is_page(status, content_type, wants),
                expected,
                "{status} {wants:?}"
            );
        }
    }

    #[test]
    fn a_redirect_to_the_provider_is_a_login_page() {
        let providers = ["ims.test".to_owned()];
        let table = [
            (302, "https://ims.test/connect/authorize?x", true),
            (302, "https://IMS.test/", true),
            (302, "https://ims.test.evil/", false),
            (302, "/relative", false),
            (201, "https://ims.test/", false),
        ];
        for (status, location, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let location = HeaderValue::from_static(location);
            let found = leads_to_provider(status, Some(&location), &providers);
            assert_eq!(found, expected, "{status} {location:?}");
        }
    }
}
