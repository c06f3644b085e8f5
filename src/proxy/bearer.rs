//! Callers that are known by an access token of their own (RFC 6750).
//!
//! A token is looked for in `Authorization` only. What is wrong with one is told to the caller as
//! far as that helps an honest one; the rest is for the log.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING,
    },
};

use percent_encoding::percent_decode_str;

use super::{
    bound::{self, Called},
    failure::Failure,
    person::Challenged,
};
use crate::{
    clock::Moment,
    config::{InsufficientScope, Name, Preflight, Strangers, TokenRules},
    verify::{
        Coming, Introspector, Issuer, Newer, Outcome, Refusal, Revoked, Said, Scheme, Unavailable,
        Unbound, Verified, Verifier, Waited,
    },
};

/// Tokens of one issuer that a route takes.
#[derive(Debug, Clone)]
pub struct Bearer {
    pub issuer: Arc<Issuer>,
    pub rules: Arc<TokenRules>,
    /// For challenges: what proofs may be signed with.
    pub algorithms: Arc<str>,
}

/// What tokens are checked with.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'p> {
    pub verifier: &'p Verifier,
    pub now: Moment,
    pub method: &'p Method,
    /// How the caller reached us, and what it asked for.
    pub called: Called<'p>,
    /// The request's query: a token there is refused, but with a word about it.
    pub query: Option<&'p str>,
    pub waited: &'p Waited,
    pub revoked: &'p Revoked,
    /// Where the resource's metadata are (RFC 9728).
    pub metadata: Option<&'p Arc<str>>,
}

/// A caller who is admitted.
#[derive(Debug)]
pub enum Known {
    /// It shows no token, and needs none.
    Stranger,
    /// It shows this one.
    Holder {
        verified: Arc<Verified>,
        /// For its next proof.
        nonce: Option<HeaderValue>,
    },
}

/// A caller who is not admitted, now.
#[derive(Debug)]
pub enum Denied {
    For(Failure),
    /// Perhaps, when what is under way has come.
    Until(Coming),
    /// A browser, which is told what to do.
    Challenged(Box<Challenged>),
}

impl From<Failure> for Denied {
    fn from(failure: Failure) -> Self {
        Self::For(failure)
    }
}

