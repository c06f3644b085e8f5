//! Messages to the kernel: a header, a fixed part, attributes (`netlink(7)`).
//!
//! Pure. Numbers of the header are this machine's, those in attributes of `nf_tables` the network's.

/// One thing that is asked of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::redirect) struct Message {
    /// For whoever is told that it was refused.
    pub(super) about: String,
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

/// Of [`Message`], beside those that every one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::redirect) enum Flags {
    None = 0,
    Create = 0x400,
    /// What is there already is a failure.
    CreateNew = 0x600,
    Replace = 0x500,
    /// Behind those that are there already.
    Append = 0xc00,
}

/// Whether the kernel answers when there is nothing to complain of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Always,
    Failure,
}

/// Numbered values, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli::redirect) struct Attributes(Vec<u8>);

const HEADER: usize = 16;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const NESTED: u16 = 0x8000;

impl Message {
    pub(in crate::cli::redirect) fn new(
        about: impl Into<String>,
        kind: u16,
        flags: Flags,
        fixed: &[u8],
        attributes: &Attributes,
    ) -> Self {
        Self {
            about: about.into(),
            kind,
            flags: flags as u16,
            body: [fixed, &attributes.0].concat(),
        }
    }

    pub(super) fn write(&self, to: &mut Vec<u8>, sequence: u32, answer: Answer) {
        let flags = match answer {
            Answer::Always => REQUEST | ACKNOWLEDGE,
            Answer::Failure => REQUEST,
        } | self.flags;
        let length = u32::try_from(HEADER + self.body.len()).unwrap_or(u32::MAX);
        to.extend(length.to_ne_bytes());
        to.extend(self.kind.to_ne_bytes());
        to.extend(flags.to_ne_bytes());
        to.extend(sequence.to_ne_bytes());
        to.extend([0; 4]); // the kernel knows who we are
        to.extend(&self.body);
        pad(to);
    }
}

impl Attributes {
    pub(in crate::cli::redirect) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // those that are made here have a few hundred bytes
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        pad(&mut self.0);
        self
    }

    /// In the network's order, as `nf_tables` has them.
    pub(in crate::cli::redirect) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// In this machine's order, as routes have them.
    pub(in crate::cli::redirect) fn native(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(in crate::cli::redirect) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(in crate::cli::redirect) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_their_length_is_not() {
        let none = Attributes::default;
        for (attributes, expected) in [
            (none(), &[][..]),
            (none().bytes(3, &[]), &[4, 0, 3, 0]),
            (none().text(1, "nat"), &[8, 0, 1, 0, b'n', b'a', b't', 0]),
            (none().bytes(2, &[9]), &[5, 0, 2, 0, 9, 0, 0, 0]),
            (none().number(1, 0x0102), &[8, 0, 1, 0, 0, 0, 1, 2]),
            (none().native(1, 0x0102), &[8, 0, 1, 0, 2, 1, 0, 0]),
            (
                none().nested(4, &none().bytes(1, &[7])).bytes(5, &[]),
                &[12, 0, 4, 0x80, 5, 0, 1, 0, 7, 0, 0, 0, 4, 0, 5, 0],
            ),
        ] {
            assert_eq!(attributes.0, expected);
        }
    }

    /// `ip -4 rule add fwmark 15001 lookup 15001`, as iproute2 sends it.
    #[test]
    fn a_message_is_the_one_that_other_programs_send() {
        let attributes = Attributes::default().native(10, 15001).native(15, 15001);
        let fixed = [2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let message = Message::new("", 32, Flags::CreateNew, &fixed, &attributes);
        let mut sent = Vec::new();
        message.write(&mut sent, 7, Answer::Always);
        let expected = [
            &[44, 0, 0, 0, 32, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0][..],
            &fixed,
            &[8, 0, 10, 0, 0x99, 0x3a, 0, 0, 8, 0, 15, 0, 0x99, 0x3a, 0, 0],
        ];
        assert_eq!(sent, expected.concat());
    }
}
