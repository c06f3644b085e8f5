//! One configured session, as it runs: what tells who a browser is, and what answers browsers.
//!
//! [`Realm::who`] is asked for every request, costs one small AEAD and a lookup, and waits for nothing.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{
    asked::{Asked, Effect, Origins, asked},
    cookie::{Cookies, Handle, Opened, SealError, SealedBy, Shown, State},
    cors,
    count::Count,
    directory::Directory,
    live::{Ended, Id, Known, Live, Session},
    pages::Pages,
    provider::Provider,
    rate::Rates,
    remembered::Remembered,
    state::{self, Facts},
};
use crate::{
    clock::{Clock, Moment},
    config::{self, Flow, SessionStore},
    shutdown::Shutdown,
    tokens::{Keep, PersonState, PersonToken, TokenService},
    verify::{Issuer, Logouts, Revoked, SignedIn},
};

/// A cookie is set anew when it is older than this part of the idle time.
const RENEW_PART: u32 = 8;
/// But not more often than that.
const RENEW_FLOOR: Duration = Duration::from_secs(60);

/// One configured session. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Realm(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: Arc<config::Session>,
    pub(super) clock: Clock,
    pub(super) shutdown: Shutdown,
    pub(super) tokens: TokenService,
    pub(super) issuer: Arc<Issuer>,
    pub(super) logouts: Logouts,
    pub(super) revoked: Arc<Revoked>,
    pub(super) provider: Arc<Provider>,
    pub(super) live: Arc<Live>,
    pub(super) directory: Option<Directory>,
    pub(super) cookies: Arc<ArcSwap<Cookies>>,
    pub(super) origins: Origins,
    pub(super) pages: Pages,
    pub(super) rates: Mutex<Rates>,
    /// Of those that come back: each has begun, so they may be as many.
    pub(super) returns: Mutex<Rates>,
    /// Sign-ins that have ended, though a browser may have kept their cookies.
    pub(super) spent: Arc<Remembered>,
    /// Sessions of the provider's that it ended by a frame, in case one comes back by its cookie.
    pub(super) framed: Arc<Remembered>,
    pub(super) rng: Mutex<StdRng>,
    pub(super) count: Count,
}

/// Who a request is from.
#[derive(Debug)]
pub enum Who {
    Person(Present),
    Nobody(Trace),
}

/// What a request without a session has in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    Nothing,
    /// Cookies that are no session, and are to be cleared.
    Stale,
}

/// A person's request.
#[derive(Debug, Clone)]
pub struct Present {
    pub session: Arc<Session>,
    realm: Realm,
    /// Of the state that the browser has.
    shown: u64,
    /// How many cookies it has.
    held: usize,
    /// It was sealed long ago, or with the key that is being replaced.
    old: bool,
}

impl Realm {
    pub fn config(&self) -> &Arc<config::Session> {
        &self.0.config
    }

    /// Whether these are the same.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Who sends these header fields, and uses the session so.
    pub fn who(&self, headers: &HeaderMap, now: Moment) -> Who {
        let who = self.seen(headers, now);
        if let Who::Person(present) = &who {
            present.session.touch(now);
        }
        who
    }

    /// The same, for somebody who only looks.
    pub(super) fn seen(&self, headers: &HeaderMap, now: Moment) -> Who {
        let this = &*self.0;
        let cookies = this.cookies.load();
        let opened = match cookies.shown(headers, now.unix_seconds(), this.config.idle) {
            Shown::Nothing => return Who::Nobody(Trace::Nothing),
            Shown::Bad(why) => {
                tracing::debug!(session = %this.config.name, %why, "a cookie is no session");
                return Who::Nobody(Trace::Stale);
            }
            Shown::Opened(opened) => opened,
        };
        let found = match this.live.find(&opened.handle.id) {
            Known::Here(session) => Some(session),
            Known::Gone => None,
            Known::No => self.returned(&cookies, headers, &opened, now),
        };
        let Some(session) = found.filter(|session| self.is_good(session, now)) else {
            return Who::Nobody(Trace::Stale);
        };
        if opened.handle.version > session.person.version() {
            self.catch_up(&session, &cookies, headers, &opened);
        }
        let age = now.unix_seconds().saturating_sub(opened.handle.sealed_at);
        let renew = (this.config.idle / RENEW_PART).max(RENEW_FLOOR).as_secs();
        Who::Person(Present {
            session,
            realm: self.clone(),
            shown: opened.handle.version,
            held: opened.chunks(),
            old: age >= renew || opened.by == SealedBy::Previous,
        })
    }

