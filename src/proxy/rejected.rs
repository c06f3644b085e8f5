//! Answers that say that a token of ours is not good: a 401; and, from iModelHub as clients of
//! iModel.js 1.x and 2.x know it (WSG), a redirect to the provider.
//!
//! Those clients follow no redirect, and read "sign in" in one. So it is passed on to them as it is,
//! once another token has not helped, where any other caller is told of a login page.

use http::{HeaderValue, Response, StatusCode, Uri, header::LOCATION};
use hyper::body::Incoming;

use super::{failure::PROXY_STATUS, outgoing::Outgoing, plan::Route};

/// Whether an answer may be a rejection, by its status alone.
pub(super) fn is_doubtful(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FOUND)
}

/// Whether the upstream rejects the token.
pub(super) fn is_rejection(
    response: &Response<Incoming>,
    route: &Route,
    outgoing: &Outgoing,
) -> bool {
    let status = response.status();
    status == StatusCode::UNAUTHORIZED
        || status == StatusCode::FOUND
            && is_repository(outgoing.path())
            && leads_to_provider(
                status,
                response.headers().get(LOCATION),
                &route.provider_hosts,
            )
}

/// The rejection is passed on, with the reason why we could not do better.
pub(super) fn say_why(response: &mut Response<Incoming>, reason: &'static str) {
    let status = format!("itwin-auth-proxy; details=\"{reason}\"");
    if let Ok(value) = HeaderValue::try_from(status) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}

/// Whether a redirect goes to one of the provider's hosts.
pub(super) fn leads_to_provider(
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

/// Whether a path is one of a Web Services Gateway: `…/sv1.1/Repositories/…`.
pub(super) fn is_repository(path: &str) -> bool {
    let Some((before, _)) = path.split_once("/Repositories/") else {
        return false;
    };
    let version = before.rsplit('/').next().unwrap_or_default();
    let number = version.strip_prefix("sv").or(version.strip_prefix('v'));
    number.is_some_and(|number| {
        number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_the_provider_is_one_and_no_other_is() {
        let providers = ["ims.bentley.com".to_owned()];
        let table = [
            (302, "https://IMS.bentley.com/connect/authorize?x=1", true),
            (307, "https://ims.bentley.com/", true),
            (201, "https://ims.bentley.com/", false),
            (302, "https://x.blob.core.windows.net/a?sig=b", false),
            (302, "/elsewhere", false),
            (302, "", false),
        ];
        for (status, location, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let location = HeaderValue::from_static(location);
            let found = leads_to_provider(status, Some(&location), &providers);
            assert_eq!(found, expected, "{status} {location:?}");
        }
    }

    #[test]
    fn repositories_are_known_by_their_paths() {
        for path in [
            "/sv1.1/Repositories/Context--1/ContextScope/iModel/",
            "/imodelhub/sv1.1/Repositories/iModel--1/$changeset",
            "/v2.5/Repositories/BentleyCONNECT--Main/",
        ] {
            assert!(is_repository(path), "{path}");
        }
        for path in [
            "/imodels/1",
            "/Repositories/a",
            "/x/Repositories/a",
            "/sv/Repositories/a",
            "/v.1/Repositories/a",
            "/sv1.1/repositories/a",
            "/sv1.1/Repositories",
        ] {
            assert!(!is_repository(path), "{path}");
        }
    }
}
