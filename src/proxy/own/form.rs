//! What callers ask endpoints of ours: the parameters of a query or a form.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Body;
use url::form_urlencoded;

/// A SAML assertion in Base64 has some tens of kilobytes.
const LARGEST: usize = 256 << 10;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the forms of all callers of one service may hold at once.
const ROOM: usize = 16 << 20;

/// Room for forms: taken as they come, given back when the last of a form is dropped.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

/// Why there is no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoForm {
    /// It is too large, or does not come.
    Bad,
    /// Others hold too much.
    NoRoom,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(ROOM)))
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is too large, when it does not come, and when there is no room.
    pub(super) async fn body<B>(&self, body: B) -> Result<Bytes, NoForm>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let read = self.read(body);
        let form = tokio::time::timeout(LONGEST_WAIT, read).await;
        form.unwrap_or(Err(NoForm::Bad)).map(Bytes::from_owner)
    }

    async fn read<B>(&self, mut body: B) -> Result<Form, NoForm>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if body.size_hint().lower() > LARGEST as u64 {
            return Err(NoForm::Bad);
        }
        let mut form = Form {
            text: Vec::new(),
            taken: 0,
            room: Arc::clone(&self.0),
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| NoForm::Bad)?;
            if let Ok(data) = frame.into_data() {
                form.add(&data)?;
            }
        }
        Ok(form)
    }
}

/// One that is held.
struct Form {
    text: Vec<u8>,
    taken: usize,
    room: Arc<AtomicUsize>,
}

impl Form {
    fn add(&mut self, data: &[u8]) -> Result<(), NoForm> {
        let length = self.text.len() + data.len();
        if length > LARGEST {
            return Err(NoForm::Bad);
        }
        if length > self.text.capacity() {
            // what it takes is what is asked for, to the byte
            let wanted = length.next_power_of_two().min(LARGEST);
            let more = wanted - self.taken;
            let less = |room: usize| room.checked_sub(more);
            (self.room.fetch_update(Relaxed, Relaxed, less)).map_err(|_| NoForm::NoRoom)?;
            self.taken = wanted;
            self.text.reserve_exact(wanted - self.text.len());
        }
        self.text.extend_from_slice(data);
        Ok(())
    }
}

impl AsRef<[u8]> for Form {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        self.room.fetch_add(self.taken, Relaxed);
    }
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().split(|b| *b == b';').next();
        let kind = kind.unwrap_or_default().trim_ascii();
        kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// The parameters, each given once at most; a name that is given twice otherwise (RFC 6749 section
/// 3.2). One without a value is one that was not given.
pub(super) fn parameters(text: &[u8]) -> Result<HashMap<String, String>, String> {
    let mut all = HashMap::new();
    for (name, value) in form_urlencoded::parse(text) {
        if value.is_empty() {
            continue;
        }
        if all.insert(name.to_string(), value.into_owned()).is_some() {
            return Err(name.into_owned());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use proptest::prelude::*;

    use super::*;

    fn left(room: &Room) -> usize {
        room.0.load(Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn forms_that_are_held_take_room_until_they_are_dropped() {
        let room = Room::new();
        let form = vec![b'x'; LARGEST];
        let mut held = Vec::new();
        for _ in 0..ROOM / LARGEST {
            let taken = room.body(Full::from(form.clone())).await.unwrap();
            assert_eq!(taken, form);
            held.push(taken);
        }
        assert_eq!(left(&room), 0);
        let one_more = || room.body(Full::from("x"));
        assert_eq!(one_more().await, Err(NoForm::NoRoom));
        // as long as any part of one is kept
        let part = held.pop().map(|form| form.slice(..1));
        assert_eq!(one_more().await, Err(NoForm::NoRoom));
        drop(part);
        assert!(one_more().await.is_ok());
        drop(held);
        assert_eq!(left(&room), ROOM);
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_is_too_large_or_does_not_come_takes_no_room() {
        let room = Room::new();
        let large = vec![b'x'; LARGEST + 1];
        // told beforehand, or found out
        let told = room.body(Full::from(large.clone())).await;
        let frames = large.chunks(1000).map(Bytes::copy_from_slice);
        let frames: Vec<_> = frames
            .map(|data| Ok::<_, std::io::Error>(Frame::data(data)))
            .collect();
        let found = room
            .body(StreamBody::new(futures_util::stream::iter(frames)))
            .await;
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data("x".into()))]);
        let stuck = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let late = room.body(StreamBody::new(stuck)).await;
        assert_eq!([told, found, late], [const { Err(NoForm::Bad) }; 3]);
        assert_eq!(left(&room), ROOM);
    }

    #[test]
    fn a_parameter_is_given_once() {
        let found = parameters(b"a=1&b=x%20y+z&c=&a%62=2").unwrap();
        assert_eq!(found.get("b").map(String::as_str), Some("x y z"));
        assert_eq!(found.get("ab").map(String::as_str), Some("2"));
        assert!(!found.contains_key("c"));
        assert_eq!(parameters(b"a=1&%61=2"), Err("a".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_has_parameters_or_one_twice(text in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parameters(&text);
        }
    }
}
