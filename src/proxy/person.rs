//! People who are signed in, as routes see them: who is sent to sign in, whose token goes with a
//! request, and what the browser is given with the answer.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response, header::SET_COOKIE};

use super::{Proxy, outgoing::Outgoing, permit::Permit};
use crate::{
    clock::Moment,
    config::Streams,
    handbook::Reference,
    session::{Present, Realm, Session, Trace, Visit, Wanted, strip_set_by_others},
    tokens::TokenHandle,
};

/// A person whom a route admitted.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) present: Present,
    /// Where the route injects the person's own.
    pub(super) token: Option<TokenHandle>,
    /// Where the route exchanges it for another.
    pub(super) subject: Option<TokenHandle>,
    peer: IpAddr,
}

/// A browser that is answered in place of its route.
#[derive(Debug)]
pub struct Challenged {
    pub realm: Realm,
    pub wanted: Wanted,
}

impl Person {
    pub(super) fn new(present: Present, permitted: &super::plan::Route, peer: IpAddr) -> Self {
        let inject = permitted.config.inject.as_ref();
        let own = inject.filter(|inject| inject.credential.grant.flow().is_some());
        let token = own.map(|inject| present.session.person.handle(&inject.scopes));
        let subject = permitted.exchanger.is_some().then(|| {
            let scopes = &present.realm().config().credential.scopes;
            present.session.person.handle(scopes)
        });
        Self {
            present,
            token,
            subject,
            peer,
        }
    }

    /// What streams of the request end with, where they do.
    pub(super) fn lasting(&self) -> Option<Lasting> {
        let closes = self.present.realm().config().streams == Streams::Close;
        closes.then(|| Lasting {
            session: Arc::clone(&self.present.session),
            over: None,
        })
    }

    /// Sets what the browser should have newer, and lets pages of other origins read the answer
    /// that may.
    pub(super) fn answered(&self, asked: &HeaderMap, headers: &mut HeaderMap, now: Moment) {
        for line in self.present.newer_cookies(now) {
            headers.append(SET_COOKIE, line);
        }
        self.present.realm().share(asked, headers);
    }
}

/// Whose streams go with a session.
#[derive(Debug)]
pub struct Lasting {
    session: Arc<Session>,
    over: Option<Over>,
}

struct Over(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Over")
    }
}

impl Lasting {
    /// Whether the session has ended; wakes when it does.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.has_ended().is_some() {
            return Poll::Ready(());
        }
        // most answers are there before anybody has to wait
        let over = self
            .over
            .get_or_insert_with(|| Over(Box::pin(Arc::clone(&self.session).over())));
        over.0.as_mut().poll(cx)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.session.has_ended().is_some()
    }

    /// Waits until the session has ended.
    pub(super) async fn over(self) {
        self.session.over().await;
    }
}

/// Upstreams have no say about our cookies.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    if headers.contains_key(SET_COOKIE) {
        strip_set_by_others(headers);
    }
}

impl Proxy {
    /// Where a person's tokens turned out to be over: the way to new ones, in place of an error.
    pub(super) async fn signs_in_again(
        permit: &Permit,
        outgoing: &Outgoing,
        reference: Reference,
    ) -> Option<Response<Bytes>> {
        let person = permit.person()?;
        if !person.present.session.person.is_over() {
            return None;
        }
        let realm = person.present.realm().clone();
        let visit = Visit {
            method: outgoing.head.method.clone(),
            path: outgoing.head.path().path().to_owned(),
            query: outgoing.head.path().query().map(str::to_owned),
            headers: outgoing.head.headers().clone(),
            body: Bytes::new(),
            peer: person.peer,
            reference,
        };
        Some(realm.challenge(Wanted::SignIn(Trace::Stale), visit).await)
    }
}

/// What a browser asked, without what it sent.
pub(super) fn visit<B>(
    request: &http::Request<B>,
    body: Bytes,
    peer: IpAddr,
    reference: Reference,
) -> Visit {
    Visit {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: request.headers().clone(),
        body,
        peer,
        reference,
    }
}

/// Realms that routes ask, by name.
pub(super) fn realm(
    sessions: &crate::session::Sessions,
    rules: &[crate::config::AdmitRule],
) -> Option<Realm> {
    rules.iter().find_map(|rule| match rule {
        crate::config::AdmitRule::Session(session) => sessions.realm(&session.name).cloned(),
        _ => None,
    })
}

/// Whom a log calls by name.
pub(super) fn caller(present: &Present) -> crate::caller::Caller {
    crate::caller::Caller::Person(Arc::clone(&present.session.called))
}
