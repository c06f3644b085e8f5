//! The `gzip` coding: members one after the other, each with its checksum (RFC 1952).

use flate2::Crc;

use super::{
    Corrupt, Step,
    deflate::{Inflate, Kind},
};

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A stream of the `gzip` coding.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    state: State,
    members: u64,
}

#[derive(Debug)]
enum State {
    /// The fixed part of a member's header.
    Header {
        bytes: [u8; 10],
        read: usize,
    },
    /// What the flags say is still to come.
    Optional {
        flags: u8,
        field: Field,
    },
    Body {
        inflate: Inflate,
        crc: Crc,
    },
    Trailer {
        bytes: [u8; 8],
        read: usize,
        crc: Crc,
    },
    /// What follows the last member is ignored.
    Rest,
}

/// An optional header field under way.
#[derive(Debug, Clone, Copy, Default)]
enum Field {
    #[default]
    Begin,
    /// One byte of a length was read.
    Length(u8),
    /// So many bytes remain.
    Bytes(u16),
}

impl Default for State {
    fn default() -> Self {
        Self::Header {
            bytes: [0; 10],
            read: 0,
        }
    }
}

impl Gzip {
    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        let mut total = Step { used: 0, made: 0 };
        loop {
            let (rest, room) = (&input[total.used..], &mut out[total.made..]);
            if room.is_empty() {
                return Ok(total);
            }
            let step = match &mut self.state {
                State::Body { .. } => self.body(rest, room)?,
                _ => Step {
                    used: self.frame(rest)?,
                    made: 0,
                },
            };
            if step == (Step { used: 0, made: 0 }) {
                return Ok(total);
            }
            total.used += step.used;
            total.made += step.made;
        }
    }

    /// Whether the body may end here: behind a member, or without any.
    pub(super) fn is_complete(&self) -> bool {
        match &self.state {
            State::Header { read, .. } => *read == 0 || (self.members > 0 && *read == 1),
            State::Rest => true,
            _ => false,
        }
    }

    fn body(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        let State::Body { inflate, crc } = &mut self.state else {
            return Ok(Step { used: 0, made: 0 });
        };
        let (step, end) = inflate.step(input, out)?;
        crc.update(&out[..step.made]);
        if end {
            self.state = State::Trailer {
                bytes: [0; 8],
                read: 0,
                crc: std::mem::take(crc),
            };
        }
        Ok(step)
    }

    /// Reads what is around the compressed data; returns how much of it.
    fn frame(&mut self, input: &[u8]) -> Result<usize, Corrupt> {
        let Some(&byte) = input.first() else {
            return Ok(0);
        };
        match &mut self.state {
            State::Header { bytes, read } => {
                bytes[*read] = byte;
                *read += 1;
                let known = MAGIC.iter().zip(&bytes[..*read]).all(|(a, b)| a == b);
                if !known && self.members == 0 {
                    return Err(Corrupt);
                }
                if !known {
                    self.state = State::Rest;
                } else if *read == bytes.len() {
                    let flags = bytes[3];
                    if bytes[2] != 8 || flags & 0xe0 != 0 {
                        return Err(Corrupt);
                    }
                    self.optional(flags & !1);
                }
            }
            State::Optional { flags, field } => {
                let flags = *flags;
                let next = next_field(flags, *field, byte);
                match next {
                    Some(field) => self.state = State::Optional { flags, field },
                    None => self.optional(flags & !next_flag(flags)),
                }
            }
            State::Trailer { bytes, read, crc } => {
                bytes[*read] = byte;
                *read += 1;
                if *read == bytes.len() {
                    let [a, b, c, d, sizes @ ..] = *bytes;
                    let sum = u32::from_le_bytes([a, b, c, d]);
                    if sum != crc.sum() || u32::from_le_bytes(sizes) != crc.amount() {
                        return Err(Corrupt);
                    }
                    self.members += 1;
                    self.state = State::default();
                }
            }
            State::Rest => return Ok(input.len()),
            State::Body { .. } => return Ok(0),
        }
        Ok(1)
    }

    fn optional(&mut self, flags: u8) {
        self.state = if flags == 0 {
            State::Body {
                inflate: Inflate::new(Kind::Raw),
                crc: Crc::new(),
            }
        } else {
            let field = Field::Begin;
            State::Optional { flags, field }
        };
    }
}

/// The flag whose field comes next.
fn next_flag(flags: u8) -> u8 {
    let order = [FEXTRA, FNAME, FCOMMENT];
    order
        .into_iter()
        .find(|flag| flags & flag != 0)
        .unwrap_or(FHCRC)
}

/// What remains of the optional field under way; `None` at its end.
fn next_field(flags: u8, field: Field, byte: u8) -> Option<Field> {
    let bytes = |n: u16| (n > 0).then_some(Field::Bytes(n));
    match (next_flag(flags), field) {
        (FEXTRA, Field::Begin) => Some(Field::Length(byte)),
        (FEXTRA, Field::Length(low)) => bytes(u16::from_le_bytes([low, byte])),
        (FHCRC, Field::Begin) => bytes(1),
        (FEXTRA | FHCRC, Field::Bytes(n)) => bytes(n - 1),
        // Name and comment end with a zero.
        _ => (byte != 0).then_some(Field::Begin),
    }
}
