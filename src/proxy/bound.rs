//! Tokens that are good only with a proof: what a request shows besides its token, and what its
//! caller is told when that is not enough (RFC 8705, RFC 9449).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use url::Url;

use super::{
    bearer::{Bearer, Denial, Tokens},
    forwarded,
};
use crate::{
    caller::Guest,
    config::{Algorithm, Bound, Mode, NonceUse, Offered, TokenRules},
    net::Conn,
    verify::{BadProof, Claims, Nonce, Requested, Scheme, Shown, ShownProof, Thumbprint, Unbound},
};

pub(super) const DPOP: HeaderName = HeaderName::from_static("dpop");
pub(super) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Whether any route may ask which certificate a caller's connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thumbprints {
    Asked,
    NotAsked,
}

impl Thumbprints {
    pub(super) fn of<'r>(mut rules: impl Iterator<Item = &'r TokenRules>) -> Self {
        if rules.any(|rules| rules.bound != Bound::Ignored) {
            Self::Asked
        } else {
            Self::NotAsked
        }
    }
}

/// How a caller reached us, and what it asked for.
#[derive(Debug, Clone, Copy)]
pub struct Called<'r> {
    pub conn: &'r Conn,
    /// Whom the listener let in, where the caller asks for another's host.
    pub guest: Option<&'r Guest>,
    pub authority: &'r str,
    pub uri: &'r Uri,
    pub trusted_proxies: &'r [IpNet],
    /// The URL that the route's resource is known by.
    pub resource: Option<&'r Url>,
}

/// The algorithms of a rule, as a challenge lists them.
pub(super) fn algorithms(rules: &TokenRules) -> Arc<str> {
    let names = rules.proofs.algorithms.iter().copied();
    let names: Vec<&str> = names.map(Algorithm::name).collect();
    names.join(" ").into()
}

/// Whether the request proves what its token, which is good otherwise, is bound to; with the nonce
/// for the caller's next proof.
pub(super) fn check(
    bearer: &Bearer,
    claims: &Claims,
    (scheme, token): (Scheme, &str),
    headers: &HeaderMap,
    tokens: &Tokens<'_>,
) -> Result<Option<HeaderValue>, Unbound> {
    // nearly all tokens: nothing to prove, and nothing proven that would have to be looked at
    let free = scheme == Scheme::Bearer && !claims.is_bound();
    if free && bearer.rules.bound != Bound::Required {
        return Ok(None);
    }
    let called = &tokens.called;
    let (at, authority) = forwarded::called(headers, called);
    let mut fields = headers.get_all(DPOP).iter();
    let proof = match (fields.next(), fields.next()) {
        (None, _) => ShownProof::None,
        (Some(proof), None) => ShownProof::One(proof.as_bytes()),
        (Some(_), Some(_)) => ShownProof::Several,
    };
    let certificate = match called.conn.mode {
        Mode::Reverse | Mode::Forward | Mode::Transparent(_) => called.conn.security.certificate(),
        // it is the gateway's
        Mode::Decide(_) => None,
    };
    let shown = Shown {
        scheme,
        token,
        certificate: certificate.and_then(|one| one.thumbprint.map(Thumbprint::of)),
        proof,
        asked: Requested {
            method: tokens.method.as_str(),
            scheme: at,
            authority,
            path: called.uri.path(),
        },
    };
    let proofs = tokens.verifier.proofs();
    let nonce = claims.check_bound(&bearer.rules, &shown, proofs, tokens.now)?;
    Ok(match nonce {
        Nonce::Current => None,
        Nonce::Ageing | Nonce::Stale => HeaderValue::try_from(proofs.nonce(tokens.now)).ok(),
    })
}

/// What a refusal says of DPoP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    algorithms: Arc<str>,
    /// Whose challenge says what is wrong.
    faulty: Scheme,
    pub(super) nonce: Option<HeaderValue>,
}

