//! People who sign in with a browser, and what may happen on the way.

use super::{Code, Entry, codes};

codes! {
    SignInRequired [401]
        "Nobody is signed in, or the session has ended. For a person at a desk: the sign-in that was kept is no longer good."
        "In a browser: go to the address in `details` (`PREFIX/login`), or load the page again. For a program at a desk: `itwin-auth-proxy login` ([people.md](people.md)).";
    SignInDenied [403]
        "The person cancelled the sign-in, or refused what the application asks for."
        "Sign in again.";
    SignInNotBegun [400]
        "The callback belongs to no sign-in of this browser: loaded twice, begun in another browser, or more than ten minutes ago."
        "Sign in again. If it happens always, the browser keeps no cookies, or `public_url` is not the address that it uses.";
    SignInFailed [502, 400]
        "The provider's answer could not be believed. (400: the browser brought something that is no answer to a sign-in of its own.)"
        "Sign in again; the log line with the request id says which check failed. A wrong clock here makes good ID tokens look wrong.";
    SignInRefused [502]
        "The provider refuses the request of this client."
        "Look at the registration: redirect URI, scopes, response type. The page shows the provider's words.";
    ProviderUnavailable [503]
        "The provider does not answer, says that it cannot, or is not what its metadata say."
        "Try again, then `itwin-auth-proxy check --live`.";
    SessionTooLarge [500]
        "What the provider gave does not fit into cookies."
        "Set the session's `store` to `directory` or `memory`, which have room.";
    AnotherPerson [409]
        "At the provider somebody else is signed in than here."
        "Sign in again, to go on as that person.";
    TooManySignIns [429]
        "More sign-ins were begun from one address than `sign_ins_per_minute` allows."
        "Wait for `Retry-After`. Behind a proxy all people seem to come from its address: name it in `trusted_proxies`.";
    CrossSite [403]
        "A page of another site made the request: with a person's session, or to the admin listener."
        "A front end of one's own is named in the session's `origins`. The admin listener takes no orders from web pages.";
    InvalidRequest [400]
        "A form, or an order for the admin listener, cannot be understood; message and `details` say what is wrong. Nothing was changed."
        "Mend what they name, and send it again.";
}
