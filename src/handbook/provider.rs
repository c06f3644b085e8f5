//! What a provider answers when it gives no token: the error codes of OAuth 2.0. They are its words, which
//! stand in our messages.

/// An error code of a provider.
pub struct Answered {
    pub name: &'static str,
    /// In Markdown, as what to do.
    pub means: &'static str,
    pub remedy: &'static str,
}

impl Answered {
    /// The one that is written so; case does not matter.
    pub fn find(name: &str) -> Option<&'static Self> {
        let mut all = PROVIDER_ANSWERS.iter();
        all.find(|one| one.name.eq_ignore_ascii_case(name))
    }
}

/// Those of RFC 6749 section 5.2 first.
pub const PROVIDER_ANSWERS: &[Answered] = &[
    Answered {
        name: "invalid_client",
        means: "The provider does not know the client, or not with what it showed: usually a secret that is wrong, was replaced or has run out.",
        remedy: "Write the right secret into the file that the credential names; it is read again by itself. Look whether `client_id`, the provider (`bentley` and `bentley-qa` are two) and `client_auth` are those of the registration. `itwin-auth-proxy doctor` tries it at once.",
    },
    Answered {
        name: "invalid_grant",
        means: "What was shown for a token is not good (any more): a refresh token, an authorization code, an assertion, a user's name and password.",
        remedy: "For a person at a desk `itwin-auth-proxy login`; otherwise put a new refresh token or assertion, or the right password, where the credential points. An assertion that is good elsewhere may be stale here: compare the clocks.",
    },
    Answered {
        name: "unauthorized_client",
        means: "The provider knows the client, and does not let it use this grant.",
        remedy: "Compare `grant` with the kind of the registration: a service application has `client_credentials`, a web or desktop application has people who sign in.",
    },
    Answered {
        name: "invalid_scope",
        means: "The provider does not know a scope that was asked for, or does not give it to this client.",
        remedy: "Compare `scopes` of the credential and of the routes with those of the registration; for iTwin services it is `itwin-platform`.",
    },
    Answered {
        name: "unsupported_grant_type",
        means: "The provider does not do this grant for anybody.",
        remedy: "Its metadata say which it does (`grant_types_supported`, which `itwin-auth-proxy doctor` compares); choose another `grant`.",
    },
    Answered {
        name: "invalid_request",
        means: "The provider misses something in the token request, or does not understand it.",
        remedy: "The log has its `error_description`, which usually says what. Look at `client_auth`, and at what it wants beside the standard (`parameters` of the credential).",
    },
    Answered {
        name: "invalid_target",
        means: "The provider does not give tokens for this `resource` or `audience` (RFC 8707, RFC 8693).",
        remedy: "Compare it with what is registered at the provider.",
    },
    Answered {
        name: "access_denied",
        means: "Somebody, or a rule of the provider, has said no.",
        remedy: "Ask whoever administers the provider; a person may have declined to sign in or to consent.",
    },
    Answered {
        name: "server_error",
        means: "The provider failed.",
        remedy: "Nothing here: it is asked again by itself, at growing intervals.",
    },
    Answered {
        name: "temporarily_unavailable",
        means: "The provider has too much to do, or is being looked after.",
        remedy: "Nothing here: it is asked again by itself, at growing intervals.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_token_endpoint_is_explained() {
        // RFC 6749 section 5.2
        for name in [
            "invalid_request",
            "invalid_client",
            "invalid_grant",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
        ] {
            let one = Answered::find(&name.to_uppercase()).unwrap();
            assert!(
                one.means.ends_with('.') || one.means.ends_with(')'),
                "{name}"
            );
            for text in [one.means, one.remedy] {
                assert_eq!(text.matches('`').count() % 2, 0, "{text}");
            }
        }
    }
}
