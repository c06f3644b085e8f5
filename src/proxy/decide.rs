//! Decisions for gateways: whether a request that they hold may pass.
//!
//! The question describes the request in header fields that the gateway sets; which ones are read
//! is configured, because any others are the caller's to choose. What follows is the life of any
//! request as far as its permit. The answer is 200 with the fields for the service, or the refusal
//! that a caller would get from us directly.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    failure::Failure,
    identity::{self, Memory},
    permit::Permit,
    plan::Plan,
};
use crate::{clock::Moment, config::Gateway};

const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const PROTO: HeaderName = HeaderName::from_static("x-original-proto");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-original-host");
const URI: HeaderName = HeaderName::from_static("x-original-uri");
const URL: HeaderName = HeaderName::from_static("x-original-url");
const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The request that the question is about.
///
/// # Errors
/// When the gateway does not describe it, which is a fault of its configuration.
pub(super) fn described<B>(
    mut question: Request<B>,
    gateway: Gateway,
) -> Result<Request<B>, Failure> {
    let headers = question.headers();
    let (method, uri) = match gateway {
        Gateway::Envoy => (question.method().clone(), None),
        Gateway::IngressNginx => (method(headers, &METHOD)?, Some(url(headers)?)),
        Gateway::Nginx => (
            method(headers, &METHOD)?,
            Some(parts(headers, &PROTO, &ORIGINAL_HOST, &URI)?),
        ),
        Gateway::Traefik => (
            method(headers, &FORWARDED_METHOD)?,
            Some(parts(
                headers,
                &FORWARDED_PROTO,
                &FORWARDED_HOST,
                &FORWARDED_URI,
            )?),
        ),
    };
    *question.method_mut() = method;
    if let Some(uri) = uri {
        let host = uri.authority().map(Authority::as_str).unwrap_or_default();
        let host = HeaderValue::from_str(host).map_err(|_| undescribed(&HOST))?;
        let headers = question.headers_mut();
        headers.insert(HOST, host);
        // of the question, whose body nobody reads
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        *question.uri_mut() = uri;
    }
    Ok(question)
}

/// It may pass, with the fields that tell the service who calls. What is not known is there and
/// empty, so that a gateway that copies what it finds leaves nothing of the caller's.
///
/// # Errors
/// When the gateway would pass on what we would have taken out: a field that a service could take
/// for one of these, or a token that nobody has checked.
pub(super) fn yes(
    plan: &Plan,
    permit: &Permit,
    asked: &HeaderMap,
    memory: &Memory,
    now: Moment,
) -> Result<Response<Bytes>, Failure> {
    if let Some(field) = plan.own_fields.mistakable(asked) {
        let field = field.clone();
        return Err(Failure::AmbiguousField { field });
    }
    let unchecked = permit.verified().is_none() && permit.route().gate.asks_for_tokens();
    if unchecked && identity::has_token(asked) {
        return Err(Failure::UncheckedToken);
    }
    let mut answer = Response::new(Bytes::new());
    let headers = answer.headers_mut();
    for name in &plan.told_fields {
        headers.insert(name, HeaderValue::from_static(""));
    }
    if let Some(identity) = &permit.route().identity {
        identity.tell(headers, permit, memory, now);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// The status that the gateway passes on to the caller: nginx knows two, and takes any other for a
/// fault of ours.
pub(super) fn status(gateway: Gateway, status: StatusCode) -> StatusCode {
    let two_only = matches!(gateway, Gateway::Nginx | Gateway::IngressNginx);
    if two_only && status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        return StatusCode::FORBIDDEN;
    }
    status
}

fn method(headers: &HeaderMap, name: &HeaderName) -> Result<Method, Failure> {
    let written = field(headers, name)?;
    Method::from_bytes(written.as_bytes()).map_err(|_| undescribed(name))
}

fn parts(
    headers: &HeaderMap,
    proto: &HeaderName,
    host: &HeaderName,
    path: &HeaderName,
) -> Result<Uri, Failure> {
    let scheme = scheme(field(headers, proto)?, proto)?;
    let authority: Authority = field(headers, host)?
        .parse()
        .map_err(|_| undescribed(host))?;
    let written = field(headers, path)?;
    if !written.starts_with('/') {
        return Err(undescribed(path));
    }
    let path_and_query: PathAndQuery = written.parse().map_err(|_| undescribed(path))?;
    // what the parser leaves out (a fragment), the gateway may have sent on
    if path_and_query.as_str() != written {
        return Err(undescribed(path));
    }
    let uri = Uri::builder().scheme(scheme).authority(authority);
    let uri = uri.path_and_query(path_and_query).build();
    uri.map_err(|_| undescribed(path))
}

fn url(headers: &HeaderMap) -> Result<Uri, Failure> {
    let written = field(headers, &URL)?;
    let uri: Uri = written.parse().map_err(|_| undescribed(&URL))?;
    let known = uri.scheme_str().and_then(|found| scheme(found, &URL).ok());
    if known.is_none() || uri.authority().is_none() || written.contains('#') {
        return Err(undescribed(&URL));
    }
    Ok(uri)
}

fn scheme(written: &str, name: &HeaderName) -> Result<Scheme, Failure> {
    match written {
        "https" | "wss" => Ok(Scheme::HTTPS),
        "http" | "ws" => Ok(Scheme::HTTP),
        _ => Err(undescribed(name)),
    }
}

/// The only value of a field.
fn field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Failure> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| undescribed(name)),
        _ => Err(undescribed(name)),
    }
}