    /// Whether it goes on; ends it where it does not.
    pub(super) fn is_good(&self, session: &Session, now: Moment) -> bool {
        let config = &self.0.config;
        let why = if session.has_ended().is_some() {
            return false;
        } else if now.wall >= session.facts.began + config.absolute {
            Ended::Old
        } else if now.wall >= session.used() + config.idle {
            Ended::Idle
        } else if session.person.is_over() {
            Ended::Refused
        } else {
            return true;
        };
        self.end(session, why);
        false
    }

    /// One that this process does not know, but whose cookies have all of it.
    fn returned(
        &self,
        cookies: &Cookies,
        headers: &HeaderMap,
        opened: &Opened<'_>,
        now: Moment,
    ) -> Option<Arc<Session>> {
        if self.0.config.store != SessionStore::Cookie {
            return None;
        }
        let (facts, state) = self.carried(cookies, headers, opened)?;
        let credential = &self.0.config.credential;
        let ours = facts.issuer == credential.provider.issuer.as_str()
            && facts.client == credential.client_id;
        if !ours || now.wall >= facts.began + self.0.config.absolute {
            return None;
        }
        let id = opened.handle.id;
        if self.is_revoked(&id, &facts, now) {
            return None;
        }
        let used = Duration::from_secs(opened.handle.sealed_at).min(now.wall);
        let session = self.made(id, facts, state, used);
        self.0.live.put(session)
    }

    fn carried(
        &self,
        cookies: &Cookies,
        headers: &HeaderMap,
        opened: &Opened<'_>,
    ) -> Option<(Facts, PersonState)> {
        let bytes = cookies.state(headers, opened);
        let read = bytes.map(|bytes| state::read(&bytes));
        match read {
            Ok(Ok((facts, mut state))) => {
                // what the handle says is what counts: the state is bound to it
                state.version = opened.handle.version;
                Some((facts, state))
            }
            Ok(Err(why)) => {
                tracing::debug!(session = %self.0.config.name, %why, "a session cannot be read");
                None
            }
            Err(why) => {
                tracing::debug!(session = %self.0.config.name, %why, "a session cannot be read");
                None
            }
        }
    }

    /// The browser has a newer state than this process: another replica gave it.
    fn catch_up(
        &self,
        session: &Session,
        cookies: &Cookies,
        headers: &HeaderMap,
        opened: &Opened<'_>,
    ) {
        if let Some((_, state)) = self.carried(cookies, headers, opened) {
            session.person.catch_up(&state);
        }
    }

    /// Whether somebody said that it has ended, perhaps before this process began.
    fn is_revoked(&self, id: &Id, facts: &Facts, now: Moment) -> bool {
        let session = SignedIn {
            name: &name(id),
            sid: facts.sid.as_deref(),
            subject: &facts.subject,
            issuer: &facts.issuer,
            since: facts.began,
        };
        let framed = facts.sid.as_ref();
        framed.is_some_and(|sid| self.0.framed.has(sid, now))
            || self.0.revoked.has_session(&session, now)
    }

    /// A session that is in no list yet.
    pub(super) fn made(
        &self,
        id: Id,
        facts: Facts,
        state: PersonState,
        used: Duration,
    ) -> Arc<Session> {
        let facts = Arc::new(facts);
        let keep = self.keeps(id, &facts);
        let credential = &self.0.config.credential;
        let person = self.0.tokens.returning(credential, state, keep);
        Arc::new(Session::new(id, facts, person, used))
    }

    /// Where its newer refresh tokens survive.
    pub(super) fn keeps(&self, id: Id, facts: &Arc<Facts>) -> Arc<dyn Keep> {
        match &self.0.directory {
            Some(directory) => Arc::new(directory.keeps(id, Arc::clone(facts))),
            None => Arc::new(InTheCookie),
        }
    }

    pub(super) fn new_id(&self) -> Id {
        let mut id = Id::default();
        self.0.rng.lock().fill_bytes(&mut id);
        id
    }

