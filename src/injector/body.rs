//! The bytes of questions and answers that are in memory: so many of all callers together.
//!
//! Nobody has shown who they are before their question is read, so that memory is what has to be
//! guarded: a body's bytes are counted as they come, not as they are announced, and an answer's
//! until they are sent. Who finds nothing left waits until others have ended.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::places::Places;

/// etcd takes objects of 1.5 MB, and a review holds two at most.
pub(super) const BODY_MAX_BYTES: usize = 3 << 20;
const ALL_MAX_BYTES: usize = 16 << 20;
/// An API server waits 30 seconds at most, and sends all of it at once.
const TIME: Duration = Duration::from_secs(5);
/// After this time, connections that do nothing make room: they may hold answers that nobody reads.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("an AdmissionReview has 3 MiB at most")]
    Large,
    #[error("the body broke off")]
    BrokenOff,
    #[error("the body did not come in time")]
    Late,
}

#[derive(Debug)]
pub(super) struct Bodies {
    left: Arc<Semaphore>,
    places: Arc<Places>,
}

/// A body, whose bytes are counted until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    counted: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(super) fn new(places: Arc<Places>) -> Self {
        Self {
            left: Arc::new(Semaphore::new(ALL_MAX_BYTES)),
            places,
        }
    }

    pub(super) async fn read<B>(&self, body: B) -> Result<Held, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
            return Err(BodyError::Large);
        }
        let read = timeout(TIME, self.collect(body)).await;
        read.unwrap_or(Err(BodyError::Late))
    }

    async fn collect<B>(&self, mut body: B) -> Result<Held, BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut held = Held::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::BrokenOff)?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if held.bytes.len() + data.len() > BODY_MAX_BYTES {
                return Err(BodyError::Large);
            }
            let more = self.count(data.len()).await;
            match &mut held.counted {
                Some(counted) => counted.merge(more),
                None => held.counted = Some(more),
            }
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }

    /// An answer that is counted until it is sent.
    pub(super) async fn answer(&self, bytes: Bytes) -> Result<Answer, BodyError> {
        let counted = timeout(TIME, self.count(bytes.len())).await;
        Ok(Answer {
            bytes: Full::new(bytes),
            _counted: Some(counted.map_err(|_| BodyError::Late)?),
        })
    }

    async fn count(&self, bytes: usize) -> OwnedSemaphorePermit {
        // nothing is larger than all that there is
        let bytes = u32::try_from(bytes.min(ALL_MAX_BYTES)).unwrap_or(u32::MAX);
        let mut left = std::pin::pin!(Arc::clone(&self.left).acquire_many_owned(bytes));
        loop {
            match timeout(PATIENCE, left.as_mut()).await {
                Ok(Ok(permit)) => return permit,
                // the semaphore is never closed
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => self.places.crowd_out(),
            }
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Full<Bytes>,
    _counted: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// One so short that nobody counts it.
    pub(super) fn short(text: String) -> Self {
        Self {
            bytes: Full::new(Bytes::from(text)),
            _counted: None,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    type Chunk = Result<Frame<Bytes>, Infallible>;

    /// A body whose end does not come.
    fn endless(first: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let chunk: Chunk = Ok(Frame::data(Bytes::from(vec![b' '; first])));
        let first = futures_util::stream::iter([chunk]);
        let never = futures_util::stream::pending();
        StreamBody::new(futures_util::StreamExt::chain(first, never))
    }

    #[tokio::test(start_paused = true)]
    async fn unfinished_bodies_hold_no_more_than_all_may_and_not_for_long() {
        let bodies = Arc::new(Bodies::new(Places::new(1)));
        let stop = crate::shutdown::Shutdown::new();
        for _ in 0..40 {
            let bodies = Arc::clone(&bodies);
            stop.spawn(async move { bodies.read(endless(3_000_000)).await });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            ALL_MAX_BYTES - bodies.left.available_permits(),
            ALL_MAX_BYTES
        );
        tokio::time::sleep(TIME).await;
        let whole = Full::new(Bytes::from_static(b"{}"));
        assert_eq!(bodies.read(whole).await.unwrap().bytes, b"{}");
        assert_eq!(bodies.left.available_permits(), ALL_MAX_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_counted_until_it_is_sent() {
        let bodies = Bodies::new(Places::new(1));
        let answer = bodies.answer(Bytes::from(vec![0; 1000])).await.unwrap();
        assert_eq!(bodies.left.available_permits(), ALL_MAX_BYTES - 1000);
        drop(answer);
        assert_eq!(bodies.left.available_permits(), ALL_MAX_BYTES);
    }
}
