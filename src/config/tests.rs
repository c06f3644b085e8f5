//! Reading a configuration, as its writer sees it.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt};

use super::*;

/// A directory with a secret, a certificate with its key, and another key.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Self(directory);
        files.write("secret", "a secret that nobody guesses\n");
        files.write("empty", "");
        let one = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        files.write("cert.pem", &one.cert.pem());
        files.write("key.pem", &one.signing_key.serialize_pem());
        files.write("other.pem", &other.serialize_pem());
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        files.write("ca.pem", &params.self_signed(&other).unwrap().pem());
        files
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The text with `'@name` made the path of a file.
    fn fill(&self, text: &str) -> String {
        let directory = self.0.path().display();
        text.replace("'@", &format!("'{directory}/"))
            .replace("unix:@", &format!("unix:{directory}/"))
    }
}

const ONE_CREDENTIAL: &str =
    "credentials:\n  agent: {client_id: service-x, client_secret_file: '@secret'}\n";

/// Problems as `path | origin | text | hint`, one a line.
fn told(problems: &Problems) -> String {
    problems.iter().fold(String::new(), |mut all, problem| {
        let origin = problem.origin.as_ref().map(ToString::to_string);
        let _ = writeln!(
            all,
            "{} | {} | {} | {}",
            problem.path,
            origin.unwrap_or_default(),
            problem.text,
            problem.hint.as_deref().unwrap_or_default()
        );
        all
    })
}

fn load_yaml(text: &str) -> Result<Loaded, Problems> {
    load(Sources::yaml(text))
}

/// The problems of one text, which must have some.
fn problems_of(files: &Files, text: &str) -> String {
    match load_yaml(&files.fill(text)) {
        Ok(loaded) => told(&loaded.warnings),
        Err(problems) => told(&problems),
    }
}

