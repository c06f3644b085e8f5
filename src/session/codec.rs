//! How what a cookie or file carries is written: fields in a fixed order, each with its type and
//! length before it, behind the kind and version of the whole.
//!
//! Reading is total: what is of another kind or version, cut, longer than it says or of another
//! type is [`Malformed`], never a guess, and nothing is allocated for a length that is not there.
//! Tokens are base64url in parts, so they are kept decoded: a quarter less, and what comes back is
//! the same to the byte.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What is written, and in which version; another is never read as this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub kind: u8,
    pub version: u8,
}

/// It is not what it should be. Deliberately without a reason: nobody can do anything but throw it
/// away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is of another kind or version, or damaged")]
pub struct Malformed;

#[derive(Clone, Copy)]
#[repr(u8)]
enum Type {
    Absent = 0,
    Number = 1,
    Bytes = 2,
    Text = 3,
    /// A token as it is.
    Verbatim = 4,
    /// A token, each part of it decoded.
    Decoded = 5,
    List = 6,
}

/// As many parts as the longest token with a name has (JWE, RFC 7516 section 3.1).
const PARTS: usize = 5;

/// Writes fields one after the other.
pub struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub fn new(form: Form) -> Self {
        // no reallocation in the usual case: it would leave a copy of secrets behind
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
        bytes.extend([form.kind, form.version]);
        Self(bytes)
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.push(Type::Number as u8);
        self.length(number)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.field(Type::Bytes, bytes)
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.field(Type::Text, text.as_bytes())
    }

    /// A token or another secret.
    pub fn secret(&mut self, secret: &Secret) -> &mut Self {
        let text = secret.expose();
        let Some(parts) = decoded(text) else {
            return self.field(Type::Verbatim, text.as_bytes());
        };
        self.0.push(Type::Decoded as u8);
        self.length(parts.len() as u64);
        for part in parts {
            self.length(part.len() as u64);
            self.0.extend_from_slice(&part);
        }
        self
    }

    /// A field that is not there, where [`Reader::maybe`] reads one.
    pub fn absent(&mut self) -> &mut Self {
        self.0.push(Type::Absent as u8);
        self
    }

    /// What `write` writes, or that it is absent.
    pub fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => {
                self.absent();
            }
        }
        self
    }

    /// How many elements follow; each must write a field at least.
    pub fn list(&mut self, elements: usize) -> &mut Self {
        self.0.push(Type::List as u8);
        self.length(elements as u64)
    }

    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    fn field(&mut self, of: Type, bytes: &[u8]) -> &mut Self {
        self.0.push(of as u8);
        self.length(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// LEB128: seven bits a byte, the lowest first.
    fn length(&mut self, mut number: u64) -> &mut Self {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
        self
    }
}

/// Reads fields one after the other.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], form: Form) -> Result<Self, Malformed> {
        let rest = bytes.strip_prefix(&[form.kind, form.version]);
        rest.map(Self).ok_or(Malformed)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        self.expect(Type::Number)?;
        self.length()
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        self.field(Type::Bytes)
    }

    /// Bytes of which there are exactly so many.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| Malformed)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.field(Type::Text)?).map_err(|_| Malformed)
    }

    pub fn secret(&mut self) -> Result<Secret, Malformed> {
        if self.peek() == Some(Type::Verbatim as u8) {
            let text = self.field(Type::Verbatim)?;
            return Ok(Secret::new(
                std::str::from_utf8(text).map_err(|_| Malformed)?,
            ));
        }
        self.expect(Type::Decoded)?;
        let parts = self.length()?;
        if parts == 0 || parts > PARTS as u64 {
            return Err(Malformed);
        }
        // at once as large as it can become: no copy is left behind
        let mut text = String::with_capacity(self.0.len() * 4 / 3 + 2 * PARTS);
        for part in 0..parts {
            if part > 0 {
                text.push('.');
            }
            let length = self.length()?;
            URL_SAFE_NO_PAD.encode_string(self.take(length)?, &mut text);
        }
        Ok(Secret::new(text))
    }

    /// What `read` reads, unless it was written as absent.
    pub fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.peek() == Some(Type::Absent as u8) {
            self.take(1)?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// All elements of a list.
    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.expect(Type::List)?;
        let elements = self.length()?;
        // an element is a byte at least; grown as they are read, so that a number alone costs nothing
        if elements > self.0.len() as u64 {
            return Err(Malformed);
        }
        (0..elements).map(|_| read(self)).collect()
    }

    /// That there is nothing more.
    pub fn finish(self) -> Result<(), Malformed> {
        self.0.is_empty().then_some(()).ok_or(Malformed)
    }

    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn expect(&mut self, of: Type) -> Result<(), Malformed> {
        let found = self.take(1)?;
        (found == [of as u8]).then_some(()).ok_or(Malformed)
    }

    fn field(&mut self, of: Type) -> Result<&'a [u8], Malformed> {
        self.expect(of)?;
        let length = self.length()?;
        self.take(length)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn length(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else {
                return Err(Malformed);
            };
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }
}

