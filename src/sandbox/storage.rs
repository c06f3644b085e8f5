//! The mock storage: a second origin, with blobs behind signed links as Azure's has them.
//!
//! A request with an `Authorization` header is refused, whatever the link says: a bearer token sent
//! here is a token sent to somebody else. So is a link of which a byte was changed: the signature
//! covers path and query as they were written, escapes included. Enough of the blob protocol for
//! `@azure/storage-blob` to upload in one piece or in blocks, and to download in ranges.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, RANGE,
    },
};
use parking_lot::Mutex;

use super::{answer, journal::Journal, server::Body};
use crate::clock::{Clock, Moment};

/// The first segment of every path: where the host is an address, Azure's clients expect the
/// account there.
const ACCOUNT: &str = "sandboxaccount";

/// How long a link is good.
const LINK_LIFETIME: Duration = Duration::from_secs(3600);

const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const VERSION: &str = "2021-08-06";

/// What a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The storage.
#[derive(Debug)]
pub(super) struct Storage {
    url: String,
    clock: Clock,
    journal: Arc<Journal>,
    key: hmac::Key,
    blobs: Mutex<HashMap<String, Blob>>,
}

#[derive(Debug, Default)]
struct Blob {
    content: Bytes,
    /// Uploaded, but not committed.
    blocks: HashMap<String, Bytes>,
}

/// The parts of a signed query, as written.
#[derive(Debug, Default)]
struct Link<'a> {
    signed: Vec<&'a str>,
    signature: &'a str,
    permissions: &'a str,
    resource: &'a str,
    expiry: &'a str,
}

impl Storage {
    pub(super) fn new(url: String, clock: Clock, journal: Arc<Journal>) -> Self {
        let mut key = [0; 32];
        // fails only where the system has no randomness; then links can be forged, in a sandbox
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self {
            url,
            clock,
            journal,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            blobs: Mutex::default(),
        }
    }

