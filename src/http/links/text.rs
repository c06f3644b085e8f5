//! JSON strings, read one byte at a time, escapes understood (RFC 8259 section 7).

/// A string that is compared with a name, and how far they agree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Name {
    matched: usize,
    escape: Escape,
}

/// An escape sequence under way (RFC 8259 section 7).
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Escape {
    #[default]
    None,
    Backslash,
    Hex {
        digits: u8,
        value: u16,
    },
}

/// What a byte of a string means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// The escape goes on.
    Partial,
    Character(u8),
    /// A character that no name and no origin holds.
    Foreign,
    /// The quote at the end.
    End,
    /// The escape is none, and this byte is not part of it.
    Broken,
}

/// How a string and a name compare.
pub(super) enum Named {
    More,
    /// The string ended, and is the name.
    Equal,
    /// It differs, and goes on behind this byte.
    Other,
    /// It differs, and ended with this byte.
    OtherEnded,
    /// It differs, and this byte is still to be looked at.
    OtherBefore,
}

impl Name {
    /// Whether nothing of the string was read yet.
    pub(super) fn is_fresh(self) -> bool {
        self.matched == 0 && matches!(self.escape, Escape::None)
    }

    pub(super) fn read(&mut self, name: &[u8], byte: u8) -> Named {
        match self.escape.read(byte) {
            Read::Partial => Named::More,
            Read::Character(c) if name.get(self.matched) == Some(&c) => {
                self.matched += 1;
                Named::More
            }
            Read::Character(_) | Read::Foreign => Named::Other,
            Read::End if self.matched == name.len() => Named::Equal,
            Read::End => Named::OtherEnded,
            Read::Broken => Named::OtherBefore,
        }
    }
}

impl Escape {
    pub(super) fn read(&mut self, byte: u8) -> Read {
        match (*self, byte) {
            (Self::None, b'"') => return Read::End,
            (Self::None, b'\\') => *self = Self::Backslash,
            (Self::None, _) => return Read::Character(byte),
            (Self::Backslash, b'u') => {
                *self = Self::Hex {
                    digits: 0,
                    value: 0,
                }
            }
            (Self::Backslash, b'/') => {
                *self = Self::None;
                return Read::Character(b'/');
            }
            (Self::Backslash, _) => {
                *self = Self::None;
                return Read::Foreign;
            }
            (Self::Hex { digits, value }, _) => {
                let Some(digit) = hex(byte) else {
                    *self = Self::None;
                    return Read::Broken;
                };
                let value = value << 4 | digit;
                if digits < 3 {
                    let digits = digits + 1;
                    *self = Self::Hex { digits, value };
                } else {
                    *self = Self::None;
                    return match u8::try_from(value) {
                        Ok(c) if c.is_ascii() => Read::Character(c),
                        _ => Read::Foreign,
                    };
                }
            }
        }
        Read::Partial
    }
}

fn hex(byte: u8) -> Option<u16> {
    match byte {
        b'0'..=b'9' => Some(u16::from(byte - b'0')),
        b'a'..=b'f' => Some(u16::from(byte - b'a') + 10),
        b'A'..=b'F' => Some(u16::from(byte - b'A') + 10),
        _ => None,
    }
}
