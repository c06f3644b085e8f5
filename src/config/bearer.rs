//! What a caller's own access token must be like.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::{Bound, ProofRules};

/// A signature algorithm with a public key (RFC 7518 section 3.1, RFC 8037). There is no `none` and
/// no HMAC: with those, whoever can check a token can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// In the order in which a key that does not say its `alg` is taken for one.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// By the `alg` of a token or key; case matters. `Ed25519` is RFC 9864's name for `EdDSA`.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        match name {
            "Ed25519" => Some(Self::EdDsa),
            name => all.find(|algorithm| algorithm.name() == name),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a token must say beyond being signed by its issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// One of these must be in `aud`.
    pub audiences: BTreeSet<String>,
    /// All of these must be in `scope`.
    pub scopes: BTreeSet<String>,
    /// One of these must be in `scope`; empty: any.
    pub any_scopes: BTreeSet<String>,
    /// The client that the token was issued to is one of these; empty: any.
    pub clients: BTreeSet<String>,
    /// All of these must hold.
    pub claims: Vec<ClaimRule>,
    /// What `typ` may be, in lower case, without `application/`; [`ABSENT`] for none.
    pub types: BTreeSet<String>,
    /// Since the sign-in; `None`: unlimited.
    pub max_age: Option<Duration>,
    /// How far the issuer's clock and ours may be apart; at most [`LONGEST_SKEW`].
    pub clock_skew: Duration,
    /// From issue to expiry; `None`: unlimited.
    pub max_lifetime: Option<Duration>,
    /// Requests without a token.
    pub strangers: Strangers,
    pub preflight: Preflight,
    pub insufficient_scope: InsufficientScope,
    pub bound: Bound,
    pub proofs: ProofRules,
}

/// More is no difference between clocks.
pub const LONGEST_SKEW: Duration = Duration::from_secs(300);

/// The word for a header without `typ`.
pub const ABSENT: &str = "absent";

/// Values of `typ` that say that a JWT is something else than an access token, in lower case,
/// without `application/`.
pub const NEVER_ACCESS: [&str; 10] = [
    "dpop+jwt",
    "itwin-identity+jwt",
    "logout+jwt",
    "secevent+jwt",
    "id_token+jwt",
    "oauth-authz-req+jwt",
    "token-introspection+jwt",
    "client-authentication+jwt",
    "kb+jwt",
    "statuslist+jwt",
];

impl Default for TokenRules {
    /// Takes no token: it names no audience.
    fn default() -> Self {
        Self {
            audiences: BTreeSet::new(),
            scopes: BTreeSet::new(),
            any_scopes: BTreeSet::new(),
            clients: BTreeSet::new(),
            claims: Vec::new(),
            types: [ABSENT, "jwt", "at+jwt"].map(str::to_owned).into(),
            max_age: None,
            clock_skew: Duration::from_secs(60),
            max_lifetime: None,
            strangers: Strangers::Refused,
            preflight: Preflight::Refused,
            insufficient_scope: InsufficientScope::Forbidden,
            bound: Bound::Checked,
            proofs: ProofRules::default(),
        }
    }
}

/// Requests that show no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    Admitted,
    Refused,
}

/// CORS preflights, which never carry a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    Passed,
    Refused,
}

/// The answer to a token that lacks a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsufficientScope {
    /// 403 (RFC 6750 section 3.1).
    Forbidden,
    /// 401, as iTwin services answer.
    Unauthorized,
}

/// What one claim must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRule {
    /// The claim of this name, else the member that a path with dots leads to.
    pub claim: String,
    pub test: ClaimTest,
}

/// How a claim is compared; one value counts as a list of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimTest {
    /// This, and nothing besides.
    Equals(ClaimValue),
    /// All of these.
    Contains(Vec<ClaimValue>),
    /// One of these.
    AnyOf(Vec<ClaimValue>),
}

/// A value that a claim may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Truth(truth) => truth.fmt(f),
        }
    }
}
