//! What a person's tokens have in common: one refresh token, and how often it has changed.
//!
//! It is changed here before anybody else hears of it, so that the next fetch sends the newest.
//! What comes for a refresh token that is no longer ours changes nothing.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use parking_lot::Mutex;

use super::Keep;
use crate::{
    clock::{Deadline, Moment},
    config::ScopeSet,
    secret::Secret,
    tokens::{cell::served, source::Granted, store},
};

/// Scope sets of one person; more are fetched, and not kept.
const MOST_KEPT: usize = 16;

/// What is to survive of a person's tokens.
#[derive(Debug, Clone, Default)]
pub struct PersonState {
    /// Grows with each other refresh token. Of two states the one with the higher number is newer.
    pub version: u64,
    pub refresh: Option<Secret>,
    pub tokens: Vec<PersonToken>,
}

/// An access token of a person.
#[derive(Debug, Clone)]
pub struct PersonToken {
    /// As they were asked for.
    pub scopes: ScopeSet,
    /// The value of `Authorization`: `Bearer …`.
    pub header: HeaderValue,
    /// When it was asked for, on the wall clock: since 1970-01-01T00:00:00Z.
    pub since: Duration,
    pub life: Duration,
}

/// What a person's cells share.
#[derive(Debug)]
pub(in crate::tokens) struct Holding {
    /// Of the first cell; no other person has it.
    pub(in crate::tokens) number: u64,
    pub(super) keep: Arc<dyn Keep>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    state: PersonState,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    SignedIn,
    /// The provider refused the refresh token.
    Refused,
    /// Signed out.
    Ended,
}

/// Why there is nothing to fetch with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::tokens) enum SignedOut {
    #[error("the provider gave no refresh token")]
    NoRefreshToken,
    #[error("the provider refused the refresh token")]
    Refused,
    #[error("the person has signed out")]
    Ended,
}

/// What a fetch brought for the person.
enum Brought {
    /// The same refresh token as before.
    Nothing,
    /// Another one: this is to be kept now.
    Rotated(PersonState),
    /// One that comes too late.
    Late(Secret),
}

impl PersonToken {
    /// When it began, on both clocks.
    pub(in crate::tokens) fn begun(&self, now: Moment) -> Moment {
        store::begun(self.since, now)
    }

    /// From here on it must not be sent.
    pub(in crate::tokens) fn ends(&self, now: Moment) -> Deadline {
        self.begun(now).plus(served(self.life))
    }
}

impl Holding {
    pub(super) fn new(number: u64, state: PersonState, keep: Arc<dyn Keep>) -> Self {
        let standing = Standing::SignedIn;
        Self {
            number,
            keep,
            held: Mutex::new(Held { state, standing }),
        }
    }

    /// The refresh token to send now.
    pub(in crate::tokens) fn to_send(&self) -> Result<Secret, SignedOut> {
        let held = self.held.lock();
        match (held.standing, &held.state.refresh) {
            (Standing::Ended, _) => Err(SignedOut::Ended),
            (Standing::Refused, _) => Err(SignedOut::Refused),
            (Standing::SignedIn, None) => Err(SignedOut::NoRefreshToken),
            (Standing::SignedIn, Some(refresh)) => Ok(refresh.clone()),
        }
    }

    /// Whether it is the end that the provider refused this one: another may have come meanwhile.
    pub(in crate::tokens) fn refused(&self, sent: &Secret) -> bool {
        let mut held = self.held.lock();
        let current = held.state.refresh.as_ref().is_some_and(|own| own.is(sent));
        if current && held.standing == Standing::SignedIn {
            held.standing = Standing::Refused;
        }
        current
    }

    /// Takes what came for `sent`, and has it kept. Blocking, if there is another refresh token.
    pub(in crate::tokens) fn granted(&self, sent: &Secret, scopes: &ScopeSet, granted: &Granted) {
        match self.brought(sent, scopes, granted) {
            Brought::Nothing => {}
            Brought::Rotated(state) => self.keep.changed(&state),
            Brought::Late(refresh) => self.keep.came_late(&refresh),
        }
    }