    /// Randomness for one use, so that nobody waits for the lock meanwhile.
    pub(super) fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut *self.0.rng.lock())
    }

    /// `Set-Cookie` values for a browser that has `held` cookies of it.
    pub(super) fn cookies_of(
        &self,
        session: &Session,
        held: usize,
        now: Moment,
    ) -> Result<Vec<HeaderValue>, SealError> {
        let config = &self.0.config;
        let left = (session.facts.began + config.absolute).saturating_sub(now.wall);
        let cookies = self.0.cookies.load();
        let mut rng = self.rng();
        let mut person = session.person.state();
        let handle = Handle {
            id: session.id,
            version: person.version,
            sealed_at: now.unix_seconds(),
        };
        let life = left.min(config.idle);
        if config.store != SessionStore::Cookie {
            return cookies.set(&handle, State::Elsewhere, life, held, &mut rng);
        }
        let mut facts = (*session.facts).clone();
        loop {
            let state = state::write(&facts, &person);
            match cookies.set(&handle, State::Carried(&state), life, held, &mut rng) {
                // by what can be done without, first
                Err(SealError::TooLarge(_)) if facts.id_token.take().is_some() => {}
                Err(SealError::TooLarge(_))
                    if person.refresh.is_some() && person.tokens.pop().is_some() => {}
                done => return done,
            }
        }
    }

    /// Ends it for everybody who uses it, once.
    pub(super) fn end(&self, session: &Session, why: Ended) {
        if !session.end(why) {
            return;
        }
        let this = &*self.0;
        let until = session.facts.began + this.config.absolute;
        this.live.remove(session, until);
        this.count.ended(&session.facts.subject, why);
        if let Some(directory) = &this.directory {
            directory.forget(session.id, &this.shutdown);
        }
        tracing::info!(
            session = %this.config.name,
            subject = %session.facts.subject,
            why = why.word(),
            "a person's session has ended"
        );
        let refresh = session.person.end();
        if matches!(
            why,
            Ended::SignedOut
                | Ended::ByProvider
                | Ended::Replaced
                | Ended::Old
                | Ended::Idle
                | Ended::NotConfigured
        ) && let Some(refresh) = refresh
        {
            self.revoke(refresh);
        }
        // those end by themselves, their cookie says so
        if !matches!(why, Ended::Idle | Ended::Old) {
            let now = this.clock.now();
            // a copy of the cookie does not bring it back after a restart either
            this.revoked.add_session(&name(&session.id), until, now);
        }
    }

    /// Lets pages of other origins read an answer, where they may.
    pub fn share(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        cors::add(&self.0.origins, asked, answer);
    }

    /// `Set-Cookie` values that take the session away.
    pub fn cleared(&self) -> Vec<HeaderValue> {
        self.0.cookies.load().clear()
    }
}

impl Present {
    /// The session's name.
    pub fn id(&self) -> Id {
        self.session.id
    }

    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Whether this is a moment to have another token without showing anybody anything: the registration
    /// has no refresh tokens, the page will be loaded anew anyhow, and the token gets old.
    pub fn wants_renewal(&self, method: &Method, headers: &HeaderMap, now: Moment) -> bool {
        if self.realm.0.config.credential.grant.flow() != Some(Flow::Implicit)
            || self.session.is_quiet(now)
            || asked(method, headers) != Asked::Navigation(Effect::Safe)
        {
            return false;
        }
        let state = self.session.person.state();
        let good = |token: &PersonToken| (token.since + token.life.mul_f64(0.75)) > now.wall;
        !state.tokens.iter().any(good)
    }

    /// `Set-Cookie` values, where the browser has something older than we do.
    pub fn newer_cookies(&self, now: Moment) -> Vec<HeaderValue> {
        if self.session.has_ended().is_some() {
            return self.realm.cleared();
        }
        let newer = self.session.person.version() > self.shown
            && self.realm.0.config.store == SessionStore::Cookie;
        if !newer && !self.old {
            return Vec::new();
        }
        let cookies = self.realm.cookies_of(&self.session, self.held, now);
        cookies.unwrap_or_else(|error| {
            tracing::error!(session = %self.realm.0.config.name, %error, "a cookie cannot be set");
            Vec::new()
        })
    }
}

/// How a session is called in lists of what has ended.
pub(super) fn name(id: &Id) -> String {
    use std::fmt::Write;
    id.iter().fold(String::with_capacity(40), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// The browser gets the newest state with its next answer; until then it is here.
#[derive(Debug)]
struct InTheCookie;

impl Keep for InTheCookie {
    fn changed(&self, _: &PersonState) {}
}
