//! Sending a request: once, and where that is safe once more.
//!
//! Two things lead to a second sending. A reused connection that died: if it had not begun with the
//! request, or if the method is idempotent and the body is whole (RFC 9110 section 9.2.2). And a
//! 401 for a token of ours (or what stands for one: `rejected`): the token is replaced, by comparison, so that a hundred such answers
//! cause one renewal, and the request is sent once more, once. Never after 403 or 429.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::Either;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::{body::Incoming, client::conn::TrySendError, ext::on_informational};
use pin_project_lite::pin_project;

use super::{
    Prepared, Proxy,
    answer::Lease,
    failure::Failure,
    handling::Begun,
    outgoing::{Expects, Injects, Outgoing, Protocol},
    patience::{Limit, Polled, Sending},
    permit::Permit,
    record::Record,
    rejected,
    upstream::{Age, Connection, Http1, Need, Pool},
};
use crate::{
    config::Inject,
    http::body::{AnswerGuard, Gate, Intake, Keys, OutgoingBody, Wrong},
    telemetry::Replayed,
    tokens::{Ready, TokenHandle},
    trace::Wait,
};

/// A body waits no longer for `100 Continue` than this: many servers never send one.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// An upstream's answer and the connection that its body still needs.
pub(super) struct Exchanged {
    pub response: Response<Incoming>,
    pub lease: Lease,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    Timeout(Duration),
    Send(Box<TrySendError<Request<OutgoingBody>>>),
}

/// What became of the first sending, and the token that went with it.
pub(super) struct First {
    pub token: Option<Ready>,
    pub outcome: Result<Exchanged, Unanswered>,
}

impl Exchanged {
    /// An answer, to a request with this token, that nothing more has to be done about.
    pub(super) fn is_good(&self, token: Option<&Ready>) -> bool {
        token.is_none() || !rejected::is_doubtful(self.response.status())
    }
}

impl Proxy {
    /// Sends the request at once if there is nothing to wait for: no body, a token if one is
    /// needed, a connection. What nearly every request needs is so done before there is a future
    /// that would have to carry it.
    pub(super) fn launch(
        &self,
        mut prepared: Box<Prepared>,
        record: &mut Record,
    ) -> Begun<impl Future<Output = Result<Exchanged, Unanswered>> + Send + use<>> {
        let Prepared {
            permit, outgoing, ..
        } = &mut *prepared;
        let route = permit.route();
        if outgoing.head.need != Need::Any
            || !outgoing.payload.is_none()
            || route.config.timeouts.total.is_some()
            || outgoing.exchanged.is_some()
        {
            return Begun::Prepared(prepared);
        }
        let token = match injection(permit, outgoing) {
            None => None,
            Some((handle, inject)) => match handle.current(record.begun(), inject.min_remaining) {
                None => return Begun::Prepared(prepared),
                token => token,
            },
        };
        let pool = self.pool(route);
        let Some(connection) = pool.at_hand() else {
            return Begun::Prepared(prepared);
        };
        if let (Some(token), Some((_, inject))) = (&token, injection(permit, outgoing)) {
            record.injects(token, inject.min_remaining, record.begun());
        }
        record.goes_out(permit, &mut outgoing.head);
        route.metrics.reused();
        let authorization = token.as_ref().map(Ready::header);
        let body = OutgoingBody::empty();
        let assembled = assemble(permit, outgoing, &connection, authorization, body);
        Begun::Sent {
            flight: answer(pool, connection, assembled, permit, record.polled()),
            token,
            prepared,
        }
    }