    fn brought(&self, sent: &Secret, scopes: &ScopeSet, granted: &Granted) -> Brought {
        let rotated = granted.refresh.as_ref().filter(|new| !new.is(sent));
        let mut held = self.held.lock();
        let current = held.state.refresh.as_ref().is_some_and(|own| own.is(sent));
        if held.standing == Standing::Ended || !current {
            return match rotated {
                Some(refresh) => Brought::Late(refresh.clone()),
                None => Brought::Nothing,
            };
        }
        held.state.put(PersonToken {
            scopes: scopes.clone(),
            header: granted.header.clone(),
            since: granted.since.wall,
            life: granted.life,
        });
        let Some(refresh) = rotated else {
            return Brought::Nothing;
        };
        held.state.refresh = Some(refresh.clone());
        held.state.version += 1;
        Brought::Rotated(held.state.clone())
    }

    /// A new sign-in. Whether anybody is still there to take it.
    pub(super) fn signed_in(&self, refresh: Option<Secret>, token: Option<PersonToken>) -> bool {
        let mut held = self.held.lock();
        if held.standing == Standing::Ended {
            return false;
        }
        held.state.refresh = refresh;
        held.state.version += 1;
        held.standing = Standing::SignedIn;
        if let Some(token) = token {
            held.state.put(token);
        }
        true
    }

    /// Takes what another replica has, if it is newer.
    pub(super) fn catch_up(&self, state: &PersonState) -> bool {
        let mut held = self.held.lock();
        let newer = match held.standing {
            Standing::Ended => false,
            Standing::SignedIn => state.version > held.state.version,
            // as often renewed as ours, by somebody else: theirs may be the good one
            Standing::Refused => {
                let same = match (&state.refresh, &held.state.refresh) {
                    (Some(theirs), Some(ours)) => theirs.is(ours),
                    _ => state.refresh.is_none(),
                };
                state.version >= held.state.version && !same
            }
        };
        if newer {
            held.state.version = state.version;
            held.state.refresh.clone_from(&state.refresh);
            for token in &state.tokens {
                let ours = held.state.token(&token.scopes);
                if ours.is_none_or(|ours| ours.since + ours.life < token.since + token.life) {
                    held.state.put(token.clone());
                }
            }
            held.standing = Standing::SignedIn;
        }
        newer
    }

    pub(super) fn end(&self) -> Option<Secret> {
        let mut held = self.held.lock();
        held.standing = Standing::Ended;
        held.state.tokens.clear();
        held.state.refresh.take()
    }

    pub(super) fn version(&self) -> u64 {
        self.held.lock().state.version
    }

    /// Without the tokens that have ended.
    pub(super) fn state(&self, now: Moment) -> PersonState {
        let mut held = self.held.lock();
        held.state
            .tokens
            .retain(|token| !token.ends(now).passed(now));
        held.state.clone()
    }

    pub(super) fn token(&self, scopes: &ScopeSet) -> Option<PersonToken> {
        let held = self.held.lock();
        held.state.token(scopes).cloned()
    }

    pub(in crate::tokens) fn is_ended(&self) -> bool {
        self.held.lock().standing == Standing::Ended
    }

    pub(super) fn is_over(&self, now: Moment) -> bool {
        let held = self.held.lock();
        match held.standing {
            Standing::Ended | Standing::Refused => true,
            Standing::SignedIn => {
                let mut tokens = held.state.tokens.iter();
                held.state.refresh.is_none() && tokens.all(|token| token.ends(now).passed(now))
            }
        }
    }
}

impl PersonState {
    pub(super) fn token(&self, scopes: &ScopeSet) -> Option<&PersonToken> {
        self.tokens.iter().find(|token| token.scopes == *scopes)
    }

    fn put(&mut self, token: PersonToken) {
        self.tokens.retain(|other| other.scopes != token.scopes);
        if self.tokens.len() < MOST_KEPT {
            self.tokens.push(token);
        }
    }
}
