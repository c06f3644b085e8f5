//! Access tokens that are good only with a proof: signed for each request (DPoP, RFC 9449), or the
//! connection's client certificate (RFC 8705).

use std::{sync::Arc, thread};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use itwin_auth_proxy::clock::Clock;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::support::{
    certificates::{Authority, Issued},
    client::{Answer, Client},
    idp,
    issuer::{self, Issuer, Pair},
    origin::{self, Origin},
    proxy::{self, Builder, Proxy},
    wire,
};

/// A service that takes callers' tokens, with these keys in its rule besides.
fn guarding(origin: &Origin, issuer: &Issuer, more: &Value) -> Builder {
    let mut rule = json!({"provider": "idp", "audiences": ["api"]});
    for (key, value) in more.as_object().unwrap() {
        rule[key] = value.clone();
    }
    proxy::to(origin)
        .with("providers.idp", json!({"issuer": issuer.url()}))
        .route("admit", json!([{"bearer": rule}]))
}

/// A caller's key, and a token that is bound to it.
pub(crate) struct Holder {
    key: Pair,
    pub(crate) token: String,
}

impl Holder {
    pub(crate) fn new(issuer: &Issuer, signer: &Pair) -> Self {
        let key = Pair::new("caller");
        let jwk: Jwk = serde_json::from_value(key.jwk.clone()).unwrap();
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
        let token = signer.token(&issuer.claims(&json!({"cnf": {"jkt": thumbprint}})));
        Self { key, token }
    }

    /// A proof for `GET /` of the proxy, with these claims changed.
    pub(crate) fn proof(&self, changes: &Value) -> String {
        proof(&self.key, &self.token, changes)
    }

    pub(crate) fn request(&self, proof: &str) -> String {
        request("DPoP", &self.token, &format!("DPoP: {proof}\r\n"))
    }

    /// The answer to a request with a new proof, changed so.
    fn send(&self, proxy: &Proxy, changes: &Value) -> Answer {
        proxy.send(self.request(&self.proof(changes)))
    }
}

fn proof(key: &Pair, token: &str, changes: &Value) -> String {
    let id: [u8; 16] = rand::random();
    let mut claims = json!({
        "jti": URL_SAFE_NO_PAD.encode(id),
        "htm": "GET",
        "htu": "http://proxy.localhost/",
        "iat": issuer::now(),
        "ath": URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes())),
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let mut public = json!({});
    for member in ["kty", "crv", "x", "y"] {
        public[member] = key.jwk[member].clone();
    }
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public});
    key.sign(&header, &claims)
}

fn request(scheme: &str, token: &str, fields: &str) -> String {
    let fields = format!("Authorization: {scheme} {token}\r\n{fields}");
    proxy::with_fields("GET", "/", &fields)
}

fn is_challenged(answer: &Answer, code: &str, begins: &str) {
    answer.is_refused(401, code);
    let challenges = answer.all("www-authenticate");
    assert_eq!(challenges.len(), 1, "{challenges:?}");
    assert!(challenges[0].starts_with(begins), "{challenges:?}");
}

const INVALID_TOKEN: &str = "DPoP realm=\"itwin-auth-proxy\", error=\"invalid_token\"";
const INVALID_PROOF: &str = "DPoP realm=\"itwin-auth-proxy\", error=\"invalid_dpop_proof\"";
const ALGORITHMS: &str = "algs=\"RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA\"";

