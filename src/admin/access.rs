//! Who asks, and what that one may.
//!
//! | who | may |
//! | --- | --- |
//! | a peer of the Unix socket: root, our own user, one of `admin.socket.uids` | see and order everything |
//! | any other peer of it | nothing |
//! | who shows the `admin.key` over TCP | see and order everything |
//! | a program of this machine over TCP | see everything; `/drain` and `/quit` where `admin.allow_quit` says so |
//! | others over TCP | probes, metrics, and of the status what is no log |
//!
//! A web page may order nothing, whoever has it open.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use tokio::net::UnixStream;

use super::{Admin, Answer, edit, host, pages};

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Address(IpAddr),
    /// Of the Unix socket; who that is, the kernel says (`SO_PEERCRED`).
    User(Option<u32>),
}

/// What is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Elsewhere,
    /// A program of this machine.
    Here,
    /// Steers the program.
    Operator,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        Self::User(stream.peer_cred().ok().map(|peer| peer.uid()))
    }

    /// How it is named in the log.
    pub(super) fn name(self) -> String {
        match self {
            Self::Address(address) => address.to_canonical().to_string(),
            Self::User(Some(uid)) => format!("uid:{uid}"),
            Self::User(None) => "uid:unknown".into(),
        }
    }
}

/// Refuses whom the socket is not for, and over TCP whatever does not name us.
pub(super) fn admitted<B>(
    admin: &Admin,
    request: &Request<B>,
    peer: Peer,
) -> Result<(), Box<Answer>> {
    match peer {
        // no browser connects to it, so that the name in it says nothing
        Peer::User(Some(uid)) if admin.operators.contains(&uid) => Ok(()),
        Peer::User(_) => Err(pages::refusal(
            StatusCode::FORBIDDEN,
            "NotAllowed",
            "this socket is for root, the user of the proxy, and those in admin.socket.uids of its configuration",
        )),
        Peer::Address(_) => host::check(request.uri(), request.headers()).map_err(|refused| {
            let (code, message) = (refused.code(), refused.message());
            tracing::info!(
                code,
                by = peer.name(),
                "the admin listener does not answer: {message}"
            );
            pages::refusal(refused.status(), code, &message)
        }),
    }
}

/// What an admitted peer is, where a key is a way to be more.
pub(super) fn standing(admin: &Admin, headers: &HeaderMap, peer: Peer) -> Standing {
    let shown = || headers.contains_key(header::AUTHORIZATION);
    match (peer, &admin.state.key) {
        (Peer::User(_), _) => Standing::Operator,
        (_, Some(key)) if shown() && edit::has(headers, key).is_ok() => Standing::Operator,
        (Peer::Address(address), _) if address.to_canonical().is_loopback() => Standing::Here,
        (Peer::Address(_), _) => Standing::Elsewhere,
    }
}

/// Whether a request that is no order may be answered with what only those here may see.
pub(super) fn sees<B>(admin: &Admin, request: &Request<B>, peer: Peer) -> Result<(), Box<Answer>> {
    let headers = request.headers();
    if of_another_page(headers, &["none", "same-origin"]) {
        return Err(cross_site());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(method_not_allowed(
            "GET, HEAD",
            "this cannot be changed: GET and HEAD only",
        ));
    }
    if standing(admin, headers, peer) >= Standing::Here {
        return Ok(());
    }
    match &admin.state.key {
        Some(key) => edit::has(headers, key),
        None => Err(pages::refusal(
            StatusCode::FORBIDDEN,
            "NotAllowed",
            "this is for programs on this machine: ask here or at the admin.socket, or set an admin.key in the configuration",
        )),
    }
}

/// Which orders a place takes without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freely {
    Never,
    /// From programs on this machine.
    Here,
}

/// Whether a request may give an order.
pub(super) fn orders<B>(
    admin: &Admin,
    request: &Request<B>,
    peer: Peer,
    freely: Freely,
) -> Result<(), Box<Answer>> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || of_another_page(headers, &["none"]) {
        return Err(cross_site());
    }
    if *request.method() != Method::POST {
        return Err(method_not_allowed("POST", "this is an order: POST it"));
    }
    match (peer, &admin.state.key) {
        (Peer::User(_), _) => Ok(()),
        (Peer::Address(address), _)
            if freely == Freely::Here && address.to_canonical().is_loopback() =>
        {
            Ok(())
        }
        (_, Some(key)) => edit::has(headers, key),
        (_, None) => Err(pages::refusal(
            StatusCode::FORBIDDEN,
            "NotAllowed",
            "orders are not taken here: set an admin.socket or an admin.key in the configuration (for /drain and /quit from this machine, admin.allow_quit does, too)",
        )),
    }
}

fn of_another_page(headers: &HeaderMap, good: &[&str]) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| !good.iter().any(|good| site == good))
}

fn cross_site() -> Box<Answer> {
    pages::refusal(
        StatusCode::FORBIDDEN,
        "CrossSite",
        "a web page's request, and not for web pages",
    )
}

pub(super) fn method_not_allowed(allowed: &'static str, message: &str) -> Box<Answer> {
    let mut answer = pages::refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    let allowed = HeaderValue::from_static(allowed);
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}