/// What is wrong with a caller's token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("the request carries no access token")]
    Missing,
    #[error("the request's Authorization is of another scheme than Bearer and DPoP")]
    OtherScheme,
    #[error("the request carries an access token in its query")]
    InQuery,
    #[error("the access token is refused")]
    Invalid(#[source] Refusal),
    #[error("the access token lacks scopes")]
    Scopes {
        needed: String,
        answer: InsufficientScope,
        #[source]
        source: Refusal,
    },
    #[error("the access token's user signed in too long ago")]
    Stale {
        max_age: u64,
        #[source]
        source: Refusal,
    },
    #[error("what the access token is bound to is not shown")]
    Unbound(#[from] Unbound),
    #[error("there are no keys of provider {0} to check the access token with")]
    NoKeys(Name),
    #[error("nobody says whether the access token is good")]
    Unanswered(#[source] Unavailable),
}

/// The caller, if one of `all` takes the token that it shows.
///
/// # Errors
/// What is wrong with the token, or that newer keys may set it right.
pub(super) fn admit<'g>(
    all: &(impl Iterator<Item = &'g Bearer> + Clone),
    route: &str,
    headers: &HeaderMap,
    tokens: &Tokens<'_>,
) -> Result<Known, Denied> {
    let deny = |denial: Denial, by: Option<Scheme>| {
        let dpop = bound::challenge(all.clone(), &denial, by, tokens);
        Denied::For(Failure::Bearer {
            route: route.to_owned(),
            denial,
            metadata: tokens.metadata.cloned(),
            dpop: dpop.map(Box::new),
        })
    };
    let (scheme, token) = match presented(headers, tokens.query) {
        Ok(shown) => shown,
        Err(Shown::Wrong(Denial::Missing))
            if all.clone().any(|b| b.needs_none(headers, tokens)) =>
        {
            return Ok(Known::Stranger);
        }
        Err(Shown::Twice) => return Err(Failure::SeveralAuthorizations.into()),
        Err(Shown::Wrong(denial)) => return Err(deny(denial, None)),
    };
    let mut coming: Option<Coming> = None;
    let mut nearest: Option<Denial> = None;
    for bearer in all.clone() {
        // nobody else is shown the token while one may say that it is its own; but who has vouched
        // for it before need not be asked
        let asked = matches!(coming, Some(Coming::Answer(_)));
        let known = || tokens.verifier.known(&bearer.issuer, token, tokens.now);
        let verified = if asked {
            let Some(known) = known() else { continue };
            Ok(known)
        } else {
            bearer.verify(token, tokens)
        };
        let seen = match verified {
            Ok(seen) => seen,
            Err(Unseen::Until(answer @ Coming::Answer(_))) => {
                coming = Some(answer);
                continue;
            }
            Err(Unseen::Until(keys)) => {
                coming = coming.or(Some(keys));
                continue;
            }
            Err(Unseen::Denied(denial)) => {
                // of several, the one of the issuer that the token is from says most; that it is
                // bad cannot be said while one does not answer
                let weak = matches!(
                    denial,
                    Denial::Invalid(Refusal::Issuer { .. } | Refusal::NotJwt)
                );
                let open = matches!(nearest, Some(Denial::Unanswered(_)));
                if nearest.is_none() || !(weak || open) {
                    nearest = Some(denial);
                }
                continue;
            }
        };
        let checked = seen.claims.check(&bearer.rules, tokens.now);
        match checked.and_then(|()| tokens.revoked.check(&seen.claims, tokens.now)) {
            Ok(()) => match bound::check(bearer, &seen.claims, (scheme, token), headers, tokens) {
                Ok(nonce) => {
                    return Ok(Known::Holder {
                        verified: seen,
                        nonce,
                    });
                }
                Err(unbound) => nearest = Some(unbound.into()),
            },
            Err(refusal) => nearest = Some(bearer.denial(refusal)),
        }
    }
    Err(match (coming, nearest) {
        (Some(coming), _) => Denied::Until(coming),
        (None, nearest) => deny(nearest.unwrap_or(Denial::Missing), Some(scheme)),
    })
}

/// A token that the issuer does not vouch for, or not yet.
enum Unseen {
    Denied(Denial),
    Until(Coming),
}

impl Bearer {
    /// Whether a request without any token is admitted.
    fn needs_none(&self, headers: &HeaderMap, tokens: &Tokens<'_>) -> bool {
        // as the Fetch standard defines one; anybody can send one, of which the service knows nothing
        // but what it asks for
        let preflight = || {
            *tokens.method == Method::OPTIONS
                && headers.contains_key(ORIGIN)
                && !headers.contains_key(TRANSFER_ENCODING)
                && headers
                    .get(CONTENT_LENGTH)
                    .is_none_or(|length| length == "0")
                && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        };
        self.rules.strangers == Strangers::Admitted
            || (self.rules.preflight == Preflight::Passed && preflight())
    }

    /// The token, if the issuer vouches for it.
    fn verify(&self, token: &str, tokens: &Tokens<'_>) -> Result<Arc<Verified>, Unseen> {
        let Some(introspector) = self.issuer.introspector() else {
            return self.by_signature(token, tokens);
        };
        if let Some(known) = tokens.verifier.known(&self.issuer, token, tokens.now) {
            return Ok(known);
        }
        match self.issuer.is_asked_about(introspector, token) {
            Ok(true) => self.by_answer(introspector, token, tokens),
            Ok(false) => self.by_signature(token, tokens),
            Err(refusal) => Err(Unseen::Denied(Denial::Invalid(refusal))),
        }
    }

    fn by_answer(
        &self,
        introspector: &Arc<Introspector>,
        token: &str,
        tokens: &Tokens<'_>,
    ) -> Result<Arc<Verified>, Unseen> {
        let outcome = match tokens.waited.answer(introspector.number()) {
            Some(outcome) => outcome.clone(),
            None => match introspector.ask(token, tokens.now) {
                Said::Known(outcome) => outcome,
                Said::Coming(answer) => return Err(Unseen::Until(Coming::Answer(answer))),
            },
        };
        match outcome {
            Outcome::Good(seen) => {
                let verifier = tokens.verifier;
                verifier.remember(&self.issuer, token, &seen, tokens.now);
                Ok(seen)
            }
            Outcome::Bad(refusal) => Err(Unseen::Denied(Denial::Invalid(refusal))),
            Outcome::None(why) => Err(Unseen::Denied(Denial::Unanswered(why))),
        }
    }

    fn by_signature(&self, token: &str, tokens: &Tokens<'_>) -> Result<Arc<Verified>, Unseen> {
        let verify = || tokens.verifier.verify(&self.issuer, token, tokens.now);
        let mut unverified = match verify() {
            Ok(seen) => return Ok(seen),
            Err(unverified) => unverified,
        };
        let has_waited = tokens.waited.for_keys();
        match self.issuer.newer(token, &unverified, tokens.now) {
            Newer::Coming(keys) if !has_waited => return Err(Unseen::Until(Coming::Keys(keys))),
            Newer::Coming(_) | Newer::No => {}
            Newer::Here => match verify() {
                Ok(seen) => return Ok(seen),
                Err(again) => unverified = again,
            },
        }
        if has_waited && unverified.refusal == Refusal::UnknownKey {
            self.issuer.stays_unknown(token, tokens.now);
        }
        Err(Unseen::Denied(self.denial(unverified.refusal)))
    }

    fn denial(&self, refusal: Refusal) -> Denial {
        match refusal {
            Refusal::UnknownKey if self.issuer.keys().is_empty() => {
                Denial::NoKeys(Arc::clone(&self.issuer.name))
            }
            source @ Refusal::Scopes { .. } => {
                let needed = self.rules.scopes.iter().chain(&self.rules.any_scopes);
                let needed: Vec<&str> = needed.map(String::as_str).collect();
                Denial::Scopes {
                    needed: needed.join(" "),
                    answer: self.rules.insufficient_scope,
                    source,
                }
            }
            source
            @ (Refusal::SignedInLongAgo { .. } | Refusal::Missing { claim: "auth_time" }) => {
                Denial::Stale {
                    max_age: self.rules.max_age.map_or(0, |age| age.as_secs()),
                    source,
                }
            }
            refusal => Denial::Invalid(refusal),
        }
    }
}

impl Denial {
    /// For the caller, in fixed words.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Missing => "Send an access token in the Authorization header.",
            Self::OtherScheme => "The Authorization header must be of the scheme Bearer or DPoP.",
            Self::InQuery => "Send the access token in the Authorization header, not in the URL.",
            Self::Scopes { .. } => "The access token lacks a scope that this route needs.",
            Self::Stale { .. } => "The user must sign in again.",
            Self::Unanswered(_) => {
                "The authorization server does not say whether the access token is good."
            }
            Self::Unbound(unbound) => bound::description(unbound),
            Self::NoKeys(_) => "The keys to check access tokens with are not available.",
            Self::Invalid(refusal) => match refusal {
                Refusal::Expired { .. } => "The access token expired.",
                Refusal::Revoked { .. } => "The access token was revoked.",
                Refusal::Inactive => "The access token is not valid any more, or never was.",
                Refusal::TooEarly { .. } | Refusal::FromTheFuture { .. } => {
                    "The access token is not valid yet: a clock may be wrong."
                }
                Refusal::Issuer { .. } => "The access token is from another issuer.",
                Refusal::Audience { .. } => "The access token is for another audience.",
                Refusal::Client { .. } => "The access token is of a client that is not admitted.",
                Refusal::Claim { .. } => "The access token's claims do not admit its holder.",
                Refusal::LivesTooLong { .. } => "The access token lives longer than is allowed.",
                Refusal::Kind { .. } | Refusal::Type => "The token is no access token.",
                Refusal::NotJwt | Refusal::Encrypted => "The access token is no signed JWT.",
                _ => "The access token is not valid.",
            },
        }
    }

    /// Whether a token of another holder would do, rather than a better one of this.
    pub fn is_about_the_holder(&self) -> bool {
        matches!(
            self,
            Self::Invalid(Refusal::Client { .. } | Refusal::Claim { .. })
        )
    }

    /// `WWW-Authenticate` (RFC 6750 section 3): without a code where no token was shown. `metadata`
    /// is where a client reads what it needs (RFC 9728 section 5.1).
    pub fn challenge(&self, scheme: Scheme, metadata: Option<&str>) -> Option<String> {
        let realm = match scheme {
            Scheme::Bearer => "Bearer realm=\"itwin-auth-proxy\"",
            Scheme::Dpop => "DPoP realm=\"itwin-auth-proxy\"",
        };
        let described = |error: &str| {
            let description = self.description();
            format!("{realm}, error=\"{error}\", error_description=\"{description}\"")
        };
        let mut challenge = match self {
            Self::Missing | Self::OtherScheme => realm.to_owned(),
            Self::InQuery => described("invalid_request"),
            refused if refused.is_about_the_holder() => return None,
            Self::Invalid(_) => described("invalid_token"),
            Self::Scopes { needed, .. } => {
                format!("{}, scope=\"{needed}\"", described("insufficient_scope"))
            }
            // RFC 9470 section 3
            Self::Stale { max_age, .. } => {
                let error = described("insufficient_user_authentication");
                format!("{error}, max_age=\"{max_age}\"")
            }
            Self::Unbound(unbound) => described(bound::error(unbound)?),
            Self::NoKeys(_) | Self::Unanswered(_) => return None,
        };
        if let Some(metadata) = metadata {
            challenge = format!("{challenge}, resource_metadata=\"{metadata}\"");
        }
        Some(challenge)
    }
}

