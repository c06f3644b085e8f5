//! Tokens that we fetch, tokens that callers show, and who may call.

use super::{Code, Entry, codes};

codes! {
    TokenUnavailable [503]
        "No access token could be had from the provider, and none that is still valid is left. `details` have the provider's reason."
        "Read the reason: `invalid_client` is a wrong secret (write the right one into the file; it is read again), a name that is not found or a connection that is refused is the network. `itwin-auth-proxy check --live` tries it at once; `/status` of the admin listener has the state of every credential. It mends itself once the provider answers.";
    TokenNotExchanged [403]
        "The caller's token is good here, but the provider of the credential that the route names with `on_behalf_of: caller` or `identity.token.exchange` refuses to exchange it."
        "`details` have its error code: ask whoever runs the provider which tokens this client may exchange, and for what.";
    Unauthorized [401]
        "The route, or an order at the admin listener, needs a key that the request does not carry."
        "Send the key that the route's `admit` names; for the admin listener `Authorization: Bearer` and the key of `admin.key_file`.";
    NotAdmitted [403]
        "No rule of the route or listener admits the caller: its network, certificate or user is not one that `admit` names."
        "Call from one that is, or add it. Where the message speaks of the host, write it in `hosts`, or use an address or a short name.";
    TokenMissing [401]
        "The route checks the caller's access token, and there is none."
        "Send `Authorization: Bearer …`.";
    TokenSchemeUnknown [401]
        "The `Authorization` has a scheme that the route does not take."
        "Send the token by `Bearer` or `DPoP`.";
    TokenInQuery [400]
        "The access token is in the URL, where logs and histories keep it."
        "Send it in `Authorization`.";
    TokenNotChecked [400]
        "A key or the like admits the caller, and beside it came an access token that nobody would check."
        "Send no access token, or let the route's `admit` ask for one by `bearer`.";
    TokenExpired [401]
        "The caller's access token has expired."
        "Get a new one. If it is new: compare both clocks, here and at the caller's provider.";
    TokenInvalid [401]
        "The caller's access token is not good: signature, issuer, audience or form."
        "`error_description` in `WWW-Authenticate` says as much as helps an honest caller; the log line with the request id has the `reason`; `itwin-auth-proxy verify` examines a token at leisure.";
    TokenNotProven [401]
        "The token is bound to a key or a certificate (or must be, with `bound: required`), and nothing shows that the caller has it."
        "Send it by the scheme `DPoP` with a proof, or on a connection with its client certificate; `error_description` says which. Behind a proxy that ends TLS, client certificates are not seen ([bound-and-revoked.md](bound-and-revoked.md)).";
    ProofInvalid [401]
        "The `DPoP` proof is not for this request, too old, used before or signed with another key; `error_description` says what is wrong."
        "Make a new proof per request. Behind a proxy that changes scheme or host, name it in `trusted_proxies`, and have it send `X-Forwarded-Proto` and `X-Forwarded-Host`.";
    ProofNeedsNonce [401]
        "The proof must carry a nonce of ours (RFC 9449 section 9)."
        "Make it again with the nonce of the `DPoP-Nonce` header; libraries for DPoP do so by themselves.";
    ProofsFull [503]
        "One caller's key signs more proofs than can be remembered until they are too old, about 900 a second."
        "Call less often, or with several keys.";
    SignInTooOld [401]
        "The person's sign-in is longer ago than the route's `max_age` allows (RFC 9470)."
        "Let the person sign in again.";
    CallerNotAdmitted [403]
        "The token is good, but its client or its claims are not those that the route's `clients` and `claims` ask for."
        "Use another client, or add this one; the log line has the `reason`.";
    InsufficientScope [403, 401]
        "The token is good, but lacks scopes that the route asks for. (401 where `insufficient_scope` says so.)"
        "Ask the provider for the scopes that `WWW-Authenticate` names.";
    KeysUnavailable [503]
        "The provider's keys, by which tokens of callers are checked, cannot be had."
        "The log and `/status` of the admin listener say why; keys that were there once go on serving. `itwin-auth-proxy check --live` asks for them at once.";
    IntrospectionUnavailable [503]
        "The provider does not say whether an opaque token is good; `details` have the reason."
        "Answers that are cached still serve. If the provider refuses the introspection client, set `introspection.client_id` and its secret.";
}