    /// Sends the request with a token, if the route gives it one, or goes on from the `first`
    /// sending.
    ///
    /// # Errors
    /// When there is no token, no connection or no answer.
    pub(super) async fn send(
        &self,
        permit: &Permit,
        outgoing: &mut Outgoing,
        record: &mut Record,
        first: Option<First>,
    ) -> Result<Exchanged, Failure> {
        let first = first.map(|first| (first.token, first.outcome));
        let (used, outcome) = first.unzip();
        if outgoing.exchanged.is_some() {
            return self.send_in_exchange(permit, outgoing, record).await;
        }
        let Some((handle, inject)) = injection(permit, outgoing) else {
            return self.exchange(permit, outgoing, None, record, outcome).await;
        };
        let token = if let Some(token) = used.flatten() {
            token
        } else {
            let token = self.token(handle, inject, record).await;
            let token = token.inspect_err(|_| record.has_no_token())?;
            record.injects(&token, inject.min_remaining, self.observer.clock.now());
            token
        };
        let mut first = self
            .exchange(permit, outgoing, Some(token.header()), record, outcome)
            .await?;
        if !rejected::is_rejection(&first.response, permit.route(), outgoing) {
            return Ok(first);
        }
        let wait = record.waits();
        let who = wait.map(Wait::context);
        let replaced = handle.replace_for(who, &token, inject.wait).await;
        record.waited(wait, &inject.credential.name, replaced.as_ref().err());
        let reason = match replaced {
            Err(error) => {
                tracing::warn!(route = %permit.route().config.name, %error, "a token of ours is rejected");
                "the token could not be replaced"
            }
            Ok(fresh) if outgoing.payload.can_be_sent() => {
                drop(first);
                record.replayed(Replayed::NewToken);
                return self
                    .exchange(permit, outgoing, Some(fresh.header()), record, None)
                    .await;
            }
            Ok(_) => "the token was replaced, but the body was too large to be sent again",
        };
        rejected::say_why(&mut first.response, reason);
        Ok(first)
    }

    async fn token(
        &self,
        handle: &TokenHandle,
        inject: &Inject,
        record: &mut Record,
    ) -> Result<Ready, Failure> {
        if let Some(ready) = handle.current(record.begun(), inject.min_remaining) {
            return Ok(ready);
        }
        let wait = record.waits();
        let who = wait.map(Wait::context);
        let result = handle.get_for(who, inject.min_remaining, inject.wait).await;
        record.waited(wait, &inject.credential.name, result.as_ref().err());
        let waited = self.observer.clock.mono();
        record.token_wait = Some(waited.saturating_duration_since(record.begun().mono));
        result.map_err(|source| Failure::Token {
            credential: inject.credential.name.to_string(),
            source,
        })
    }

    /// One exchange, on a second connection if a reused one turns out to be dead. `begun` is what
    /// became of one that is over, on a connection that had been used.
    pub(super) async fn exchange(
        &self,
        permit: &Permit,
        outgoing: &mut Outgoing,
        authorization: Option<&HeaderValue>,
        record: &mut Record,
        mut begun: Option<Result<Exchanged, Unanswered>>,
    ) -> Result<Exchanged, Failure> {
        let route = permit.route();
        let pool = self.pool(route);
        let mut age = Age::Any;
        loop {
            let (outcome, may_retry, sent_at) = if let Some(outcome) = begun.take() {
                (outcome, true, record.begun().mono)
            } else {
                record.goes_out(permit, &mut outgoing.head);
                let asked_at = self.observer.clock.mono();
                let connection = pool.connection(outgoing.head.need, age).await;
                if connection.is_err() {
                    record.call_failed("connect");
                }
                let connection = connection.map_err(|source| Failure::Connect {
                    origin: route.origin(),
                    source,
                })?;
                record.connects(route, &connection, asked_at);
                let may_retry = age == Age::Any && connection.was_used();
                let Some(body) = outgoing.payload.body() else {
                    return Err(Failure::BodyBroken);
                };
                let assembled = assemble(permit, outgoing, &connection, authorization, body);
                let sent_at = self.observer.clock.mono();
                let outcome = answer(pool, connection, assembled, permit, record.polled()).await;
                (outcome, may_retry, sent_at)
            };
            let mut error = match outcome {
                Ok(exchanged) => {
                    record.upstream_answered(exchanged.response.status().as_u16(), sent_at);
                    return Ok(exchanged);
                }
                Err(Unanswered::Timeout(after)) => {
                    record.call_failed("timeout");
                    let origin = route.origin();
                    return Err(Failure::ResponseTimeout { origin, after });
                }
                Err(Unanswered::Send(error)) => error,
            };
            record.call_failed("broken");
            let wrong = outgoing.payload.intake.as_ref().and_then(Intake::wrong);
            if let Some(wrong) = wrong {
                return Err(match wrong {
                    Wrong::TooLarge => Failure::BodyTooLarge,
                    Wrong::Stalled => Failure::BodyStalled,
                    Wrong::Broken => Failure::BodyBroken,
                });
            }
            let unsent = error.take_message();
            let retry = may_retry
                && match unsent {
                    Some(request) => {
                        outgoing.payload.give_back(request.into_body());
                        true
                    }
                    None => outgoing.head.method.is_idempotent() && outgoing.payload.can_be_sent(),
                };
            if !retry {
                let source = error.into_error();
                return Err(Failure::Broken {
                    origin: route.origin(),
                    source,
                });
            }
            record.replayed(Replayed::NewConnection);
            age = Age::New;
        }
    }
}

