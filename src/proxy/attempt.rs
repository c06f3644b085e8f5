//! Sending a request: once, and where that is safe once more.
//!
//! Two things lead to a second sending. A reused connection that died: if it had not begun with the
//! request, or if the method is idempotent and the body is whole (RFC 9110 section 9.2.2). And a
//! 401 for a token of ours: the token is replaced, by comparison, so that a hundred such answers
//! cause one renewal, and the request is sent once more, once. Never after 403 or 429.

use std::time::Duration;

use futures_util::future::Either;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1::SendRequest},
    ext::on_informational,
};

use super::{
    Proxy,
    answer::Lease,
    failure::{Failure, PROXY_STATUS},
    outgoing::{Expects, Injects, Outgoing, Protocol},
    permit::Permit,
    record::{CredentialUse, Record},
    upstream::{Age, Connection},
};
use crate::{
    config::Inject,
    http::body::{AnswerGuard, Gate, Intake, Keys, OutgoingBody, Sent, Wrong},
    telemetry::Replayed,
    tokens::{Ready, TokenHandle},
};

/// A body waits no longer for `100 Continue` than this: many servers never send one.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// An upstream's answer and the connection that its body still needs.
pub(super) struct Exchanged {
    pub response: Response<Incoming>,
    pub lease: Lease,
}

impl Proxy {
    /// Sends the request with a token, if the route gives it one.
    ///
    /// # Errors
    /// When there is no token, no connection or no answer.
    pub(super) async fn send(
        &self,
        permit: &Permit,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Exchanged, Failure> {
        let route = permit.route();
        let inject = route.config.inject.as_ref();
        let (Some(handle), Some(inject), Injects::Yes) = (&route.token, inject, outgoing.injects)
        else {
            return self.exchange(permit, outgoing, None, record).await;
        };
        record.credential_used = CredentialUse::Injected;
        let token = self.token(handle, inject, record).await?;
        let mut first = self
            .exchange(permit, outgoing, Some(token.header()), record)
            .await?;
        if first.response.status() != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        // boxed, as is what follows: large, and rare
        let replaced = Box::pin(handle.replace(&token, inject.wait)).await;
        let reason = match replaced {
            Err(error) => {
                tracing::warn!(route = %route.config.name, %error, "401 for a token of ours");
                "the token could not be replaced"
            }
            Ok(fresh) if outgoing.payload.can_be_sent() => {
                drop(first);
                record.replayed(Replayed::NewToken);
                let again = self.exchange(permit, outgoing, Some(fresh.header()), record);
                return Box::pin(again).await;
            }
            Ok(_) => "the token was replaced, but the body was too large to be sent again",
        };
        say_why(&mut first.response, reason);
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
        let result = Box::pin(handle.get(inject.min_remaining, inject.wait)).await;
        let waited = self.observer.clock.mono();
        record.token_wait = Some(waited.saturating_duration_since(record.begun().mono));
        result.map_err(|source| Failure::Token {
            credential: inject.credential.name.to_string(),
            source,
        })
    }

    /// One exchange, on a second connection if a reused one turns out to be dead.
    async fn exchange(
        &self,
        permit: &Permit,
        outgoing: &mut Outgoing,
        authorization: Option<&HeaderValue>,
        record: &mut Record,
    ) -> Result<Exchanged, Failure> {
        let route = permit.route();
        let pool = &self.pools[route.upstream];
        let mut age = Age::Any;
        loop {
            let connection = pool
                .connection(outgoing.head.need, age)
                .await
                .map_err(|source| Failure::Connect {
                    origin: route.origin(),
                    source,
                })?;
            let may_retry = age == Age::Any && connection.was_used();
            let Some(body) = outgoing.payload.body() else {
                return Err(Failure::BodyBroken);
            };
            let Assembled {
                request,
                sent,
                guard,
            } = assemble(permit, outgoing, &connection, authorization, body);
            // a connection that waited for us takes no time worth another look at the clock
            let sent_at = match record.token_wait {
                None if may_retry => record.begun().mono,
                _ => self.observer.clock.mono(),
            };
            let error = match answer(connection, request, sent, permit).await {
                Ok((response, sender)) => {
                    record.upstream_answered(response.status().as_u16(), sent_at);
                    let lease = Lease::new(pool, sender, guard);
                    return Ok(Exchanged { response, lease });
                }
                Err(Unanswered::Timeout(after)) => {
                    let origin = route.origin();
                    return Err(Failure::ResponseTimeout { origin, after });
                }
                Err(Unanswered::Send(error)) => error,
            };
            let mut error = error;
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

impl Connection {
    fn was_used(&self) -> bool {
        match self {
            Self::Http1 { reused, .. } => *reused,
            Self::Http2(_) => true,
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Http1 { .. } => Protocol::Http1,
            Self::Http2(_) => Protocol::Http2,
        }
    }
}

/// A request for one connection.
struct Assembled {
    request: Request<OutgoingBody>,
    sent: Option<Sent>,
    guard: Option<AnswerGuard>,
}

/// The request for this connection; its body waits for `100 Continue` where the caller's does.
fn assemble(
    permit: &Permit,
    outgoing: &Outgoing,
    connection: &Connection,
    authorization: Option<&HeaderValue>,
    body: OutgoingBody,
) -> Assembled {
    let protocol = connection.protocol();
    let head = &outgoing.head;
    if outgoing.payload.is_none() {
        return Assembled {
            request: head.request(permit, protocol, authorization, body),
            sent: None,
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
        sent: Some(sent),
        guard,
    }
}

/// An answer, and its connection if that serves one request at a time.
type Answered = (Response<Incoming>, Option<SendRequest<OutgoingBody>>);

/// Why there is no answer.
enum Unanswered {
    Timeout(Duration),
    Send(Box<TrySendError<Request<OutgoingBody>>>),
}

/// Waits for the header of the answer: as long as the body is on its way, and then for the route's
/// response timeout.
fn answer(
    connection: Connection,
    request: Request<OutgoingBody>,
    sent: Option<Sent>,
    permit: &Permit,
) -> impl Future<Output = Result<Answered, Unanswered>> {
    // sent before the future exists, which then need not hold the request
    let (pending, sender) = match connection {
        Connection::Http1 { mut sender, .. } => {
            (Either::Left(sender.try_send_request(request)), Some(sender))
        }
        Connection::Http2(mut sender) => (Either::Right(sender.try_send_request(request)), None),
    };
    let after = permit.route().config.timeouts.response;
    async move {
        let limit = async {
            if let Some(sent) = sent {
                // ends with an error, when the body is dropped: that is the message
                let _ = sent.await;
            }
            tokio::time::sleep(after).await;
        };
        tokio::select! {
            biased;
            result = pending => match result {
                Ok(response) => Ok((response, sender)),
                Err(error) => Err(Unanswered::Send(Box::new(error))),
            },
            () = limit => Err(Unanswered::Timeout(after)),
        }
    }
}

/// The upstream's 401 is passed on, with the reason why we could not do better.
fn say_why(response: &mut Response<Incoming>, reason: &'static str) {
    let status = format!("itwin-auth-proxy; details=\"{reason}\"");
    if let Ok(value) = HeaderValue::try_from(status) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}
