//! Content codings taken off a stream: gzip, deflate and br (RFC 9110 section 8.4.1, RFC 1950,
//! 1951, 1952, 7932).
//!
//! The input is pushed, the output is taken in portions: one push yields no more than its limit
//! and a portion, however much the input would grow to. Memory is bounded by the codings' windows
//! (32 KiB; 16 MiB at most for br). Gzip files of several members are read to the end; what follows
//! the last one is ignored, as browsers do. Checksums are verified, a missing end is an error.

mod brotli;
mod deflate;
mod gzip;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::CONTENT_ENCODING};

/// Codings one over the other; more are taken for an attack.
const MOST_CODINGS: usize = 3;
/// What one step may add to the output.
const PORTION: usize = 16 * 1024;

/// Takes the codings off one body.
#[derive(Debug)]
pub struct Decoder {
    /// In the order in which they are taken off.
    stages: Vec<Stage>,
}

/// A content coding that can be taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

/// Why a push returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The input is used up.
    NeedsInput,
    /// The limit is reached; there may be more.
    OutputFull,
}

/// A body that is not what its `Content-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the {0} body is corrupt")]
    Corrupt(Coding),
    #[error("the {0} body ends early")]
    Truncated(Coding),
}

impl Coding {
    /// By its name in `Content-Encoding` and `Accept-Encoding`.
    pub fn named(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else if is("br") {
            Some(Self::Brotli)
        } else {
            None
        }
    }
}

impl std::fmt::Display for Coding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
        })
    }
}

impl Decoder {
    /// For a body with these fields; `None` if a coding is unknown, or there are too many. Without
    /// a coding the bytes pass.
    pub fn for_headers(headers: &HeaderMap) -> Option<Self> {
        let mut codings = Vec::new();
        for line in headers.get_all(CONTENT_ENCODING) {
            for name in line.to_str().ok()?.split(',').map(str::trim) {
                if !name.is_empty() && !name.eq_ignore_ascii_case("identity") {
                    codings.push(Coding::named(name)?);
                }
            }
        }
        Self::for_codings(&codings)
    }

    /// For one `Content-Encoding` line.
    pub fn for_encoding(line: &str) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, line.parse().ok()?);
        Self::for_headers(&headers)
    }

    /// For codings in the order in which they were applied.
    fn for_codings(codings: &[Coding]) -> Option<Self> {
        (codings.len() <= MOST_CODINGS).then(|| Self {
            stages: codings.iter().rev().map(|c| Stage::new(*c)).collect(),
        })
    }

    /// Whether there is nothing to take off.
    pub fn is_identity(&self) -> bool {
        self.stages.is_empty()
    }

    /// Decodes from `input` to the end of `out`, until the input is used up or about `limit` bytes
    /// were added. After [`Progress::OutputFull`] call it again, even with empty input.
    pub fn push(
        &mut self,
        input: &mut Bytes,
        out: &mut BytesMut,
        limit: usize,
    ) -> Result<Progress, DecodeError> {
        let end = out.len() + limit.max(1);
        let Some(last) = self.stages.len().checked_sub(1) else {
            out.extend_from_slice(&input.split_to(input.len().min(limit.max(1))));
            return Ok(if input.is_empty() {
                Progress::NeedsInput
            } else {
                Progress::OutputFull
            });
        };
        self.stages[0].pending(input);
        while out.len() < end {
            // The innermost first, so that little lies between the stages.
            let Some(n) = self.stages.iter().rposition(Stage::has_work) else {
                return Ok(Progress::NeedsInput);
            };
            if n == last {
                self.stages[n].step(out)?;
            } else {
                let mut between = BytesMut::new();
                self.stages[n].step(&mut between)?;
                self.stages[n + 1].pending(&mut between.freeze());
            }
        }
        Ok(Progress::OutputFull)
    }

    /// The input has ended, and every push was carried through.
    ///
    /// # Errors
    /// When the body goes on by its coding.
    pub fn finish(&self) -> Result<(), DecodeError> {
        for stage in &self.stages {
            if !stage.stream.is_complete() {
                return Err(DecodeError::Truncated(stage.coding));
            }
        }
        Ok(())
    }
}

/// One coding, and the input it has not read.
#[derive(Debug)]
struct Stage {
    coding: Coding,
    stream: Stream,
    input: Bytes,
    /// The last step filled its portion: there may be more without input.
    more: bool,
}

#[derive(Debug)]
enum Stream {
    Gzip(gzip::Gzip),
    Deflate(deflate::Deflate),
    Brotli(Box<brotli::Brotli>),
}

/// What a step used and gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    used: usize,
    made: usize,
}

/// The coding says no.
#[derive(Debug)]
struct Corrupt;