/// Why there is no token to check.
enum Shown {
    Twice,
    Wrong(Denial),
}

/// The token that the request carries.
fn presented<'h>(headers: &'h HeaderMap, query: Option<&str>) -> Result<(Scheme, &'h str), Shown> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    // also beside another: a request has one (RFC 6750 section 2)
    if is_in_query(query) {
        return Err(Shown::Wrong(Denial::InQuery));
    }
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Shown::Wrong(Denial::Missing)),
        (Some(_), Some(_)) => return Err(Shown::Twice),
        (Some(value), None) => value.as_bytes().trim_ascii(),
    };
    // a token is printable ASCII (RFC 6750 section 2.1)
    let Ok(value) = std::str::from_utf8(value) else {
        return Err(Shown::Wrong(Denial::Invalid(Refusal::NotJwt)));
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim_start_matches(' ');
    let scheme = match scheme {
        "" => return Err(Shown::Wrong(Denial::Missing)),
        scheme if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        scheme if scheme.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(Shown::Wrong(Denial::OtherScheme)),
    };
    match token {
        "" => Err(Shown::Wrong(Denial::Missing)),
        token => Ok((scheme, token)),
    }
}

/// Whether the query has a token (RFC 6750 section 2.3), by a name that any service might take for
/// its name.
pub(super) fn is_in_query(query: Option<&str>) -> bool {
    let mut pairs = query.into_iter().flat_map(|query| query.split(['&', ';']));
    pairs.any(|pair| is_token_name(pair.split('=').next().unwrap_or_default()))
}

/// Decoded, without what stands around it, an index behind it, and its case; some servers write `_`
/// for what cannot stand in a variable's name.
fn is_token_name(written: &str) -> bool {
    const NAME: &[u8] = b"access_token";
    if written.len() < NAME.len() {
        return false;
    }
    let spaced = written.replace('+', " ");
    let name: Vec<u8> = percent_decode_str(&spaced).collect();
    let name = name.trim_ascii();
    let name = name
        .split(|octet| *octet == b'[')
        .next()
        .unwrap_or_default();
    let alike = |one: &u8, other: &u8| {
        one.eq_ignore_ascii_case(other) || (*other == b'_' && matches!(*one, b'.' | b' ' | b'-'))
    };
    name.len() == NAME.len() && name.iter().zip(NAME).all(|(one, other)| alike(one, other))
}

/// The refusal of a request with a token in its query.
pub(super) fn in_query(route: &str, tokens: &Tokens<'_>) -> Failure {
    Failure::Bearer {
        route: route.to_owned(),
        denial: Denial::InQuery,
        metadata: tokens.metadata.cloned(),
        dpop: None,
    }
}
