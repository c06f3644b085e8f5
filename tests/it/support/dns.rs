//! A name server that says what a test wants, over UDP.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Answers every question for addresses of a family with those of `answers` that the number of the
/// question picks; the last one stays.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// How often it was asked for addresses of IPv4.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) fn saying(answers: Vec<Vec<IpAddr>>) -> Server {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // it ends with the process: nobody waits for it
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = answer(&buffer[..length], &answers, &count);
            let _ = socket.send_to(&answer, from);
        }
    });
    Server { address, asked }
}

/// RFC 1035 section 4.1; time to live 0.
fn answer(question: &[u8], answers: &[Vec<IpAddr>], count: &AtomicUsize) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let number = match kind {
        1 => count.fetch_add(1, Ordering::SeqCst),
        _ => count.load(Ordering::SeqCst),
    };
    let said = &answers[number.min(answers.len() - 1)];
    let fitting = said.iter().filter_map(|address| match (kind, address) {
        (1, IpAddr::V4(address)) => Some(address.octets().to_vec()),
        (28, IpAddr::V6(address)) => Some(address.octets().to_vec()),
        _ => None,
    });
    let mut records = Vec::new();
    let mut found = 0_u16;
    for data in fitting {
        found += 1;
        records.extend([0xc0, 12]);
        records.extend(kind.to_be_bytes());
        records.extend([0, 1, 0, 0, 0, 0]);
        records.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        records.extend(data);
    }
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1]);
    out.extend(found.to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(&question[12..end + 4]);
    out.extend(records);
    out
}
