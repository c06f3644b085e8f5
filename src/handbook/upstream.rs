//! Upstreams that cannot be reached, do not answer, or answer something else.

use super::{Code, Entry, codes};

codes! {
    UpstreamDns [502]
        "The upstream's name is not found, or has no address."
        "Check `upstream` of the route and the machine's resolver, or give the upstream `tls.addresses`.";
    UpstreamUnreachable [502]
        "Nobody listens at the upstream's address, or a firewall refuses."
        "Check address and port; `itwin-auth-proxy check --live` tries the connection.";
    UpstreamConnectTimeout [504]
        "No connection to the upstream came about in time."
        "A firewall drops packets, or the address is wrong.";
    UpstreamTls [502]
        "The TLS handshake with the upstream failed, or its certificate is not one that is trusted."
        "`itwin-auth-proxy check --live` says what is wrong with the certificate; the upstream's `tls.extra_ca` adds an authority, as of a company that inspects TLS.";
    UpstreamProtocol [502]
        "The upstream does not speak what `upstream.protocol` says."
        "Check the port, and whether HTTP/2 is really spoken there; leave `protocol` out to have it negotiated.";
    UpstreamIsThisProxy [502]
        "The upstream's name leads back to this proxy (`/etc/hosts`, `hostAliases`)."
        "Say in the route's `upstream.tls.addresses` or `name_servers` where it really is.";
    UpstreamBroken [502]
        "The upstream closed the connection or broke the protocol before its answer."
        "Look at the upstream. Requests that may be repeated were repeated; this one may not, or it did not help.";
    UpstreamBodyBroken []
        "The upstream's answer broke off in its body, after its status had been passed on. It is seen in the log and the metrics; the caller's connection ends early too."
        "Look at the upstream, and at what lies between: a time limit there for long downloads is a usual cause.";
    UpstreamTimeout [504]
        "The upstream did not begin to answer in time."
        "Raise the route's `timeouts.response`, or look why it is slow.";
    UpstreamLoginPage [502]
        "The upstream answered with a sign-in page, or a redirect to one, instead of an API's answer."
        "Register the client with the service; look for a sign-in page between proxy and service, such as a captive portal. (iModelHub of 1.x and 2.x, `/sv1.1/Repositories/…`, asks so for another token; it gets one, and its redirect is passed on if that does not help.)";
    UpstreamUpgrade [502]
        "The upstream switched to another protocol without being asked."
        "Look at the upstream: this is not HTTP.";
}
