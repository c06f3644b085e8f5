//! A body whose links are rewritten while it passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::LinkRewriter;
use crate::http::decode::{DecodeError, Decoder, Progress};

/// About the most that one frame holds.
const FRAME: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// Decodes and rewrites `B`, frame by frame; trailers pass.
    #[derive(Debug)]
    pub struct LinksBody<B> {
        #[pin]
        inner: B,
        decoder: Decoder,
        rewriter: LinkRewriter,
        input: Bytes,
        // Decoded, not rewritten yet.
        plain: BytesMut,
        stage: Stage,
    }
}

#[derive(Debug)]
enum Stage {
    /// The decoder may have more without input.
    Decoding,
    Reading,
    /// The body has ended; these are to come.
    Trailers(HeaderMap),
    Done,
}

/// Why such a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    #[error("the answer's body cannot be read")]
    Body(#[source] BoxError),
    #[error("the answer's body cannot be decoded")]
    Decode(#[from] DecodeError),
}

impl<B> LinksBody<B> {
    pub fn new(inner: B, decoder: Decoder, rewriter: LinkRewriter) -> Self {
        Self {
            inner,
            decoder,
            rewriter,
            input: Bytes::new(),
            plain: BytesMut::new(),
            stage: Stage::Reading,
        }
    }
}

impl<B> Body for LinksBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = LinksError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LinksError>>> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Decoding => {
                    let decoded = if this.decoder.is_identity() {
                        *this.stage = Stage::Reading;
                        Ok(this.rewriter.pass(&std::mem::take(this.input)))
                    } else {
                        this.plain.clear();
                        this.decoder
                            .push(this.input, this.plain, FRAME)
                            .map(|progress| {
                                if progress == Progress::NeedsInput {
                                    *this.stage = Stage::Reading;
                                }
                                let mut out = BytesMut::new();
                                this.rewriter.push(this.plain, &mut out);
                                out.freeze()
                            })
                    };
                    match decoded {
                        Ok(out) if out.is_empty() => {}
                        Ok(out) => return data(out),
                        Err(error) => {
                            *this.stage = Stage::Done;
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    }
                }
                Stage::Reading => {
                    let frame = ready!(this.inner.as_mut().poll_frame(cx));
                    let trailers = match frame.map(|f| f.map(Frame::into_data)) {
                        Some(Ok(Ok(data))) => {
                            *this.input = data;
                            *this.stage = Stage::Decoding;
                            continue;
                        }
                        Some(Ok(Err(frame))) => match frame.into_trailers() {
                            Ok(trailers) => Some(trailers),
                            Err(_) => continue,
                        },
                        Some(Err(error)) => {
                            *this.stage = Stage::Done;
                            return Poll::Ready(Some(Err(LinksError::Body(error.into()))));
                        }
                        None => None,
                    };
                    *this.stage = trailers.map_or(Stage::Done, Stage::Trailers);
                    if let Err(error) = this.decoder.finish() {
                        *this.stage = Stage::Done;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    let mut out = BytesMut::new();
                    this.rewriter.finish(&mut out);
                    if !out.is_empty() {
                        return data(out.freeze());
                    }
                }
                Stage::Trailers(trailers) => {
                    let trailers = std::mem::take(trailers);
                    *this.stage = Stage::Done;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Stage::Done => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Done => true,
            // An empty body from the start, for which no chunk needs to be written.
            Stage::Reading => {
                self.inner.is_end_stream()
                    && self.decoder.finish().is_ok()
                    && self.rewriter.is_idle()
            }
            Stage::Decoding | Stage::Trailers(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

fn data(out: Bytes) -> Poll<Option<Result<Frame<Bytes>, LinksError>>> {
    Poll::Ready(Some(Ok(Frame::data(out))))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use futures_util::stream;
    use http_body_util::{BodyExt, Empty, StreamBody};

    use super::*;
    use crate::config::Origin;

    type Part = Result<Frame<Bytes>, BoxError>;

    #[expect(clippy::unnecessary_wraps, reason = "a part of a body that may fail")]
    fn chunk(bytes: &[u8]) -> Part {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    fn rewritten(
        coding: &str,
        parts: Vec<Part>,
    ) -> LinksBody<impl Body<Data = Bytes, Error = BoxError> + Unpin> {
        links(coding, StreamBody::new(stream::iter(parts)))
    }

    fn links<B>(coding: &str, body: B) -> LinksBody<B> {
        let origin = |https, host: &str, port| Origin {
            https,
            host: host.into(),
            port,
        };
        let rewriter = LinkRewriter::new(
            &origin(true, "api.bentley.com", 443),
            &origin(false, "localhost", 80),
        );
        LinksBody::new(body, Decoder::for_encoding(coding).unwrap(), rewriter)
    }

    const BEFORE: &[u8] = br#"{"_links":{"next":{"href":"https://api.bentley.com/a"}}}"#;
    const AFTER: &[u8] = br#"{"_links":{"next":{"href":"http://localhost/a"}}}"#;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::best());
        to.write_all(plain).unwrap();
        to.finish().unwrap()
    }

    #[tokio::test]
    async fn links_are_rewritten_and_trailers_pass() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        for (coding, wire) in [("", BEFORE.to_vec()), ("gzip", gzip(BEFORE))] {
            let (head, tail) = wire.split_at(20);
            let end = Ok(Frame::trailers(trailers.clone()));
            let body = rewritten(coding, vec![chunk(head), chunk(b""), chunk(tail), end]);
            assert!(!body.is_end_stream());
            let all = body.collect().await.unwrap();
            assert_eq!(all.trailers(), Some(&trailers));
            assert_eq!(all.to_bytes(), AFTER);
        }
    }

    #[tokio::test]
    async fn what_was_held_back_comes_when_the_body_ends() {
        let cut = &BEFORE[..45];
        let all = rewritten("", vec![chunk(cut)]).collect().await.unwrap();
        assert_eq!(all.to_bytes(), cut);
    }

    #[test]
    fn an_empty_body_is_at_its_end_at_once() {
        for coding in ["", "gzip"] {
            let body = links(coding, Empty::<Bytes>::new());
            assert!(body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some(0));
        }
    }

    #[tokio::test]
    async fn a_broken_body_breaks_off_and_stays_broken() {
        for (coding, parts, message) in [
            (
                "gzip",
                vec![chunk(&gzip(BEFORE)[..30])],
                "the gzip body ends early",
            ),
            ("gzip", vec![chunk(b"nonsense")], "the gzip body is corrupt"),
            ("", vec![chunk(BEFORE), Err("gone".into())], "gone"),
        ] {
            let mut body = rewritten(coding, parts);
            let error = loop {
                match body.frame().await.unwrap() {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            let source = std::error::Error::source(&error).unwrap();
            assert_eq!(source.to_string(), message);
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_frame_stays_small_whatever_it_was_compressed_to() {
        let mut body = rewritten("gzip", vec![chunk(&gzip(&vec![b' '; 8 << 20]))]);
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= 2 * FRAME);
            total += data.len();
        }
        assert_eq!(total, 8 << 20);
    }
}
