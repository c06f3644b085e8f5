//! The upstream's answer as the caller gets it: hop-by-hop fields off, links pointed back at us,
//! login pages refused.

use std::time::Duration;

use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
    response::Parts,
    uri::Authority,
};
use http_body_util::Either;

use super::{
    answer::{Content, Relay},
    attempt::Exchanged,
    bound::DPOP_NONCE,
    failure::Failure,
    outgoing::{Injects, Outgoing},
    permit::Permit,
    person::Person,
    rejected::{is_repository, leads_to_provider},
    target,
};
use crate::{
    config::{LinkRewriting, Origin},
    http::{
        headers, links,
        survey::{Field, Survey},
    },
};

/// What the answer's treatment depends on, read from the request before it left.
#[derive(Debug)]
pub(super) struct Asked {
    /// The caller's connection to us, for links.
    pub https: Https,
}

/// Whether the caller reached us by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Https {
    Yes,
    No,
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
    outgoing: &Outgoing,
    left: Option<Duration>,
) -> Result<(Parts, Content), Failure> {
    let route = permit.route();
    let (mut parts, body) = exchanged.response.into_parts();
    let survey = Survey::of(&parts.headers);
    headers::strip_hop_by_hop(&mut parts.headers, survey);
    let config = &route.config;
    if config.refuse_login_pages && outgoing.injects == Injects::Yes {
        let page = (survey.has(Field::ContentType)
            && is_page(parts.status, parts.headers.get(CONTENT_TYPE), || {
                WantsPage::read(outgoing.accept())
            }))
            || (survey.has(Field::Link)
                && !is_repository(outgoing.path())
                && leads_to_provider(
                    parts.status,
                    parts.headers.get(LOCATION),
                    &route.provider_hosts,
                ));
        if page {
            return Err(Failure::LoginPage {
                origin: route.origin(),
            });
        }
    }
    if let Some(nonce) = permit.nonce() {
        parts.headers.insert(DPOP_NONCE, nonce.clone());
    }
    let lasting = permit.person().and_then(Person::lasting);
    let body = Relay::new(body, exchanged.lease, config.timeouts.idle, left, lasting);
    let LinkRewriting::On { public } = &config.links else {
        return Ok((parts, Content::Relay(body)));
    };
    let to = || {
        let here = || origin(outgoing.asked_host()?, asked.https);
        public.clone().or_else(here)
    };
    let from = &permit.route().to.origin;
    let content = match links::rewrite(&outgoing.head.method, &mut parts, body, survey, from, to) {
        Either::Left(body) => Content::Relay(body),
        Either::Right(body) => Content::Links(Box::new(body)),
    };
    Ok((parts, content))
}

/// Where the caller reached us.
fn origin(asked: &str, https: Https) -> Option<Origin> {
    let authority: Authority = asked.parse().ok()?;
    let https = https == Https::Yes;
    Some(Origin {
        https,
        host: target::host(authority.as_str()).into_owned(),
        port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
    })
}

/// HTML with a 200 where nobody asked for HTML: a sign-in page that would pass for success.
fn is_page(
    status: StatusCode,
    content_type: Option<&HeaderValue>,
    wants: impl FnOnce() -> WantsPage,
) -> bool {
    let html = content_type.is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= 9 && value[..9].eq_ignore_ascii_case(b"text/html")
    });
    status.is_success() && html && wants() == WantsPage::No
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
                is_page(status, content_type, || wants),
                expected,
                "{status} {wants:?}"
            );
        }
    }
}
