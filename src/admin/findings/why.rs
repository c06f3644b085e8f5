//! Why there is no token, and what to do about it.

/// Why a token could not be had, as far as that tells what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Why {
    /// The provider does not know this client, or not with this secret.
    Client,
    /// It knows the client, and gives it nothing.
    Refused,
    /// The person whose token it is has to sign in.
    SignedOut,
    Unreachable,
    Certificate,
    Limited,
    Other,
}

impl Why {
    pub(in crate::admin) fn of(class: &str, message: &str) -> Self {
        let says = |words: &[&str]| {
            words
                .iter()
                .any(|word| class == *word || message.contains(word))
        };
        if class == "signed_out" {
            Self::SignedOut
        } else if says(&["invalid_client", "unauthorized_client"]) {
            Self::Client
        } else if says(&[
            "invalid_scope",
            "invalid_grant",
            "invalid_request",
            "access_denied",
        ]) {
            Self::Refused
        } else if says(&["tls", "certificate"]) {
            Self::Certificate
        } else if says(&["429", "rate_limited"]) {
            Self::Limited
        } else if says(&[
            "dns",
            "connect",
            "timeout",
            "transient",
            "server_error",
            "did not answer",
        ]) || message.contains("answered 5")
        {
            Self::Unreachable
        } else {
            Self::Other
        }
    }

    pub(in crate::admin) const fn words(self) -> &'static str {
        match self {
            Self::Client => "the provider does not take its client id and secret",
            Self::Refused => "the provider refuses it",
            Self::SignedOut => "nobody is signed in",
            Self::Unreachable => "the provider does not answer",
            Self::Certificate => "the provider's certificate is not trusted",
            Self::Limited => "the provider wants fewer requests",
            Self::Other => "it cannot be had",
        }
    }

    pub(in crate::admin) const fn kind(self) -> &'static str {
        match self {
            Self::Client => "secret_refused",
            Self::Refused => "grant_refused",
            Self::SignedOut => "signed_out",
            Self::Unreachable => "provider_unreachable",
            Self::Certificate => "provider_untrusted",
            Self::Limited => "provider_limits",
            Self::Other => "token_unavailable",
        }
    }

    /// What mends it for a credential.
    pub(in crate::admin) fn remedy_of(self, credential: &str, provider: &str) -> String {
        match self {
            Self::SignedOut => format!(
                "itwin-auth-proxy login {credential}, as the user that the proxy runs as; it is taken up by itself."
            ),
            _ => self.remedy(provider),
        }
    }

    pub(in crate::admin) fn remedy(self, provider: &str) -> String {
        match self {
            Self::Client => format!(
                "Put the right secret where the configuration points; it is read again by itself. It may have been replaced at {provider}, or have run out there."
            ),
            Self::Refused => format!(
                "{provider} knows the client: compare its grant and scopes here with its registration there."
            ),
            Self::SignedOut => "itwin-auth-proxy login signs in again.".into(),
            Self::Unreachable => format!(
                "Look whether {provider} is up and can be reached from here (name, firewall, proxy): itwin-auth-proxy doctor tries each step. It is asked again by itself."
            ),
            Self::Certificate => format!(
                "The certificate of {provider} is not trusted here: look at the clock, at its chain (itwin-auth-proxy doctor), and at extra_ca in the configuration."
            ),
            Self::Limited => format!(
                "{provider} wants fewer requests. It is asked again when it said so; look who else uses this client."
            ),
            Self::Other => "itwin-auth-proxy doctor tries each step and says where it ends.".into(),
        }
    }
}
