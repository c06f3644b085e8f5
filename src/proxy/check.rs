//! What a request must be, whatever it is for.

use http::{
    Method, Request, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::failure::Failure;
use crate::{
    config::Limits,
    http::survey::{Field, Survey},
};

pub(super) fn size(survey: Survey, uri: &http::Uri, limits: &Limits) -> Result<(), Failure> {
    let line = uri.path().len() + uri.query().map_or(0, str::len);
    if survey.lines > limits.header_count || survey.bytes + line > limits.header_bytes {
        return Err(Failure::HeaderTooLarge);
    }
    Ok(())
}

/// A length said in two ways is how requests are smuggled (RFC 9112 section 6.1); HTTP/1.0 has one
/// way only.
pub(super) fn framing<B>(request: &Request<B>, survey: Survey) -> Result<(), Failure> {
    if !survey.has(Field::TransferEncoding) {
        return Ok(());
    }
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    // another coding beneath `chunked` would be lost with it
    let chunked = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    let single = chunked && codings.next().is_none();
    if !single || headers.contains_key(CONTENT_LENGTH) || request.version() == Version::HTTP_10 {
        return Err(Failure::Framing);
    }
    Ok(())
}

/// TRACE would show the caller the token that we add; CONNECT asks for another kind of proxy.
pub(super) fn method(method: &Method) -> Result<(), Failure> {
    // methods are case-sensitive, but not to every server; TRACK is another name for TRACE
    let refused = ["TRACE", "TRACK", "CONNECT"];
    if refused
        .iter()
        .any(|name| method.as_str().eq_ignore_ascii_case(name))
    {
        return Err(Failure::MethodRefused(method.clone()));
    }
    Ok(())
}
