//! All configured sessions, running: who is asked for one, and what ends those that are over.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    asked::Origins,
    cookie::{Cookies, Name as CookieName, Ring},
    count::Count,
    directory::Directory,
    live::{Ended, MOST},
    pages::{Pages, PagesError},
    provider::Provider,
    rate::Rates,
    realm::{Inner, Realm},
    remembered::Remembered,
};
use crate::{
    audit::Audit,
    clock::Clock,
    config::{self, Config, Name, SecretPair, SessionStore, secret::SecretError},
    health::Report,
    metrics::Metrics,
    secret::Secret,
    shutdown::{Life, Shutdown},
    tokens::TokenService,
    verify::KeyService,
};

/// Streams of a session end with it, no later than this.
const SWEEP: Duration = Duration::from_secs(2);
/// Between looks at the files of cookie keys, in sweeps; then, too, what has ended is forgotten, and
/// files say when their sessions were used last.
const TIDY: u32 = 15;

/// Why people cannot sign in.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the key of session {session} cannot be read")]
    Key { session: Name, source: SecretError },
    #[error("the key of session {session} cannot be used")]
    Unusable { session: Name },
    #[error("the pages of session {session} in {} cannot be used", .folder.display())]
    Pages {
        session: Name,
        folder: PathBuf,
        source: PagesError,
    },
}

/// Gives out realms. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<BTreeMap<Name, Kept>>);

/// A realm, with its tasks.
#[derive(Debug, Clone)]
struct Kept {
    realm: Realm,
    _life: Arc<Life>,
}

/// What they stand on.
pub struct Stands<'a> {
    pub clock: &'a Clock,
    pub metrics: &'a Arc<Metrics>,
    pub audit: &'a Audit,
    pub shutdown: &'a Shutdown,
    pub tokens: &'a TokenService,
    pub keys: &'a KeyService,
}

impl Sessions {
    /// Follows the providers, and ends what is over, on the current runtime until the stop is hard.
    /// Reads what a directory kept. Blocking, for files.
    ///
    /// # Errors
    /// When a key or a page cannot be used.
    pub fn start(
        config: &Config,
        stands: &Stands<'_>,
        rng: &mut StdRng,
    ) -> Result<Self, SessionError> {
        Self::default().changed(config, stands, rng)
    }

    /// The same for another configuration. What is as before goes on; where only the rules have
    /// changed, those who are signed in stay so, and the new rules hold for them. Until the last of this is
    /// dropped its tasks run, too.
    ///
    /// # Errors
    /// As of [`Sessions::start`]; nothing has changed then.
    pub fn changed(
        &self,
        config: &Config,
        stands: &Stands<'_>,
        rng: &mut StdRng,
    ) -> Result<Self, SessionError> {
        let mut realms = BTreeMap::new();
        for (name, session) in &config.sessions {
            let before = self.0.get(name);
            let kept = match before {
                Some(same) if same.realm.config() == session => same.clone(),
                _ => {
                    let before = before.map(|kept| &kept.realm);
                    Realm::start(session, before, stands, StdRng::from_rng(rng))?
                }
            };
            realms.insert(Arc::clone(name), kept);
        }
        Ok(Self(Arc::new(realms)))
    }

    /// Ends what does not go on in `next`.
    pub fn leave(&self, next: &Self) {
        for realm in self.realms() {
            let goes_on = |other: &Realm| Arc::ptr_eq(&other.0.live, &realm.0.live);
            if next.realms().any(goes_on) {
                continue;
            }
            for session in realm.0.live.all() {
                realm.end(&session, Ended::NotConfigured);
            }
        }
    }

    pub fn realm(&self, name: &str) -> Option<&Realm> {
        self.0.get(name).map(|kept| &kept.realm)
    }

    pub fn realms(&self) -> impl Iterator<Item = &Realm> {
        self.0.values().map(|kept| &kept.realm)
    }
}

