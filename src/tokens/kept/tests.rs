use std::{collections::HashMap, os::unix::fs::symlink, sync::Arc};

use parking_lot::Mutex;

use super::{keyring::Vault, *};
use crate::{config::Redirect, tokens::tests::credential};

/// A keyring whose mood a test sets.
#[derive(Clone, Default)]
struct Fake {
    entries: Arc<Mutex<HashMap<String, Secret>>>,
    refuses: Arc<Mutex<Option<KeyringError>>>,
}

impl Fake {
    fn refuse(&self, error: Option<KeyringError>) {
        *self.refuses.lock() = error;
    }

    fn held(&self) -> Vec<String> {
        let entries = self.entries.lock();
        let values = entries.values().map(|secret| secret.expose().to_owned());
        values.collect()
    }

    fn asked(&self) -> Result<(), KeyringError> {
        self.refuses.lock().clone().map_or(Ok(()), Err)
    }
}

impl Vault for Fake {
    fn get(&self, entry: &str) -> Result<Option<Secret>, KeyringError> {
        self.asked()?;
        Ok(self.entries.lock().get(entry).cloned())
    }

    fn set(&self, entry: &str, secret: &Secret) -> Result<(), KeyringError> {
        self.asked()?;
        self.entries.lock().insert(entry.into(), secret.clone());
        Ok(())
    }

    fn delete(&self, entry: &str) -> Result<(), KeyringError> {
        self.asked()?;
        self.entries.lock().remove(entry);
        Ok(())
    }
}

struct Desk {
    home: tempfile::TempDir,
    fake: Fake,
}

impl Desk {
    fn with_a_keyring() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            fake: Fake::default(),
        }
    }

    fn without() -> Self {
        let desk = Self::with_a_keyring();
        desk.fake.refuse(Some(no_keyring()));
        desk
    }

    fn login(&self, key: Option<&str>) -> Login {
        Login {
            redirect: Redirect::default(),
            directory: self.home.path().join("state/itwin-auth-proxy"),
            key: key.map(|key| SecretSource::Value {
                secret: Secret::new(key),
                variable: None,
            }),
        }
    }

    fn kept(&self) -> Kept {
        let keyring = Keyring::of(self.fake.clone());
        Kept::of(&credential(), &self.login(None), &keyring)
    }

    fn with_key(&self, key: &str) -> Kept {
        let keyring = Keyring::of(self.fake.clone());
        Kept::of(&credential(), &self.login(Some(key)), &keyring)
    }

    fn sign_in(&self, wanted: Wanted) -> Place {
        let kept = self.kept();
        let record = kept.keep(&Secret::new("first"), ann(), wanted);
        record.unwrap().place
    }

    fn files(&self) -> Vec<String> {
        let directory = fs::read_dir(self.kept().directory()).unwrap();
        let names = directory.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut kinds: Vec<String> = names
            .map(|name| {
                name.rsplit_once('.')
                    .map_or(name.clone(), |(_, kind)| kind.into())
            })
            .collect();
        kinds.sort();
        kinds
    }
}

fn ann() -> Who {
    Who {
        subject: Some("123".into()),
        name: Some("Ann".into()),
        scopes: "openid itwin-platform".into(),
        since: 1_700_000_000,
    }
}

fn no_keyring() -> KeyringError {
    KeyringError::None("no bus".into())
}

fn full() -> KeyringError {
    KeyringError::Failed("no room".into())
}

fn read(kept: &Kept) -> String {
    kept.refresh_token().unwrap().expose().to_owned()
}

#[test]
fn a_sign_in_goes_to_the_keyring_and_to_a_file_where_there_is_none() {
    let desk = Desk::with_a_keyring();
    assert_eq!(desk.sign_in(Wanted::Any), Place::Keyring);
    assert_eq!(desk.fake.held(), ["first"]);
    assert_eq!(desk.files(), ["json"]);
    assert_eq!(read(&desk.kept()), "first");

    let desk = Desk::without();
    assert_eq!(desk.sign_in(Wanted::Any), Place::File);
    assert_eq!(desk.files(), ["json", "key", "sealed"]);
    assert_eq!(read(&desk.kept()), "first");
}

#[test]
fn what_lies_in_files_is_private_and_shows_no_token() {
    let desk = Desk::without();
    desk.sign_in(Wanted::Any);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(desk.kept().directory()), 0o700);
    for file in fs::read_dir(desk.kept().directory()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let content = fs::read(&path).unwrap();
        let shows = content.windows(5).any(|five| five == b"first");
        assert!(!shows, "{}", path.display());
    }
}