impl Stage {
    fn new(coding: Coding) -> Self {
        Self {
            coding,
            stream: match coding {
                Coding::Gzip => Stream::Gzip(gzip::Gzip::default()),
                Coding::Deflate => Stream::Deflate(deflate::Deflate::default()),
                Coding::Brotli => Stream::Brotli(Box::default()),
            },
            input: Bytes::new(),
            more: false,
        }
    }

    /// Takes all of `input`.
    fn pending(&mut self, input: &mut Bytes) {
        if self.input.is_empty() {
            self.input = std::mem::take(input);
        } else if !input.is_empty() {
            let mut joined = BytesMut::from(std::mem::take(&mut self.input));
            joined.extend_from_slice(input);
            input.clear();
            self.input = joined.freeze();
        }
    }

    fn has_work(&self) -> bool {
        self.more || !self.input.is_empty()
    }

    /// Reads some input and adds a portion to `out` at most.
    fn step(&mut self, out: &mut BytesMut) -> Result<(), DecodeError> {
        let start = out.len();
        out.resize(start + PORTION, 0);
        let room = &mut out[start..];
        let step = match &mut self.stream {
            Stream::Gzip(gzip) => gzip.step(&self.input, room),
            Stream::Deflate(deflate) => deflate.step(&self.input, room),
            Stream::Brotli(brotli) => brotli.step(&self.input, room),
        };
        let Ok(step) = step else {
            out.truncate(start);
            return Err(DecodeError::Corrupt(self.coding));
        };
        out.truncate(start + step.made);
        self.more = step.made == PORTION;
        if step.used == 0 && step.made == 0 && !self.input.is_empty() {
            // No decoder of ours stands still; if one did, this would be an endless loop.
            return Err(DecodeError::Corrupt(self.coding));
        }
        self.input = self.input.split_off(step.used);
        Ok(())
    }
}