/// A text appended to one good credential, and parts of what is said of it.
const FAULTS: &[(&str, &[&str])] = &[
    // structure
    (
        "limts: {}",
        &["limts | config.yaml:3:1 | is not a known key | did you mean 'limits'?"],
    ),
    (
        "workers: many",
        &["workers | config.yaml:3:10 | must be a whole number, but 'many' was found"],
    ),
    ("workers: 0", &["workers", "0 is out of range: 1 to 1024"]),
    (
        "routes: {inject: agent}",
        &["routes", "must be a list, but a map was found"],
    ),
    (
        "routes: [{inject: {}}]",
        &["routes[0].inject.credential", "is missing"],
    ),
    (
        "log: {format: jsno}",
        &[
            "log.format",
            "'jsno' is none of: auto, human, json",
            "did you mean 'json'?",
        ],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {minted: true}}]",
        &[
            "listeners[0].tls.minted",
            "there is no interception",
            "ca init makes one",
        ],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {minted: true, key: '@key.pem'}}]",
        &["listeners[0].tls.key", "has no effect: minted is true"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {certificate: '@cert.pem'}}]",
        &["listeners[0].tls.key", "is missing"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: foward}]",
        &["listeners[0].mode", "did you mean 'forward'?"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', hosts: a.test}]",
        &[
            "listeners[0].hosts",
            "it belongs to listeners of the mode forward or transparent",
        ],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', pac: /p}]",
        &[
            "listeners[0].pac",
            "it belongs to listeners of the mode forward",
        ],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, redirected_by: nat}]",
        &[
            "listeners[0].redirected_by",
            "it belongs to listeners of the mode transparent",
        ],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, hosts: 'a*'}]",
        &["listeners[0].hosts", "is not a host"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, ports: []}]",
        &["listeners[0].ports", "names no port"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, pac: p}]",
        &["listeners[0].pac", "is not a plain path"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, networks: 10.0.0.1/8}]",
        &["listeners[0].networks", "did you mean 10.0.0.0/8?"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, admit: {key: {secret: 0123456789abcdef}}}]",
        &["listeners[0].admit", "what a tunnel carries is not seen"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, admit: {proxy_user: {name: 'a:b', password: 0123456789abcdef}}}]",
        &["proxy_user.name", "a name has no colon"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: forward, admit: {proxy_user: {name: a, password: short}}}]",
        &["proxy_user.password", "can be guessed"],
    ),
    (
        "listeners: [{bind: '0.0.0.0:1', mode: forward}]",
        &["listeners[0].admit", "nothing says who may use it"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: transparent, tls: {certificate: a, key: b}}]",
        &["listeners[0].tls", "meant for others"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', mode: transparent, admit: {proxy_user: {name: a, password: 0123456789abcdef}}}]",
        &["listeners[0].admit", "redirected programs know of no proxy"],
    ),
    (
        "routes: [{inject: agent, admit: {proxy_user: {name: a, password: 0123456789abcdef}}}]",
        &[
            "routes[0].admit",
            "belongs to a listener of the mode forward",
        ],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {}}}]",
        &["routes[0].admit.bearer.audiences", "is missing"],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {audiences: a, issuer: b}}}]",
        &["admit.bearer.issuer", "is not a known key"],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {audiences: []}}}]",
        &["admit.bearer.audiences", "the list is empty"],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {audiences: a, provider: idq}}}]",
        &["admit.bearer.provider", "no provider is called 'idq'"],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {audiences: a, scopes: ['a\"']}}}]",
        &["admit.bearer.scopes", "is not a scope"],
    ),
    (
        "routes: [{inject: agent, admit: {bearer: {audiences: a, clock_skew: 6m}}}]",
        &["admit.bearer.clock_skew", "out of range: 0s to 5m"],
    ),
    (
        "routes: [{inject: {credential: agent, presented_bearer: refuse}, admit: {bearer: {audiences: a}}}]",
        &[
            "inject.presented_bearer",
            "refuses the token that admit asks for",
        ],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', algorithms: [RS256, HS256]}}",
        &["providers.idp.algorithms[1]", "could also make one"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', algorithms: none}}",
        &["providers.idp.algorithms", "'none' is not an algorithm"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', jwks_uri: 'http://idp.example/keys'}}",
        &["providers.idp.jwks_uri", "must be https"],
    ),
    (
        "routes: [{upstream: 'https://x.example', admit: {bearer: {audiences: a}}, identity: {token: {exchange: agent}}}]",
        &[
            "routes[0].identity.token.exchange",
            "the credential agent has another grant",
        ],
    ),
    (
        "routes: [{upstream: 'https://x.example', admit: {bearer: {audiences: a}}, identity: {token: leave}}]",
        &["routes[0].identity.token", "none of: keep, remove"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_id: api}}}",
        &[
            "providers.idp.introspection",
            "nothing says how the client proves who it is",
        ],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_secret: s}}}",
        &["providers.idp.introspection.client_id", "is missing"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_id: api, client_auth: none}}}",
        &[
            "providers.idp.introspection.client_auth",
            "who asks about tokens must prove who it is",
        ],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_id: api, client_secret: s, cache: 2h}}}",
        &["introspection.cache", "out of range: 0s to 1h"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_id: api, client_secret: s, tokens: some}}}",
        &["introspection.tokens", "none of: opaque, all"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', introspection: {client_id: api, client_secret: s, endpoint: 'http://idp.example/i'}}}",
        &["introspection.endpoint", "must be https"],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', token_endpoint: 'https://idp.example/t', introspection: {client_id: api, client_secret: s}}}",
        &[
            "introspection.endpoint",
            "the provider has a token_endpoint, so that nothing is discovered",
        ],
    ),
    (
        "providers: {idp: {issuer: 'https://ims.bentley.com', token_endpoint: 'https://idp.example/t'}}\nroutes: [{inject: agent, admit: {bearer: {audiences: a, provider: idp}}}]",
        &[
            "admit.bearer.provider",
            "nothing says where the keys of idp are",
            "jwks_uri",
        ],
    ),
    (
        "routes: [{inject: agent, admit: [{session: {}}]}]",
        &["routes[0].admit[0].session", "must be text"],
    ),
    (
        "providers: {idp: {}}",
        &["providers.idp.issuer", "is missing"],
    ),
    ("log: !secret x", &["tags have no meaning"]),
    // references
    (
        "routes:\n  - inject: agnet",
        &[
            "routes[0].inject | config.yaml:4:13 | no credential is called 'agnet' | did you mean 'agent'?",
        ],
    ),
    (
        "routes: [{inject: {credential: other}}]",
        &["routes[0].inject.credential", "known: agent"],
    ),
    // scopes
    (
        "routes: [{inject: {credential: agent, scopes: [itwin-platform, offline_access]}}]",
        &[
            "routes[0].inject.scopes[1] | config.yaml:3:64",
            "'offline_access' cannot be asked for",
            "nobody does",
        ],
    ),
    (
        "routes: [{inject: {credential: agent, scopes: ['a\"b']}}]",
        &["is not a scope (RFC 6749 section 3.3)"],
    ),
    // addresses
    (
        "listeners: ['8080']",
        &[
            "listeners[0] |",
            "is not an address to listen on",
            "127.0.0.1:8080 for this machine",
        ],
    ),
    (
        "listeners: ['127.0.0.1:8888']",
        &["port 8888", "generation 2.x"],
    ),
    (
        "listeners: ['127.0.0.1:1', '127.0.0.1:1']",
        &["listeners[1]", "taken by another listener"],
    ),
    (
        "listeners: ['127.0.0.1:9901']",
        &["address of the admin listener as well"],
    ),
    ("listeners: ['unix:x.sock']", &["must be absolute"]),
    (
        "listeners: [{bind: 'unix:@x.sock', socket_mode: '0999'}]",
        &["listeners[0].socket_mode", "0660"],
    ),
    (
        "admin: 0.0.0.0:9901",
        &[
            "admin |",
            "others than this machine",
            "admin.allow_remote: true",
        ],
    ),
    (
        "trusted_proxies: [10.0.0.1/8]",
        &["trusted_proxies[0]", "did you mean 10.0.0.0/8?"],
    ),
    ("trusted_proxies: 0.0.0.0/0", &["believed from every peer"]),
    (
        "revocation: {file: /nowhere/revoked.txt}",
        &["revocation.file", "cannot read the file", "make it"],
    ),
    (
        "revocation: {backchannel_logout: {provider: bentley, clients: a}}",
        &["no route takes access tokens of bentley"],
    ),
    (
        "routes: [{upstream: 'https://x.example', admit: {bearer: {provider: bentley, audiences: a}}}]\nrevocation: {backchannel_logout: {provider: bentley, clients: a, path: 'a?b'}}",
        &["revocation.backchannel_logout.path", "is not a plain path"],
    ),
    (
        "routes: [{upstream: 'https://x.example', admit: {bearer: {provider: bentley, audiences: a, bound: ignored}}}]",
        &["bearer.bound", "also for who stole it"],
    ),
    // the unsafe bind
    (
        "listeners: ['0.0.0.0:8080']",
        &[
            "listeners[0] | config.yaml:3:13 | whoever reaches 0.0.0.0:8080 could act as the service",
            "the default route",
            "admit: anyone",
            "bind 127.0.0.1:8080",
        ],
    ),
    (
        "listeners: ['0.0.0.0:8080']\nroutes: [{inject: agent, admit: local}]",
        &[
            "routes[0].admit",
            "admits nobody",
            "add a listener on 127.0.0.1",
        ],
    ),
    (
        "listeners: ['0.0.0.0:8080']\nroutes: [{inject: agent, admit: {certificate: {}}}]",
        &["no listener asks callers for a certificate"],
    ),
    (
        "routes: [{inject: agent, admit: {uids: [1000]}}]",
        &["only a Unix socket tells"],
    ),
    (
        "routes: [{inject: agent, admit: []}]",
        &["routes[0].admit", "admits nobody"],
    ),
    (
        "routes: [{inject: agent, admit: [{networks: [10.0.0.0/8], uids: [1]}]}]",
        &["networks and uids, which is more than one"],
    ),
    (
        "routes: [{inject: agent, admit: {key: {secret: short}}}]",
        &["shorter than 16 characters"],
    ),
    (
        "routes: [{inject: agent, admit: {key: {secret_file: '@secret', header: Authorization}}}]",
        &["carries something else"],
    ),
    (
        "routes: [{inject: agent, admit: {key: {}}}]",
        &["routes[0].admit.key", "has no secret"],
    ),
    // routes
    (
        "routes:\n  - inject: agent\n  - inject: agent\n    path: /imodels/**",
        &[
            "routes[1]",
            "can never match: routes[0] (route-1)",
            "put the narrower route first",
        ],
    ),
    (
        "routes: [{inject: agent, path: imodels}]",
        &["routes[0].path", "starts with '/'"],
    ),
    (
        "routes: [{inject: agent, path: '/a/**/b'}]",
        &["last segment only"],
    ),
    (
        "routes: [{inject: agent, hosts: 'api.example.com:443'}]",
        &["routes[0].hosts", "without its port"],
    ),
    (
        "routes: [{inject: agent, hosts: []}]",
        &["routes[0].hosts", "the list is empty"],
    ),
    (
        "routes: [{inject: agent, methods: [GTE]}]",
        &["GTE is an unusual method", "did you mean GET?"],
    ),
    (
        "routes: [{inject: agent, upstream: 'https://api.example.com/imodels'}]",
        &[
            "routes[0].upstream",
            "without a path",
            "write https://api.example.com;",
        ],
    ),
    (
        "routes: [{inject: agent, upstream: api.example.com}]",
        &["is not a URL", "with its scheme"],
    ),
    (
        "routes: [{inject: agent, upstream: 'https://u:p4ss@x.example'}]",
        &["with a user or password in it"],
    ),
    ("routes: []", &["routes", "there is no route"]),
    ("listeners: []", &["listeners", "the list is empty"]),
    (
        "routes: [{path: /x}]",
        &["routes[0].upstream", "is missing"],
    ),
    (
        "routes: [{inject: agent, upstream: 'http://api.example.com'}]",
        &["unencrypted"],
    ),
    (
        "routes: [{inject: agent, upstream: 'https://qa-api.bentley.com'}]",
        &["a token of bentley goes to the API of bentley-qa"],
    ),
    (
        "routes: [{inject: agent, name: a, path: /x}, {inject: agent, name: a}]",
        &["routes[0] has the same name"],
    ),
    // durations, sizes
    (
        "limits: {header_timeout: 10}",
        &["limits.header_timeout | config.yaml:3:26 | '10' has no unit"],
    ),
    (
        "limits: {header_timeout: soon}",
        &["'soon' is not a duration"],
    ),
    (
        "limits: {header_timeout: 2h}",
        &["out of range: 100ms to 10m"],
    ),
    ("limits: {header_size: 64KB3}", &["'64KB3' is not a size"]),
    (
        "limits: {header_size: 1KiB}",
        &["out of range: 8KiB to 16MiB"],
    ),
    (
        "routes: [{inject: {credential: agent, min_remaining: 2h}}]",
        &["min_remaining", "0s to 30m"],
    ),
    (
        "routes: [{inject: agent, replay: {memory: 2MiB, total: 1MiB}}]",
        &["replay.memory", "more than what is kept in all"],
    ),
    // log, store
    (
        "log: {level: inof}",
        &["`inof` is not a level", "did you mean 'info'?"],
    ),
    ("token_store: {path: '@store'}", &["has no key"]),
    (
        "audit: {stream: stderr, file: '@audit'}",
        &["has file and stream", "leave one of them out"],
    ),
    (
        "audit: {stream: stderr, key: short}",
        &["audit.key", "shorter than 16 characters"],
    ),
    (
        "audit: {stream: stderr, every: often}",
        &["audit.every", "'often' is not a duration"],
    ),
    ("audit: {every: request}", &["says nowhere to write to"]),
    (
        "audit: {file: /no/such/directory/audit.log}",
        &["no file can be written in /no/such/directory"],
    ),
    (
        "admin: {key: short}",
        &["admin.key", "shorter than 16 characters"],
    ),
    (
        "token_store: {path: /no/such/directory/store, key_file: '@secret'}",
        &["no file can be written in /no/such/directory"],
    ),
    // TLS
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {certificate: '@cert.pem', key: '@other.pem'}}]",
        &["listeners[0].tls.key", "does not belong to the certificate"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {certificate: '@key.pem', key: '@key.pem'}}]",
        &["holds no certificate in PEM"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {certificate: '@cert.pem', key: '@cert.pem'}}]",
        &["holds no private key in PEM"],
    ),
    (
        "listeners: [{bind: '127.0.0.1:1', tls: {certificate: '@cert.pem', key: '@key.pem', client_certificates: optional}}]",
        &["listeners[0].tls.client_ca", "is missing"],
    ),
    (
        "routes: [{inject: agent, upstream: {url: 'https://x.example', tls: {extra_ca: '@none.pem'}}}]",
        &["cannot read the file", "none.pem"],
    ),
    // providers
    (
        "providers: {idp: {issuer: 'http://idp.example'}}",
        &["providers.idp.issuer", "must be https"],
    ),
    (
        "providers: {idp: {issuer: 'https://idp.example?x=1'}}",
        &["no query and no fragment"],
    ),
    (
        "providers: {'a b': {issuer: 'https://ims.bentley.com'}}",
        &["this name cannot be used"],
    ),
    (
        "routes: [{upstream: 'http://a', identity: {headers: {subject: Authorization}}}]",
        &[
            "routes[0].identity.headers.subject | config.yaml",
            "the header authorization carries something else",
        ],
    ),
    (
        "routes: [{upstream: 'http://a', identity: {headers: {subject: X_Forwarded-For}}}]",
        &["the header x_forwarded-for carries something else"],
    ),
    (
        "routes: [{upstream: 'http://a', identity: {headers: {subject: 'X Y'}}}]",
        &["'X Y' is not a header's name"],
    ),
    (
        "routes: [{upstream: 'http://a', identity: {headers: {claims: {org: X_Itwin.Caller}}}}]",
        &[
            "routes[0].identity.headers.claims.org",
            "x_itwin.caller is, or could be taken for, what routes[0].identity.headers.caller is said with",
        ],
    ),
    (
        "routes: [{path: /a, upstream: 'http://a', identity: {headers: {claims: {org: X-Api-Key}}}}, {upstream: 'http://a', admit: {key: {header: x_api_key, secret_file: '@secret'}}}]",
        &[
            "routes[1].admit",
            "the header x_api_key says who the caller is, on the route route-1",
        ],
    ),
    (
        "routes: [{upstream: 'http://a', identity: {jwt: {}}}]",
        &[
            "routes[0].identity.jwt",
            "no caller of this route is known by a token",
        ],
    ),
    (
        "routes: [{upstream: 'http://a', admit: {bearer: {provider: bentley, audiences: x}}, identity: {jwt: {header: x_itwin_email}}}]",
        &["x_itwin_email is, or could be taken for, what routes[0].identity.headers.email"],
    ),
    (
        "routes: [{upstream: 'http://a', admit: {bearer: {provider: bentley, audiences: x}}, identity: {jwt: {claims: [org, exp]}}}]",
        &[
            "routes[0].identity.jwt.claims[1]",
            "exp is a claim of the JWT's own",
        ],
    ),
    (
        "routes: [{upstream: 'http://a', admit: {bearer: {provider: bentley, audiences: x}}, identity: {jwt: {}}}]\nsigning: {key_files: '@secret'}",
        &["signing.key_files |", "holds no private key in PEM"],
    ),
    ("signing: {path: /jwks.json}", &["signing", "signs nothing"]),
    (
        "routes: [{upstream: 'http://a', identity: {token: drop}}]",
        &["routes[0].identity.token"],
    ),
];

