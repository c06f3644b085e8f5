//! What callers ask endpoints of ours: the parameters of a query or a form.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use url::form_urlencoded;

/// A SAML assertion in Base64 has some tens of kilobytes.
const LARGEST: usize = 256 << 10;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The whole body, or nothing when it is too large or does not come.
pub(super) async fn body(incoming: Incoming) -> Option<Bytes> {
    let body = Limited::new(incoming, LARGEST).collect();
    let body = tokio::time::timeout(LONGEST_WAIT, body).await.ok()?.ok()?;
    Some(body.to_bytes())
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|b| *b == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// The parameters, each given once at most; a name that is given twice otherwise (RFC 6749 section
/// 3.2). One without a value is one that was not given.
pub(super) fn parameters(text: &[u8]) -> Result<HashMap<String, String>, String> {
    let mut all = HashMap::new();
    for (name, value) in form_urlencoded::parse(text) {
        if value.is_empty() {
            continue;
        }
        if all.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(name.into_owned());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_is_given_once() {
        let found = parameters(b"a=1&b=x%20y+z&c=&a%62=2").unwrap();
        assert_eq!(found.get("b").map(String::as_str), Some("x y z"));
        assert_eq!(found.get("ab").map(String::as_str), Some("2"));
        assert!(!found.contains_key("c"));
        assert_eq!(parameters(b"a=1&%61=2"), Err("a".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_has_parameters_or_one_twice(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parameters(&text);
        }
    }
}