    pub(super) fn account() -> &'static str {
        ACCOUNT
    }

    /// `http://…/sandboxaccount/<container>`.
    pub(super) fn container_url(&self, container: &str) -> String {
        format!("{}/{ACCOUNT}/{container}", self.url)
    }

    pub(super) fn put(&self, container: &str, name: &str, content: impl Into<Bytes>) {
        let blob = Blob {
            content: content.into(),
            blocks: HashMap::new(),
        };
        let path = format!("/{ACCOUNT}/{container}/{name}");
        self.blobs.lock().insert(path, blob);
    }

    /// The size of a blob, if it is there.
    pub(super) fn size(&self, container: &str, name: &str) -> Option<usize> {
        let path = format!("/{ACCOUNT}/{container}/{name}");
        Some(self.blobs.lock().get(&path)?.content.len())
    }

    /// A link to one blob.
    pub(super) fn link(&self, container: &str, name: &str, access: Access) -> String {
        let path = format!("/{ACCOUNT}/{container}/{name}");
        let permissions = match access {
            Access::Read => "r",
            Access::Write => "cw",
        };
        format!("{}{path}?{}", self.url, self.sign(&path, "b", permissions))
    }

    /// A query good for reading all blobs of a container.
    pub(super) fn container_token(&self, container: &str) -> String {
        self.sign(&format!("/{ACCOUNT}/{container}"), "c", "rl")
    }

    fn sign(&self, path: &str, resource: &str, permissions: &str) -> String {
        let expiry = self.clock.now().wall + LINK_LIFETIME;
        let expiry = humantime::format_rfc3339_seconds(UNIX_EPOCH + expiry);
        let expiry = expiry.to_string().replace(':', "%3A");
        // a signature with `+`, `/` and `=` in it, so that each link shows whether they survive
        let mut salt = 0_u32;
        loop {
            let signed = format!(
                "sv={VERSION}&se={expiry}&sr={resource}&sp={permissions}&scid=sandbox%2F{salt}"
            );
            let signature = self.signature(path, &signed);
            if signature.contains("%2B") && signature.contains("%2F") {
                return format!("{signed}&sig={signature}");
            }
            salt += 1;
        }
    }

    /// As it stands in a link: Base64, percent-encoded.
    fn signature(&self, path: &str, signed: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{path}\n{signed}").as_bytes());
        STANDARD
            .encode(tag)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
    }

    pub(super) fn handle(&self, request: &Request<Bytes>) -> Response<Body> {
        self.journal.count(|counts| counts.storage_requests += 1);
        let mut response = self.serve(request).unwrap_or_else(error);
        let headers = response.headers_mut();
        headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
        headers.insert("x-ms-request-id", HeaderValue::from_static("sandbox"));
        response
    }

    fn serve(&self, request: &Request<Bytes>) -> Result<Response<Body>, Refusal> {
        if request.headers().contains_key(AUTHORIZATION) {
            self.journal
                .count(|counts| counts.storage_with_authorization += 1);
            return Err((StatusCode::BAD_REQUEST, "InvalidAuthenticationInfo"));
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let access = match *request.method() {
            Method::GET | Method::HEAD => Access::Read,
            Method::PUT => Access::Write,
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb")),
        };
        self.check(path, query, access, self.clock.now())?;
        match access {
            Access::Read => self.read(path, request),
            Access::Write => self.write(path, query, request),
        }
    }

    fn check(&self, path: &str, query: &str, access: Access, now: Moment) -> Result<(), Refusal> {
        let bad = || {
            self.journal
                .count(|counts| counts.storage_bad_signature += 1);
            (StatusCode::FORBIDDEN, "AuthenticationFailed")
        };
        let link = Link::read(query);
        let covered = match link.resource {
            "c" => path.splitn(4, '/').take(3).collect::<Vec<_>>().join("/"),
            _ => path.to_owned(),
        };
        if self.signature(&covered, &link.signed.join("&")) != link.signature {
            return Err(bad());
        }
        let expiry = link.expiry.replace("%3A", ":");
        let expired = humantime::parse_rfc3339(&expiry)
            .ok()
            .and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok())
            .is_none_or(|expiry| expiry <= now.wall);
        if expired {
            return Err(bad());
        }
        let wanted = match access {
            Access::Read => 'r',
            Access::Write => 'w',
        };
        if !link.permissions.contains(wanted) {
            let code = "AuthorizationPermissionMismatch";
            return Err((StatusCode::FORBIDDEN, code));
        }
        Ok(())
    }

    fn read(&self, path: &str, request: &Request<Bytes>) -> Result<Response<Body>, Refusal> {
        let blobs = self.blobs.lock();
        let content = blobs
            .get(path)
            .map(|blob| blob.content.clone())
            .ok_or((StatusCode::NOT_FOUND, "BlobNotFound"))?;
        drop(blobs);
        let size = content.len();
        let (status, body, range) = match range(request.headers(), size) {
            Range::Whole => (StatusCode::OK, content, None),
            Range::Part { first, last } => {
                let text = format!("bytes {first}-{last}/{size}");
                let part = content.slice(first..=last);
                (StatusCode::PARTIAL_CONTENT, part, Some(text))
            }
            Range::Outside => return Err((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange")),
        };
        let length = body.len();
        let body = match *request.method() {
            Method::HEAD => Bytes::new(),
            _ => body,
        };
        let octets = HeaderValue::from_static("application/octet-stream");
        let mut response = answer::bytes(status, octets, body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
        self.stamp(headers, size);
        if let Some(Ok(range)) = range.map(HeaderValue::try_from) {
            headers.insert(CONTENT_RANGE, range);
        }
        Ok(response)
    }

    fn write(
        &self,
        path: &str,
        query: &str,
        request: &Request<Bytes>,
    ) -> Result<Response<Body>, Refusal> {
        let parameter = |name| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let mut blobs = self.blobs.lock();
        let blob = blobs.entry(path.to_owned()).or_default();
        match parameter("comp").as_deref() {
            None => {
                if request
                    .headers()
                    .get(BLOB_TYPE)
                    .is_none_or(|t| t != "BlockBlob")
                {
                    return Err((StatusCode::BAD_REQUEST, "MissingRequiredHeader"));
                }
                blob.content = request.body().clone();
            }
            Some("block") => {
                let id = parameter("blockid").ok_or(MISSING_PARAMETER)?;
                blob.blocks.insert(id, request.body().clone());
            }
            Some("blocklist") => {
                let list = String::from_utf8_lossy(request.body());
                let mut content = BytesMut::new();
                for id in block_ids(&list) {
                    let block = blob
                        .blocks
                        .get(id)
                        .ok_or((StatusCode::BAD_REQUEST, "InvalidBlockList"))?;
                    content.extend_from_slice(block);
                }
                blob.content = content.freeze();
                blob.blocks.clear();
            }
            Some(_) => return Err((StatusCode::BAD_REQUEST, "InvalidQueryParameterValue")),
        }
        let size = blob.content.len();
        drop(blobs);
        let mut response = answer::empty(StatusCode::CREATED);
        self.stamp(response.headers_mut(), size);
        Ok(response)
    }

    /// What Azure's clients read of every answer.
    fn stamp(&self, headers: &mut HeaderMap, size: usize) {
        if let Ok(tag) = HeaderValue::try_from(format!("\"0x{size:X}\"")) {
            headers.insert(ETAG, tag);
        }
        let now = httpdate::fmt_http_date(UNIX_EPOCH + self.clock.now().wall);
        if let Ok(now) = HeaderValue::try_from(now) {
            headers.insert(LAST_MODIFIED, now);
        }
    }
}

impl<'a> Link<'a> {
    fn read(query: &'a str) -> Self {
        let mut link = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sig" => link.signature = value,
                // what the client adds for the operation is not signed
                "comp" | "blockid" | "timeout" | "restype" => continue,
                "sp" => link.permissions = value,
                "sr" => link.resource = value,
                "se" => link.expiry = value,
                _ => {}
            }
            if name != "sig" {
                link.signed.push(pair);
            }
        }
        link
    }
}