#[test]
fn each_problem_names_key_place_fault_and_remedy() {
    let files = Files::new();
    for (text, parts) in FAULTS {
        let said = problems_of(&files, &format!("{ONE_CREDENTIAL}{text}\n"));
        for part in *parts {
            assert!(said.contains(part), "{text}\nwanted: {part}\nsaid: {said}");
        }
        assert_eq!(
            said.lines().count(),
            1,
            "one fault is told once: {text}\n{said}"
        );
    }
}

/// A credential, and parts of what is said of it.
const CREDENTIAL_FAULTS: &[(&str, &[&str])] = &[
    (
        "{client_secret_file: '@secret'}",
        &["credentials.agent.client_id", "is missing"],
    ),
    (
        "{client_id: x}",
        &[
            "credentials.agent | config.yaml:1:15",
            "nothing says how the client proves who it is",
            "client_secret_file",
        ],
    ),
    (
        "{client_id: x, client_secrt: hunter2}",
        &[
            "credentials.agent.client_secrt",
            "did you mean 'client_secret'?",
        ],
    ),
    (
        "{client_id: x, client_secret: hunter2, client_secret_file: '@secret'}",
        &["more than one form", "keep one of"],
    ),
    (
        "{client_id: x, client_secret: {a: hunter2}}",
        &["must be text, but a map was found"],
    ),
    (
        "{client_id: x, client_secret: (set)}",
        &["was left out when this configuration was printed"],
    ),
    (
        "{client_id: x, client_secret_file: '@none'}",
        &[
            "client_secret_file | config.yaml:1:57",
            "cannot read the secret file",
            "No such file",
            "write the secret into it",
        ],
    ),
    (
        "{client_id: x, client_secret_file: /proc/self}",
        &["/proc/self: Is a directory", "name a file in it"],
    ),
    (
        "{client_id: x, client_secret_file: hunter2}",
        &["cannot be read", "a file's path, not the secret"],
    ),
    (
        "{client_id: x, client_secret_file: '@empty'}",
        &["is empty"],
    ),
    (
        "{client_id: x, client_secret_env: NOT_THERE}",
        &["the environment variable NOT_THERE is not set"],
    ),
    (
        "{client_id: x, client_secret_env: hunter2}",
        &["is not set", "not the secret"],
    ),
    (
        "{client_id: x, client_secret: y, scopes: openid}",
        &["credentials.agent.scopes |", "'openid' cannot be asked for"],
    ),
    (
        "{client_id: x, client_secret: y, provider: bently}",
        &["no provider is called 'bently'", "did you mean 'bentley'?"],
    ),
    (
        "{client_id: x, client_secret: y, grant: device_code}",
        &["'device_code' is not available in this version"],
    ),
    (
        "{client_id: x, client_secret: y, grant: password, username: joe}",
        &["credentials.agent.password", "is missing"],
    ),
    (
        "{client_id: x, client_secret: y, username: joe}",
        &["did you mean grant: password?"],
    ),
    (
        "{client_id: x, client_secret: y, grant: saml_bearer, username: joe}",
        &["credentials.agent.password", "grant saml_bearer needs it"],
    ),
    (
        "{client_id: x, client_secret: y, grant: saml_bearer, username: joe, password: hunter2, sts: {url: 'http://sts.example'}}",
        &["credentials.agent.sts.url", "must be https"],
    ),
    (
        "{client_id: x, client_secret: y, grant: saml_bearer, username: joe, assertion: {file: '@secret'}}",
        &["credentials.agent.username", "an assertion from a file"],
    ),
    (
        "{client_id: x, client_secret: y, grant: saml_bearer, assertion: {credential: agent}}",
        &["needs one of agent"],
    ),
    (
        "{client_id: x, client_secret: y, sts: {}}",
        &["credentials.agent.sts", "did you mean grant: saml_bearer?"],
    ),
    (
        "{client_id: x, client_secret: y, assertion: {file: '@secret'}}",
        &[
            "credentials.agent.assertion",
            "did you mean grant: jwt_bearer",
        ],
    ),
    (
        "{client_id: x, client_secret: y, grant: jwt_bearer}",
        &["exchanges callers' tokens", "or give it an assertion"],
    ),
    (
        "{client_id: x, client_secret: y, grant: jwt_bearer, assertion: {credential: agnt}}",
        &["no credential is called 'agnt'", "did you mean 'agent'?"],
    ),
    (
        "{client_id: x, client_secret: y, grant: jwt_bearer, assertion: {credential: agent}}",
        &["the token of agent needs one of agent"],
    ),
    (
        "{client_id: x, grant: jwt_bearer, assertion: {file: '@secret'}}",
        &["nothing says how the client proves who it is"],
    ),
    (
        "{client_id: x, grant: refresh_token}",
        &["nowhere to keep a sign-in", "XDG_STATE_HOME"],
    ),
    (
        "{client_id: x, grant: refresh_token, refresh_token_file: '@secret', redirect: {path: /x}}",
        &["redirect", "has no effect with refresh_token_file"],
    ),
    (
        "{client_id: x, client_secret: y, redirect: {path: /x}}",
        &["redirect", "did you mean grant: refresh_token?"],
    ),
    (
        "{client_id: x, grant: refresh_token, redirect: {host: desk.example}}",
        &["must be 127.0.0.1, [::1] or localhost"],
    ),
    (
        "{client_id: x, grant: refresh_token, redirect: {path: 'callback?x'}}",
        &["must begin with /"],
    ),
    (
        "{client_id: x, grant: refresh_token, redirect: {ports: [3000, 0]}}",
        &["0 is no port"],
    ),
    (
        "{client_id: x, client_secret: y, private_key_file: '@key.pem'}",
        &["client_secret and private_key are both given"],
    ),
    (
        "{client_id: x, client_secret: y, client_auth: private_key_jwt}",
        &["is private_key_jwt, but client_secret is given"],
    ),
    (
        "{client_id: x, client_auth: none}",
        &["a public client cannot use client_credentials"],
    ),
    (
        "{client_id: x, private_key_file: '@cert.pem'}",
        &["is not a private key in PEM that can sign"],
    ),
    (
        "{client_id: x, private_key_file: '@key.pem', private_key_algorithm: RS256}",
        &["does not fit the private key"],
    ),
    (
        "{client_id: x, private_key_file: '@key.pem', private_key_algorithm: HS256}",
        &["is not an algorithm for private keys"],
    ),
    (
        "{client_id: x, client_secret: y, parameters: {scope: a}}",
        &["parameters.scope", "sent by the program itself"],
    ),
    (
        "{client_id: x, tls: {certificate: '@cert.pem', key: '@other.pem'}}",
        &["tls.key", "does not belong"],
    ),
];

