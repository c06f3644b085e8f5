//! Requests that are wrong, not served, or too large for our limits.

use super::{Code, Entry, codes};

codes! {
    RouteNotFound [404]
        "No route of the configuration matches host, path and method of the request."
        "`itwin-auth-proxy explain METHOD URL` says for each route why it does not match.";
    MethodRefused [405]
        "`TRACE` and `TRACK` would show the token in the answer; `CONNECT` is for a listener of the mode `forward`; an endpoint of the proxy's own knows the methods that `Allow` names."
        "Use another method. However a header such as `X-HTTP-Method-Override` writes it, these are not served.";
    HostMissing [400]
        "The request names no host, or more than one."
        "Send exactly one `Host` (HTTP/2: `:authority`).";
    HostMismatch [400]
        "The request's target and its `Host` name different hosts, and services would not agree which holds."
        "Let both name the same host. Clients that do otherwise are often behind something that rewrites `Host`.";
    AmbiguousPath [400]
        "The path has an encoded slash or dot (`%2f`, `%2e`), a `\\`, a `;` or dot segments, which services read differently: what is allowed here could be another path there."
        "Send the path in its plain form.";
    AmbiguousLength [400]
        "The request says the length of its body in two ways, as requests that smuggle another one do."
        "Send `Content-Length` or `Transfer-Encoding: chunked`, not both.";
    AmbiguousField [400]
        "A field of the request could be taken for one that only the proxy may set (`X_Itwin_Subject`); `details` name it."
        "Do not send it, or let the gateway in front remove it.";
    SeveralAuthorizations [400]
        "The request carries more than one `Authorization`, and services differ in which of them they believe."
        "Send one or none.";
    AuthorizationRefused [400]
        "The route adds the access token itself, and the caller sent an `Authorization` of its own."
        "Send none, or set `presented_bearer` / `presented_other` of the route.";
    BodyIncomplete [400]
        "The caller ended its body before the length that it had announced."
        "Look at the caller: it gave up, or its connection broke.";
    BodyTimeout [408]
        "The caller's body stopped coming."
        "Look at the caller and its network, or raise the route's `timeouts.idle`.";
    BodyTooLarge [413]
        "The body is larger than the limit. At the admin listener that is 64 KiB."
        "Raise `limits.body_size`; send what is for the admin listener in several requests.";
    HeaderTooLarge [431]
        "The header fields are larger, or more, than the limit."
        "Raise `limits.header_size` or `limits.header_count`. Cookies of many applications on one host are a usual cause.";
    RequestTimeout [504, 408]
        "The request took longer than the route allows; 408 at the admin listener: the body did not arrive in ten seconds."
        "Raise the route's `timeouts.total`; look in the log line whether `token_wait_ms` or the upstream took the time.";
    Overloaded [503]
        "As many requests are being served as may be at once, or too many forms are read at once."
        "Try again after `Retry-After`. If it happens often: raise `limits.requests`, or look why the upstream is slow.";
    ProxyFault [500]
        "The proxy made a mistake of its own, and caught it."
        "It is a bug: report it with the log's lines about this request id.";
    Undescribed [500]
        "On a listener of the mode `decide`: the gateway's question does not say what request it asks about; `details` name the field."
        "Let the gateway set exactly one of each field that describes the request; `gateway` in the configuration says which they are ([gateways.md](gateways.md)).";
    NotAbsolute [400]
        "The listener is a forward proxy, and was called as if it were the service."
        "Name it in `HTTP_PROXY` or `HTTPS_PROXY` rather than in a URL, or use a listener of the mode `reverse`.";
    SchemeUnknown [400]
        "The forward proxy was asked for a URL that is neither `http` nor `https`."
        "Use one of these two.";
    ConnectTarget [400]
        "`CONNECT` names a host and a port, and nothing else."
        "Send it as `CONNECT api.bentley.com:443`.";
    ProxyAuthenticationRequired [407]
        "The forward proxy asks for a user and a password, and the request shows none that it knows."
        "Write them into the proxy's URL: `http://agent:password@proxy:3128`.";
    HostNotAllowed [403]
        "The forward proxy reaches the hosts that a route or the listener names, and not this one."
        "Add a route for it, or name it in the listener's `hosts` to let it pass without a token.";
    HostNotOpened [403]
        "A route names the host, but TLS hides the request from the proxy, so it would get no token."
        "Put the host into `interception.hosts` ([interception.md](interception.md)), or into the listener's `hosts` to let it pass as it is.";
    PortNotAllowed [403]
        "The forward proxy does not reach hosts at this port."
        "The listener's `ports` say at which ports its hosts are reached.";
    AddressNotAllowed [403]
        "The host's address is loopback, private or otherwise not public, where callers are not led to by a name of their choice."
        "If it is meant, let the listener's `networks` name it.";
    TooManyTunnels [503]
        "As many tunnels are open over shared connections of HTTP/2 as there may be connections."
        "Close some, or raise `limits.connections`.";
    Misdirected [421]
        "A connection was opened as one to one host and asked for another."
        "The caller must open a connection per host; browsers and HTTP libraries do so by themselves after a 421.";
}
