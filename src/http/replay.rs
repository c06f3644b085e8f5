//! A request body that can be sent a second time.
//!
//! The first try reads the caller's body and keeps what it reads: in memory up to one bound, past
//! it in a temporary file that has no name, up to a second bound; past that it keeps nothing more
//! and cannot be sent again. The second try reads what was kept and goes on with what the first
//! did not read: an upstream may refuse a token before the body has arrived.

use std::{
    io::SeekFrom,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf},
};

use super::body::{BoxError, CallerBody};
use crate::config::Replay;

/// How much is read back from the file at once.
const CHUNK: usize = 64 * 1024;

/// One sending of the body.
#[derive(Debug)]
pub struct ReplayBody<B = CallerBody> {
    shared: Arc<Mutex<Shared<B>>>,
    generation: u32,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Reads the caller and keeps.
    First,
    /// Reads what was kept, then the caller.
    Second { next: usize, file: FileStep },
}

#[derive(Debug, Clone, Copy)]
enum FileStep {
    Seek,
    Seeking,
    Read,
    Done,
}

/// The right to send the body again.
#[derive(Debug)]
pub struct Kept<B = CallerBody>(Arc<Mutex<Shared<B>>>);

#[derive(Debug)]
struct Shared<B> {
    caller: B,
    /// The sending that may read; those before it are over, even if a connection still holds one.
    generation: u32,
    ended: bool,
    bounds: Replay,
    chunks: Vec<Bytes>,
    trailers: Option<http::HeaderMap>,
    in_memory: u64,
    spool: Option<Spool>,
    /// The bound was passed, or the file failed: there is no second time.
    lost: bool,
    hint: SizeHint,
}

#[derive(Debug)]
struct Spool {
    file: File,
    written: u64,
    pending: Bytes,
    /// Handed on once `pending` is in the file.
    frame: Option<Frame<Bytes>>,
}

/// The body for a first try, and the right to a second one.
pub fn keep<B>(caller: B, bounds: Replay) -> (ReplayBody<B>, Kept<B>)
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let hint = caller.size_hint();
    let shared = Arc::new(Mutex::new(Shared {
        caller,
        generation: 0,
        ended: false,
        bounds,
        chunks: Vec::new(),
        trailers: None,
        in_memory: 0,
        spool: None,
        lost: false,
        hint,
    }));
    let body = ReplayBody {
        shared: Arc::clone(&shared),
        generation: 0,
        role: Role::First,
    };
    (body, Kept(shared))
}

impl<B> Kept<B> {
    /// Whether all that was read so far is still there.
    pub fn is_whole(&self) -> bool {
        !self.0.lock().lost
    }

    /// The body once more; sendings before it end with an error.
    ///
    /// Returns `None` when something of it was not kept.
    pub fn again(&self) -> Option<ReplayBody<B>> {
        let mut shared = self.0.lock();
        if shared.lost {
            return None;
        }
        shared.generation += 1;
        Some(ReplayBody {
            shared: Arc::clone(&self.0),
            generation: shared.generation,
            role: Role::Second {
                next: 0,
                file: FileStep::Seek,
            },
        })
    }
}

