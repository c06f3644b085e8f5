//! Speaks with the kernel of rules and routes, over a netlink socket of its own for each request.
//!
//! A request is made wholly or, where the protocol is [`Protocol::Tables`], not at all. The kernel
//! works while we send: its answers are there when sending returns, so that nothing is waited for.

mod message;

use std::io;

use rustix::io::Errno;

use self::message::Answer;
pub(super) use self::message::{Attributes, Flags, Message};

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `nf_tables`: all messages are one transaction.
    Tables,
    /// `nf_tables`, without changing anything.
    TablesRead,
    /// rtnetlink
    Routes,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) protocol: Protocol,
    pub(super) messages: Vec<Message>,
}

/// A request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the kernel does not open a netlink socket")]
    Socket { source: io::Error },
    #[error("the kernel refuses {about}")]
    Refused { about: String, source: io::Error },
}

impl RequestError {
    pub(super) fn errno(&self) -> Option<Errno> {
        let (Self::Socket { source } | Self::Refused { source, .. }) = self;
        Errno::from_io_error(source)
    }
}

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLMSG_ERROR: u16 = 2;
/// `NFNL_SUBSYS_NFTABLES`, as `nfgenmsg` of a batch has it.
const BATCH: [u8; 4] = [0, 0, 0, 10];

impl Request {
    /// # Errors
    /// With the first message that the kernel refuses.
    pub(super) fn run(&self) -> Result<(), RequestError> {
        let socket =
            Socket::open(self.protocol).map_err(|source| RequestError::Socket { source })?;
        let (bytes, last) = self.bytes();
        let refused = |sequence: u32, source| {
            let at = usize::try_from(sequence)
                .ok()
                .and_then(|at| self.messages.get(at));
            RequestError::Refused {
                about: at.map_or_else(|| "the transaction".into(), |at| at.about.clone()),
                source,
            }
        };
        let failed = |source| refused(u32::MAX, source);
        socket.send(&bytes).map_err(failed)?;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = socket.receive(&mut buffer).map_err(failed)?;
            for (sequence, errno) in answers(&buffer[..length]) {
                if errno != 0 {
                    return Err(refused(sequence, io::Error::from_raw_os_error(errno)));
                }
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// All messages, whose sequence numbers are their places, and the last of them, which is
    /// answered in any case. The answers to those before it come first.
    fn bytes(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::new();
        let batch = |kind| Message::new("", kind, Flags::None, &BATCH, &Attributes::default());
        if self.protocol == Protocol::Tables {
            batch(BATCH_BEGIN).write(&mut bytes, u32::MAX, Answer::Failure);
        }
        let mut last = 0;
        for (sequence, message) in (0..).zip(&self.messages) {
            let is_last = usize::try_from(sequence).is_ok_and(|at| at + 1 == self.messages.len());
            let answer = if is_last {
                Answer::Always
            } else {
                Answer::Failure
            };
            message.write(&mut bytes, sequence, answer);
            last = sequence;
        }
        if self.protocol == Protocol::Tables {
            batch(BATCH_END).write(&mut bytes, u32::MAX, Answer::Failure);
        }
        (bytes, last)
    }
}

/// What the kernel says of each message; 0 is that it was done. Other than errors, an answer is what
/// was asked for.
fn answers(mut bytes: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind), Some(sequence)) =
        (number(bytes, 0), number(bytes, 4), number(bytes, 8))
    {
        let [low, high, ..] = kind.to_ne_bytes();
        if let (NLMSG_ERROR, Some(errno)) = (u16::from_ne_bytes([low, high]), number(bytes, 16)) {
            found.push((sequence, errno.cast_signed().saturating_neg()));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let padded = length.max(16).saturating_add(3) & !3;
        bytes = bytes.get(padded..).unwrap_or_default();
    }
    found
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(target_os = "linux")]
struct Socket(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Socket {
    fn open(protocol: Protocol) -> io::Result<Self> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

        let protocol = match protocol {
            Protocol::Tables | Protocol::TablesRead => Some(netlink::NETFILTER),
            Protocol::Routes => None,
        };
        let (kind, flags) = (
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        );
        Ok(Self(socket_with(
            AddressFamily::NETLINK,
            kind,
            flags,
            protocol,
        )?))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        use rustix::net::{SendFlags, send, sockopt};

        // a transaction is one datagram; who may not have more room gets an error from sending
        let _ = sockopt::set_socket_send_buffer_size_force(&self.0, bytes.len() + 4096);
        send(&self.0, bytes, SendFlags::empty())?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, rustix::net::RecvFlags::empty())?.0)
    }
}

#[cfg(not(target_os = "linux"))]
struct Socket;

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_self, reason = "as on Linux")]
impl Socket {
    fn open(_: Protocol) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn send(&self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16) -> Message {
        Message::new("", kind, Flags::None, &[], &Attributes::default())
    }

    /// Kind, flags and sequence number of each.
    fn headers(mut bytes: &[u8]) -> Vec<(u16, u16, u32)> {
        let mut found = Vec::new();
        while let Some(header) = bytes.first_chunk::<16>() {
            let two = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
            found.push((two(4), two(6), number(header, 8).unwrap()));
            bytes = &bytes[usize::from(two(if cfg!(target_endian = "big") { 2 } else { 0 }))..];
        }
        found
    }

    #[test]
    fn only_the_last_message_is_answered_in_any_case() {
        let request = |protocol| Request {
            protocol,
            messages: vec![message(7), message(8)],
        };
        let (bytes, last) = request(Protocol::Tables).bytes();
        let (begin, end) = ((BATCH_BEGIN, 1, u32::MAX), (BATCH_END, 1, u32::MAX));
        assert_eq!(headers(&bytes), [begin, (7, 1, 0), (8, 5, 1), end]);
        assert_eq!(last, 1);
        let (bytes, _) = request(Protocol::Routes).bytes();
        assert_eq!(headers(&bytes), [(7, 1, 0), (8, 5, 1)]);
    }

    #[test]
    fn answers_are_told_from_what_was_asked_for() {
        let answer = |kind, sequence, errno: i32| {
            let (fixed, mut bytes) = ([errno.to_ne_bytes(), [0; 4]].concat(), Vec::new());
            Message::new("", kind, Flags::None, &fixed, &Attributes::default()).write(
                &mut bytes,
                sequence,
                Answer::Failure,
            );
            bytes
        };
        let all = [answer(2, 3, -17), answer(9, 4, -1), answer(2, 5, 0)].concat();
        assert_eq!(answers(&all), [(3, 17), (5, 0)]);
        // what is cut off says nothing
        assert_eq!(answers(&all[..all.len() - 8]), [(3, 17)]);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(answers(&bytes).len() <= bytes.len() / 16);
        }
    }
}