#[test]
fn a_token_that_is_bound_to_a_key_is_good_with_a_new_proof_each_time() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({})).start();
    let holder = Holder::new(&issuer, &signer);
    let proof = holder.proof(&json!({}));
    let answer = proxy.send(holder.request(&proof));
    answer.is_the_upstreams(200);
    assert_eq!(answer.field("dpop-nonce"), None);
    holder.send(&proxy, &json!({})).is_the_upstreams(200);
    // token and proof are the caller's
    let seen = &origin.requests()[0];
    let scheme = format!("DPoP {}", holder.token);
    assert_eq!(seen.field("authorization"), Some(scheme.as_str()));
    assert_eq!(seen.field("dpop"), Some(proof.as_str()));

    let again = proxy.send(holder.request(&proof));
    is_challenged(&again, "ProofInvalid", INVALID_PROOF);
    let challenge = again.field("www-authenticate").unwrap();
    assert!(
        challenge.contains("The DPoP proof was used before."),
        "{challenge}"
    );
    assert!(challenge.ends_with(ALGORITHMS), "{challenge}");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_stolen_token_is_good_for_nothing() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({})).start();
    let (holder, thief) = (Holder::new(&issuer, &signer), Pair::new("thief"));
    let by_bearer = proxy.send(request("Bearer", &holder.token, ""));
    is_challenged(&by_bearer, "TokenNotProven", INVALID_TOKEN);
    let with_proof = format!("DPoP: {}\r\n", holder.proof(&json!({})));
    let by_bearer = proxy.send(request("bearer", &holder.token, &with_proof));
    is_challenged(&by_bearer, "TokenNotProven", INVALID_TOKEN);
    let good = holder.proof(&json!({}));
    let twice = format!("DPoP: {good}\r\nDPoP: {good}\r\n");
    let stolen = proof(&thief, &holder.token, &json!({}));
    for fields in [
        String::new(),
        twice,
        format!("DPoP: {stolen}\r\n"),
        "DPoP: x\r\n".to_owned(),
        format!("DPoP: {good}, {good}\r\n"),
    ] {
        let answer = proxy.send(request("DPoP", &holder.token, &fields));
        is_challenged(&answer, "ProofInvalid", INVALID_PROOF);
    }
    for changes in [
        json!({"htm": "POST"}),
        json!({"htu": "http://proxy.localhost/other"}),
        json!({"htu": "https://proxy.localhost/"}),
        json!({"htu": "http://other.localhost/"}),
        json!({"iat": issuer::now() - 125}),
        json!({"iat": issuer::now() + 70}),
        json!({"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}),
        json!({"jti": null}),
    ] {
        let answer = holder.send(&proxy, &changes);
        is_challenged(&answer, "ProofInvalid", INVALID_PROOF);
    }
    assert!(origin.requests().is_empty());
    // and the good one is still unused
    proxy.send(holder.request(&good)).is_the_upstreams(200);
}

#[test]
fn a_token_that_is_bound_to_nothing_stays_a_bearer_token() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({})).start();
    let token = signer.token(&issuer.claims(&json!({})));
    proxy
        .send(request("Bearer", &token, ""))
        .is_the_upstreams(200);
    let own = Pair::new("caller");
    let fields = format!("DPoP: {}\r\n", proof(&own, &token, &json!({})));
    let by_dpop = proxy.send(request("DPoP", &token, &fields));
    is_challenged(&by_dpop, "TokenNotProven", INVALID_TOKEN);
    // nobody asked for DPoP, so that nobody is told of it
    let missing = proxy.get("/");
    is_challenged(&missing, "TokenMissing", "Bearer realm");
    // what is wrong with a token comes before what is wrong with its proof
    let expired = signer.token(&issuer.claims(&json!({"exp": issuer::now() - 100})));
    let expired = proxy.send(request("DPoP", &expired, ""));
    is_challenged(&expired, "TokenExpired", INVALID_TOKEN);
}

