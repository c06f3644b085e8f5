//! What the program can be told by `POST`: `/drain` and `/quit`, for Jobs in clusters whose sidecars do
//! not end by themselves, and the orders of its parts.
//!
//! Nothing of a body is read before it is known that its sender may order. An order is carried out to
//! its end, whether its sender waits for that or not. Each is logged and audited, with who gave it; those that
//! are not permitted are counted in the audit stream only, so that nobody fills either.

use std::{error::Error, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body;
use serde_json::{Value, json};

use super::{
    Admin, Answer,
    access::{self, Freely, Peer, Standing},
    edit, pages,
};
use crate::{
    audit::{Audit, Event, Steerer},
    health::{Disobeyed, Order},
};

/// What every program can be told; there is nothing to be said in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// Not ready any more; calls are still served.
    Drain,
    /// As at SIGTERM.
    Quit,
}

impl Own {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/drain" => Some(Self::Drain),
            "/quit" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Obeys, or says why not.
pub(super) fn own<B>(
    admin: &Admin,
    order: Own,
    request: &Request<B>,
    peer: Peer,
) -> Result<Answer, Box<Answer>> {
    let freely = if admin.state.allow_quit {
        Freely::Here
    } else {
        Freely::Never
    };
    let path = request.uri().path();
    permitted(admin, request, peer, freely)?;
    Noted::new(admin, (&Method::POST, path), request.headers(), peer).note("", "obeyed");
    let said = match order {
        Own::Drain => {
            admin.state.readiness.drain();
            json!({ "draining": true })
        }
        Own::Quit => {
            admin.state.shutdown.ask();
            json!({ "stopping": true })
        }
    };
    Ok(pages::json_answer(StatusCode::ACCEPTED, &said))
}

/// Has a part obey.
pub(super) async fn serve<B>(
    admin: &Admin,
    order: Arc<dyn Order>,
    request: Request<B>,
    peer: Peer,
) -> Result<Answer, Box<Answer>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    permitted(admin, &request, peer, Freely::Never)?;
    let what = (&Method::POST, order.path());
    let noted = Noted::new(admin, what, request.headers(), peer);
    let unknown = noted.clone();
    let body = edit::read(request.into_body()).await;
    let body = body.inspect_err(|_| noted.audit("", "wrong"))?;
    let task = async move {
        let about = about(&body);
        let done = order.obey(body).await;
        // also for who has not waited
        noted.note(&about, outcome(&done));
        done
    };
    match admin.state.shutdown.spawn(task).await {
        Ok(Some(Ok(said))) => Ok(pages::json_answer(StatusCode::OK, &said)),
        Ok(Some(Err(disobeyed))) => Ok(refused(&disobeyed)),
        Ok(None) => Err(pages::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "Stopping",
            "the program ends: whether the order was carried out is not known",
        )),
        Err(_) => {
            admin.state.metrics.panics.inc();
            unknown.note("", "panicked");
            Err(Box::new(pages::bug()))
        }
    }
}

fn outcome(done: &Result<Value, Disobeyed>) -> &'static str {
    match done {
        Ok(_) => "obeyed",
        Err(Disobeyed::Wrong(_)) => "wrong",
        Err(Disobeyed::Unknown(_)) => "unknown",
        Err(Disobeyed::Refused(_)) => "refused",
    }
}

/// Refuses who may not order, which is noted, too.
fn permitted<B>(
    admin: &Admin,
    request: &Request<B>,
    peer: Peer,
    freely: Freely,
) -> Result<(), Box<Answer>> {
    access::orders(admin, request, peer, freely).inspect_err(|_| forbidden(admin, request, peer))
}

/// Notes that an order was not permitted; who only asks gives none.
pub(super) fn forbidden<B>(admin: &Admin, request: &Request<B>, peer: Peer) {
    if matches!(*request.method(), Method::POST | Method::DELETE) {
        let path = request.uri().path();
        let state = &admin.state;
        let known = Own::of(path).is_some()
            || state.orders.iter().any(|order| order.path() == path)
            || state.editable.iter().any(|list| list.path() == path);
        // paths that are made up leave room for those that matter
        let what = (request.method(), if known { path } else { ANOTHER });
        let noted = Noted::new(admin, what, request.headers(), peer);
        noted.audit.forbidden(noted.by, noted.order);
    }
}

/// In place of a path that takes no orders.
const ANOTHER: &str = "another path";

/// Who ordered, and what.
#[derive(Clone)]
pub(super) struct Noted {
    audit: Audit,
    /// Its method and path.
    order: String,
    peer: Peer,
    by: Steerer,
}

impl Noted {
    pub(super) fn new(
        admin: &Admin,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        peer: Peer,
    ) -> Self {
        let by = match peer {
            Peer::User(uid) => Steerer::Uid(uid.unwrap_or(UNKNOWN)),
            Peer::Address(address) => {
                let address = address.to_canonical();
                match access::standing(admin, headers, peer) {
                    Standing::Operator => Steerer::Key(address),
                    Standing::Here | Standing::Elsewhere => Steerer::Anyone(address),
                }
            }
        };
        Self {
            audit: admin.state.audit.clone(),
            order: format!("{method} {path}"),
            peer,
            by,
        }
    }

    pub(super) fn note(&self, about: &str, result: &'static str) {
        let (order, by) = (&*self.order, self.peer.name());
        tracing::info!(order, by, outcome = result, "order");
        self.audit(about, result);
    }

    pub(super) fn audit(&self, about: &str, result: &'static str) {
        self.audit.note(Event::Ordered {
            by: self.by.clone(),
            order: self.order.clone(),
            about: about.to_owned(),
            result,
        });
    }
}

/// What the kernel says of a user it does not know: `(uid_t) -1`.
const UNKNOWN: u32 = u32::MAX;

/// What orders name, of a body that may hold anything.
fn about(body: &Bytes) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = ["credential", "level", "format", "for"];
    let named = named.into_iter().filter_map(|name| {
        let text = body[name].as_str()?;
        let text: String = text.chars().take(LONGEST).collect();
        Some(format!("{name} {text}"))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The entries that a change of a list names.
pub(super) fn entries(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let all = match &body {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let named = all.iter().take(NAMED).map(|entry| {
        let members = entry.as_object().into_iter().flatten();
        let members = members.filter_map(|(name, value)| {
            let value: String = value.as_str()?.chars().take(LONGEST).collect();
            Some(format!("{name} {value}"))
        });
        members.collect::<Vec<_>>().join(", ")
    });
    let mut named = named.collect::<Vec<_>>().join("; ");
    if all.len() > NAMED {
        let _ = write!(named, "; and {} more", all.len() - NAMED);
    }
    named
}

/// Entries that are named.
const NAMED: usize = 20;
/// Characters of each.
const LONGEST: usize = 200;

fn refused(disobeyed: &Disobeyed) -> Answer {
    let (status, code, message, details) = match disobeyed {
        Disobeyed::Wrong(faults) => (
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "nothing was done: the details say what is wrong with the order",
            faults,
        ),
        Disobeyed::Unknown(faults) => (
            StatusCode::NOT_FOUND,
            "NotFound",
            "nothing was done: the details say what is not there",
            faults,
        ),
        Disobeyed::Refused(reasons) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "OrderRefused",
            "everything is as it was: the details say why",
            reasons,
        ),
    };
    pages::problem_with(status, code, message, details)
}
