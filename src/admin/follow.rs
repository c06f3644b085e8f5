//! Answers that go on: lines as they come, until whoever reads them goes away.
//!
//! They are few, so that probes always find a place. Who stops reading is cut off: a connection's
//! [`Lease`] is renewed only while its lines are taken.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admin, Answer, access, access::Peer, pages};
use crate::health::Followed;

/// Who follows at once; each holds one of the admin listener's connections.
pub(super) const FOLLOWERS: usize = 16;

/// A body of either kind: a whole answer, or lines that go on.
pub(super) type AdminBody = UnsyncBoxBody<Bytes, Infallible>;

/// Lines of this part, from now on.
pub(super) fn serve<B>(
    admin: &Admin,
    followed: &dyn Followed,
    request: &Request<B>,
    peer: Peer,
    lease: &Lease,
) -> Result<Response<AdminBody>, Box<Answer>> {
    access::sees(admin, request, peer)?;
    let query = request.uri().query().unwrap_or_default();
    let Ok(place) = Arc::clone(&admin.followers).try_acquire_owned() else {
        return Err(pages::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "TooManyFollowers",
            "as many follow as may: end one of them",
        ));
    };
    let source = followed.follow(query).map_err(|faults| {
        let message = "the details say what is wrong with the query";
        Box::new(pages::problem_with(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            message,
            &faults,
        ))
    })?;
    let mut answer = pages::answer(StatusCode::OK, pages::TEXT, Bytes::new()).map(whole);
    if request.method() == Method::GET {
        let lines = Lines {
            source,
            lease: lease.begin(),
            _place: place,
        };
        *answer.body_mut() = StreamBody::new(lines).boxed_unsync();
        // no proxy in between is to collect it (nginx)
        let unbuffered = HeaderValue::from_static("no");
        answer.headers_mut().insert("x-accel-buffering", unbuffered);
    } else {
        answer.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(answer)
}

/// A whole answer as a body of either kind.
pub(super) fn whole(
    body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> AdminBody {
    body.boxed_unsync()
}

/// For how long a connection may go on: what its follower, if it has one, was last seen to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// There is a follower and all lines so far were taken.
    waits: AtomicBool,
    /// A line was taken since the last look.
    took: AtomicBool,
}

impl Lease {
    fn begin(&self) -> Self {
        self.0.took.store(true, Ordering::Relaxed);
        self.clone()
    }

    /// Whether there is somebody who reads, since this was asked last.
    pub(super) fn renewed(&self) -> bool {
        let took = self.0.took.swap(false, Ordering::Relaxed);
        took || self.0.waits.load(Ordering::Relaxed)
    }
}

/// Lines, and the follower's place.
struct Lines {
    source: BoxStream<'static, Bytes>,
    lease: Lease,
    _place: OwnedSemaphorePermit,
}

impl Stream for Lines {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.source.as_mut().poll_next(cx);
        let seen = &self.lease.0;
        seen.waits.store(next.is_pending(), Ordering::Relaxed);
        seen.took.store(true, Ordering::Relaxed);
        next.map(|next| next.map(|line| Ok(Frame::data(line))))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.lease.0.waits.store(false, Ordering::Relaxed);
    }
}

/// Places for followers.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FOLLOWERS))
}
