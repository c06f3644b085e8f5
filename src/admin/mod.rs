//! The admin listener: probes, metrics and status, for operators and their machines.
//!
//! It stands apart from the data plane (own address, the control plane's runtime), so that neither
//! can be reached through the other. It answers questions, and no answer holds a token, a secret or a
//! query. What may be changed, ordered and followed is what implements the traits of [`crate::health`]:
//! this floor knows no component. `access` says who may; `server` serves connections.

mod access;
mod edit;
mod exposition;
mod findings;
mod follow;
mod host;
mod orders;
mod page;
mod pages;
mod process;
mod server;

use std::{collections::BTreeSet, error::Error, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::Semaphore;

pub use self::server::{Sockets, serve};
use self::{
    access::Peer,
    follow::{AdminBody, Lease},
    pages::Asked,
};
use crate::{
    audit::Audit,
    clock::{Clock, Moment},
    config::SecretSource,
    health::{Document, Editable, Followed, Order, Question, Readiness, Report},
    metrics::Metrics,
    shutdown::Shutdown,
};

type Answer = Response<Full<Bytes>>;

/// What the admin listener tells about.
#[derive(Clone)]
pub struct AdminState {
    pub readiness: Readiness,
    pub metrics: Arc<Metrics>,
    pub reports: Vec<Arc<dyn Report>>,
    pub documents: Vec<Arc<dyn Document>>,
    pub editable: Vec<Arc<dyn Editable>>,
    pub orders: Vec<Arc<dyn Order>>,
    pub questions: Vec<Arc<dyn Question>>,
    pub followed: Vec<Arc<dyn Followed>>,
    /// Who has it may change these.
    pub key: Option<SecretSource>,
    /// Users who may, too, beside root and our own: the kernel says who they are, at the Unix socket.
    pub uids: Vec<u32>,
    /// Programs on this machine may end this one.
    pub allow_quit: bool,
    /// Orders are noted there.
    pub audit: Audit,
    pub shutdown: Shutdown,
    pub clock: Clock,
}

struct Admin {
    started: Moment,
    page: page::Page,
    /// Users whom the Unix socket is for.
    operators: BTreeSet<u32>,
    followers: Arc<Semaphore>,
    state: AdminState,
}

impl Admin {
    fn new(state: AdminState) -> Self {
        let ours = rustix::process::geteuid().as_raw();
        Self {
            started: state.clock.now(),
            page: page::Page::new(),
            operators: state.uids.iter().copied().chain([0, ours]).collect(),
            followers: follow::places(),
            state,
        }
    }

    async fn serve<B>(&self, request: Request<B>, peer: Peer, lease: &Lease) -> Response<AdminBody>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = request.uri().path();
        let followed = self.state.followed.iter().find(|one| one.path() == path);
        // the same place may take orders
        let followed = followed.filter(|_| *request.method() != Method::POST);
        let admitted = access::admitted(self, &request, peer)
            .inspect_err(|_| orders::forbidden(self, &request, peer));
        let answer = match (admitted, followed) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Some(followed)) => follow::serve(self, &**followed, &request, peer, lease),
            (Ok(()), None) => self
                .answer(request, peer)
                .await
                .map(|it| it.map(follow::whole)),
        };
        answer.unwrap_or_else(|refusal| refusal.map(follow::whole))
    }

    async fn answer<B>(&self, request: Request<B>, peer: Peer) -> Result<Answer, Box<Answer>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = request.uri().path();
        if let Some(order) = orders::Own::of(path) {
            return orders::own(self, order, &request, peer);
        }
        let state = &self.state;
        if let Some(list) = state.editable.iter().find(|list| list.path() == path) {
            return edit::serve(self, &**list, request, peer).await;
        }
        let question = state.questions.iter().find(|one| one.path() == path);
        let order = state.orders.iter().find(|order| order.path() == path);
        match (order, question) {
            (Some(order), None) => orders::serve(self, Arc::clone(order), request, peer).await,
            (Some(order), _) if *request.method() == Method::POST => {
                orders::serve(self, Arc::clone(order), request, peer).await
            }
            (_, Some(question)) => {
                access::sees(self, &request, peer)?;
                let query = request.uri().query().unwrap_or_default();
                Ok(pages::question(&**question, query))
            }
            (None, None) => self.tell(&request, peer),
        }
    }

    /// What only tells: pure, apart from the time.
    fn tell<B>(&self, request: &Request<B>, peer: Peer) -> Result<Answer, Box<Answer>> {
        let path = request.uri().path();
        let page = match path {
            "/" => pages::index,
            "/startup" => pages::startup,
            "/live" => pages::live,
            "/ready" => pages::ready,
            "/metrics" => pages::metrics,
            "/status" => pages::status,
            "/troubleshooting" => pages::troubleshooting,
            path if self.document(path).is_some_and(|one| one.text().is_some()) => pages::document,
            _ => {
                let hint = format!("there is {}", self.places().join(", "));
                return Err(pages::refusal(StatusCode::NOT_FOUND, "NotFound", &hint));
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(access::method_not_allowed(
                "GET, HEAD",
                "this cannot be changed: GET and HEAD only",
            ));
        }
        let headers = request.headers();
        let asked = Asked {
            path,
            headers,
            standing: access::standing(self, headers, peer),
        };
        Ok(page(self, &asked))
    }

    fn document(&self, path: &str) -> Option<&Arc<dyn Document>> {
        let mut all = self.state.documents.iter();
        all.find(|document| document.path() == path)
    }

    /// All paths, of which each is named once.
    fn places(&self) -> Vec<&'static str> {
        let state = &self.state;
        let mut all = vec![
            "/startup", "/live", "/ready", "/metrics", "/status", "/drain", "/quit",
        ];
        all.extend(state.documents.iter().map(|one| one.path()));
        all.extend(state.editable.iter().map(|one| one.path()));
        all.extend(state.questions.iter().map(|one| one.path()));
        all.extend(state.orders.iter().map(|one| one.path()));
        all.extend(state.followed.iter().map(|one| one.path()));
        let mut seen = BTreeSet::new();
        all.retain(|path| seen.insert(*path));
        all
    }
}

#[cfg(test)]
mod tests;
