//! A stream whose beginning somebody has already read: it is read again from here, then the rest.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
#[derive(Debug)]
pub struct Prefixed<I> {
    first: Bytes,
    io: I,
}

impl<I> Prefixed<I> {
    pub fn new(first: Bytes, io: I) -> Self {
        Self { first, io }
    }

    /// What of the beginning is still unread, and the stream.
    pub fn into_parts(self) -> (Bytes, I) {
        (self.first, self.io)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let some = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..some]);
        self.first.advance(some);
        if self.first.is_empty() {
            // gives the memory back
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_beginning_comes_first_whatever_the_readers_buffer() {
        for size in 1..8 {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(b" and the rest").await.unwrap();
            far.shutdown().await.unwrap();
            let mut stream = Prefixed::new(Bytes::from_static(b"what was read"), near);
            let (mut all, mut piece) = (Vec::new(), vec![0; size]);
            loop {
                let read = stream.read(&mut piece).await.unwrap();
                if read == 0 {
                    break;
                }
                all.extend_from_slice(&piece[..read]);
            }
            assert_eq!(all, b"what was read and the rest");
            stream.write_all(b"answer").await.unwrap();
            let mut answer = [0; 6];
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        }
    }
}