/// How the request gets a token, if it does.
fn injection<'p>(permit: &'p Permit, outgoing: &Outgoing) -> Option<(&'p TokenHandle, &'p Inject)> {
    let route = permit.route();
    match (permit.token(), &route.config.inject, outgoing.injects) {
        (Some(handle), Some(inject), Injects::Yes) => Some((handle, inject)),
        _ => None,
    }
}

impl Connection {
    pub(super) fn was_used(&self) -> bool {
        match self {
            Self::Http1 { reused, .. } => *reused,
            Self::Http2(_) => true,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Http1 { .. } => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
        }
    }
}

/// A request for one connection.
struct Assembled {
    request: Request<OutgoingBody>,
    sending: Option<Sending>,
    guard: Option<AnswerGuard>,
}

/// The request for this connection; its body waits for `100 Continue` where the caller's does.
fn assemble(
    permit: &Permit,
    outgoing: &mut Outgoing,
    connection: &Connection,
    authorization: Option<&HeaderValue>,
    body: OutgoingBody,
) -> Assembled {
    let protocol = connection.protocol();
    let head = &mut outgoing.head;
    if outgoing.payload.is_none() {
        return Assembled {
            request: head.request(permit, protocol, authorization, body),
            sending: None,
            guard: None,
        };
    }
    let (body, sent) = body.watched();
    // hyper does not tell of interim answers over HTTP/2
    let waits = head.expects == Expects::Continue && protocol == Protocol::Http1;
    let (keys, body) = if waits {
        let (keys, gate) = Gate::new(CONTINUE_PATIENCE);
        (Some(keys), body.behind(gate))
    } else {
        (None, body)
    };
    let mut request = head.request(permit, protocol, authorization, body);
    let guard = keys.map(|Keys { open, answer }| {
        let open = parking_lot::Mutex::new(Some(open));
        on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE
                && let Some(open) = open.lock().take()
            {
                // fails when the body is gone, and nobody waits
                let _ = open.send(());
            }
        });
        answer
    });
    Assembled {
        request,
        sending: Some(Sending {
            sent,
            intake: outgoing.payload.intake.clone().unwrap_or_default(),
            idle: permit.route().config.timeouts.idle,
        }),
        guard,
    }
}

pin_project! {
    /// A request that has been sent, until the header of its answer has come.
    struct Flight<P> {
        #[pin]
        pending: P,
        limit: Limit,
        after: Duration,
        pool: Arc<Pool>,
        sender: Option<Http1>,
        guard: Option<AnswerGuard>,
    }
}

impl<P> Future for Flight<P>
where
    P: Future<Output = Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>>>,
{
    type Output = Result<Exchanged, Unanswered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match this.pending.poll(cx) {
            Poll::Ready(Ok(response)) => Ok(Exchanged {
                response,
                lease: Lease::new(this.pool, this.sender.take(), this.guard.take()),
            }),
            Poll::Ready(Err(error)) => Err(Unanswered::Send(Box::new(error))),
            Poll::Pending => {
                let passed = ready!(this.limit.poll(this.pool, *this.after, cx));
                Err(Unanswered::Timeout(passed))
            }
        })
    }
}

/// Sends the request; the future waits for the header of the answer: as long as the body is on its
/// way, and then for the route's response timeout.
fn answer(
    pool: &Arc<Pool>,
    connection: Connection,
    assembled: Assembled,
    permit: &Permit,
    polled: Polled,
) -> impl Future<Output = Result<Exchanged, Unanswered>> + Send + use<> {
    let Assembled {
        request,
        sending,
        guard,
    } = assembled;
    let (pending, sender) = match connection {
        Connection::Http1 { mut sender, .. } => {
            (Either::Left(sender.try_send_request(request)), Some(sender))
        }
        Connection::Http2(mut sender) => (Either::Right(sender.try_send_request(request)), None),
    };
    let after = permit.route().config.timeouts.response;
    Flight {
        pending,
        limit: Limit::new(pool, after, sending, polled),
        after,
        pool: Arc::clone(pool),
        sender,
        guard,
    }
}