#[test]
fn each_problem_of_a_credential_is_told() {
    let files = Files::new();
    for (credential, parts) in CREDENTIAL_FAULTS {
        let said = problems_of(&files, &format!("credentials: {{agent: {credential}}}\n"));
        for part in *parts {
            assert!(
                said.contains(part),
                "{credential}\nwanted: {part}\nsaid: {said}"
            );
        }
        assert_eq!(
            said.lines().count(),
            1,
            "one fault is told once: {credential}\n{said}"
        );
        assert!(!said.contains("hunter2"), "a secret is shown: {said}");
    }
}

#[test]
fn a_credential_that_exchanges_goes_where_there_is_a_token_to_exchange() {
    let files = Files::new();
    let route = "upstream: 'https://x.example'";
    let exchange = "identity: {token: {exchange: agent}}";
    let bearer = "admit: {bearer: {audiences: a}}";
    let inject = "inject: {credential: agent, on_behalf_of: caller, scopes: s}";
    for (route, part) in [
        ("inject: agent".to_owned(), "exchanges callers' tokens"),
        (
            format!("{route}, admit: local, {exchange}"),
            "has no token to exchange",
        ),
        (format!("{route}, {bearer}, {exchange}"), ""),
        (inject.to_owned(), "has no token to exchange"),
        (
            format!("{route}, admit: {{networks: 10.0.0.0/8}}, {inject}"),
            "has no token to exchange",
        ),
        (format!("{route}, {bearer}, {inject}"), ""),
        (
            format!(
                "{route}, admit: [{{bearer: {{audiences: a}}}}, {{networks: 10.0.0.0/8}}], {inject}"
            ),
            "admits callers without a token",
        ),
        (
            format!("{route}, {bearer}, {exchange}, {inject}"),
            "the route injects a token of ours",
        ),
        (
            format!(
                "{route}, {bearer}, inject: {{credential: agent, on_behalf_of: caller, \
                 presented_other: keep}}"
            ),
            "has no effect with on_behalf_of",
        ),
    ] {
        for grant in [
            "grant: token_exchange, subject_token_type: 'urn:x'",
            "grant: jwt_bearer",
        ] {
            let said = problems_of(
                &files,
                &format!(
                    "credentials: {{agent: {{client_id: x, client_secret: s, {grant}}}}}\n\
                     routes: [{{{route}}}]\n"
                ),
            );
            assert!(said.contains(part), "{route}: {said}");
            assert_eq!(
                said.lines().count(),
                usize::from(!part.is_empty()),
                "{said}"
            );
        }
    }
    let said = problems_of(
        &files,
        &format!(
            "credentials: {{agent: {{client_id: x, client_secret: s}}}}\n\
             routes: [{{{route}, {bearer}, {inject}}}]\n"
        ),
    );
    let part = "the credential agent gets its token without a caller's";
    assert!(said.contains(part), "{said}");
}

#[test]
fn a_service_user_at_bentley_needs_name_and_password_only() {
    let files = Files::new();
    let agent = "client_id: service-x, client_secret_file: '@secret', grant: saml_bearer, \
                 username: joe@example.com, password_file: '@secret'";
    let text = files.fill(&format!(
        "credentials: {{agent: {{{agent}}}, qa: {{provider: bentley-qa, {agent}}}}}\n\
         routes: [{{upstream: 'https://api.bentley.com', inject: agent}}]\n"
    ));
    let config = load_yaml(&text).unwrap().config;
    for (name, prefix) in [("agent", ""), ("qa", "qa-")] {
        let Grant::SamlBearer {
            assertion: SamlSource::Sts(sts),
            dialect: SamlDialect::Bentley,
        } = &config.credentials[name].grant
        else {
            panic!("{:?}", config.credentials[name].grant);
        };
        let base = format!("https://{prefix}ims.bentley.com/rest");
        assert_eq!(
            sts.url.as_str(),
            format!("{base}/ActiveSTSService/json/IssueEx")
        );
        assert_eq!(
            sts.delegation.as_ref().unwrap().as_str(),
            format!("{base}/DelegationSTSService/json/IssueEx")
        );
        assert_eq!(sts.applies_to, "https://connect-wsg20.bentley.com");
        assert_eq!(
            (&*sts.device_id, &*sts.app_id),
            ("backend", "imodeljs service-x")
        );
    }
}

#[test]
fn credentials_that_wait_for_each_other_are_refused_and_a_chain_is_not() {
    let files = Files::new();
    let shows = |other: &str| {
        format!(
            "{{client_id: x, client_secret: y, grant: jwt_bearer, assertion: {{credential: {other}}}}}"
        )
    };
    let said = problems_of(
        &files,
        &format!(
            "credentials: {{a: {}, b: {}, c: {}}}",
            shows("b"),
            shows("c"),
            shows("b")
        ),
    );
    for name in ["a", "b", "c"] {
        assert!(said.contains(&format!("needs one of {name}")), "{said}");
    }
    let text = format!(
        "credentials: {{a: {}, b: {}, c: {{client_id: x, client_secret: y}}}}\n\
         routes: [{{upstream: 'https://api.bentley.com', inject: a}}]\n",
        shows("b"),
        shows("c")
    );
    let config = load_yaml(&text).unwrap().config;
    let b = config.credentials["a"].grant.shows().unwrap();
    assert_eq!((&*b.name, &*b.grant.shows().unwrap().name), ("b", "c"));
}

#[test]
fn several_problems_are_told_at_once() {
    let files = Files::new();
    let said = problems_of(
        &files,
        "
credentials:
  agent:
    client_id: service-x
    client_secret_file: /no/such/file
    scopes: [itwin-platform, openid]
  other: {client_secret: y}
listeners:
  - bind: 0.0.0.0:8080
  - bnd: 127.0.0.1:1
routes:
  - inject: othr
    upstream: https://api.example.com/x
  - {}
limits: {header_timeout: 5}
nonsense: true
",
    );
    for part in [
        "nothing says who may use route-1",
        "cannot read the secret file /no/such/file",
        "'openid' cannot be asked for",
        "credentials.other.client_id",
        "listeners[1].bnd",
        "did you mean 'other'?",
        "without a path",
        "routes[1].upstream",
        "has no unit",
        "nonsense",
    ] {
        assert!(said.contains(part), "wanted: {part}\nsaid: {said}");
    }
}

#[test]
fn everything_has_a_default_that_is_right_for_itwin() {
    let files = Files::new();
    let loaded = load_yaml(&files.fill(ONE_CREDENTIAL)).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let credential = &config.credentials["agent"];
    assert_eq!(
        credential.provider.issuer.as_str(),
        "https://ims.bentley.com/"
    );
    assert!(matches!(
        &credential.provider.endpoints,
        Endpoints::Discover { also } if also[0].as_str() == "https://imsoidc.bentley.com/"
    ));
    assert!(matches!(credential.auth, ClientAuth::Basic(_)));
    assert_eq!(credential.scopes.to_string(), "itwin-platform");
    assert_eq!(config.providers.len(), 1, "what nobody uses is not there");
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.unwrap().to_string(), "127.0.0.1:9901");
    let route = &config.routes[0];
    assert_eq!(
        route.upstream.as_ref().unwrap().origin.to_string(),
        "https://api.bentley.com"
    );
    assert!(matches!(route.admit, Admit::Local));
    assert!(route.refuse_login_pages);
    assert_eq!(route.links, LinkRewriting::On { public: None });
    let inject = route.inject.as_ref().unwrap();
    assert_eq!(inject.presented_bearer, PresentedAuthorization::Replace);
    assert_eq!(inject.presented_other, PresentedAuthorization::Keep);
}

#[test]
fn the_environment_alone_is_enough() {
    let files = Files::new();
    let secret = format!("{}/secret", files.0.path().display());
    let loaded = load(Sources::variables([
        ("ITWIN_CLIENT_ID", "service-x"),
        ("ITWIN_CLIENT_SECRET_FILE", secret.as_str()),
        ("ITWIN_SCOPES", "imodels:read imodels:modify"),
        ("ITWIN_ENVIRONMENT", "qa"),
        ("ITWIN_BIND", "[::1]:8081"),
        ("ITWIN_LOG", "debug"),
        ("ITWIN_UPSTREAM", ""),
        ("PATH", "/bin"),
    ]))
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let credential = &config.credentials["agent"];
    assert_eq!(&*credential.provider.name, "bentley-qa");
    assert_eq!(credential.scopes.to_string(), "imodels:modify imodels:read");
    assert_eq!(
        config.routes[0]
            .upstream
            .as_ref()
            .unwrap()
            .origin
            .to_string(),
        "https://qa-api.bentley.com"
    );
    assert_eq!(config.listeners[0].bind.to_string(), "[::1]:8081");
    assert_eq!(config.log.level, "debug");
}

