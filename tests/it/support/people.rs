//! People who sign in: the sandbox as their provider, and browsers that follow redirects when they
//! are told to. The address that browsers use is one of a name; where it leads, the test knows.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use itwin_auth_proxy::{
    clock::Clock,
    sandbox::{Counts, Faults, Sandbox, SandboxConfig},
};
use serde_json::json;
use url::Url;

use super::{
    client::{Answer, Client},
    origin::Origin,
    proxy::{self, Builder, Proxy},
};

/// Where browsers find the proxy.
pub(crate) const PUBLIC: &str = "http://localhost:8080";
const HOST: &str = "localhost:8080";
pub(crate) const KEY: &str = "a key for cookies that has 32 characters";
pub(crate) const ADA: &str = "ada@sandbox.example";

/// A provider at which people sign in without being asked.
pub(crate) struct Provider {
    sandbox: Sandbox,
    _runtime: tokio::runtime::Runtime,
}

/// Its tokens live for an hour by this clock.
pub(crate) fn provider(clock: &Clock) -> Provider {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = SandboxConfig {
        clock: clock.clone(),
        token_lifetime: Duration::from_secs(3600),
        ..SandboxConfig::default()
    };
    let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
    sandbox.faults().visitor(ADA);
    Provider {
        sandbox,
        _runtime: runtime,
    }
}

impl Provider {
    pub(crate) fn faults(&self) -> &Faults {
        self.sandbox.faults()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.sandbox.counts()
    }

    pub(crate) fn issuer(&self) -> &str {
        self.sandbox.issuer()
    }

    /// The application's proxy: all of `origin` is for people who are signed in.
    pub(crate) fn in_front_of(&self, origin: &Origin) -> Builder {
        self.with_client(
            origin,
            json!({"client_id": "webapp-sandbox", "client_secret": "sandbox-secret"}),
        )
    }

    /// The same, with the client of a registration that has the implicit flow only.
    pub(crate) fn of_former_days(&self, origin: &Origin) -> Builder {
        self.with_client(
            origin,
            json!({"client_id": "legacy-sandbox", "flow": "implicit", "scopes": ["openid", "profile", "itwin-platform"]}),
        )
    }

    fn with_client(&self, origin: &Origin, mut client: serde_json::Value) -> Builder {
        client["provider"] = "idp".into();
        client["grant"] = "authorization_code".into();
        if client["scopes"].is_null() {
            client["scopes"] = json!([
                "openid",
                "profile",
                "email",
                "offline_access",
                "itwin-platform"
            ]);
        }
        proxy::to(origin)
            .with("providers.idp", json!({"issuer": self.issuer()}))
            .with("credentials.web", client)
            .with("sessions.web", json!({"public_url": PUBLIC, "key": KEY}))
            .route("admit", json!([{"session": "web"}]))
            .route("inject", json!({"credential": "web"}))
    }
}

/// A browser: cookies, and no more.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    proxy: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The provider's.
    theirs: BTreeMap<String, String>,
}

/// What a navigation sends.
pub(crate) const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\nAccept: text/html\r\n";
/// What a script of our own page sends.
pub(crate) const SCRIPT: &str = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\nAccept: */*\r\n";

impl Browser {
    pub(crate) fn of(proxy: &Proxy) -> Self {
        Self {
            proxy: proxy.address,
            cookies: BTreeMap::new(),
            theirs: BTreeMap::new(),
        }
    }

    /// The same browser, before another process.
    pub(crate) fn at(&self, proxy: &Proxy) -> Self {
        Self {
            proxy: proxy.address,
            ..self.clone()
        }
    }

    pub(crate) fn navigate(&mut self, path: &str) -> Answer {
        self.send("GET", path, NAVIGATION, "")
    }

    pub(crate) fn fetch(&mut self, path: &str) -> Answer {
        self.send("GET", path, SCRIPT, "")
    }

    /// One request to the proxy, and what it did to the cookies.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let answer = self.ask(method, path, fields, body);
        keep(&mut self.cookies, &answer);
        answer
    }

    /// The same, without what it did to the cookies.
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let cookie = written(&self.cookies);
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{cookie}{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        Client::connect(self.proxy).send(request).answer()
    }

    /// Follows redirects, to the provider and back, until there is something else.
    pub(crate) fn sign_in(&mut self, path: &str) -> Answer {
        let answer = self.navigate(path);
        self.follow(answer)
    }

    pub(crate) fn follow(&mut self, mut answer: Answer) -> Answer {
        for _ in 0..12 {
            if !matches!(answer.status(), 302 | 303) {
                return answer;
            }
            let to = Url::parse(PUBLIC).unwrap();
            let to = to.join(answer.field("location").unwrap()).unwrap();
            answer = if to.as_str().starts_with(PUBLIC) {
                self.navigate(&path_of(&to))
            } else {
                let answer = self.at_provider(&to);
                // a form that the page posts by itself
                match form(&answer) {
                    Some((action, body)) => {
                        let action = Url::parse(&action).unwrap();
                        let fields = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: cross-site\r\nOrigin: null\r\n";
                        // none but those that come with other sites' forms (`SameSite=None`)
                        let session = self.cookies.clone();
                        self.cookies.retain(|name, _| name.contains(".tx-"));
                        let posted = self.ask("POST", &path_of(&action), fields, &body);
                        self.cookies = session;
                        keep(&mut self.cookies, &posted);
                        posted
                    }
                    None => answer,
                }
            };
        }
        panic!("redirected without end: {answer:?}")
    }

    /// One request to the provider.
    pub(crate) fn at_provider(&mut self, url: &Url) -> Answer {
        let address = url.socket_addrs(|| None).unwrap()[0];
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let cookie = written(&self.theirs);
        let path = path_of(url);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\n{cookie}Accept: text/html\r\nConnection: close\r\n\r\n"
        );
        let answer = Client::connect(address).send(request).answer();
        keep(&mut self.theirs, &answer);
        answer
    }

    /// The names of its cookies.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.cookies.keys().map(String::as_str).collect()
    }
}

pub(crate) fn path_of(url: &Url) -> String {
    url[url::Position::BeforePath..url::Position::AfterQuery].to_owned()
}

fn written(cookies: &BTreeMap<String, String>) -> String {
    if cookies.is_empty() {
        return String::new();
    }
    let pairs = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    format!("Cookie: {}\r\n", pairs.collect::<Vec<_>>().join("; "))
}

fn keep(cookies: &mut BTreeMap<String, String>, answer: &Answer) {
    for line in answer.all("set-cookie") {
        let mut parts = line.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        if parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0")) {
            cookies.remove(name);
        } else {
            cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Address and body of a page's only form, if all of its fields are hidden.
fn form(answer: &Answer) -> Option<(String, String)> {
    if answer.status() != 200 || !answer.text().contains("type=\"hidden\"") {
        return None;
    }
    let attribute = |text: &str, name: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("{name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(
            value
                .replace("&amp;", "&")
                .replace("&quot;", "\"")
                .replace("&#39;", "'")
                .replace("&lt;", "<")
                .replace("&gt;", ">"),
        )
    };
    let text = answer.text();
    let action = attribute(text, "action")?;
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    for input in text.split("<input").skip(1) {
        let input = input.split('>').next()?;
        if input.contains("hidden") {
            body.append_pair(&attribute(input, "name")?, &attribute(input, "value")?);
        }
    }
    Some((action, body.finish()))
}
