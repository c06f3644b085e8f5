//! Sessions, as they could have been written.

use super::{
    super::{
        Session, SessionStore, Streams,
        raw::{self, Texts},
    },
    duration, forms, text,
};

pub(super) fn session(one: &Session) -> raw::Session {
    let key = one.key.as_ref();
    let (key, previous) = (
        key.map(|pair| forms(&pair.current)).unwrap_or_default(),
        key.and_then(|pair| pair.previous.as_ref()).map(forms),
    );
    let previous = previous.unwrap_or_default();
    let (store, directory) = match &one.store {
        SessionStore::Cookie => (raw::SessionStore::Cookie, None),
        SessionStore::Memory => (raw::SessionStore::Memory, None),
        SessionStore::Directory(path) => (raw::SessionStore::Directory, Some(text(path))),
    };
    raw::Session {
        credential: Some(one.credential.name.to_string()),
        public_url: Some(one.origin()),
        prefix: Some(one.prefix.clone()),
        callback_path: Some(one.callback.clone()),
        key: key.0,
        key_file: key.1,
        key_env: key.2,
        key_previous: previous.0,
        key_previous_file: previous.1,
        key_previous_env: previous.2,
        store: Some(store),
        directory,
        idle: Some(duration(one.idle)),
        absolute: Some(duration(one.absolute)),
        parameters: one.parameters.clone(),
        pages: one.pages.as_deref().map(text),
        signed_out: one.signed_out.clone(),
        origins: (!one.origins.is_empty()).then(|| Texts(one.origins.clone())),
        streams: Some(match one.streams {
            Streams::Close => raw::Streams::Close,
            Streams::Finish => raw::Streams::Finish,
        }),
        sign_ins_per_minute: Some(one.sign_ins_per_minute.get()),
    }
}