impl Realm {
    fn start(
        session: &Arc<config::Session>,
        before: Option<&Self>,
        stands: &Stands<'_>,
        mut rng: StdRng,
    ) -> Result<Kept, SessionError> {
        let Stands {
            clock,
            metrics,
            audit,
            shutdown,
            tokens,
            keys,
        } = *stands;
        let name = &session.name;
        let folder = session.pages.as_deref();
        let pages = Pages::new(folder).map_err(|source| SessionError::Pages {
            session: Arc::clone(name),
            folder: folder.unwrap_or("".as_ref()).to_owned(),
            source,
        })?;
        let before = before.filter(|before| before.suits(session));
        let (cookies, secrets) = if let (Some(before), None) = (before, &session.key) {
            // whoever has a cookie by a random key keeps it
            (Arc::clone(&before.0.cookies), None)
        } else {
            let (cookies, secrets) = cookies(session, &mut rng)?;
            (Arc::new(ArcSwap::from_pointee(cookies)), secrets)
        };
        let directory = match (&session.store, &session.key) {
            (SessionStore::Directory(_), Some(_)) if before.is_some() => {
                before.and_then(|before| before.0.directory.clone())
            }
            (SessionStore::Directory(path), Some(key)) => Some(Directory::new(path, key.clone())),
            _ => None,
        };
        let life = Life::within(shutdown);
        let provider = Arc::new(Provider::new(
            &session.credential,
            clock.clone(),
            metrics.provider(&session.credential.provider.name, clock),
        ));
        let logout = config::BackchannelLogout {
            path: String::new(),
            provider: Arc::clone(&session.credential.provider),
            clients: [session.credential.client_id.clone()].into(),
            keep: session.absolute,
        };
        let follow = Arc::clone(&provider).follow(StdRng::from_rng(&mut rng));
        life.shutdown().spawn(follow);
        let (spent, framed) = match before {
            Some(before) => (Arc::clone(&before.0.spent), Arc::clone(&before.0.framed)),
            None => (
                Arc::new(Remembered::new(&mut rng)),
                Arc::new(Remembered::new(&mut rng)),
            ),
        };
        let realm = Self(Arc::new(Inner {
            clock: clock.clone(),
            shutdown: shutdown.clone(),
            tokens: tokens.clone(),
            issuer: keys.issuer(&session.credential.provider),
            logouts: keys.logouts(&logout),
            revoked: Arc::clone(keys.revoked()),
            provider,
            live: before.map_or_else(Arc::default, |before| Arc::clone(&before.0.live)),
            directory,
            cookies,
            origins: Origins::new(&session.public, &session.origins),
            pages,
            rates: Mutex::new(Rates::new(session.sign_ins_per_minute)),
            returns: Mutex::new(Rates::new(session.sign_ins_per_minute)),
            spent,
            framed,
            rng: Mutex::new(rng),
            count: Count {
                metrics: Arc::clone(metrics),
                audit: audit.clone(),
                session: Arc::clone(name),
            },
            config: Arc::clone(session),
        }));
        if before.is_none() {
            realm.restore();
        }
        life.shutdown().spawn(realm.clone().tend(secrets));
        Ok(Kept {
            realm,
            _life: Arc::new(life),
        })
    }

    /// Whether those who are signed in here are signed in by that configuration, too.
    fn suits(&self, session: &config::Session) -> bool {
        let ours = &self.0.config;
        ours.credential == session.credential
            && ours.store == session.store
            && ours.key == session.key
            && ours.cookie == session.cookie
    }

    /// Sessions of the process before this one.
    fn restore(&self) {
        let this = &*self.0;
        let Some(directory) = &this.directory else {
            return;
        };
        let (now, credential) = (this.clock.now(), &this.config.credential);
        for kept in directory.read() {
            let ours = kept.facts.issuer == credential.provider.issuer.as_str()
                && kept.facts.client == credential.client_id
                && now.wall < kept.facts.began + this.config.absolute
                && now.wall < kept.used + this.config.idle;
            if ours {
                let session = self.made(kept.id, kept.facts, kept.state, kept.used);
                this.live.put(session);
            } else {
                directory.forget(kept.id, &this.shutdown);
            }
        }
        this.count.live(this.live.len());
    }