impl Stream {
    fn is_complete(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_complete(),
            Self::Deflate(deflate) => deflate.is_complete(),
            Self::Brotli(brotli) => brotli.is_complete(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder, write};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn encode(coding: &str, plain: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" => {
                let mut to = write::GzEncoder::new(Vec::new(), level);
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            "deflate" => {
                let mut to = write::ZlibEncoder::new(Vec::new(), level);
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            "raw" => {
                let mut to = write::DeflateEncoder::new(Vec::new(), level);
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            "br" => {
                let mut to = Vec::new();
                let params = ::brotli::enc::BrotliEncoderParams {
                    quality: 4,
                    ..Default::default()
                };
                ::brotli::BrotliCompress(&mut &plain[..], &mut to, &params).unwrap();
                to
            }
            other => panic!("no encoder for {other}"),
        }
    }

    fn decode_in(
        line: &str,
        bytes: &[u8],
        cuts: &[usize],
        limit: usize,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut decoder = Decoder::for_encoding(line).unwrap();
        let mut input = Bytes::copy_from_slice(bytes);
        let (mut plain, mut out) = (Vec::new(), BytesMut::new());
        for cut in cuts.iter().cycle() {
            let mut piece = input.split_to((*cut).min(input.len()));
            while decoder.push(&mut piece, &mut out, limit)? == Progress::OutputFull {
                assert!(out.len() < limit + PORTION);
                plain.extend_from_slice(&out.split());
            }
            plain.extend_from_slice(&out.split());
            if input.is_empty() {
                break;
            }
        }
        decoder.finish().map(|()| plain)
    }

    fn decode(line: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let whole = decode_in(line, bytes, &[usize::MAX], 64 * 1024);
        assert_eq!(decode_in(line, bytes, &[1], 1), whole, "byte by byte");
        whole
    }

    #[test]
    fn every_coding_gives_back_what_was_encoded() {
        let plain = b"{\"_links\":{}}".repeat(3000);
        for (line, encoder) in [
            ("gzip", "gzip"),
            ("X-GZIP", "gzip"),
            ("deflate", "deflate"),
            ("deflate", "raw"),
            ("br", "br"),
            ("identity, br", "br"),
        ] {
            assert_eq!(
                decode(line, &encode(encoder, &plain)).unwrap(),
                plain,
                "{encoder}"
            );
        }
        assert_eq!(decode("", &plain).unwrap(), plain);
        let twice = encode("br", &encode("gzip", &plain));
        assert_eq!(decode("gzip, br", &twice).unwrap(), plain);
        let thrice = encode("raw", &twice);
        assert_eq!(decode("gzip, br, deflate", &thrice).unwrap(), plain);
    }

    #[test]
    fn unknown_codings_and_too_many_are_left_alone() {
        for line in [
            "zstd",
            "gzip, compress",
            "gzip;q=1",
            "br, br, br, br",
            "\u{fc}",
        ] {
            assert!(Decoder::for_encoding(line).is_none(), "{line}");
        }
        assert!(Decoder::for_encoding("identity, ").unwrap().is_identity());
        assert!(!Decoder::for_encoding("br").unwrap().is_identity());
        let mut lines = HeaderMap::new();
        lines.append(CONTENT_ENCODING, "gzip".parse().unwrap());
        lines.append(CONTENT_ENCODING, "zstd".parse().unwrap());
        assert!(Decoder::for_headers(&lines).is_none());
    }

    #[test]
    fn gzip_members_follow_each_other_and_garbage_ends_them() {
        let named = |text: &str| {
            let mut to = GzBuilder::new()
                .extra(vec![0, 1, 2])
                .filename("a.json")
                .comment("c")
                .write(Vec::new(), Compression::best());
            to.write_all(text.as_bytes()).unwrap();
            to.finish().unwrap()
        };
        let two = [named("one "), encode("gzip", b"two")].concat();
        assert_eq!(decode("gzip", &two).unwrap(), b"one two");
        for garbage in [&b"\0\0\0\0"[..], b"\x1f", b"\x1f!", b"garbage"] {
            let padded = [&two[..], garbage].concat();
            assert_eq!(decode("gzip", &padded).unwrap(), b"one two");
        }
        let mut checksummed = encode("gzip", b"three");
        checksummed[3] |= 2;
        checksummed.splice(10..10, [9, 9]);
        assert_eq!(decode("gzip", &checksummed).unwrap(), b"three");
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_an_error_and_an_empty_one_is_empty() {
        for (line, encoder, coding) in [
            ("gzip", "gzip", Coding::Gzip),
            ("deflate", "deflate", Coding::Deflate),
            ("br", "br", Coding::Brotli),
        ] {
            let good = encode(encoder, b"some plain text, long enough");
            assert_eq!(decode(line, b"").unwrap(), b"");
            for length in 1..good.len() {
                let error = decode(line, &good[..length]).unwrap_err();
                assert_eq!(error, DecodeError::Truncated(coding), "{length} bytes");
            }
            assert_eq!(
                decode(line, b"\xffnothing of the kind"),
                Err(DecodeError::Corrupt(coding))
            );
        }
        let mut gzip = encode("gzip", b"text");
        let last = gzip.len() - 1;
        gzip[last - 5] ^= 1;
        assert_eq!(
            decode("gzip", &gzip),
            Err(DecodeError::Corrupt(Coding::Gzip))
        );
    }

    #[test]
    fn a_bomb_comes_out_in_portions() {
        let zeros = vec![0; 8 << 20];
        for (line, encoder) in [("gzip", "gzip"), ("deflate", "raw"), ("br", "br")] {
            let twice = encode(encoder, &encode(encoder, &zeros));
            let mut decoder = Decoder::for_encoding(&format!("{line}, {line}")).unwrap();
            let mut input = Bytes::from(twice);
            let (mut out, mut total) = (BytesMut::new(), 0);
            while decoder.push(&mut input, &mut out, 1000).unwrap() == Progress::OutputFull {
                assert!(out.len() <= 1000 + PORTION);
                total += out.split().len();
            }
            assert_eq!(total + out.len(), zeros.len());
            decoder.finish().unwrap();
        }
    }

    proptest! {
        #[test]
        fn whatever_was_encoded_comes_back_however_it_is_cut(
            plain in vec(prop_oneof![any::<u8>(), Just(b'a')], 0..5000),
            repeat in 1_usize..20,
            coding in prop_oneof![Just(("gzip", "gzip")), Just(("deflate", "deflate")), Just(("deflate", "raw")), Just(("br", "br"))],
            cuts in vec(1_usize..2000, 1..6),
            limit in 1_usize..40_000,
        ) {
            let plain = plain.repeat(repeat);
            let coded = encode(coding.1, &plain);
            prop_assert_eq!(decode_in(coding.0, &coded, &cuts, limit).unwrap(), plain);
        }

        #[test]
        fn no_bytes_make_it_panic_or_stand_still(
            bytes in vec(any::<u8>(), 0..600),
            line in prop_oneof![Just("gzip"), Just("deflate"), Just("br"), Just("br, gzip")],
            head in any::<bool>(),
            cuts in vec(1_usize..50, 1..6),
        ) {
            let header: &[u8] = if head { b"\x1f\x8b\x08\x1e\0\0\0\0\0\0" } else { b"" };
            let _ = decode_in(line, &[header, &bytes].concat(), &cuts, 1000);
        }
    }
}