#[test]
fn who_asks_for_a_keyring_is_told_why_it_cannot_be() {
    let desk = Desk::with_a_keyring();
    for (refuses, wanted, expected) in [
        (None, Wanted::Any, Ok(Place::Keyring)),
        (None, Wanted::Keyring, Ok(Place::Keyring)),
        (None, Wanted::File, Ok(Place::File)),
        (Some(no_keyring()), Wanted::Any, Ok(Place::File)),
        (
            Some(no_keyring()),
            Wanted::Keyring,
            Err("there is no keyring"),
        ),
        (Some(no_keyring()), Wanted::File, Ok(Place::File)),
        (Some(full()), Wanted::Any, Err("--keep file")),
        (Some(full()), Wanted::File, Ok(Place::File)),
        (
            Some(KeyringError::Locked("dismissed".into())),
            Wanted::Any,
            Err("unlock it"),
        ),
    ] {
        desk.fake.refuse(refuses.clone());
        let found = desk
            .kept()
            .examine(wanted)
            .map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(place), Ok(expected)) => assert_eq!(*place, expected, "{refuses:?} {wanted:?}"),
            (Err(text), Err(expected)) => assert!(text.contains(expected), "{text}"),
            _ => panic!("{refuses:?} {wanted:?}: {found:?}"),
        }
    }
    desk.fake.refuse(None);
    assert!(desk.fake.held().is_empty(), "nothing of it stays");
}

#[test]
fn a_newer_token_takes_the_place_of_the_older_and_the_record_changes() {
    for desk in [Desk::with_a_keyring(), Desk::without()] {
        desk.sign_in(Wanted::Any);
        let kept = desk.kept();
        let before = fs::read(kept.record_file()).unwrap();
        kept.replace(&Secret::new("second")).unwrap();
        assert_eq!(read(&kept), "second");
        assert_ne!(fs::read(kept.record_file()).unwrap(), before);
        assert_eq!(kept.record().unwrap().unwrap().who, ann());
    }
}

#[test]
fn a_keyring_that_is_full_loses_no_token() {
    let desk = Desk::with_a_keyring();
    desk.sign_in(Wanted::Any);
    desk.fake.refuse(Some(full()));
    let kept = desk.kept();
    kept.replace(&Secret::new("second")).unwrap();
    assert_eq!(read(&kept), "second");
    assert_eq!(kept.record().unwrap().unwrap().place, Place::File);
    desk.fake.refuse(None);
    assert_eq!(desk.sign_in(Wanted::Any), Place::Keyring);
    assert_eq!(desk.fake.held(), ["first"]);
    assert_eq!(desk.files(), ["json", "key"], "no older token is left");
}

#[test]
fn what_is_forgotten_is_nowhere_and_a_renewal_does_not_bring_it_back() {
    for desk in [Desk::with_a_keyring(), Desk::without()] {
        desk.sign_in(Wanted::Any);
        let kept = desk.kept();
        kept.forget().unwrap();
        kept.forget().unwrap();
        assert!(desk.fake.held().is_empty());
        assert!(!desk.files().contains(&"sealed".into()));
        for result in [
            kept.refresh_token().map(drop),
            kept.replace(&Secret::new("second")),
        ] {
            let text = result.unwrap_err().to_string();
            assert!(
                text.contains("itwin-auth-proxy login --credential"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_file_that_another_key_sealed_is_named_with_the_way_out() {
    let desk = Desk::without();
    let kept = desk.with_key("this one");
    kept.keep(&Secret::new("first"), ann(), Wanted::Any)
        .unwrap();
    assert_eq!(read(&kept), "first");
    assert_eq!(desk.files(), ["json", "sealed"], "the key is elsewhere");
    let text = desk
        .with_key("another")
        .refresh_token()
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("ITWIN_LOGIN_KEY") && text.contains("login --credential"),
        "{text}"
    );
}

#[test]
fn records_of_other_versions_and_damaged_ones_are_told_apart_from_none() {
    let desk = Desk::without();
    desk.sign_in(Wanted::Any);
    let path = desk.kept().record_file();
    for text in ["", "{}", "[]", "{\"version\":2}"] {
        fs::write(&path, text).unwrap();
        let error = desk.kept().refresh_token().unwrap_err();
        assert!(matches!(error, KeptError::Record { .. }), "{text}: {error}");
    }
    assert_eq!(desk.sign_in(Wanted::Any), Place::File, "login mends it");
}

#[test]
fn sign_ins_of_other_clients_issuers_and_credentials_are_apart() {
    let desk = Desk::with_a_keyring();
    let keyring = Keyring::of(desk.fake.clone());
    let of = |credential: &Credential| Kept::of(credential, &desk.login(None), &keyring).entry;
    let base = credential();
    let mut others = vec![base.clone(); 3];
    others[0].name = "other".into();
    others[1].client_id = "other".into();
    let mut provider = (*base.provider).clone();
    provider.issuer = "https://other.example".parse().unwrap();
    others[2].provider = provider.into();
    let mut seen = std::collections::HashSet::from([of(&base)]);
    for other in &others {
        assert!(seen.insert(of(other)), "{other:?}");
    }
}

#[test]
fn one_process_at_a_time_owns_it() {
    let desk = Desk::without();
    let held = desk.kept().try_lock().unwrap();
    assert!(held.is_some());
    // another open file is as good as another process
    assert!(desk.kept().try_lock().unwrap().is_none());
    drop(held);
    assert!(desk.kept().try_lock().unwrap().is_some());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let desk = Desk::without();
    fs::create_dir(desk.home.path().join("state")).unwrap();
    symlink("/nowhere", desk.kept().directory()).unwrap();
    let text = desk.kept().examine(Wanted::Any).unwrap_err().to_string();
    assert!(text.contains("itwin-auth-proxy: "), "{text}");
}
