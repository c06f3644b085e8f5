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
    live::{Ended, Live, MOST},
    pages::{Pages, PagesError},
    provider::Provider,
    rate::Rates,
    realm::{Inner, Realm},
    remembered::Remembered,
};
use crate::{
    clock::Clock,
    config::{self, Config, Name, SecretPair, SessionStore, secret::SecretError},
    health::Report,
    metrics::Metrics,
    secret::Secret,
    shutdown::Shutdown,
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
pub struct Sessions(Arc<BTreeMap<Name, Realm>>);

/// What they stand on.
pub struct Stands<'a> {
    pub clock: &'a Clock,
    pub metrics: &'a Arc<Metrics>,
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
        let mut realms = BTreeMap::new();
        for (name, session) in &config.sessions {
            let realm = Realm::start(session, stands, StdRng::from_rng(rng))?;
            realms.insert(Arc::clone(name), realm);
        }
        Ok(Self(Arc::new(realms)))
    }

    pub fn realm(&self, name: &str) -> Option<&Realm> {
        self.0.get(name)
    }

    pub fn realms(&self) -> impl Iterator<Item = &Realm> {
        self.0.values()
    }
}

impl Realm {
    fn start(
        session: &Arc<config::Session>,
        stands: &Stands<'_>,
        mut rng: StdRng,
    ) -> Result<Self, SessionError> {
        let Stands {
            clock,
            metrics,
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
        let (cookies, secrets) = cookies(session, &mut rng)?;
        let directory = match (&session.store, &session.key) {
            (SessionStore::Directory(path), Some(key)) => Some(Directory::new(path, key.clone())),
            _ => None,
        };
        let provider = Arc::new(Provider::new(&session.credential, clock.clone()));
        let logout = config::BackchannelLogout {
            path: String::new(),
            provider: Arc::clone(&session.credential.provider),
            clients: [session.credential.client_id.clone()].into(),
            keep: session.absolute,
        };
        let follow = Arc::clone(&provider).follow(StdRng::from_rng(&mut rng));
        shutdown.spawn(follow);
        let realm = Self(Arc::new(Inner {
            clock: clock.clone(),
            shutdown: shutdown.clone(),
            tokens: tokens.clone(),
            issuer: keys.issuer(&session.credential.provider),
            logouts: keys.logouts(&logout),
            revoked: Arc::clone(keys.revoked()),
            provider,
            live: Live::new(),
            directory,
            cookies: ArcSwap::from_pointee(cookies),
            origins: Origins::new(&session.public, &session.origins),
            pages,
            rates: Mutex::new(Rates::new(session.sign_ins_per_minute)),
            returns: Mutex::new(Rates::new(session.sign_ins_per_minute)),
            spent: Remembered::new(&mut rng),
            framed: Remembered::new(&mut rng),
            rng: Mutex::new(rng),
            count: Count {
                metrics: Arc::clone(metrics),
                session: Arc::clone(name),
            },
            config: Arc::clone(session),
        }));
        realm.restore();
        shutdown.spawn(realm.clone().tend(secrets));
        Ok(realm)
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
        self.0.values().map(describe).collect()
    }
}
