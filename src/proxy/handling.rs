//! A request, as long as it is waited for.
//!
//! Written by hand and small: it is moved into every connection, and nearly all of the time it
//! waits for one thing, the answer to what was sent before it existed. Whatever else there is to
//! wait for (a token, a connection, a second sending, a body) is a boxed future.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, Version, header::CONNECTION, response::Parts};
use pin_project_lite::pin_project;

use super::{
    Held, Prepared, Proxy, Step,
    answer::{Answer, Content, Ending},
    attempt::{Exchanged, First, Unanswered},
    connect::Connect,
    decide,
    failure::Failure,
    own::HandedOut,
    record::Record,
};
use crate::{
    tokens::Ready,
    verify::{LONGEST_WAIT, Waited},
};

pin_project! {
    /// See the module.
    pub(super) struct Handling<F> {
        proxy: Arc<Proxy>,
        // Taken when the request is answered or goes on as a boxed future.
        ending: Option<Box<Ending>>,
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Sent {
            #[pin]
            flight: F,
            token: Option<Ready>,
            prepared: Option<Box<Prepared>>,
        },
        Waits { answer: Pin<Box<dyn Future<Output = Response<Answer>> + Send>> },
        Refused { failure: Option<Box<Failure>> },
    }
}

/// How far a request has come without waiting.
pub(super) enum Begun<F> {
    Sent {
        flight: F,
        token: Option<Ready>,
        prepared: Box<Prepared>,
    },
    /// Something has to be waited for first.
    Prepared(Box<Prepared>),
    /// Whether the caller is admitted has to be waited for.
    Held(Box<Held>),
    /// An endpoint of ours answers.
    Own(BoxFuture<'static, Response<Bytes>>),
    /// A tunnel, or a connection that is opened.
    Connect(Box<Connect>),
}

impl<F> Handling<F>
where
    F: Future<Output = Result<Exchanged, Unanswered>>,
{
    pub(super) fn new(
        proxy: Arc<Proxy>,
        ending: Box<Ending>,
        begun: Result<Begun<F>, Failure>,
    ) -> Self {
        let (state, ending) = match begun {
            Ok(Begun::Sent {
                flight,
                token,
                prepared,
            }) => {
                let prepared = Some(prepared);
                let state = State::Sent {
                    flight,
                    token,
                    prepared,
                };
                (state, Some(ending))
            }
            Ok(Begun::Prepared(prepared)) => {
                let answer = Box::pin(Arc::clone(&proxy).wait(prepared, None, ending));
                (State::Waits { answer }, None)
            }
            Ok(Begun::Held(held)) => {
                let answer = Box::pin(Arc::clone(&proxy).wait_to_admit(held, ending));
                (State::Waits { answer }, None)
            }
            Ok(Begun::Own(answer)) => {
                let answer = Box::pin(Arc::clone(&proxy).own(answer, ending));
                (State::Waits { answer }, None)
            }
            Ok(Begun::Connect(connect)) => {
                let answer = Box::pin(Arc::clone(&proxy).connect(connect, ending));
                (State::Waits { answer }, None)
            }
            Err(failure) => {
                let failure = Some(Box::new(failure));
                (State::Refused { failure }, Some(ending))
            }
        };
        Self {
            proxy,
            ending,
            state,
        }
    }
}

impl<F> Future for Handling<F>
where
    F: Future<Output = Result<Exchanged, Unanswered>>,
{
    type Output = Response<Answer>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Answer>> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Waits { answer } => return answer.as_mut().poll(cx),
                StateProj::Refused { failure } => {
                    let (Some(failure), Some(ending)) = (failure.take(), this.ending.take()) else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(this.proxy.answer(ending, |_| Err(*failure)));
                }
                StateProj::Sent {
                    flight,
                    token,
                    prepared,
                } => {
                    let polled = catch_unwind(AssertUnwindSafe(|| flight.poll(cx)));
                    let outcome = match polled {
                        Ok(Poll::Pending) => return Poll::Pending,
                        Ok(Poll::Ready(outcome)) => Some(outcome),
                        Err(_) => None,
                    };
                    let (Some(mut prepared), Some(ending)) = (prepared.take(), this.ending.take())
                    else {
                        return Poll::Pending;
                    };
                    let token = token.take();
                    match outcome {
                        None => return Poll::Ready(this.proxy.panicked(ending)),
                        Some(Ok(exchanged)) if exchanged.is_good(token.as_ref()) => {
                            let proxy = &*this.proxy;
                            return Poll::Ready(proxy.answer(ending, |record| {
                                let status = exchanged.response.status().as_u16();
                                record.upstream_answered(status, record.begun().mono);
                                proxy.passed(exchanged, &mut prepared, record)
                            }));
                        }
                        Some(outcome) => {
                            let first = Some(First { token, outcome });
                            let proxy = Arc::clone(this.proxy);
                            Box::pin(proxy.wait(prepared, first, ending))
                        }
                    }
                }
            };
            this.state.set(State::Waits { answer: next });
        }
    }
}

