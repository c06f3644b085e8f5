//! What can be made to go wrong, while it runs: from code, or by `POST /__faults`.
//!
//! A [`Faults`] is a cheap handle; clones share. A fault holds until it is cleared or has struck the
//! number of times it was set for; a new one replaces it. What is switched holds from the moment the
//! call returns.

mod sign_in;

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(super) use self::sign_in::Point;
pub use self::sign_in::SignInFault;
pub use super::server::Door;
use super::{server::Origin, signing::Signer};

/// What the authorization server does instead of answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IdpFault {
    /// Takes the request and never answers.
    Hang,
    /// Takes the request and resets the connection.
    Reset,
    /// Answers with this status, in plain text, and `Retry-After` in seconds if given.
    Status {
        status: u16,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 200 without a body.
    EmptyBody,
    /// 200 with 64 MiB of spaces.
    HugeBody,
    /// 200 with a page.
    NotJson,
    /// Token endpoint: a token without `expires_in`.
    NoExpiresIn,
    /// Token endpoint: a token with `expires_in: 0`.
    ZeroExpiresIn,
    /// Discovery: the document of somebody else. Tokens: `iss` of somebody else.
    ForeignIssuer,
    /// Token endpoint: this `error`, status 400 as for every one of them.
    OAuthError { error: String },
    /// Sends the request on to another address, with this status.
    Redirect { status: u16, to: String },
    /// The right answer after this many milliseconds.
    Slow { milliseconds: u64 },
}

/// Which of its endpoints a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdpEndpoint {
    Discovery,
    Keys,
    Token,
    Introspection,
    Authorization,
    PushedRequests,
    DeviceAuthorization,
    Userinfo,
    Revocation,
    EndSession,
    /// Where people answer.
    Pages,
    /// Name and password for an assertion.
    Sts,
    /// An assertion for an assertion.
    Delegation,
    #[default]
    All,
}

/// What the hub does instead of answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HubFault {
    /// 401, as for an expired token.
    Unauthorized,
    /// 401, as for a client that the platform does not know: no token of it will ever do.
    UnknownClient,
    /// 403.
    Forbidden,
    /// 429 with `Retry-After` in seconds.
    RateLimited { retry_after: u64 },
    /// Another error status, with `Retry-After` in seconds if given.
    Status {
        status: u16,
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// 200 with an HTML sign-in page.
    LoginPage,
    /// 302 to the authorization server.
    LoginRedirect,
    /// The right answer after this many milliseconds.
    Slow { milliseconds: u64 },
    /// Takes the request and never answers.
    Hang,
    /// Takes the request and resets the connection.
    Reset,
    /// Half of the right answer, then a reset.
    ResetMidBody,
}

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// Until it is cleared.
    #[default]
    Always,
    /// This many requests.
    Next(u64),
}

/// A fault of one kind that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Armed<F> {
    #[serde(flatten)]
    fault: F,
    #[serde(default)]
    times: Times,
}

/// The handle.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    idp_origin: Arc<Origin>,
    hub_origin: Arc<Origin>,
    signer: Arc<Signer>,
    idp: Mutex<Option<(IdpEndpoint, Armed<IdpFault>)>>,
    hub: Mutex<Option<Armed<HubFault>>>,
    sign_in: Mutex<Option<Armed<SignInFault>>>,
    visitor: Mutex<Option<String>>,
    lifetime_ms: AtomicU64,
    /// Tokens with a lower serial number are refused by the hub.
    revoked_below: AtomicU64,
    /// And these.
    revoked: Mutex<BTreeSet<u64>>,
    issued: AtomicU64,
}

impl Faults {
    pub(super) fn new(
        idp_origin: Arc<Origin>,
        hub_origin: Arc<Origin>,
        signer: Arc<Signer>,
        lifetime: Duration,
    ) -> Self {
        let faults = Self(Arc::new(Inner {
            idp_origin,
            hub_origin,
            signer,
            idp: Mutex::default(),
            hub: Mutex::default(),
            sign_in: Mutex::default(),
            visitor: Mutex::default(),
            lifetime_ms: AtomicU64::default(),
            revoked_below: AtomicU64::new(0),
            revoked: Mutex::default(),
            issued: AtomicU64::new(0),
        }));
        faults.token_lifetime(lifetime);
        faults
    }

    /// Sets a fault of the authorization server.
    pub fn idp(&self, at: IdpEndpoint, fault: IdpFault, times: Times) {
        *self.0.idp.lock() = Some((at, Armed { fault, times }));
    }

