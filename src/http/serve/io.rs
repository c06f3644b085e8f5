//! A caller's stream as hyper sees it: bytes that were read before hyper existed come first, and
//! the connection's [`Activity`] is told what comes and what does not go.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{Activity, Blocked};

/// See the module.
#[derive(Debug)]
pub struct Watched<I> {
    io: I,
    /// Read before, not passed on yet.
    first: Vec<u8>,
    activity: Arc<Activity>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, first: Vec<u8>, activity: Arc<Activity>) -> Self {
        Self {
            io,
            first,
            activity,
        }
    }

    /// The stream, and what of its beginning nobody has read.
    pub fn into_inner(self) -> (I, Vec<u8>) {
        (self.io, self.first)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let some = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..some]);
            if some == self.first.len() {
                // once a connection: the buffer is given back
                self.first = Vec::new();
            } else {
                self.first.drain(..some);
            }
            self.activity.bytes_came();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_came();
        }
        polled
    }
}

fn note<T>(activity: &Activity, polled: Poll<T>) -> Poll<T> {
    activity.writes(if polled.is_pending() {
        Blocked::Yes
    } else {
        Blocked::No
    });
    polled
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        note(&self.activity, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        note(&self.activity, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    // a TLS stream takes bytes before the socket does: only a flush tells that all are gone
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        note(&self.activity, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        note(&self.activity, polled)
    }
}
