//! What a token is bound to (RFC 7800): the key (RFC 9449) or the certificate (RFC 8705) of who may
//! use it, so that a token which was stolen is of no use.
//!
//! A token says it in `cnf`. Each of its members must be met; one that is not known cannot be, so
//! that a token which asks for more than we understand is not taken.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    claims::Claims,
    dpop::{BadProof, Expected, Nonce, Proofs, Requested},
    json::{Json, Object},
    refusal::{Refusal, shown},
};
use crate::{
    clock::Moment,
    config::{Bound, TokenRules},
};

/// SHA-256 of a certificate or of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    pub fn of(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// As `cnf` writes it: base64url without padding.
    pub fn parse(text: &str) -> Option<Self> {
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        octets.try_into().map(Self).ok()
    }

    pub(super) fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// What whoever uses a token must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// `x5t#S256`: the connection's client certificate is this one.
    Certificate(Thumbprint),
    /// `jkt`: a proof is signed with this key.
    Key(Thumbprint),
    /// Something else, or what cannot be read.
    Other(Box<str>),
}

/// All that a token is bound to; nothing for most.
pub(super) type Confirmations = Box<[Confirmation]>;

/// Reads `cnf`.
pub(super) fn confirmations(claims: &Object) -> Result<Confirmations, Refusal> {
    let claim = "cnf";
    let cnf = match claims.get(claim) {
        None => return Ok(Box::default()),
        Some(Json::Object(cnf)) => cnf,
        Some(_) => return Err(Refusal::WrongType { claim }),
    };
    let each = cnf.members().map(|(name, value)| {
        let thumbprint = || Thumbprint::parse(value.text()?);
        let known = match name {
            "x5t#S256" => thumbprint().map(Confirmation::Certificate),
            "jkt" => thumbprint().map(Confirmation::Key),
            _ => None,
        };
        known.unwrap_or_else(|| Confirmation::Other(shown(name).into()))
    });
    let all: Confirmations = each.collect();
    if all.is_empty() {
        // it says that it is bound, and not to what
        return Ok(Box::from([Confirmation::Other("nothing".into())]));
    }
    Ok(all)
}

/// How a token was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    Dpop,
}

/// What a request shows beside its token.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'r> {
    pub scheme: Scheme,
    pub token: &'r str,
    /// Of the certificate that the caller's connection was opened with.
    pub certificate: Option<Thumbprint>,
    pub proof: ShownProof<'r>,
    pub asked: Requested<'r>,
}

/// The request's `DPoP` fields.
#[derive(Debug, Clone, Copy)]
pub enum ShownProof<'r> {
    None,
    One(&'r [u8]),
    Several,
}

/// What is wrong about how a token is bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbound {
    #[error("the token is bound to no key and no certificate, which this route asks for")]
    Free,
    #[error("the token is bound by `{method}`, which is not known")]
    Unknown { method: Box<str> },
    #[error("the token is bound to a certificate, and the caller's connection has none")]
    NoCertificate,
    #[error("the token is bound to another certificate than the caller's connection has")]
    OtherCertificate,
    #[error("the token is bound to a key, and shown by the scheme Bearer")]
    NotByDpop,
    #[error("the token is bound to no key, and shown by the scheme DPoP")]
    ByDpop,
    #[error("the proof that goes with the token is not taken")]
    Proof(#[from] BadProof),
}

impl Claims {
    /// Whether it says that its holder has to prove anything.
    pub fn is_bound(&self) -> bool {
        !self.confirmations.is_empty()
    }

    /// What its holder has to prove besides, in words; nothing for most.
    ///
    /// # Errors
    /// When the rules do not take the token with any proof.
    pub fn asks_for(&self, rules: &TokenRules) -> Result<&'static str, Unbound> {
        let (mut key, mut certificate) = (false, false);
        for confirmation in &self.confirmations {
            match confirmation {
                _ if rules.bound == Bound::Ignored => {}
                Confirmation::Key(_) => key = true,
                Confirmation::Certificate(_) => certificate = true,
                Confirmation::Other(method) => {
                    let method = method.clone();
                    return Err(Unbound::Unknown { method });
                }
            }
        }
        match (key, certificate) {
            (false, false) if rules.bound == Bound::Required => Err(Unbound::Free),
            (false, false) => Ok(""),
            (true, false) => Ok("a DPoP proof"),
            (false, true) => Ok("its client certificate"),
            (true, true) => Ok("a DPoP proof and its client certificate"),
        }
    }

    /// Checks that the request proves what its token asks for. The token must have been found good
    /// before: no proof is looked at on behalf of one that is refused anyway.
    ///
    /// # Errors
    /// What is not proven.
    pub fn check_bound(
        &self,
        rules: &TokenRules,
        shown: &Shown<'_>,
        proofs: &Proofs,
        now: Moment,
    ) -> Result<Nonce, Unbound> {
        let all = &self.confirmations;
        let none = match rules.bound {
            Bound::Ignored => return Ok(Nonce::Current),
            Bound::Checked => Ok(()),
            Bound::Required => Err(Unbound::Free),
        };
        if all.is_empty() {
            none?;
        }
        let mut key = None;
        for confirmation in &**all {
            match confirmation {
                Confirmation::Certificate(wanted) => match &shown.certificate {
                    Some(certificate) if certificate == wanted => {}
                    Some(_) => return Err(Unbound::OtherCertificate),
                    None => return Err(Unbound::NoCertificate),
                },
                Confirmation::Key(wanted) => key = Some(wanted),
                Confirmation::Other(method) => {
                    let method = method.clone();
                    return Err(Unbound::Unknown { method });
                }
            }
        }
        match (key, shown.scheme) {
            (None, Scheme::Bearer) => Ok(Nonce::Current),
            (None, Scheme::Dpop) => Err(Unbound::ByDpop),
            (Some(_), Scheme::Bearer) => Err(Unbound::NotByDpop),
            (Some(key), Scheme::Dpop) => {
                let proof = match shown.proof {
                    ShownProof::None => return Err(BadProof::Missing.into()),
                    ShownProof::Several => return Err(BadProof::Several.into()),
                    ShownProof::One(proof) => proof,
                };
                let expected = Expected {
                    asked: shown.asked,
                    token: shown.token,
                    key,
                    rules: &rules.proofs,
                    skew: rules.clock_skew,
                };
                Ok(proofs.check(proof, &expected, now)?)
            }
        }
    }
}
