//! Endpoints that stand in for others: a token for the asking, URL discovery, an authority.

use super::{Code, Entry, codes};

codes! {
    HeaderRequired [403]
        "A token is handed out only to requests with a header that a page of another site cannot send."
        "Send the header that `token_requests.header` names, with any value ([authority.md](authority.md)).";
    CredentialUnknown [404]
        "The request for a token names no credential that is handed out, or none where there are several."
        "Name one of `token_requests.credentials`, as in `?credential=agent`.";
    ScopeUnknown [400]
        "The request for a token asks for scopes that the credential does not have."
        "Ask for some of the credential's `scopes`, or for none to get all.";
    ParameterUnknown [400]
        "The request for a token has a parameter that is not known."
        "Send `credential` and `scope` only.";
    ParameterTwice [400]
        "The request for a token has a parameter more than once."
        "Send each at most once; several scopes are one parameter, with spaces between them.";
    UrlKeyMissing [400]
        "URL discovery was asked for nothing."
        "Send one `url` with the service's key, as in `?url=iModelHubApi&region=0`.";
    UrlKeyUnknown [404]
        "URL discovery was asked for a service, or a region of it, that it does not know; the log has the name."
        "Add it to `url_discovery.urls` ([authority.md](authority.md)).";
    NotHere [404]
        "The authority that stands in for the provider has nothing at this path."
        "Its metadata are at `/.well-known/openid-configuration` behind its address, and name all of its endpoints.";
}