#[test]
fn a_token_that_is_bound_in_an_unknown_way_is_refused() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({})).start();
    for cnf in [
        json!({"x5t#S512": "AA"}),
        json!({"jwk": {"kty": "EC"}}),
        json!({"jkt": "too short"}),
        json!({"x5t#S256": 1}),
        json!({}),
    ] {
        let token = signer.token(&issuer.claims(&json!({"cnf": cnf})));
        let answer = proxy.send(request("Bearer", &token, ""));
        is_challenged(&answer, "TokenNotProven", "Bearer realm");
        let answer = proxy.send(request("DPoP", &token, ""));
        is_challenged(&answer, "TokenNotProven", INVALID_TOKEN);
    }
    let token = signer.token(&issuer.claims(&json!({"cnf": "text"})));
    let answer = proxy.send(request("Bearer", &token, ""));
    is_challenged(&answer, "TokenInvalid", "Bearer realm");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_route_may_ask_that_every_token_is_bound() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({"bound": "required"})).start();
    let token = signer.token(&issuer.claims(&json!({})));
    for (request, code) in [
        (request("Bearer", &token, ""), "TokenNotProven"),
        (proxy::get("/"), "TokenMissing"),
    ] {
        let answer = proxy.send(request);
        answer.is_refused(401, code);
        let challenges = answer.all("www-authenticate");
        assert!(challenges[0].starts_with("Bearer realm"), "{challenges:?}");
        let dpop = format!("DPoP realm=\"itwin-auth-proxy\", {ALGORITHMS}");
        assert_eq!(challenges[1], dpop);
    }
    let holder = Holder::new(&issuer, &signer);
    holder.send(&proxy, &json!({})).is_the_upstreams(200);
}

#[test]
fn a_route_may_leave_it_to_others_what_tokens_are_bound_to() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({"bound": "ignored"})).start();
    let holder = Holder::new(&issuer, &signer);
    for scheme in ["Bearer", "DPoP"] {
        let answer = proxy.send(request(scheme, &holder.token, ""));
        answer.is_the_upstreams(200);
    }
}

#[test]
fn a_proof_carries_the_nonce_that_a_route_asks_for() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let clock = Clock::for_tests(issuer::wall());
    let rule = json!({"dpop": {"nonce": "required", "algorithms": ["ES256"]}});
    let proxy = guarding(&origin, &issuer, &rule).start_by(clock.clone());
    let holder = Holder::new(&issuer, &signer);
    let challenge = "DPoP realm=\"itwin-auth-proxy\", error=\"use_dpop_nonce\"";
    let without = holder.send(&proxy, &json!({}));
    is_challenged(&without, "ProofNeedsNonce", challenge);
    let text = without.field("www-authenticate").unwrap();
    assert!(text.ends_with("algs=\"ES256\""), "{text}");
    let nonce = without.field("dpop-nonce").unwrap().to_owned();
    // who asks what it needs is given one, too
    assert_eq!(proxy.get("/").field("dpop-nonce"), Some(nonce.as_str()));
    let good = holder.send(&proxy, &json!({"nonce": nonce}));
    good.is_the_upstreams(200);
    assert_eq!(good.field("dpop-nonce"), None, "it is still the newest");
    let made_up = holder.send(&proxy, &json!({"nonce": "bm90IG9uZSBvZiBvdXJz"}));
    is_challenged(&made_up, "ProofNeedsNonce", challenge);

    clock.jump(60_000);
    let iat = issuer::now() + 60;
    let ageing = holder.send(&proxy, &json!({"nonce": nonce, "iat": iat}));
    ageing.is_the_upstreams(200);
    let next = ageing.field("dpop-nonce").unwrap().to_owned();
    assert_ne!(next, nonce);
    clock.jump(60_000);
    let iat = issuer::now() + 120;
    let old = holder.send(&proxy, &json!({"nonce": nonce, "iat": iat}));
    is_challenged(&old, "ProofNeedsNonce", challenge);
    let answer = holder.send(&proxy, &json!({"nonce": next, "iat": iat}));
    answer.is_the_upstreams(200);
}

#[test]
fn behind_a_trusted_proxy_the_uri_is_the_one_that_it_names() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let holder = Holder::new(&issuer, &signer);
    let at = json!({"htu": "https://api.example/"});
    let send = |proxy: &Proxy| {
        let proof = holder.proof(&at);
        let fields = format!(
            "DPoP: {proof}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n"
        );
        proxy.send(request("DPoP", &holder.token, &fields))
    };
    let strange = guarding(&origin, &issuer, &json!({})).start();
    is_challenged(&send(&strange), "ProofInvalid", INVALID_PROOF);
    let trusting = guarding(&origin, &issuer, &json!({}))
        .with("trusted_proxies", json!(["127.0.0.0/8"]))
        .start();
    send(&trusting).is_the_upstreams(200);
    holder.send(&trusting, &json!({})).is_the_upstreams(200);
}

