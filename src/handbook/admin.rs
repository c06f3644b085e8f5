//! The admin listener, and the webhook of the injector.

use super::{Code, Entry, codes};

codes! {
    NotFound [404]
        "The admin listener, or the injector, has nothing at this path; or it takes a key that is not configured."
        "`GET /` of the admin listener lists what there is. Lists that may be changed need `admin.key_file`.";
    MethodNotAllowed [405]
        "The path is there, but not for this method; `Allow` says which it takes."
        "Orders are sent by `POST`, questions by `GET`.";
    NotAllowed [403]
        "The admin listener takes no orders from this caller."
        "Give it by the admin socket (`admin.socket`) as one of its users, or configure `admin.key_file` and send the key; `allow_quit` permits programs on this machine to end this one.";
    OrderRefused [422]
        "The order was understood and tried, and could not be carried out; `details` say why. Everything is as it was."
        "Mend what they name, and give the order again.";
    TooManyFollowers [503]
        "As many already follow the log as may at once."
        "End one of them, or ask without `follow`.";
    Stopping [503]
        "The program ended while an order was carried out; whether it was is not known."
        "Look at the one that runs next (`itwin-auth-proxy status`), and give the order again if it is still needed.";
    InvalidHost [400]
        "The admin listener needs exactly one valid `Host`."
        "Send one.";
    ForeignHost [421]
        "The admin listener was called by a name that may belong to a web page, which could so read it through a browser."
        "Use an IP address, `localhost` or a name without a dot.";
    KeyUnavailable [503]
        "The key of the admin listener cannot be read."
        "The log says why: look at `admin.key_file` and its permissions.";
    UnsupportedMediaType [415]
        "What is sent to be changed has to be JSON."
        "Send it with `Content-Type: application/json`.";
    ListFull [507]
        "The list of revoked tokens has no room for that; nothing was changed."
        "Take entries back, or give them an `until`.";
    InternalError [500]
        "The admin listener made a mistake of its own, and caught it."
        "It is a bug: report it with the log's lines.";
}