type Refusal = (StatusCode, &'static str);

const MISSING_PARAMETER: Refusal = (StatusCode::BAD_REQUEST, "MissingRequiredQueryParameter");

/// An error as Azure words it.
fn error((status, code): Refusal) -> Response<Body> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code>\
         <Message>Refused by the sandbox's storage.</Message></Error>"
    );
    let xml = HeaderValue::from_static("application/xml");
    let mut response = answer::bytes(status, xml, body);
    response
        .headers_mut()
        .insert("x-ms-error-code", HeaderValue::from_static(code));
    response
}

enum Range {
    Whole,
    Part { first: usize, last: usize },
    Outside,
}

/// `x-ms-range` or `Range`; one range, from the start or open-ended.
fn range(headers: &HeaderMap, size: usize) -> Range {
    let asked = headers.get("x-ms-range").or_else(|| headers.get(RANGE));
    let Some((first, last)) =
        asked.and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'))
    else {
        return Range::Whole;
    };
    let Ok(first) = first.parse::<usize>() else {
        return Range::Whole;
    };
    if first >= size {
        return Range::Outside;
    }
    let last = last.parse().unwrap_or(usize::MAX).min(size - 1);
    if last < first {
        return Range::Whole;
    }
    Range::Part { first, last }
}

/// The identifiers in `<BlockList><Latest>…</Latest>…</BlockList>`.
fn block_ids(list: &str) -> impl Iterator<Item = &str> {
    list.split('<').filter_map(|element| {
        let (name, text) = element.split_once('>')?;
        matches!(name, "Latest" | "Uncommitted" | "Committed").then(|| text.trim())
    })
}