    /// Sets a fault of the hub.
    pub fn hub(&self, fault: HubFault, times: Times) {
        *self.0.hub.lock() = Some(Armed { fault, times });
    }

    /// Sets a fault of signing in.
    pub fn sign_in(&self, fault: SignInFault, times: Times) {
        *self.0.sign_in.lock() = Some(Armed { fault, times });
    }

    /// Whoever comes to the pages is this person, has shown the password, and allows everything;
    /// empty: people are asked.
    pub fn visitor(&self, mail: &str) {
        *self.0.visitor.lock() = Some(mail.to_owned()).filter(|mail| !mail.is_empty());
    }

    /// Opens or shuts the authorization server.
    pub fn idp_door(&self, door: Door) -> io::Result<()> {
        self.0.idp_origin.set_door(door)
    }

    /// Opens or shuts the hub.
    pub fn hub_door(&self, door: Door) -> io::Result<()> {
        self.0.hub_origin.set_door(door)
    }

    /// No fault any more, doors open. Lifetimes, keys and secrets stay as they are.
    pub fn clear(&self) -> io::Result<()> {
        *self.0.idp.lock() = None;
        *self.0.hub.lock() = None;
        *self.0.sign_in.lock() = None;
        *self.0.visitor.lock() = None;
        self.0.idp_origin.open()?;
        self.0.hub_origin.open()
    }

    /// Of the tokens issued from now on.
    pub fn token_lifetime(&self, lifetime: Duration) {
        let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        self.0.lifetime_ms.store(milliseconds, Ordering::SeqCst);
    }

    /// The hub answers 401 to every token issued so far.
    pub fn revoke_tokens(&self) {
        let issued = self.0.issued.load(Ordering::SeqCst);
        self.0.revoked_below.store(issued, Ordering::SeqCst);
    }

    /// The authorization server signs with a new key from now on.
    pub fn rotate_key(&self) -> io::Result<()> {
        self.0.signer.rotate().map_err(io::Error::other)
    }

    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_millis(self.0.lifetime_ms.load(Ordering::SeqCst))
    }

    /// The serial number of a new token.
    pub(super) fn next_serial(&self) -> u64 {
        self.0.issued.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn is_revoked(&self, serial: u64) -> bool {
        serial < self.0.revoked_below.load(Ordering::SeqCst)
            || self.0.revoked.lock().contains(&serial)
    }

    /// The hub answers 401 to this token.
    pub(super) fn revoke_token(&self, serial: u64) {
        self.0.revoked.lock().insert(serial);
    }

    /// The fault that strikes a request to `endpoint`, if one does.
    pub(super) fn strike_idp(&self, endpoint: IdpEndpoint) -> Option<IdpFault> {
        let mut armed = self.0.idp.lock();
        let (at, fault) = armed.as_mut()?;
        if *at != IdpEndpoint::All && *at != endpoint {
            return None;
        }
        let (struck, last) = fault.strike();
        if last {
            *armed = None;
        }
        struck
    }

    /// The fault that strikes there, if one does.
    pub(super) fn strike_sign_in(&self, point: Point) -> Option<SignInFault> {
        let mut armed = self.0.sign_in.lock();
        let fault = armed.as_mut()?;
        if fault.fault.point() != point {
            return None;
        }
        let (struck, last) = fault.strike();
        if last {
            *armed = None;
        }
        struck
    }

    pub(super) fn known_visitor(&self) -> Option<String> {
        self.0.visitor.lock().clone()
    }

    /// The fault that strikes a request to the hub, if one does.
    pub(super) fn strike_hub(&self) -> Option<HubFault> {
        let mut armed = self.0.hub.lock();
        let (struck, last) = armed.as_mut()?.strike();
        if last {
            *armed = None;
        }
        struck
    }

    pub(super) fn connections(&self) -> (u64, u64) {
        (
            self.0.idp_origin.connections(),
            self.0.hub_origin.connections(),
        )
    }

    /// Applies what `POST /__faults` asks for, all or, with the reason, nothing.
    pub(super) fn apply(&self, order: &[u8]) -> Result<Order, String> {
        let order: Order = serde_json::from_slice(order).map_err(|error| error.to_string())?;
        let io = |error: io::Error| error.to_string();
        if order.clear {
            self.clear().map_err(io)?;
        }
        if let Some(IdpOrder { at, armed }) = &order.idp {
            self.idp(*at, armed.fault.clone(), armed.times);
        }
        if let Some(armed) = &order.hub {
            self.hub(armed.fault.clone(), armed.times);
        }
        if let Some(armed) = &order.sign_in {
            self.sign_in(armed.fault.clone(), armed.times);
        }
        if let Some(mail) = &order.visitor {
            self.visitor(mail);
        }
        if let Some(seconds) = order.token_lifetime_seconds {
            self.token_lifetime(Duration::from_secs(seconds));
        }
        if order.revoke_tokens {
            self.revoke_tokens();
        }
        if order.rotate_key {
            self.rotate_key().map_err(io)?;
        }
        if let Some(door) = order.idp_door {
            self.idp_door(door).map_err(io)?;
        }
        if let Some(door) = order.hub_door {
            self.hub_door(door).map_err(io)?;
        }
        Ok(order)
    }
}