#[test]
fn a_resource_is_what_proofs_are_made_for_whatever_host_the_caller_names() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({}))
        .route("resource", json!("https://api.example/"))
        .start();
    let holder = Holder::new(&issuer, &signer);
    let ours = json!({"htu": "https://api.example/"});
    holder.send(&proxy, &ours).is_the_upstreams(200);
    // the host that the request names
    let named = holder.send(&proxy, &json!({}));
    let begins = "DPoP realm=\"itwin-auth-proxy\"";
    is_challenged(&named, "ProofInvalid", begins);
}

#[test]
fn a_gateway_that_asks_names_the_uri() {
    let (origin, signer) = (
        origin::answering([origin::ok("never asked")]),
        Pair::new("k"),
    );
    let issuer = issuer::serving(&[&signer]);
    let listener = json!([{"bind": "127.0.0.1:0", "mode": "decide", "gateway": "nginx"}]);
    let proxy = guarding(&origin, &issuer, &json!({}))
        .with("listeners", listener)
        .start();
    let holder = Holder::new(&issuer, &signer);
    let ask = |method: &str| {
        let proof = holder.proof(&json!({"htu": "https://api.example/a", "htm": "PUT"}));
        let asked = format!(
            "DPoP: {proof}\r\nX-Original-Method: {method}\r\nX-Original-Proto: https\r\n\
             X-Original-Host: api.example\r\nX-Original-URI: /a?b\r\n"
        );
        proxy.send(request("DPoP", &holder.token, &asked))
    };
    assert_eq!(ask("PUT").status(), 200);
    is_challenged(&ask("GET"), "ProofInvalid", INVALID_PROOF);
}

#[test]
fn a_proof_goes_no_further_than_its_token() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, idp) = (issuer::serving(&[&signer]), idp::issuing());
    let proxy = guarding(&origin, &issuer, &json!({}))
        .injecting(&idp)
        .start();
    let holder = Holder::new(&issuer, &signer);
    holder.send(&proxy, &json!({})).is_the_upstreams(200);
    let seen = &origin.requests()[0];
    assert_eq!(seen.field("authorization"), Some("Bearer token-1"));
    assert_eq!(seen.field("dpop"), None);
}

#[test]
fn a_proof_that_comes_on_many_connections_at_once_is_taken_once() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let issuer = issuer::serving(&[&signer]);
    let proxy = guarding(&origin, &issuer, &json!({}))
        .with("workers", 4)
        .start();
    let holder = Holder::new(&issuer, &signer);
    let mut clients: Vec<Client> = (0..16).map(|_| proxy.connect()).collect();
    for _ in 0..8 {
        let request = holder.request(&holder.proof(&json!({})));
        let statuses: Vec<u16> = thread::scope(|scope| {
            let sent: Vec<_> = clients
                .iter_mut()
                .map(|client| scope.spawn(|| client.send(&request).answer().status()))
                .collect();
            sent.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let taken = statuses.iter().filter(|status| **status == 200).count();
        let refused = statuses.iter().filter(|status| **status == 401).count();
        assert_eq!((taken, refused), (1, 15), "{statuses:?}");
    }
    assert_eq!(origin.requests().len(), 8);
}

/// The same behind TLS, which asks callers for certificates.
fn behind_tls(builder: Builder, server: &Issued, asks: &Value) -> Proxy {
    let mut tls = json!({"certificate": server.certificate, "key": server.key});
    for (key, value) in asks.as_object().unwrap() {
        tls[key] = value.clone();
    }
    let listener = json!([{"bind": "127.0.0.1:0", "tls": tls}]);
    builder.with("listeners", listener).start()
}

fn over(proxy: &Proxy, config: &Arc<ClientConfig>) -> Client {
    Client::over(wire::tls(proxy.address, Arc::clone(config)).unwrap())
}

#[test]
fn a_token_that_is_bound_to_a_certificate_is_good_on_its_connections_only() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, authority) = (issuer::serving(&[&signer]), Authority::new());
    let asks = json!({"client_ca": authority.file(), "client_certificates": "optional"});
    let builder = guarding(&origin, &issuer, &json!({}));
    let proxy = behind_tls(builder, &authority.issue("localhost"), &asks);
    let (own, other) = (authority.issue("own"), authority.issue("other"));
    let cnf = json!({"cnf": {"x5t#S256": own.thumbprint()}});
    let token = signer.token(&issuer.claims(&cnf));
    let request = request("Bearer", &token, "");

    let with_own = authority.client(Some(&own), &[]);
    let mut first = over(&proxy, &with_own);
    first.send(&request).answer().is_the_upstreams(200);
    first.send(&request).answer().is_the_upstreams(200);
    // the session goes on, without the certificate being sent again
    let mut resumed = over(&proxy, &with_own);
    resumed.send(&request).answer().is_the_upstreams(200);

    for shows in [None, Some(&other)] {
        let answer = over(&proxy, &authority.client(shows, &[]))
            .send(&request)
            .answer();
        let begins = "Bearer realm=\"itwin-auth-proxy\", error=\"invalid_token\"";
        is_challenged(&answer, "TokenNotProven", begins);
    }
    // a certificate does not stand in for a token
    over(&proxy, &with_own)
        .send(proxy::get("/"))
        .answer()
        .is_refused(401, "TokenMissing");
    // without TLS there is none
    let plain = guarding(&origin, &issuer, &json!({})).start();
    plain.send(&request).is_refused(401, "TokenNotProven");
}