impl Proxy {
    /// All that waits, apart from the first sending.
    async fn wait(
        self: Arc<Self>,
        mut prepared: Box<Prepared>,
        first: Option<First>,
        mut ending: Box<Ending>,
    ) -> Response<Answer> {
        let carried = self.carry(&mut prepared, first, &mut ending.record);
        let carried = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(carried));
        match carried.await {
            Ok(Err(Failure::Token { credential, source })) => {
                let reference = self.reference(&ending.record);
                let Prepared {
                    permit, outgoing, ..
                } = &*prepared;
                match Self::signs_in_again(permit, outgoing, reference).await {
                    Some(answer) => self.answer(ending, |record| {
                        record.answers(answer.status().as_u16());
                        let (parts, body) = answer.into_parts();
                        Ok((parts, Content::own(body)))
                    }),
                    None => self.answer(ending, |_| Err(Failure::Token { credential, source })),
                }
            }
            Ok(outcome) => self.answer(ending, |_| outcome),
            Err(_) => self.panicked(ending),
        }
    }

    /// Admission once more, when what the caller's token has to wait for has come: newer keys, or
    /// the provider's word. Each comes once, and all in a time that is bounded.
    async fn wait_to_admit(
        self: Arc<Self>,
        mut held: Box<Held>,
        mut ending: Box<Ending>,
    ) -> Response<Answer> {
        let until = self.observer.clock.mono() + LONGEST_WAIT;
        let mut waited = Waited::default();
        loop {
            let Held {
                request,
                survey,
                conn,
                meant,
                coming,
            } = *held;
            waited = waited.and_for(coming, until).await;
            let admitted = catch_unwind(AssertUnwindSafe(|| {
                self.admit(request, survey, &conn, meant, &mut ending.record, &waited)
            }));
            match admitted {
                Ok(Ok(Step::On(prepared))) => {
                    ending.reads(prepared.outgoing.payload.intake.as_ref());
                    return self.wait(prepared, None, ending).await;
                }
                Ok(Ok(Step::Held(again))) => held = again,
                Ok(Ok(Step::Own(answer))) => return self.own(answer, ending).await,
                Ok(Ok(Step::Connect(connect))) => return self.connect(connect, ending).await,
                Ok(Err(failure)) => return self.answer(ending, |_| Err(failure)),
                Err(_) => return self.panicked(ending),
            }
        }
    }

    /// What an endpoint of ours answers.
    async fn own(
        self: Arc<Self>,
        answer: BoxFuture<'static, Response<Bytes>>,
        ending: Box<Ending>,
    ) -> Response<Answer> {
        match futures_util::FutureExt::catch_unwind(AssertUnwindSafe(answer)).await {
            Ok(answer) => self.answer(ending, |record| {
                record.answers(answer.status().as_u16());
                if let Some(HandedOut(credential)) = answer.extensions().get() {
                    record.handed_out(credential);
                }
                let (parts, body) = answer.into_parts();
                Ok((parts, Content::own(body)))
            }),
            Err(_) => self.panicked(ending),
        }
    }

    /// The answer that `work` makes, or what is said of its failure.
    ///
    /// While its listener stops it is the last one of its connection, and says so: a caller that
    /// only finds the connection closed may have sent its next request already. HTTP/2 says it
    /// otherwise.
    pub(super) fn answer(
        &self,
        ending: Box<Ending>,
        work: impl FnOnce(&mut Record) -> Result<(Parts, Content), Failure>,
    ) -> Response<Answer> {
        let stops = ending.is_last() && ending.record.version() < Version::HTTP_2;
        let mut answer = self.made(ending, work);
        if stops && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    fn made(
        &self,
        mut ending: Box<Ending>,
        work: impl FnOnce(&mut Record) -> Result<(Parts, Content), Failure>,
    ) -> Response<Answer> {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut ending.record)));
        let failure = match outcome {
            Ok(Ok((parts, content))) => return Answer::new(ending, parts, content),
            Ok(Err(failure)) => failure,
            Err(_) => return self.panicked(ending),
        };
        ending.record.fails(&failure);
        let id = ending.record.id().to_string();
        let mut response = failure.response(&id, &self.plan.help);
        if let Some(gateway) = ending.record.gateway() {
            *response.status_mut() = decide::status(gateway, response.status());
        }
        let (parts, body) = response.into_parts();
        Answer::new(ending, parts, Content::own(body))
    }

    fn panicked(&self, ending: Box<Ending>) -> Response<Answer> {
        self.observer.metrics.panics.inc();
        self.answer(ending, |_| Err(Failure::Panicked))
    }
}