impl<B> Shared<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// Reads the caller's next frame and keeps it.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(spool) = &mut self.spool
            && let Some(frame) = ready!(spool.poll_written(cx)).unwrap_or_else(|()| {
                self.lost = true;
                spool.frame.take()
            })
        {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(frame) = ready!(Pin::new(&mut self.caller).poll_frame(cx)) else {
            self.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        if self.lost {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(data) = frame.data_ref() else {
            self.trailers = frame.trailers_ref().cloned();
            return Poll::Ready(Some(Ok(frame)));
        };
        let data = data.clone();
        let size = data.len() as u64;
        let spooled = self.spool.as_ref().map_or(0, |spool| spool.written);
        if self.in_memory + spooled + size > self.bounds.total_bytes {
            self.forget();
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.spool.is_none() && self.in_memory + size <= self.bounds.memory_bytes {
            self.in_memory += size;
            self.chunks.push(data);
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.spool() {
            Some(spool) => {
                spool.pending = data;
                spool.frame = Some(frame);
                self.poll_first(cx)
            }
            None => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn spool(&mut self) -> Option<&mut Spool> {
        if self.spool.is_none() {
            match tempfile::tempfile() {
                Ok(file) => {
                    self.spool = Some(Spool {
                        file: File::from_std(file),
                        written: 0,
                        pending: Bytes::new(),
                        frame: None,
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no temporary file: this request body cannot be sent again");
                    self.forget();
                }
            }
        }
        self.spool.as_mut()
    }

    fn forget(&mut self) {
        self.lost = true;
        self.chunks = Vec::new();
        self.spool = None;
    }
}

impl Spool {
    /// Ready with the frame that waited for its bytes to be written; `Err` when they cannot be.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ()>> {
        while !self.pending.is_empty() {
            match ready!(Pin::new(&mut self.file).poll_write(cx, &self.pending)) {
                Ok(0) => return Poll::Ready(Err(())),
                Ok(written) => {
                    self.written += written as u64;
                    let _ = self.pending.split_to(written);
                }
                Err(error) => {
                    tracing::warn!(%error, "temporary file: this request body cannot be sent again");
                    self.pending.clear();
                    return Poll::Ready(Err(()));
                }
            }
        }
        Poll::Ready(Ok(self.frame.take()))
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let mut shared = this.shared.lock();
        if this.generation != shared.generation {
            return Poll::Ready(Some(Err(
                "another sending has taken this one's place".into()
            )));
        }
        let Role::Second { next, file } = &mut this.role else {
            return shared.poll_first(cx);
        };
        if let Some(chunk) = shared.chunks.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if let Some(spool) = &mut shared.spool {
            // a chunk that the first try was still writing belongs into the file, too
            if ready!(spool.poll_written(cx)).is_err() {
                return Poll::Ready(Some(Err("the kept body could not be written".into())));
            }
            if let Some(chunk) = ready!(poll_read_back(&mut spool.file, file, cx))? {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
        }
        if *next == shared.chunks.len()
            && let Some(trailers) = shared.trailers.clone()
        {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        // what is read from here on is not kept: there is no third time
        shared.lost = true;
        Pin::new(&mut shared.caller).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        // asking the caller's body would be wrong for a second try that has kept bytes to send
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.shared.lock().hint
    }
}

fn poll_read_back(
    file: &mut File,
    step: &mut FileStep,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<Option<Bytes>>> {
    loop {
        match step {
            FileStep::Seek => {
                // the write before it must have reached the file, a seek before it must be over
                ready!(Pin::new(&mut *file).poll_flush(cx))?;
                ready!(Pin::new(&mut *file).poll_complete(cx))?;
                Pin::new(&mut *file).start_seek(SeekFrom::Start(0))?;
                *step = FileStep::Seeking;
            }
            FileStep::Seeking => {
                ready!(Pin::new(&mut *file).poll_complete(cx))?;
                *step = FileStep::Read;
            }
            FileStep::Read => {
                let mut buffer = BytesMut::zeroed(CHUNK);
                let mut read = ReadBuf::new(&mut buffer);
                ready!(Pin::new(&mut *file).poll_read(cx, &mut read))?;
                let length = read.filled().len();
                if length == 0 {
                    *step = FileStep::Done;
                    continue;
                }
                buffer.truncate(length);
                return Poll::Ready(Ok(Some(buffer.freeze())));
            }
            FileStep::Done => return Poll::Ready(Ok(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

    fn body(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = BoxError> + Unpin {
        let frames: Frames = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    async fn text(body: impl Body<Data = Bytes, Error = BoxError>) -> String {
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    const MEMORY: Replay = Replay {
        memory_bytes: 100,
        total_bytes: 100,
    };
    const SPOOL: Replay = Replay {
        memory_bytes: 5,
        total_bytes: 100,
    };

    #[tokio::test]
    async fn the_second_sending_is_the_first_once_more() {
        for bounds in [MEMORY, SPOOL] {
            let (first, kept) = keep(body(&["one ", "two ", "three"]), bounds);
            assert_eq!(text(first).await, "one two three");
            assert_eq!(text(kept.again().unwrap()).await, "one two three");
        }
    }

    #[tokio::test]
    async fn what_the_first_sending_did_not_read_is_read_by_the_second() {
        for bounds in [MEMORY, SPOOL] {
            for frames in 0..3 {
                let (mut first, kept) = keep(body(&["one ", "two ", "three"]), bounds);
                for _ in 0..frames {
                    first.frame().await.unwrap().unwrap();
                }
                drop(first);
                assert_eq!(text(kept.again().unwrap()).await, "one two three");
            }
        }
    }

    #[tokio::test]
    async fn a_body_above_the_bound_passes_once() {
        let bounds = Replay {
            memory_bytes: 4,
            total_bytes: 8,
        };
        let (first, kept) = keep(body(&["one ", "two ", "three"]), bounds);
        assert_eq!(text(first).await, "one two three");
        assert!(kept.again().is_none());
    }

    #[tokio::test]
    async fn trailers_are_sent_again() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("5"));
        let frames: Frames = vec![
            Ok(Frame::data(Bytes::from_static(b"hi"))),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let (first, kept) = keep(StreamBody::new(futures_util::stream::iter(frames)), MEMORY);
        assert_eq!(first.collect().await.unwrap().trailers(), Some(&trailers));
        let second = kept.again().unwrap().collect().await.unwrap();
        assert_eq!(second.trailers(), Some(&trailers));
    }
}