impl<F: Clone> Armed<F> {
    /// The fault if it strikes once more, and whether that was the last time.
    fn strike(&mut self) -> (Option<F>, bool) {
        match &mut self.times {
            Times::Always => (Some(self.fault.clone()), false),
            Times::Next(0) => (None, true),
            Times::Next(left) => {
                *left -= 1;
                (Some(self.fault.clone()), *left == 0)
            }
        }
    }
}

/// The body of `POST /__faults`:
/// `{"idp":{"kind":"status","status":503,"at":"token","times":{"next":2}},"idp_door":"refuse"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Order {
    /// Before all else.
    #[serde(default)]
    clear: bool,
    #[serde(default)]
    idp: Option<IdpOrder>,
    #[serde(default)]
    hub: Option<Armed<HubFault>>,
    #[serde(default)]
    sign_in: Option<Armed<SignInFault>>,
    /// Whoever comes to the pages is this person.
    #[serde(default)]
    visitor: Option<String>,
    #[serde(default)]
    idp_door: Option<Door>,
    #[serde(default)]
    hub_door: Option<Door>,
    #[serde(default)]
    token_lifetime_seconds: Option<u64>,
    #[serde(default)]
    revoke_tokens: bool,
    #[serde(default)]
    rotate_key: bool,
    /// No assertion issued so far is good any more.
    #[serde(default)]
    pub(super) revoke_assertions: bool,
    /// The secrets that the client may use from now on.
    #[serde(default)]
    pub(super) client_secrets: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct IdpOrder {
    #[serde(default)]
    at: IdpEndpoint,
    #[serde(flatten)]
    armed: Armed<IdpFault>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::signing::{SigningAlgorithm, TokenShape};

    fn faults() -> Faults {
        let origin = || Arc::new(Origin::bind(([127, 0, 0, 1], 0).into()).unwrap());
        let signer = Arc::new(Signer::new(SigningAlgorithm::Es256, TokenShape::Ims).unwrap());
        Faults::new(origin(), origin(), signer, Duration::from_secs(60))
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_was_set_for() {
        let faults = faults();
        faults.hub(HubFault::Unauthorized, Times::Next(2));
        let struck: Vec<bool> = (0..3).map(|_| faults.strike_hub().is_some()).collect();
        assert_eq!(struck, [true, true, false]);
        faults.idp(IdpEndpoint::Token, IdpFault::Hang, Times::Always);
        assert_eq!(faults.strike_idp(IdpEndpoint::Discovery), None);
        assert_eq!(faults.strike_idp(IdpEndpoint::Token), Some(IdpFault::Hang));
        faults.clear().unwrap();
        assert_eq!(faults.strike_idp(IdpEndpoint::Token), None);
    }

    #[test]
    fn faults_are_set_by_json_and_a_slip_is_named() {
        let faults = faults();
        faults
            .apply(
                br#"{"idp":{"kind":"status","status":503,"retry_after":2,"at":"token","times":{"next":1}},
                     "hub":{"kind":"slow","milliseconds":5},"token_lifetime_seconds":7}"#,
            )
            .unwrap();
        let status = IdpFault::Status {
            status: 503,
            retry_after: Some(2),
        };
        assert_eq!(faults.strike_idp(IdpEndpoint::Token), Some(status));
        assert_eq!(faults.strike_idp(IdpEndpoint::Token), None);
        assert_eq!(
            faults.strike_hub(),
            Some(HubFault::Slow { milliseconds: 5 })
        );
        assert_eq!(faults.lifetime(), Duration::from_secs(7));

        let slip = faults.apply(br#"{"hup":{"kind":"hang"}}"#).unwrap_err();
        assert!(slip.contains("hup"), "{slip}");
        let slip = faults.apply(br#"{"hub":{"kind":"hung"}}"#).unwrap_err();
        assert!(slip.contains("hung"), "{slip}");
    }
}