/// Says that the caller must use DPoP, used it wrongly, or may use it. `by`: how it showed a token.
pub(super) fn challenge<'g>(
    mut all: impl Iterator<Item = &'g Bearer>,
    denial: &Denial,
    by: Option<Scheme>,
    tokens: &Tokens<'_>,
) -> Option<Challenge> {
    let faulty = match (denial, by) {
        (Denial::Unbound(Unbound::NotByDpop), _) | (_, Some(Scheme::Dpop)) => Scheme::Dpop,
        _ => Scheme::Bearer,
    };
    let speaks = |rules: &TokenRules| {
        let asked = faulty == Scheme::Dpop || rules.proofs.offered == Offered::Yes;
        asked && rules.bound != Bound::Ignored
    };
    let bearer = all.find(|bearer| speaks(&bearer.rules))?;
    let nonce = match bearer.rules.proofs.nonce {
        NonceUse::Off => None,
        NonceUse::Optional | NonceUse::Required => {
            HeaderValue::try_from(tokens.verifier.proofs().nonce(tokens.now)).ok()
        }
    };
    Some(Challenge {
        algorithms: Arc::clone(&bearer.algorithms),
        faulty,
        nonce,
    })
}

/// The values of `WWW-Authenticate` (RFC 9449 sections 7.1 and 7.2).
pub(super) fn challenges(
    denial: &Denial,
    metadata: Option<&str>,
    dpop: Option<&Challenge>,
) -> Vec<HeaderValue> {
    let with_algorithms = |text: String, dpop: &Challenge| {
        let algorithms = &dpop.algorithms;
        format!("{text}, algs=\"{algorithms}\"")
    };
    let texts = match dpop {
        None => vec![denial.challenge(Scheme::Bearer, metadata)],
        Some(dpop) if dpop.faulty == Scheme::Dpop => {
            let text = denial.challenge(Scheme::Dpop, metadata);
            vec![text.map(|text| with_algorithms(text, dpop))]
        }
        Some(dpop) => {
            let bearer = denial.challenge(Scheme::Bearer, metadata);
            let other = bearer.as_ref().and_then(|_| {
                let text = Denial::Missing.challenge(Scheme::Dpop, metadata)?;
                Some(with_algorithms(text, dpop))
            });
            vec![bearer, other]
        }
    };
    let texts = texts.into_iter().flatten();
    texts
        .filter_map(|text| HeaderValue::try_from(text).ok())
        .collect()
}

/// `error` of the challenge; none where the fault is ours.
pub(super) fn error(unbound: &Unbound) -> Option<&'static str> {
    match unbound {
        Unbound::Proof(BadProof::NoRoom) => None,
        Unbound::Proof(BadProof::Nonce) => Some("use_dpop_nonce"),
        Unbound::Proof(_) => Some("invalid_dpop_proof"),
        _ => Some("invalid_token"),
    }
}

/// For the caller, in fixed words.
pub(super) fn description(unbound: &Unbound) -> &'static str {
    match unbound {
        Unbound::Free => "The access token must be bound to a key or certificate of its holder.",
        Unbound::Unknown { .. } => "The access token is bound in a way that is not known here.",
        Unbound::NoCertificate => {
            "The access token is good only on a connection with its client certificate."
        }
        Unbound::OtherCertificate => "The access token is bound to another client certificate.",
        Unbound::NotByDpop => {
            "The access token is bound to a key: send it by the scheme DPoP, with a proof."
        }
        Unbound::ByDpop => "The access token is not bound to a key: send it by the scheme Bearer.",
        Unbound::Proof(proof) => match proof {
            BadProof::Missing | BadProof::Several => "Send exactly one DPoP proof.",
            BadProof::Type => "The DPoP proof's typ is not dpop+jwt.",
            BadProof::Algorithm => "The DPoP proof's algorithm is not one that is taken.",
            BadProof::Key { .. } => "The DPoP proof's jwk cannot be used.",
            BadProof::OtherKey => "The DPoP proof's key is not the access token's.",
            BadProof::Method => "The DPoP proof is for another method.",
            BadProof::Uri => "The DPoP proof is for another URI.",
            BadProof::Token => "The DPoP proof is for another access token.",
            BadProof::Old { .. } | BadProof::FromTheFuture { .. } => {
                "The DPoP proof is too old or from the future: a clock may be wrong."
            }
            BadProof::Nonce => "The DPoP proof must carry the nonce of the DPoP-Nonce header.",
            BadProof::Used => "The DPoP proof was used before.",
            BadProof::NoRoom => "More DPoP proofs come than can be remembered.",
            BadProof::Claim { .. } => "The DPoP proof lacks a claim.",
            BadProof::Jws(_) | BadProof::Signature => "The DPoP proof is not valid.",
        },
    }
}
