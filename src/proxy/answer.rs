//! The body of an answer as the caller reads it, and what hangs on its end.
//!
//! When an upstream's body has been read to its end its connection goes back to the pool; whenever
//! the body goes, at its end or before, the request is over and its record reports.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, response::Parts};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::{
    person::Lasting,
    record::Record,
    upstream::{Http1, Pool},
};
use crate::{
    handbook::Code,
    http::{
        body::{AnswerGuard, BoxError, IdleTimer, Intake},
        links::LinksBody,
        serve::{Busy, Turn},
    },
};

/// The upstream connection that an answer still comes on.
#[derive(Debug)]
pub struct Lease {
    connection: Option<(Arc<Pool>, Http1)>,
    /// For a request body that the upstream has not asked for.
    guard: Option<AnswerGuard>,
}

impl Lease {
    /// No `sender` for a connection that others use at the same time.
    pub fn new(pool: &Arc<Pool>, sender: Option<Http1>, guard: Option<AnswerGuard>) -> Self {
        Self {
            connection: sender.map(|sender| (Arc::clone(pool), sender)),
            guard,
        }
    }

    fn end(&mut self) {
        self.guard = None;
        if let Some((pool, sender)) = self.connection.take() {
            pool.give_back(sender);
        }
    }
}

/// An upstream's body, on its connection.
#[derive(Debug)]
pub struct Relay {
    inner: Incoming,
    lease: Lease,
    idle: IdleTimer,
    left: Option<Pin<Box<Sleep>>>,
    lasting: Option<Lasting>,
}

impl Relay {
    /// `idle` without a byte, `left` of the whole request's time, the end of the session that it is
    /// `lasting` for, break it off.
    pub fn new(
        inner: Incoming,
        lease: Lease,
        idle: Duration,
        left: Option<Duration>,
        lasting: Option<Lasting>,
    ) -> Self {
        Self {
            inner,
            lease,
            idle: IdleTimer::new(idle),
            left: left.map(|left| Box::pin(sleep(left))),
            lasting,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Late {
    #[error("the upstream sent no byte of the body in {0:?}")]
    Stalled(Duration),
    #[error("the request took longer than its route allows")]
    Total,
    #[error("the session has ended")]
    Ended,
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(left) = &mut this.left
            && left.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err(Late::Total.into())));
        }
        if this.lasting.as_ref().is_some_and(Lasting::has_ended) {
            return Poll::Ready(Some(Err(Late::Ended.into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            if let Some(lasting) = &mut this.lasting
                && lasting.poll_over(cx).is_ready()
            {
                return Poll::Ready(Some(Err(Late::Ended.into())));
            }
            ready!(this.idle.poll_idle(cx));
            return Poll::Ready(Some(Err(Late::Stalled(this.idle.after()).into())));
        };
        this.idle.touch();
        if frame.is_none() {
            this.lease.end();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // hyper does not poll past `Content-Length`, so most bodies end here
        if self.inner.is_end_stream() {
            self.lease.end();
        }
    }
}

/// A request, from its beginning to the end of its answer: what is reported of it, and what there
/// is to send. One allocation, which is moved from hand to hand as a pointer.
#[derive(Debug)]
pub struct Ending {
    pub record: Record,
    busy: Busy,
    content: Content,
}

#[derive(Debug)]
pub enum Content {
    Own(Option<Bytes>),
    Relay(Relay),
    Links(Box<LinksBody<Relay>>),
}

impl Content {
    pub fn own(body: Bytes) -> Self {
        Self::Own(Some(body).filter(|body| !body.is_empty()))
    }
}

impl Ending {
    /// If the request has a body, its connection is told until it has ended.
    pub fn reads(&self, intake: Option<&Intake>) {
        if let Some(intake) = intake {
            intake.holds(self.busy.reading());
        }
    }

    /// Whether its connection takes no further request.
    pub fn is_last(&self) -> bool {
        self.busy.is_last()
    }

    pub fn new(record: Record, busy: Busy) -> Box<Self> {
        Box::new(Self {
            record,
            busy,
            content: Content::Own(None),
        })
    }
}

/// What callers are answered with; the request ends with it.
#[derive(Debug)]
pub struct Answer(Box<Ending>);

impl Answer {
    /// The answer that ends the request.
    pub fn new(mut ending: Box<Ending>, parts: Parts, content: Content) -> Response<Self> {
        ending.content = content;
        Response::from_parts(parts, Self(ending))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self.get_mut().0;
        this.busy.turn(Turn::Ours);
        let frame: Option<Result<Frame<Bytes>, BoxError>> = match &mut this.content {
            Content::Own(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Content::Relay(body) => ready!(Pin::new(body).poll_frame(cx)),
            Content::Links(body) => {
                let frame = ready!(Pin::new(body.as_mut()).poll_frame(cx));
                frame.map(|frame| frame.map_err(Into::into))
            }
        };
        this.busy.turn(Turn::Callers);
        match &frame {
            Some(Ok(frame)) => this.record.sent(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) => this.record.breaks(Code::UpstreamBodyBroken),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0.content {
            Content::Own(bytes) => bytes.is_none(),
            Content::Relay(body) => body.is_end_stream(),
            Content::Links(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.content {
            Content::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Content::Relay(body) => body.size_hint(),
            Content::Links(body) => body.size_hint(),
        }
    }
}