#[test]
fn a_known_provider_keeps_its_issuer_when_something_else_is_said_of_it() {
    let text = "
        providers: {bentley: {tls: {name_servers: 10.0.0.2}}}
        credentials: {agent: {client_id: a, client_secret: b}}
        routes: [{inject: agent}]";
    let loaded = load(Sources::yaml(text)).unwrap();
    let provider = &loaded.config.credentials["agent"].provider;
    assert_eq!(provider.issuer.as_str(), "https://ims.bentley.com/");
    assert_eq!(provider.tls.name_servers.len(), 1);
}

#[test]
fn another_provider_and_upstream_come_from_the_environment_too() {
    let pairs = [
        ("ITWIN_CLIENT_ID", "x"),
        ("ITWIN_CLIENT_SECRET", "y"),
        ("ITWIN_CLIENT_SECRET_PREVIOUS", "z"),
        ("ITWIN_ISSUER", "http://127.0.0.1:9000/idp/"),
    ];
    let said = told(&load(Sources::variables(pairs)).unwrap_err());
    assert!(
        said.contains("ITWIN_UPSTREAM") && said.lines().count() == 1,
        "{said}"
    );

    let pairs = pairs
        .into_iter()
        .chain([("ITWIN_UPSTREAM", "http://127.0.0.1:9001")]);
    let config = load(Sources::variables(pairs)).unwrap().config;
    let credential = &config.credentials["agent"];
    assert_eq!(
        credential.provider.issuer.as_str(),
        "http://127.0.0.1:9000/idp"
    );
    assert!(
        credential.scopes.is_empty(),
        "Bentley's scope is for Bentley"
    );
    let ClientAuth::Basic(pair) = &credential.auth else {
        panic!("{:?}", credential.auth)
    };
    assert!(pair.current.read().unwrap().matches(b"y"));
    assert!(
        pair.previous
            .as_ref()
            .unwrap()
            .read()
            .unwrap()
            .matches(b"z")
    );
    assert!(config.routes[0].inject.is_some());
}

#[test]
fn variables_override_the_file() {
    let files = Files::new();
    let text = files.fill(
        "
credentials:
  my-agent: {client_id: a, client_secret_file: /no/such/file}
routes:
  - inject: my-agent
    upstream: {url: https://api.example.com, protocol: http1}
  - inject: my-agent
    path: /x
    upstream: https://api.example.com
",
    );
    let secret = format!("{}/secret", files.0.path().display());
    let said = load(Sources::yaml(&text).with_variables([
        (
            "ITWIN_AUTH_PROXY__CREDENTIALS__MY_AGENT__CLIENT_SECRET",
            "from the environment",
        ),
        (
            "ITWIN_AUTH_PROXY__CREDENTIALS__MY_AGENT__PARAMETERS__ACR_VALUES",
            "tenant:x",
        ),
        (
            "ITWIN_AUTH_PROXY__ROUTES__0__UPSTREAM",
            "https://other.example.com",
        ),
        ("ITWIN_AUTH_PROXY__ROUTES__0__PATH", "/imodels/**"),
        ("ITWIN_AUTH_PROXY__ROUTES__1__INJECT__SCOPES", "a b"),
        ("ITWIN_AUTH_PROXY__ROUTES__1__METHODS__0", "get"),
        (
            "ITWIN_AUTH_PROXY__LISTENERS",
            "[{bind: '127.0.0.1:1'}, '127.0.0.1:2']",
        ),
        ("ITWIN_AUTH_PROXY__WORKERS", "2"),
        ("ITWIN_AUTH_PROXY__LOG__REQUESTS", "false"),
        ("ITWIN_CLIENT_ID", "b"),
        ("ITWIN_CLIENT_SECRET_FILE", secret.as_str()),
    ]));
    let said = told(&said.unwrap_err());
    assert!(
        said.contains("more than one form"),
        "two variables for one secret: {said}"
    );

    let config = load(Sources::yaml(&text).with_variables([
        (
            "ITWIN_AUTH_PROXY__CREDENTIALS__MY_AGENT__CLIENT_SECRET",
            "from the environment",
        ),
        (
            "ITWIN_AUTH_PROXY__CREDENTIALS__MY_AGENT__PARAMETERS__ACR_VALUES",
            "tenant:x",
        ),
        (
            "ITWIN_AUTH_PROXY__ROUTES__0__UPSTREAM",
            "https://other.example.com",
        ),
        ("ITWIN_AUTH_PROXY__ROUTES__0__PATH", "/imodels/**"),
        ("ITWIN_AUTH_PROXY__ROUTES__1__INJECT__SCOPES", "a b"),
        ("ITWIN_AUTH_PROXY__ROUTES__1__METHODS__0", "get"),
        (
            "ITWIN_AUTH_PROXY__LISTENERS",
            "[{bind: '127.0.0.1:1'}, '127.0.0.1:2']",
        ),
        ("ITWIN_AUTH_PROXY__WORKERS", "2"),
        ("ITWIN_AUTH_PROXY__LOG__REQUESTS", "false"),
        ("ITWIN_CLIENT_ID", "b"),
    ]))
    .unwrap()
    .config;
    let credential = &config.credentials["my-agent"];
    assert_eq!(credential.client_id, "b");
    assert_eq!(credential.extra["acr_values"], "tenant:x");
    assert!(matches!(&credential.auth, ClientAuth::Basic(SecretPair {
        current: SecretSource::Value { variable: Some(name), .. }, ..
    }) if name.ends_with("CLIENT_SECRET")));
    let upstream = config.routes[0].upstream.as_ref().unwrap();
    assert_eq!(upstream.origin.to_string(), "https://other.example.com");
    assert_eq!(
        upstream.protocol,
        UpstreamProtocol::Http1,
        "the rest of the map stays"
    );
    assert_eq!(
        config.routes[1].inject.as_ref().unwrap().scopes.to_string(),
        "a b"
    );
    assert!(config.routes[1].matches.methods.contains("GET"));
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.workers.unwrap().get(), 2);
    assert!(!config.log.requests);
}

#[test]
fn what_a_variable_cannot_mean_is_a_problem() {
    let files = Files::new();
    let two = "credentials:\n  a: {client_id: x, client_secret: y}\n  b: {client_id: x, client_secret: y}\nroutes: [{inject: a}]\n";
    let one = files.fill(ONE_CREDENTIAL);
    for (text, name, value, part) in [
        (
            two,
            "ITWIN_CLIENT_ID",
            "z",
            "the file has 2 credentials: a, b | name the one that is meant, as in ITWIN_AUTH_PROXY__CREDENTIALS__A__",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY__LIMTS__REQUESTS",
            "1",
            "'limts' is not a known key | did you mean LIMITS?",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY__WORKERS",
            "x",
            "workers | environment variable ITWIN_AUTH_PROXY__WORKERS | must be a whole number",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY__ROUTES__1__PATH",
            "/x",
            "there are 0 items",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY__ROUTES__PATH",
            "/x",
            "numbered from 0",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY__LIMITS",
            "x",
            "a single value cannot stand here",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY____X",
            "x",
            "is not a known key",
        ),
        (
            one.as_str(),
            "ITWIN_ENVIRONMENT",
            "dev",
            "must be production or qa",
        ),
        (
            one.as_str(),
            "ITWIN_BIND",
            "8080",
            "listeners[0].bind | environment variable ITWIN_BIND | '8080' is not an address",
        ),
        (
            one.as_str(),
            "ITWIN_CLIENTID",
            "x",
            "is not known and has no effect | did you mean 'ITWIN_CLIENT_ID'?",
        ),
        (
            one.as_str(),
            "ITWIN_AUTH_PROXY_WORKERS",
            "x",
            "two underscores between levels",
        ),
    ] {
        let said = match load(Sources::yaml(text).with_variables([(name, value)])) {
            Ok(loaded) => told(&loaded.warnings),
            Err(problems) => told(&problems),
        };
        assert!(said.contains(part), "{name}\nwanted: {part}\nsaid: {said}");
    }
    for name in [
        "ITWIN_AUTH_PROXY_SERVICE_HOST",
        "ITWIN_AUTH_PROXY_PORT_8080_TCP_ADDR",
        "ITWIN_PROXY_SERVICE_PORT_HTTP",
    ] {
        let loaded = load(Sources::yaml(&one).with_variables([(name, "x")])).unwrap();
        assert!(loaded.warnings.is_empty(), "Kubernetes sets {name}");
    }
}

#[test]
fn without_any_configuration_the_first_steps_are_shown() {
    let said = told(&load(Sources::variables([("HOME", "/root")])).unwrap_err());
    assert!(
        said.contains("there is no configuration") && said.contains("ITWIN_CLIENT_ID"),
        "{said}"
    );
    let missing = Sources::process(Some("/no/such/file.yaml".into()));
    let said = told(&load(missing).unwrap_err());
    assert!(
        said.contains("cannot read the file /no/such/file.yaml"),
        "{said}"
    );
}

