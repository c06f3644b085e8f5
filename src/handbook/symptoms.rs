//! What is seen when something is wrong, before anybody has read a code.

/// Something that is seen, and what may be behind it.
pub struct Symptom {
    pub seen: &'static str,
    /// How each cause is told, and what to do; in Markdown.
    pub causes: &'static [(&'static str, &'static str)],
}

/// The most frequent first.
pub const SYMPTOMS: &[Symptom] = &[
    Symptom {
        seen: "Callers get 503",
        causes: &[
            (
                "The body says `TokenUnavailable`",
                "The provider gives no token. `details` have its reason: `invalid_client` is a wrong or expired secret, write the right one into the secret's file; anything about a name, a connection or a certificate is the way there. `itwin-auth-proxy check --live` tries it at once.",
            ),
            (
                "The body says `Overloaded`",
                "More requests at once than `limits.requests`: usually the upstream has become slow, and its callers pile up.",
            ),
            (
                "The body says `KeysUnavailable` or `IntrospectionUnavailable`",
                "Callers' tokens cannot be checked, because the provider does not answer; `/status` of the admin listener says since when.",
            ),
            (
                "There is no `Proxy-Status: itwin-auth-proxy` in the answer",
                "The upstream, or a load balancer in front of the proxy, answered. `/ready` says whether the proxy is ready; while it stops, it is not.",
            ),
        ],
    },
    Symptom {
        seen: "Everything is 401",
        causes: &[
            (
                "The answer has no `Proxy-Status`, and a body of the service's",
                "The service does not take the token. The proxy has tried another one already. Usual causes: the application is not registered for this API, was not added to the iTwin or iModel as a member, or comes from another environment (`bentley-qa` and `bentley` are two).",
            ),
            (
                "The body says `TokenMissing`, `TokenExpired` or `TokenInvalid`",
                "The route checks tokens of its callers (`admit: bearer`). `WWW-Authenticate` says what is wrong with this one; `itwin-auth-proxy verify` examines it.",
            ),
            (
                "The body says `TokenInvalid` or `TokenExpired` for every caller, since a certain moment",
                "The clock here is wrong, or the provider has changed its keys and cannot be reached for the new ones.",
            ),
            (
                "The body says `Unauthorized`",
                "The route asks for a key that the caller does not send, or a file with the key was changed.",
            ),
            (
                "The body says `SignInRequired`",
                "A person's session has ended. At a desk: `itwin-auth-proxy login`.",
            ),
        ],
    },
    Symptom {
        seen: "403 from the service, though the token is good",
        causes: &[(
            "No `Proxy-Status` in the answer",
            "The service knows the client and does not let it: add the service application (its address `CLIENT_ID@apps.imsoidc.bentley.com`) to the iTwin or iModel as a member, with a role that may do this.",
        )],
    },
    Symptom {
        seen: "Callers get 404, and the path is right",
        causes: &[
            (
                "The body says `RouteNotFound`",
                "`itwin-auth-proxy explain METHOD URL` says for each route why it does not match.",
            ),
            (
                "There is no `Proxy-Status`",
                "The service answered: iTwin services answer 404 also for what the client may not see.",
            ),
        ],
    },
    Symptom {
        seen: "Callers get 502 or 504",
        causes: &[
            (
                "The body says `UpstreamDns`, `UpstreamUnreachable`, `UpstreamTls` or `UpstreamConnectTimeout`",
                "The way to the service: `itwin-auth-proxy check --live` tries each step. Behind a company's proxy that inspects TLS, the upstream's `tls.extra_ca` names its authority.",
            ),
            (
                "The body says `UpstreamLoginPage`",
                "Something answers with a sign-in page: the client is not registered with the service, or a captive portal is in between.",
            ),
            (
                "The body says `UpstreamTimeout` or `RequestTimeout`",
                "The service is slow, or the route's `timeouts` are short for what is asked.",
            ),
            (
                "The body is a page and no JSON",
                "It comes from something in front of the proxy, which does not reach it.",
            ),
        ],
    },
    Symptom {
        seen: "The first calls after a start wait, or fail",
        causes: &[(
            "`/ready` says `credential …`",
            "The first token is being fetched. Let callers wait with `itwin-auth-proxy wait`, or by the readiness probe.",
        )],
    },
    Symptom {
        seen: "The proxy does not start",
        causes: &[
            (
                "Exit code 78",
                "The configuration is wrong: all problems are in the log, and `itwin-auth-proxy check` shows them again.",
            ),
            (
                "Exit code 69, and `another process listens` in the log",
                "Another program, or another copy, has the address: `ss -ltnp` shows which.",
            ),
            (
                "Exit code 77",
                "It may not do something: a port below 1024 wants `CAP_NET_BIND_SERVICE`.",
            ),
        ],
    },
    Symptom {
        seen: "It runs, but a change of the configuration has no effect",
        causes: &[
            (
                "The log says that the configuration was refused",
                "The old one goes on. `itwin-auth-proxy check` shows what is wrong with the new one.",
            ),
            (
                "The log says nothing",
                "Another file is meant: `/status` of the admin listener says which are read. A variable of the environment overrides a file.",
            ),
        ],
    },
    Symptom {
        seen: "The caller cannot connect at all",
        causes: &[
            (
                "`connection refused`",
                "Nobody listens there: the default is 127.0.0.1, which other machines and other containers do not reach.",
            ),
            (
                "The connection hangs",
                "A firewall, or `limits.connections` is reached: further ones wait in the kernel's queue.",
            ),
            (
                "Calls to the proxy on loopback go to another proxy",
                "`HTTP_PROXY` is set for the caller: set `NO_PROXY=127.0.0.1,localhost` too.",
            ),
        ],
    },
    Symptom {
        seen: "People are sent to sign in again and again",
        causes: &[
            (
                "At once, in a circle",
                "The browser keeps no cookie: `public_url` is not the address that it uses, or the site is `http` and not on loopback.",
            ),
            (
                "After an hour or so",
                "The provider gives no refresh token: ask for the scope `offline_access` ([people.md](people.md)).",
            ),
        ],
    },
];