    /// Ends what is over, and follows the files of the cookies' keys.
    async fn tend(self, mut secrets: Option<(Secret, Option<Secret>)>) {
        let this = &*self.0;
        let mut rounds = 0_u32;
        loop {
            sleep(SWEEP).await;
            rounds = rounds.wrapping_add(1);
            let now = this.clock.now();
            for session in this.live.all() {
                // ends it where it is over
                let _ = self.is_good(&session, now);
            }
            this.count.live(this.live.len());
            if !rounds.is_multiple_of(TIDY) {
                continue;
            }
            this.live.forget(now);
            this.rates.lock().forget(now);
            this.returns.lock().forget(now);
            if let Some(directory) = &this.directory {
                for session in this.live.all() {
                    if session.is_to_be_saved(this.config.idle / 8) {
                        directory.save(&session, &this.shutdown);
                    }
                }
            }
            if let (Some(key), Some(known)) = (this.config.key.clone(), &mut secrets) {
                let Ok(Ok(read)) = spawn_blocking(move || read(&key)).await else {
                    continue; // what was read before stays
                };
                let same = |a: &Option<Secret>, b: &Option<Secret>| match (a, b) {
                    (Some(a), Some(b)) => a.is(b),
                    (None, None) => true,
                    _ => false,
                };
                if read.0.is(&known.0) && same(&read.1, &known.1) {
                    continue;
                }
                let name = CookieName::new(&this.config.cookie);
                if let Ok(ring) = Ring::new(&this.config.name, &read.0, read.1.as_ref()) {
                    this.cookies.store(Arc::new(Cookies::new(name, ring)));
                    tracing::info!(session = %this.config.name, "cookies are sealed with another key now");
                    *known = read;
                }
            }
        }
    }

    /// Before one more begins.
    pub(super) fn make_room(&self) {
        let live = &self.0.live;
        if live.len() < MOST {
            return;
        }
        let all = live.all();
        if let Some(oldest) = all.iter().min_by_key(|session| session.used()) {
            self.end(oldest, Ended::NoRoom);
        }
    }
}

type Secrets = (Secret, Option<Secret>);

fn cookies(
    session: &config::Session,
    rng: &mut StdRng,
) -> Result<(Cookies, Option<Secrets>), SessionError> {
    let unusable = |Unspecified| SessionError::Unusable {
        session: Arc::clone(&session.name),
    };
    let name = CookieName::new(&session.cookie);
    let Some(pair) = &session.key else {
        let keys = Ring::random(&session.name, rng).map_err(unusable)?;
        return Ok((Cookies::new(name, keys), None));
    };
    let secrets = read(pair).map_err(|source| SessionError::Key {
        session: Arc::clone(&session.name),
        source,
    })?;
    let keys = Ring::new(&session.name, &secrets.0, secrets.1.as_ref()).map_err(unusable)?;
    Ok((Cookies::new(name, keys), Some(secrets)))
}

/// Blocking.
fn read(key: &SecretPair) -> Result<Secrets, SecretError> {
    let previous = key.previous.as_ref();
    Ok((
        key.current.read()?,
        previous.map(config::SecretSource::read).transpose()?,
    ))
}

impl Report for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn report(&self) -> Value {
        let describe = |realm: &Realm| {
            let this = &*realm.0;
            json!({
                "session": &*this.config.name,
                "provider": this.config.credential.provider.issuer.as_str(),
                "people": this.live.len(),
                "provider_known": this.provider.known().is_some(),
                "last_error": this.provider.last_error().as_deref(),
            })
        };
        self.realms().map(describe).collect()
    }
}