#[test]
fn a_listener_may_take_any_certificate_for_tokens_that_are_bound_to_it() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, authority) = (issuer::serving(&[&signer]), Authority::new());
    let asks = json!({"client_certificates": "any"});
    let builder = guarding(&origin, &issuer, &json!({"bound": "required"}));
    let proxy = behind_tls(builder, &authority.issue("localhost"), &asks);
    // of an authority that nobody here knows
    let (own, other) = (Authority::new().issue("own"), Authority::new().issue("own"));
    let cnf = json!({"cnf": {"x5t#S256": own.thumbprint()}});
    let token = signer.token(&issuer.claims(&cnf));
    let send = |shows| {
        let mut client = over(&proxy, &authority.client(shows, &[]));
        client.send(request("Bearer", &token, "")).answer()
    };
    send(Some(&own)).is_the_upstreams(200);
    send(Some(&other)).is_refused(401, "TokenNotProven");
    send(None).is_refused(401, "TokenNotProven");
}

#[test]
fn a_token_may_be_bound_to_both_and_then_needs_both() {
    let (origin, signer) = (origin::answering([origin::ok("hello")]), Pair::new("k"));
    let (issuer, authority) = (issuer::serving(&[&signer]), Authority::new());
    let asks = json!({"client_certificates": "any"});
    let builder = guarding(&origin, &issuer, &json!({}));
    let proxy = behind_tls(builder, &authority.issue("localhost"), &asks);
    let (own, key) = (authority.issue("own"), Pair::new("caller"));
    let jwk: Jwk = serde_json::from_value(key.jwk.clone()).unwrap();
    let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
    let cnf = json!({"jkt": thumbprint, "x5t#S256": own.thumbprint()});
    let token = signer.token(&issuer.claims(&json!({"cnf": cnf})));
    let proof = || proof(&key, &token, &json!({"htu": "https://proxy.localhost/"}));
    let send = |shows, scheme: &str, fields: &str| {
        let mut client = over(&proxy, &authority.client(shows, &[]));
        client.send(request(scheme, &token, fields)).answer()
    };
    let proven = format!("DPoP: {}\r\n", proof());
    send(Some(&own), "Bearer", "").is_refused(401, "TokenNotProven");
    send(None, "DPoP", &proven).is_refused(401, "TokenNotProven");
    send(Some(&own), "DPoP", &proven).is_the_upstreams(200);
}
