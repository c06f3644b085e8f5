//! A person who has signed in: access tokens by scope set, got with one refresh token.
//!
//! A [`Person`] has cells of its own, which the worker renews as others, one fetch at a time. A
//! refresh token that was rotated is kept ([`Keep`]) before the access token that came with it is
//! used. Only that the provider refuses the refresh token ends a person; no outage does. The cells
//! go with the last clone of the [`Person`].

mod holding;

use std::{fmt::Debug, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::mpsc;

pub(super) use self::holding::{Holding, SignedOut};
pub use self::holding::{PersonState, PersonToken};
use super::{
    TokenService,
    handle::{Asked, Owner, Shared, TokenHandle},
    registry::{Registry, Renewed},
    restored,
};
use crate::{
    clock::{Clock, Moment},
    config::{Credential, ScopeSet},
    secret::Secret,
};

/// What came of a sign-in.
#[derive(Debug, Clone)]
pub struct Deposit {
    /// None, and the person must sign in again when the access token ends.
    pub refresh: Option<Secret>,
    /// The value of `Authorization`, when it was asked for, and how long it lives from then.
    pub token: Option<(HeaderValue, Moment, Duration)>,
    /// Of the token, as they were asked for.
    pub scopes: ScopeSet,
}

/// Where a person's refresh token survives.
pub trait Keep: Send + Sync + Debug {
    /// There is another refresh token; the access token that came with it is used when this
    /// returns. Called where blocking is allowed.
    fn changed(&self, state: &PersonState);

    /// A refresh token came after the person had signed out or in again: nobody has it, and it may
    /// be revoked. Called where blocking is allowed.
    fn came_late(&self, refresh: &Secret) {
        let _ = refresh;
    }
}

/// A person's tokens. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Person(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credential: Arc<Credential>,
    holding: Arc<Holding>,
    /// One for each scope set that was asked for.
    cells: ArcSwap<Vec<TokenHandle>>,
    /// Held while one is made.
    making: Mutex<()>,
    registry: Arc<Registry>,
    asks: mpsc::Sender<Asked>,
    clock: Clock,
}

impl TokenService {
    /// Somebody who has just signed in.
    pub fn person(
        &self,
        credential: &Arc<Credential>,
        deposit: Deposit,
        keep: Arc<dyn Keep>,
    ) -> Person {
        let state = PersonState {
            version: 1,
            tokens: deposit.kept().into_iter().collect(),
            refresh: deposit.refresh,
        };
        self.returning(credential, state, keep)
    }

    /// Somebody who signed in before a restart, or with another replica. Nothing is fetched until
    /// it is asked for.
    pub fn returning(
        &self,
        credential: &Arc<Credential>,
        state: PersonState,
        keep: Arc<dyn Keep>,
    ) -> Person {
        let number = self.registry.number();
        Person(Arc::new(Inner {
            credential: Arc::clone(credential),
            holding: Arc::new(Holding::new(number, state, keep)),
            cells: ArcSwap::default(),
            making: Mutex::default(),
            registry: Arc::clone(&self.registry),
            asks: self.asks.clone(),
            clock: self.clock.clone(),
        }))
    }
}

impl Person {
    /// The tokens of these scopes (RFC 6749 section 6: all of them were granted at the sign-in).
    pub fn handle(&self, scopes: &ScopeSet) -> TokenHandle {
        let cells = self.0.cells.load();
        match cells.iter().find(|cell| cell.scopes() == scopes) {
            Some(cell) => cell.clone(),
            None => self.0.cell(scopes),
        }
    }

    /// Grows with each other refresh token.
    pub fn version(&self) -> u64 {
        self.0.holding.version()
    }

    /// What is to survive: the refresh token, and the access tokens that are still good.
    pub fn state(&self) -> PersonState {
        self.0.holding.state(self.0.clock.now())
    }

    /// The person has signed in again: what was refused before is tried again.
    pub fn deposit(&self, deposit: Deposit) {
        let token = deposit.kept();
        if self.0.holding.signed_in(deposit.refresh, token) {
            self.0.renewed();
        }
    }

    /// Takes what another replica has kept, if it is newer than what is here. Whether it was.
    pub fn catch_up(&self, state: &PersonState) -> bool {
        let newer = self.0.holding.catch_up(state);
        if newer {
            self.0.renewed();
        }
        newer
    }

    /// Whether no other token will come: the refresh token was refused, or there is none and the
    /// access token has ended.
    pub fn is_over(&self) -> bool {
        self.0.holding.is_over(self.0.clock.now())
    }

    /// Signs out here: no token is given any more. The refresh token, to be revoked.
    pub fn end(&self) -> Option<Secret> {
        let refresh = self.0.holding.end();
        self.0.retire();
        refresh
    }
}

impl Inner {
    fn cell(&self, scopes: &ScopeSet) -> TokenHandle {
        let _making = self.making.lock();
        let cells = self.cells.load_full();
        if let Some(cell) = cells.iter().find(|cell| cell.scopes() == scopes) {
            return cell.clone();
        }
        let shared = Arc::new(Shared::new(
            self.registry.number(),
            Owner::Person(Arc::clone(&self.holding)),
            Arc::clone(&self.credential),
            scopes.clone(),
            None,
        ));
        let cell = TokenHandle {
            shared: Arc::clone(&shared),
            asks: self.asks.clone(),
            clock: self.clock.clone(),
        };
        // nobody renews what belongs to somebody who has gone: it says so when it is asked
        if !self.holding.is_ended() {
            let now = self.clock.now();
            if let Some(token) = self.holding.token(scopes) {
                let id = self.registry.token_number();
                let token = restored(token.header.clone(), id, token.begun(now), token.life, now);
                shared.snapshot.store(token);
            }
            self.registry.add(shared);
            let all = cells.iter().chain([&cell]).cloned().collect();
            self.cells.store(Arc::new(all));
        }
        cell
    }

    /// Tells the worker what has come.
    fn renewed(&self) {
        let _making = self.making.lock();
        let cells = self.cells.load();
        self.registry.renew(cells.iter().map(|cell| Renewed {
            number: cell.shared.number,
            token: self.holding.token(cell.scopes()),
        }));
    }

    fn retire(&self) {
        let _making = self.making.lock();
        let cells = self.cells.swap(Arc::default());
        if self.holding.is_ended() {
            // who still has a handle: the worker may be about to write, and does so once more
            cells
                .iter()
                .for_each(|cell| cell.shared.snapshot.store(None));
        }
        let numbers = cells.iter().map(|cell| cell.shared.number);
        self.registry.retire(numbers);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.retire();
    }
}

impl Deposit {
    fn kept(&self) -> Option<PersonToken> {
        let (header, since, life) = self.token.clone()?;
        let mut header = header;
        header.set_sensitive(true);
        Some(PersonToken {
            scopes: self.scopes.clone(),
            header,
            since: since.wall,
            life,
        })
    }
}