fn undescribed(name: &HeaderName) -> Failure {
    Failure::Undescribed {
        field: name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(fields: &[(&'static str, &'static str)]) -> Request<()> {
        let mut question = Request::new(());
        *question.uri_mut() = Uri::from_static("/auth");
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            question.headers_mut().append(*name, value);
        }
        question
    }

    fn told(gateway: Gateway, fields: &[(&'static str, &'static str)]) -> Result<String, String> {
        match described(question(fields), gateway) {
            Ok(request) => {
                let host = request.headers()[HOST].to_str().unwrap();
                Ok(format!("{} {} {host}", request.method(), request.uri()))
            }
            Err(failure) => Err(failure.to_string()),
        }
    }

    const NGINX: [(&str, &str); 4] = [
        ("x-original-method", "PUT"),
        ("x-original-proto", "https"),
        ("x-original-host", "api.example:8443"),
        ("x-original-uri", "/imodels/a%20b?x=1&y"),
    ];

    #[test]
    fn each_gateway_describes_the_request_in_its_own_way() {
        let url = "https://api.example:8443/imodels/a%20b?x=1&y";
        let expected = Ok(format!("PUT {url} api.example:8443"));
        let host = ("host", "proxy.internal");
        assert_eq!(
            told(Gateway::Nginx, &[&NGINX[..], &[host]].concat()),
            expected
        );
        let ingress = [("x-original-method", "PUT"), ("x-original-url", url), host];
        assert_eq!(told(Gateway::IngressNginx, &ingress), expected);
        let traefik = [
            ("x-forwarded-method", "PUT"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "api.example:8443"),
            ("x-forwarded-uri", "/imodels/a%20b?x=1&y"),
        ];
        assert_eq!(told(Gateway::Traefik, &traefik), expected);
        let itself = Ok("GET /auth api.example".to_owned());
        assert_eq!(told(Gateway::Envoy, &[("host", "api.example")]), itself);
    }

    #[test]
    fn a_field_of_another_gateway_describes_nothing() {
        let mut fields = NGINX.to_vec();
        fields.extend([
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "/public"),
            ("x-original-url", "https://api.example/public"),
        ]);
        let told = told(Gateway::Nginx, &fields).unwrap();
        assert!(
            told.starts_with("PUT https://api.example:8443/imodels/"),
            "{told}"
        );
    }

    #[test]
    fn what_is_missing_doubled_or_unreadable_is_named() {
        for n in 0..NGINX.len() {
            let name = NGINX[n].0;
            let without: Vec<_> = NGINX
                .iter()
                .copied()
                .filter(|(other, _)| *other != name)
                .collect();
            let refused = told(Gateway::Nginx, &without).unwrap_err();
            assert!(refused.contains(name), "{refused}");
            let twice = [&NGINX[..], &NGINX[n..=n]].concat();
            let refused = told(Gateway::Nginx, &twice).unwrap_err();
            assert!(refused.contains(name), "{refused}");
        }
        for (name, value) in [
            ("x-original-method", "P T"),
            ("x-original-proto", "ftp"),
            ("x-original-proto", "https, http"),
            ("x-original-host", "a b"),
            ("x-original-uri", "imodels"),
            ("x-original-uri", "*"),
            ("x-original-uri", "/a#/b"),
            ("x-original-uri", "https://evil.example/"),
        ] {
            let mut fields = NGINX.to_vec();
            for field in &mut fields {
                if field.0 == name {
                    field.1 = value;
                }
            }
            let refused = told(Gateway::Nginx, &fields).unwrap_err();
            assert!(refused.contains(name), "{value}: {refused}");
        }
    }

    #[test]
    fn nginx_is_told_401_or_403() {
        let two = [
            (400, 403),
            (401, 401),
            (403, 403),
            (404, 403),
            (431, 403),
            (503, 503),
        ];
        for (ours, theirs) in two {
            let ours = StatusCode::from_u16(ours).unwrap();
            assert_eq!(status(Gateway::Nginx, ours), theirs);
            assert_eq!(status(Gateway::Traefik, ours), ours);
        }
    }
}