/// The parts of a token, decoded, where encoding them again gives the same text.
fn decoded(text: &str) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    if text.is_empty() || text.bytes().filter(|byte| *byte == b'.').count() >= PARTS {
        return None;
    }
    // this engine takes no padding and no bits that say nothing: one text for one content
    let part = |part| URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new).ok();
    text.split('.').map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: Form = Form {
        kind: 1,
        version: 1,
    };

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new(FORM);
        write(&mut writer);
        writer.finish().to_vec()
    }

    /// All types, read in an order that the bytes choose, as an attacker would like.
    fn read_anything(reader: &mut Reader<'_>) -> Result<(), Malformed> {
        while let Some(of) = reader.peek() {
            match of % 8 {
                0 => drop(reader.maybe(Reader::text)?),
                1 => drop(reader.number()?),
                2 => drop(reader.bytes()?),
                3 => drop(reader.text()?),
                4 | 5 => drop(reader.secret()?),
                6 => drop(reader.list(Reader::number)?),
                _ => drop(reader.array::<16>()?),
            }
        }
        Ok(())
    }

    #[test]
    fn another_kind_version_type_or_length_is_refused() {
        let bytes = written(|writer| {
            writer.number(7).text("ann");
        });
        let read = |bytes: &[u8]| -> Result<(), Malformed> {
            let mut reader = Reader::new(bytes, FORM)?;
            assert_eq!((reader.number()?, reader.text()?), (7, "ann"));
            reader.finish()
        };
        assert_eq!(read(&bytes), Ok(()));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(Malformed), "cut at {cut}");
        }
        assert_eq!(read(&[&bytes[..], b"x"].concat()), Err(Malformed));
        for (kind, version) in [(2, 1), (1, 2)] {
            let form = Form { kind, version };
            assert!(Reader::new(&bytes, form).is_err());
        }
        let mut reader = Reader::new(&bytes, FORM).unwrap();
        assert_eq!(reader.text(), Err(Malformed), "a number is no text");
    }

    #[test]
    fn a_token_takes_a_quarter_less_and_comes_back_the_same() {
        let part = |length| URL_SAFE_NO_PAD.encode(vec![b'x'; length]);
        let jwt = format!("{}.{}.{}", part(90), part(800), part(256));
        for (token, longest) in [
            (jwt.as_str(), jwt.len() * 3 / 4 + 8),
            // opaque ones, and what only looks like a token
            ("", 4),
            ("abcdefgh", 12),
            ("a", 6),
            ("abcde", 10),
            ("ab=", 8),
            ("aa.bb.cc", 12), // bits that say nothing
            ("AA..AA", 12),
            (".", 6),
            ("a.b.c.d.e.f.g", 18),
            ("ümlaut", 12),
        ] {
            let bytes = written(|writer| {
                writer.secret(&Secret::new(token));
            });
            assert!(bytes.len() <= longest, "{token}: {}", bytes.len());
            let mut reader = Reader::new(&bytes, FORM).unwrap();
            assert_eq!(reader.secret().unwrap().expose(), token);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_number_of_elements_that_are_not_there_costs_nothing() {
        for count in [3_u8, 0x7f] {
            let bytes = [1, 1, Type::List as u8, count, Type::Number as u8, 1];
            let mut reader = Reader::new(&bytes, FORM).unwrap();
            assert_eq!(reader.list(Reader::number), Err(Malformed));
        }
        let mut endless = vec![1, 1, Type::Number as u8];
        endless.extend([0xff; 20]);
        assert_eq!(
            Reader::new(&endless, FORM).unwrap().number(),
            Err(Malformed)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(0_u8..8, 0..60)) {
            let bytes = [&[1, 1][..], &bytes].concat();
            let _ = read_anything(&mut Reader::new(&bytes, FORM).unwrap());
        }

        #[test]
        fn what_is_written_is_read(
            number: u64,
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            text: String,
            token in "[A-Za-z0-9_.-]{0,60}",
            absent: Option<u64>,
            list: Vec<u64>,
        ) {
            let written = written(|writer| {
                writer.number(number).bytes(&bytes).text(&text).secret(&Secret::new(&*token));
                writer.maybe(absent, |writer, number| { writer.number(number); });
                writer.list(list.len());
                for number in &list {
                    writer.number(*number);
                }
            });
            let mut reader = Reader::new(&written, FORM).unwrap();
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.text(), Ok(&*text));
            let secret = reader.secret().unwrap();
            prop_assert_eq!(secret.expose(), &*token);
            prop_assert_eq!(reader.maybe(Reader::number), Ok(absent));
            prop_assert_eq!(reader.list(Reader::number), Ok(list));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