#[test]
fn a_secret_file_that_everybody_reads_is_worth_a_warning() {
    let files = Files::new();
    let path = files.0.path().join("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load_yaml(&files.fill(ONE_CREDENTIAL)).unwrap();
    assert!(told(&loaded.warnings).contains("every user of this machine can read"));
    fs::create_dir(files.0.path().join("..data")).unwrap(); // a Kubernetes volume
    let loaded = load_yaml(&files.fill(ONE_CREDENTIAL)).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn every_way_to_admit_can_be_written() {
    let files = Files::new();
    let text = files.fill(&format!(
        "{ONE_CREDENTIAL}
listeners:
  - bind: 0.0.0.0:8443
    tls: {{certificate: '@cert.pem', key: '@key.pem', client_ca: '@cert.pem', client_certificates: optional}}
  - 'unix:@x.sock'
routes:
  - inject: agent
    admit:
      - networks: 10.0.0.0/8, fd00::/8
      - key: {{secret_file: '@secret'}}
      - certificate: {{names: [a.example]}}
      - uids: [1000]
      - bearer: {{audiences: api, scopes: a b, clients: [c], max_lifetime: 2h}}
"
    ));
    let loaded = load_yaml(&text).unwrap_or_else(|problems| panic!("{problems}"));
    let Admit::Rules(rules) = &loaded.config.routes[0].admit else {
        panic!()
    };
    assert_eq!(rules.len(), 5);
    let AdmitRule::Bearer {
        provider,
        rules: token,
    } = &rules[4]
    else {
        panic!()
    };
    assert_eq!(&*provider.name, "bentley");
    assert_eq!(token.scopes.len(), 2);
    assert_eq!(token.clock_skew, std::time::Duration::from_secs(60));
    assert_eq!(
        token.max_lifetime,
        Some(std::time::Duration::from_secs(7200))
    );
    assert!(matches!(&rules[0], AdmitRule::Networks(networks) if networks.len() == 2));
    assert!(matches!(&rules[1], AdmitRule::Key(key) if key.header == "x-api-key"));
    assert!(
        matches!(&loaded.config.listeners[0].tls, Some(tls) if matches!(tls.clients(), ClientCertificates::Optional { .. }))
    );
    assert!(matches!(
        &loaded.config.listeners[1].bind,
        Bind::Unix { mode: 0o600, .. }
    ));
}

#[test]
fn every_way_to_prove_who_the_client_is_can_be_written() {
    let files = Files::new();
    files.write("assertion", "ey.ey.x");
    files.write("refresh", "rt");
    for (credential, fits) in [
        (
            "{client_id: x, client_secret: y}",
            (|a| matches!(a, ClientAuth::Basic(_))) as fn(&ClientAuth) -> bool,
        ),
        (
            "{client_id: x, client_secret: y, client_auth: client_secret_post}",
            |a| matches!(a, ClientAuth::Post(_)),
        ),
        (
            "{client_id: x, private_key_file: '@key.pem'}",
            |a| matches!(a, ClientAuth::Assertion(Assertion::Signed(key)) if key.algorithm == jsonwebtoken::Algorithm::ES256),
        ),
        ("{client_id: x, assertion_file: '@assertion'}", |a| {
            matches!(a, ClientAuth::Assertion(Assertion::File(_)))
        }),
        (
            "{client_id: x, tls: {certificate: '@cert.pem', key: '@key.pem'}}",
            |a| matches!(a, ClientAuth::MutualTls(_)),
        ),
        (
            "{client_id: x, grant: refresh_token, refresh_token_file: '@refresh'}",
            |a| matches!(a, ClientAuth::None),
        ),
        (
            "{client_id: x, grant: password, username: joe, password_file: '@secret', scopes: openid}",
            |a| matches!(a, ClientAuth::None),
        ),
    ] {
        let text = files.fill(&format!("credentials: {{agent: {credential}}}"));
        let loaded = load_yaml(&text).unwrap_or_else(|problems| panic!("{credential} {problems}"));
        let auth = &loaded.config.credentials["agent"].auth;
        assert!(fits(auth), "{credential} {auth:?}");
    }
}

#[test]
fn equal_upstreams_share_their_connections() {
    let text = "routes:\n  - {path: /a, upstream: 'https://x.example'}\n  - {path: /b, upstream: 'https://x.example/'}\n  - {path: /c, upstream: 'https://y.example'}\n";
    let config = load_yaml(text).unwrap().config;
    assert!(Arc::ptr_eq(
        config.routes[0].upstream.as_ref().unwrap(),
        config.routes[1].upstream.as_ref().unwrap()
    ));
    assert!(!Arc::ptr_eq(
        config.routes[0].upstream.as_ref().unwrap(),
        config.routes[2].upstream.as_ref().unwrap()
    ));
    assert!(
        matches!(config.routes[0].admit, Admit::Anyone),
        "it gives nothing away"
    );
}

/// A configuration that uses every key.
fn everything(files: &Files) -> String {
    files.write("assertion", "ey.ey.x");
    files.write("refresh", "rt");
    files.write("long", "a key of the cookies, 32 characters at least");
    for directory in ["kept", "pages"] {
        fs::create_dir_all(files.0.path().join(directory)).unwrap();
    }
    files.fill(
        "
providers:
  idp:
    issuer: https://idp.example/a/
    also: [https://other.example]
    connect_timeout: 1s
    timeout: 2s
    tls: {extra_ca: '@cert.pem', identity: {certificate: '@cert.pem', key: '@key.pem'}, server_name: x.example, addresses: [10.0.0.1]}
    introspection: {client_id: api, client_secret_file: '@secret', client_secret_previous_file: '@secret', tokens: all, cache: 30s}
  given:
    issuer: 'https://given.example'
    token_endpoint: 'https://given.example/token'
    jwks_uri: https://given.example/keys
    introspection: {endpoint: 'https://given.example/i', client_id: api, private_key_file: '@key.pem', private_key_id: k, assertion_audience: x}
credentials:
  basic: {provider: bentley, client_id: 'a: b', client_secret_file: '@secret', client_secret_previous_file: '@secret', parameters: {resource: 'urn:x', acr_values: 'true'}}
  post: {provider: given, client_id: x, client_secret_file: '@secret', client_auth: client_secret_post, scopes: [a, b]}
  jwt: {provider: idp, client_id: x, private_key_file: '@key.pem', private_key_id: k, assertion_audience: https://idp.example/a}
  file: {provider: idp, client_id: x, assertion_file: '@assertion'}
  swap: {provider: idp, client_id: x, client_secret_file: '@secret', grant: token_exchange}
  act: {provider: idp, client_id: x, client_secret_file: '@secret', grant: jwt_bearer}
  tls: {provider: idp, client_id: x, tls: {certificate: '@cert.pem', key: '@key.pem'}}
  password: {provider: idp, client_id: x, grant: password, username: joe, password_file: '@secret'}
  saml: {provider: idp, client_id: x, client_secret_file: '@secret', grant: saml_bearer, username: joe, password_file: '@secret', dialect: rfc7522, sts: {url: 'https://sts.example/a', delegation_url: 'https://sts.example/b/', applies_to: 'urn:y', device_id: d, app_id: e, lifetime: 1h}}
  asserted: {provider: idp, client_id: x, client_auth: none, grant: saml_bearer, assertion: {file: '@assertion'}, dialect: bentley}
  acting: {provider: idp, client_id: x, client_secret_file: '@secret', grant: jwt_bearer, assertion: {credential: saml}}
  another: {provider: idp, client_id: x, client_secret_file: '@secret', grant: jwt_bearer, assertion: {file: '@assertion'}}
  refresh: {provider: idp, client_id: x, grant: refresh_token, refresh_token_file: '@refresh', scopes: offline_access}
  people: {provider: idp, client_id: x, client_secret_file: '@secret', grant: authorization_code, scopes: [openid, offline_access, a]}
  old: {provider: idp, client_id: y, client_auth: none, grant: authorization_code, flow: implicit, scopes: [openid, a]}
sessions:
  web: {credential: people, public_url: 'https://app.example.com', prefix: /.auth, callback_path: /signin, key_file: '@long', key_previous_file: '@long', store: directory, directory: '@kept', idle: 1h, absolute: 2h, parameters: {prompt: select_account}, pages: '@pages', signed_out: /bye, origins: ['https://spa.example.com'], streams: finish, sign_ins_per_minute: 5}
  old: {credential: old, public_url: 'http://localhost:8080', key_file: '@long', signed_out: /}
listeners:
  - bind: 0.0.0.0:8443
    mode: reverse
    tls: {certificate: '@cert.pem', key: '@key.pem', client_ca: '@cert.pem', client_certificates: optional}
  - {bind: 'unix:@x.sock', socket_mode: 0660}
  - {bind: '127.0.0.1:9444', tls: {minted: true}}
  - {bind: '127.0.0.1:9443', tls: {certificate: '@cert.pem', key: '@key.pem', client_certificates: any}}
routes:
  - name: narrow
    hosts: ['*.example.com', api.example.com]
    path: /imodels/*/changesets
    methods: [GET, POST]
    admit:
      - networks: [10.0.0.0/8]
      - key: {name: partner, header: X-Key, secret_file: '@secret', secret_previous_file: '@secret'}
      - certificate: {names: [a.example]}
      - certificate: {}
      - uids: [0, 1000]
    inject: {credential: basic, scopes: [x], min_remaining: 90s, presented_bearer: refuse, presented_other: refuse, placeholders: [abc], wait: 1s}
    upstream: {url: 'https://api.bentley.com', protocol: http2, tls: {addresses: ['10.0.0.1:1']}, connect_timeout: 1s, idle_timeout: 1s, idle_connections: 1, preserve_host: true, forwarded: true}
    links: {public: 'https://proxy.example:8443'}
    refuse_login_pages: false
    timeouts: {response: 1s, idle: 1s, total: 1m}
    replay: {memory: 1KiB, total: 2KiB}
  - {path: /off, upstream: 'https://x.example', links: false, admit: anyone}
  - {path: /swap, upstream: 'https://x.example', admit: {bearer: {provider: idp, audiences: a}}, identity: {token: {exchange: swap}}}
  - {path: /act, upstream: 'https://x.example', admit: {bearer: {provider: idp, audiences: a}}, inject: {credential: act, on_behalf_of: caller, scopes: a b, wait: 5s}}
  - path: /bound
    upstream: https://x.example
    admit:
      - bearer: {provider: idp, audiences: a, bound: required, dpop: {algorithms: [ES256, EdDSA], nonce: optional, max_age: 30s}}
      - bearer: {provider: bentley, audiences: a, bound: ignored}
      - bearer: {provider: given, audiences: a, bound: checked}
  - path: /told
    upstream: 'https://x.example'
    admit: [{bearer: {provider: idp, audiences: [api]}}]
    identity:
      headers: {caller: off, subject: Remote-User, claims: {org: X-Org, 'a.b': X-B}}
      jwt: {header: X-Jwt, issuer: us, audience: them, lifetime: 2m, claims: [email, org]}
      token: remove
  - {path: /untold, upstream: 'https://x.example', admit: [{bearer: {provider: idp, audiences: [api]}}], identity: {headers: false}}
  - {path: /mine, inject: {credential: people, scopes: [a]}, upstream: 'https://x.example', admit: {session: web}}
  - {path: /seen, upstream: 'https://x.example', admit: [{session: old}]}
  - {path: /local, inject: jwt, upstream: 'https://x.example', admit: local}
signing: {key_files: ['@key.pem'], path: /.itwin-auth/jwks.json}
limits: {header_size: 64KiB, header_count: 50, body_size: 1GiB, connections: 5, requests: 6, header_timeout: 1s, idle_timeout: 2s, http2_streams: 7, drain_delay: 3s, drain_timeout: 4s}
admin: {bind: '0.0.0.0:9999', allow_remote: true, allow_quit: true, key_file: '@secret', socket: {path: '@admin.sock', uids: [1000, 1001]}}
log: {level: 'info,hyper=debug', format: human, requests: false}
audit: {file: '@audit', key_file: '@secret', every: 5m}
token_store: {path: '@store', key_file: '@secret'}
workers: 3
handover_socket: '@handover'
trusted_proxies: [10.0.0.0/8]
revocation:
  file: '@secret'
  backchannel_logout: {path: /logout, provider: given, clients: [a, b], keep: 2h}
interception: {certificate: '@ca.pem', key: '@other.pem', hosts: [api.bentley.com, '*.example.com'], leaf_lifetime: 1h}
",
    )
}

#[test]
fn what_is_printed_is_read_back_as_the_same() {
    let files = Files::new();
    for text in [everything(&files), files.fill(ONE_CREDENTIAL)] {
        let loaded = load_yaml(&text).unwrap_or_else(|problems| panic!("{problems}"));
        let printed = print::yaml(&loaded.config);
        let again = load_yaml(&printed).unwrap_or_else(|problems| panic!("{printed}{problems}"));
        assert_eq!(
            format!("{:?}", again.config),
            format!("{:?}", loaded.config),
            "{printed}"
        );
        assert_eq!(print::yaml(&again.config), printed);
    }
}

#[test]
fn no_secret_is_printed() {
    let printed = print::yaml(
        &load_yaml("credentials: {agent: {client_id: x, client_secret: hunter2}}")
            .unwrap()
            .config,
    );
    assert!(
        printed.contains("client_secret: (set)") || printed.contains("client_secret: \"(set)\""),
        "{printed}"
    );
    let pairs = [("ITWIN_CLIENT_ID", "x"), ("ITWIN_CLIENT_SECRET", "hunter2")];
    let from_variable = print::yaml(&load(Sources::variables(pairs)).unwrap().config);
    assert!(
        from_variable.contains("client_secret_env: ITWIN_CLIENT_SECRET"),
        "{from_variable}"
    );
    assert!(!format!("{printed}{from_variable}").contains("hunter2"));
    let again =
        load(Sources::yaml(&from_variable).with_variables([("ITWIN_CLIENT_SECRET", "hunter2")]));
    assert!(again.is_ok());
}

#[test]
fn a_configuration_that_uses_every_key_fits_the_schema() {
    fn walk(
        part: &serde_json::Value,
        definitions: &serde_json::Value,
        value: &serde_json::Value,
        at: &str,
        unused: &mut Vec<String>,
    ) {
        let part = part["$ref"]
            .as_str()
            .map_or(part, |name| &definitions[name.rsplit('/').next().unwrap()]);
        for one in part["anyOf"].as_array().into_iter().flatten() {
            walk(one, definitions, value, at, unused);
        }
        if let Some(items) = value.as_array() {
            for item in items {
                walk(&part["items"], definitions, item, at, unused);
            }
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{key}");
            let property = match &part["properties"][key] {
                serde_json::Value::Null => &part["additionalProperties"],
                property => property,
            };
            if part["properties"].is_object() && property.is_null() {
                unused.push(at.clone());
            }
            walk(property, definitions, value, &at, unused);
        }
    }
    let files = Files::new();
    let schema: serde_json::Value = serde_json::from_str(&reference::json_schema()).unwrap();
    let mut problems = Problems::default();
    let parsed = schema::Schema::new();
    let text = everything(&files);
    let tree = Sources::yaml(&text).tree(&parsed, &mut problems);
    let value = shape::check(&tree, &parsed, &mut problems);
    assert!(problems.is_empty(), "{problems}");
    let mut unknown = Vec::new();
    walk(&schema, &schema["$defs"], &value, "", &mut unknown);
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The defaults that the schema states, and so the reference page, are those that hold.
#[test]
fn the_stated_defaults_are_those_that_hold() {
    let files = Files::new();
    let schema: serde_json::Value = serde_json::from_str(&reference::json_schema()).unwrap();
    let config = load_yaml(&files.fill(ONE_CREDENTIAL)).unwrap().config;
    let mut problems = Problems::default();
    let parsed = schema::Schema::new();
    let printed = Sources::yaml(&print::yaml(&config)).tree(&parsed, &mut problems);
    let printed = shape::check(&printed, &parsed, &mut problems);
    let route = &printed["routes"][0];
    let mut compared = 0;
    for (definition, value) in [
        ("Limits", &printed["limits"]),
        ("Admin", &printed["admin"]),
        ("Log", &printed["log"]),
        ("Listener", &printed["listeners"][0]),
        ("Provider", &printed["providers"]["bentley"]),
        ("Credential", &printed["credentials"]["agent"]),
        ("Route", route),
        ("Inject", &route["inject"]),
        ("Upstream", &route["upstream"]),
        ("Links", &route["links"]),
        ("Timeouts", &route["timeouts"]),
        ("Replay", &route["replay"]),
    ] {
        for (key, property) in schema["$defs"][definition]["properties"]
            .as_object()
            .unwrap()
        {
            let Some(stated) = property.get("default").filter(|stated| !stated.is_null()) else {
                continue;
            };
            let Some(held) = value.get(key) else {
                assert!(
                    ["allow_remote", "socket_mode", "subject_token_type", "flow"]
                        .contains(&key.as_str()),
                    "{definition}.{key} is not printed"
                );
                continue;
            };
            let time = |value: &serde_json::Value| {
                value
                    .as_str()
                    .and_then(|text| humantime::parse_duration(text).ok())
            };
            let mut sets = [stated.clone(), held.clone()];
            for set in sets.iter_mut().filter_map(|value| value.as_array_mut()) {
                set.sort_by_key(ToString::to_string);
            }
            let same = sets[0] == sets[1] || (time(stated).is_some() && time(stated) == time(held));
            assert!(same, "{definition}.{key}: stated {stated}, held {held}");
            compared += 1;
        }
    }
    assert!(compared > 25, "{compared}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,120}") {
        let _ = load_yaml(&text);
    }

    #[test]
    fn no_misplaced_value_makes_reading_panic(
        key in "(providers|credentials|listeners|routes|limits|admin|log|audit|signing|token_store|workers|trusted_proxies|revocation|interception)",
        value in "([a-z0-9\\[\\]{}:, \"'*&!|>~-]{0,40})",
    ) {
        let _ = load_yaml(&format!("{key}: {value}\n"));
    }

    #[test]
    fn no_variable_makes_reading_panic(path in "[A-Z0-9_]{0,30}", value in "\\PC{0,30}") {
        let name = format!("ITWIN_AUTH_PROXY__{path}");
        let _ = load(Sources::variables([(name.as_str(), value.as_str())]));
    }
}

/// Sessions appended to one good credential, and parts of what is said of them.
const SESSION_FAULTS: &[(&str, &str)] = &[
    (
        "sessions: {web: {}}",
        "sessions.web.public_url | config.yaml:4:17 | is missing | Where browsers",
    ),
    (
        "sessions: {web: {public_url: 'http://app.example'}}",
        "must be https",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example/b'}}",
        "is an origin: it has no path",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', prefix: /}}",
        "would take all paths",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', prefix: '/a b'}}",
        "is not a plain path",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', idle: 2h, absolute: 1h}}",
        "is longer than absolute",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', key: short}}",
        "shorter than 32 characters",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', key_previous_file: '@long'}}",
        "replaces none",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example'}}",
        "has no key, so that a restart signs everybody out",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example'}}",
        "no route asks for this session",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', store: directory}}",
        "sessions are kept there",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', store: directory, directory: '@.'}}",
        "sessions that outlive the program are sealed with it",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', directory: '@.'}}",
        "has no effect with this store",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', parameters: {state: x}}}",
        "is sent by the program itself",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', pages: '@none'}}",
        "is not a directory",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', origins: 'https://b.example/c'}}",
        "is an origin: it has no path",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example', credential: agent}}",
        "the credential agent signs nobody in",
    ),
    (
        "sessions: {a: {public_url: 'https://a.example'}, b: {public_url: 'https://a.example'}}",
        "the session a has the same endpoints",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example'}}\nroutes: [{admit: {session: wbe}, upstream: 'https://x.example'}]",
        "no session is called 'wbe' | did you mean 'web'?",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example'}}\nroutes: [{inject: people, upstream: 'https://x.example'}]",
        "not everybody whom the route admits is",
    ),
    (
        "sessions: {web: {public_url: 'https://a.example'}}\nroutes: [{inject: people, admit: [{session: web}, {networks: 10.0.0.0/8}], upstream: 'https://x.example'}]",
        "not everybody whom the route admits is",
    ),
    (
        "token_requests: {credentials: people}",
        "signs people in: nobody has its token but they",
    ),
    (
        "authorities: [{credential: people}]",
        "signs people in: nobody has its token but they",
    ),
];

#[test]
fn what_is_wrong_with_a_session_is_said() {
    let files = Files::new();
    files.write("long", "a key of the cookies, 32 characters at least");
    for (text, said) in SESSION_FAULTS {
        let people = "  people: {client_id: webapp-x, client_secret_file: '@secret', grant: authorization_code}\n";
        let told = problems_of(&files, &format!("{ONE_CREDENTIAL}{people}{text}\n"));
        assert!(told.contains(said), "{text}\n{told}");
    }
}

#[test]
fn the_implicit_flow_is_warned_of_with_what_to_ask_for() {
    let files = Files::new();
    let text = "credentials: {old: {client_id: x, client_auth: none, grant: authorization_code, flow: implicit}}
sessions: {web: {public_url: 'https://a.example'}}
routes: [{inject: old, admit: {session: web}}]
";
    let loaded = load_yaml(&files.fill(text)).unwrap();
    let told = told(&loaded.warnings);
    assert!(told.contains("credentials.old.flow"), "{told}");
    assert!(told.contains("ask the registration's owner"), "{told}");
    let session = &loaded.config.sessions["web"];
    assert!(!session.credential.scopes.contains("offline_access"));
    assert_eq!(
        session.redirect_uri().as_str(),
        "https://a.example/.itwin-auth/callback"
    );
}

#[test]
fn routes_that_ask_for_tokens_are_warned_of_what_only_looks_safe() {
    let files = Files::new();
    let base = "
providers:
  a: {issuer: 'https://a.example', introspection: {client_id: x, client_secret: y}}
  b: {issuer: 'https://b.example', introspection: {client_id: x, client_secret: y}}
";
    let upstream = "upstream: 'https://api.example.com'";
    for (rest, expected) in [
        (
            format!(
                "routes: [{{path: /a, admit: {{bearer: {{provider: a, audiences: x}}}}, {upstream}}}, {{{upstream}}}]"
            ),
            "anyone may use this route, although others ask for tokens",
        ),
        (
            format!(
                "listeners: ['0.0.0.0:8080']\nroutes: [{{admit: {{bearer: {{provider: a, audiences: x}}}}, {upstream}}}]"
            ),
            "callers' tokens pass over the network unencrypted",
        ),
        (
            format!(
                "routes: [{{admit: {{bearer: {{provider: bentley, audiences: 'https://ims.bentley.com/as/token.oauth2'}}}}, {upstream}}}]"
            ),
            "is in every token of bentley",
        ),
        (
            format!(
                "routes: [{{admit: {{bearer: {{provider: a, audiences: x, bound: required}}}}, {upstream}}}]"
            ),
            "whatever host the caller names",
        ),
        (
            format!(
                "routes: [{{admit: [{{bearer: {{provider: a, audiences: x}}}}, {{bearer: {{provider: b, audiences: x}}}}], {upstream}}}]"
            ),
            "opaque tokens of b are shown to a first",
        ),
    ] {
        let loaded = load_yaml(&files.fill(&format!("{base}{rest}")));
        let loaded = loaded.unwrap_or_else(|problems| panic!("{rest}: {problems}"));
        let told = told(&loaded.warnings);
        assert!(told.contains(expected), "{rest}: {told}");
    }
    let good = format!(
        "{base}routes: [{{resource: 'https://api.example.com', admit: {{bearer: {{provider: a, audiences: x, bound: required}}}}, {upstream}}}]"
    );
    let loaded = load_yaml(&files.fill(&good)).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let decides = format!(
        "{base}listeners: [{{bind: '127.0.0.1:9', mode: decide, gateway: envoy}}]\nroutes: [{{admit: {{bearer: {{provider: a, audiences: x}}}}, identity: {{token: remove}}}}]"
    );
    let problems = load_yaml(&files.fill(&decides)).unwrap_err();
    assert!(told(&problems).contains("sends the caller's token on itself"));
    let both = format!(
        "{base}listeners: ['127.0.0.1:8', {{bind: '127.0.0.1:9', mode: decide, gateway: envoy}}]\nroutes: [{{admit: {{bearer: {{provider: a, audiences: x}}}}, identity: {{token: remove}}, {upstream}}}]"
    );
    let loaded = load_yaml(&files.fill(&both)).unwrap();
    assert!(told(&loaded.warnings).contains("holds for requests that pass through only"));
}

#[test]
fn a_client_of_a_program_at_a_desk_without_a_secret_is_for_a_person_who_signs_in() {
    use crate::config::{LoopbackHost, RefreshSource};

    let home = ("HOME", "/people/ann");
    let read = |pairs: &[(&'static str, &'static str)]| {
        let loaded = load(Sources::variables(pairs.iter().copied())).unwrap();
        loaded.config.credentials["agent"].grant.clone()
    };
    let Grant::RefreshToken {
        from: RefreshSource::Login(login),
    } = read(&[("ITWIN_CLIENT_ID", "native-x"), home])
    else {
        panic!("another grant");
    };
    assert_eq!(
        login.directory,
        std::path::Path::new("/people/ann/.local/state/itwin-auth-proxy")
    );
    let redirect = &login.redirect;
    assert_eq!(
        (redirect.host, &*redirect.ports, &*redirect.path),
        (LoopbackHost::Name, &[3000][..], "/signin-callback")
    );
    for pairs in [
        &[
            ("ITWIN_CLIENT_ID", "native-x"),
            ("ITWIN_CLIENT_SECRET", "s"),
        ][..],
        &[
            ("ITWIN_CLIENT_ID", "service-x"),
            ("ITWIN_CLIENT_SECRET", "s"),
        ],
    ] {
        assert!(matches!(read(pairs), Grant::ClientCredentials), "{pairs:?}");
    }
    let asked = [
        ("ITWIN_CLIENT_ID", "desk"),
        ("ITWIN_GRANT", "refresh_token"),
        ("XDG_STATE_HOME", "/state"),
        home,
    ];
    let grant = read(&asked);
    assert_eq!(
        grant.login().unwrap().directory,
        std::path::Path::new("/state/itwin-auth-proxy")
    );
}
