//! Who asks a provider about callers' tokens, where, and how long an answer is believed.

use std::time::Duration;

use super::{
    super::{
        Introspected, Introspection, IntrospectionEndpoint,
        path::Path,
        raw::{self, ClientAuthMethod, IntrospectedTokens},
    },
    Check,
    scalar::{HOUR, MINUTE},
};

/// What is known of the provider beside its introspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metadata {
    Discovered,
    /// A `token_endpoint` is given, so that nothing is.
    NotAsked,
}

impl Check<'_> {
    pub(super) fn introspection(
        &mut self,
        path: &Path,
        raw: &raw::Introspection,
        metadata: Metadata,
    ) -> Option<Introspection> {
        let given = raw.endpoint.as_ref();
        let given = given.map(|url| self.secure_url(&path.key("endpoint"), url));
        if given.is_none() && metadata == Metadata::NotAsked {
            self.missing(
                &path.key("endpoint"),
                "is missing: the provider has a token_endpoint, so that nothing is discovered",
                "write the introspection endpoint's URL",
            );
        }
        let client_id = self.client_id(path, raw.client_id.as_ref());
        let client = raw.client();
        let auth = if raw.client_auth == Some(ClientAuthMethod::None) {
            // RFC 7662 section 2.1: or anybody could try tokens out
            self.error(
                &path.key("client_auth"),
                "who asks about tokens must prove who it is (RFC 7662 section 2.1)",
                "give the API a secret or a key",
            );
            None
        } else {
            self.client_auth(path, &client)
        };
        let range = Duration::ZERO..=HOUR;
        let cache = self.duration(&path.key("cache"), raw.cache.as_deref(), MINUTE, range);
        Some(Introspection {
            endpoint: match given {
                Some(url) => IntrospectionEndpoint::Given(url?),
                None => IntrospectionEndpoint::Discover,
            },
            client_id: client_id?,
            auth: auth?,
            tokens: match raw.tokens {
                None | Some(IntrospectedTokens::Opaque) => Introspected::Opaque,
                Some(IntrospectedTokens::All) => Introspected::All,
            },
            cache,
        })
    }
}
