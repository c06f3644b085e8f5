//! The `deflate` coding: a zlib stream (RFC 1950), or the bare deflate stream (RFC 1951) that some
//! servers send under its name. The first two bytes tell.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{Corrupt, Step};

/// A stream of the `deflate` coding.
#[derive(Debug, Default)]
pub(super) enum Deflate {
    #[default]
    New,
    /// One byte was read, which may begin either kind.
    First(u8),
    Inflating(Inflate),
    /// What follows the end is ignored.
    Done,
}

impl Deflate {
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        match self {
            Self::New => match input {
                [] => Ok(Step { used: 0, made: 0 }),
                [first] => {
                    *self = Self::First(*first);
                    Ok(Step { used: 1, made: 0 })
                }
                [first, second, ..] => {
                    *self = Self::Inflating(Inflate::new(kind(*first, *second)));
                    self.step(input, out)
                }
            },
            Self::First(first) => {
                let Some(second) = input.first() else {
                    return Ok(Step { used: 0, made: 0 });
                };
                let mut inflate = Inflate::new(kind(*first, *second));
                let (before, _) = inflate.step(&[*first], out)?;
                *self = Self::Inflating(inflate);
                let rest = self.step(input, &mut out[before.made..])?;
                Ok(Step {
                    used: rest.used,
                    made: before.made + rest.made,
                })
            }
            Self::Inflating(inflate) => {
                let (step, end) = inflate.step(input, out)?;
                if end {
                    *self = Self::Done;
                }
                Ok(step)
            }
            Self::Done => Ok(Step {
                used: input.len(),
                made: 0,
            }),
        }
    }

    /// Whether the body may end here; an empty one may.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::New | Self::Done)
    }
}

/// How a deflate stream is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Raw,
    Zlib,
}

fn kind(first: u8, second: u8) -> Kind {
    let deflate = first & 0x0f == 8 && first >> 4 <= 7;
    let checked = u16::from_be_bytes([first, second]).is_multiple_of(31);
    if deflate && checked {
        Kind::Zlib
    } else {
        Kind::Raw
    }
}

/// The decompressor, with counts for each step.
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub(super) fn new(kind: Kind) -> Self {
        Self(Decompress::new(kind == Kind::Zlib))
    }

    /// One step, and whether the stream ended with it.
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<(Step, bool), Corrupt> {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status = self
            .0
            .decompress(input, out, FlushDecompress::None)
            .map_err(|_| Corrupt)?;
        let count = |n: u64| usize::try_from(n).map_err(|_| Corrupt);
        let step = Step {
            used: count(self.0.total_in() - read)?,
            made: count(self.0.total_out() - written)?,
        };
        Ok((step, status == Status::StreamEnd))
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflate")
    }
}
