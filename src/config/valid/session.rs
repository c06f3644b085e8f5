//! Sessions: who signs people in, and where browsers find us.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use url::Url;

use super::{
    super::{
        Admit, AdmitRule, Credential, Endpoints, Flow, Name, SecretPair, Session, SessionStore,
        Streams,
        path::Path,
        problem::{did_you_mean, shown},
        raw,
    },
    Check,
    files::Forms,
    route::Numbered,
    scalar::{HOUR, MINUTE},
};

const PREFIX: &str = "/.itwin-auth";
const COOKIE: &str = "__Host-itwin-auth";
const DAY: Duration = HOUR.saturating_mul(24);
/// A key that is shorter is no random one.
const SHORTEST_KEY: usize = 32;
/// Parameters that we send ourselves, or that would undo a check.
const RESERVED: [&str; 11] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "state",
];

pub(super) type Sessions = BTreeMap<Name, Arc<Session>>;

impl Check<'_> {
    pub(super) fn sessions(
        &mut self,
        written: &BTreeMap<String, raw::Session>,
        credentials: &BTreeMap<Name, Arc<Credential>>,
    ) -> Sessions {
        let mut all = Sessions::new();
        for (name, raw) in written {
            let path = Path::root().key("sessions").key(name);
            self.name(&path, name);
            let cookie = if written.len() == 1 {
                COOKIE.to_owned()
            } else {
                format!("{COOKIE}-{name}")
            };
            let Some(session) = self.session(&path, name, raw, cookie, credentials) else {
                continue;
            };
            let same = |other: &&Arc<Session>| {
                other.public.host_str() == session.public.host_str()
                    && (other.prefix == session.prefix || other.callback == session.callback)
            };
            if let Some(other) = all.values().find(same) {
                let text = format!("the session {} has the same endpoints", other.name);
                let hint = "give each a prefix and a callback_path of its own, or a host";
                self.error(&path.key("prefix"), text, hint);
            }
            all.insert(name.as_str().into(), Arc::new(session));
        }
        all
    }

    fn session(
        &mut self,
        path: &Path,
        name: &str,
        raw: &raw::Session,
        cookie: String,
        credentials: &BTreeMap<Name, Arc<Credential>>,
    ) -> Option<Session> {
        let credential = self.signs_in_by(path, raw.credential.as_deref(), credentials);
        let public = self.public_url(&path.key("public_url"), raw.public_url.as_deref());
        let prefix = self.plain_path(&path.key("prefix"), raw.prefix.as_deref(), PREFIX);
        if prefix.as_deref() == Some("") {
            let hint = format!("write it as in {PREFIX}");
            self.error(&path.key("prefix"), "would take all paths", hint);
        }
        let callback = match (&raw.callback_path, &prefix) {
            (None, Some(prefix)) => Some(format!("{prefix}/callback")),
            (None, None) => None,
            (Some(_), _) => {
                let at = path.key("callback_path");
                self.plain_path(&at, raw.callback_path.as_deref(), "/signin-callback")
            }
        };
        let key = self.cookie_key(path, raw);
        let store = self.session_store(path, raw);
        if raw.directory.is_some() && raw.store != Some(raw::SessionStore::Directory) {
            let hint = "write store: directory, or leave it out";
            self.error(
                &path.key("directory"),
                "has no effect with this store",
                hint,
            );
        }
        if key.is_none() && matches!(store, Some(SessionStore::Directory(_))) {
            let hint = "give key_file; openssl rand -base64 32 makes a good one";
            let text = "is missing: sessions that outlive the program are sealed with it";
            self.missing(&path.key("key"), text, hint);
        }
        let (idle, absolute) = self.lifetimes(path, raw);
        for key in raw.parameters.keys() {
            if RESERVED.contains(&key.as_str()) {
                let at = path.key("parameters").key(key);
                self.error(&at, "is sent by the program itself", "");
            }
        }
        let signed_out = raw.signed_out.as_deref();
        let signed_out = signed_out.map(|_| {
            let rooted = signed_out.is_some_and(|path| path == "/");
            let plain = self.plain_path(&path.key("signed_out"), signed_out, "/");
            plain.map(|plain| if rooted { "/".to_owned() } else { plain })
        });
        let origins = self.origins(&path.key("origins"), raw.origins.as_ref());
        Some(Session {
            name: name.into(),
            credential: credential?,
            public: public?,
            prefix: prefix?,
            callback: callback?,
            key,
            cookie,
            store: store?,
            idle,
            absolute,
            parameters: raw.parameters.clone(),
            pages: raw
                .pages
                .as_deref()
                .and_then(|pages| self.pages(path, pages)),
            signed_out: signed_out.flatten(),
            origins: origins?,
            streams: match raw.streams {
                None | Some(raw::Streams::Close) => Streams::Close,
                Some(raw::Streams::Finish) => Streams::Finish,
            },
            sign_ins_per_minute: raw
                .sign_ins_per_minute
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::new(30)?),
        })
    }

    /// The credential, which must be able to sign a person in.
    fn signs_in_by(
        &mut self,
        path: &Path,
        written: Option<&str>,
        credentials: &BTreeMap<Name, Arc<Credential>>,
    ) -> Option<Arc<Credential>> {
        let at = path.key("credential");
        let credential = if let Some(name) = written {
            self.credential_called(&at, name, credentials)?
        } else {
            let mut able = credentials
                .values()
                .filter(|one| one.grant.flow().is_some());
            let (Some(only), None) = (able.next(), able.next()) else {
                let text = "must be given: which credential do people sign in by?";
                self.missing(&at, text, "it has grant: authorization_code");
                return None;
            };
            Arc::clone(only)
        };
        let Some(flow) = credential.grant.flow() else {
            let text = format!("the credential {} signs nobody in", credential.name);
            self.error(&at, text, "give it grant: authorization_code");
            return None;
        };
        let about = Path::root().key("credentials").key(&credential.name);
        if let Endpoints::Given { .. } = credential.provider.endpoints {
            let text = "people cannot sign in where only the token endpoint is known";
            let hint = "leave token_endpoint of the provider out: its metadata say the rest";
            self.error(&about.key("provider"), text, hint);
        }
        if !credential.scopes.contains("openid") {
            let text = "without openid nobody learns who has signed in";
            let hint = "write scopes: [openid, profile, email, offline_access, …]";
            self.error(&about.key("scopes"), text, hint);
        }
        let offline = credential.scopes.contains("offline_access");
        match flow {
            Flow::Code if !offline => self.warn(
                &about.key("scopes"),
                "without offline_access people have to sign in again when the first token ends, after about an hour",
                "add offline_access, if the registration allows it",
            ),
            Flow::Implicit if offline => self.error(
                &about.key("scopes"),
                "offline_access cannot be had with flow: implicit",
                "leave it out; tokens are renewed by the provider's own session",
            ),
            Flow::Implicit => self.warn(
                &about.key("flow"),
                "the implicit flow is kept for registrations that have nothing else",
                "ask the registration's owner for the authorization code flow with PKCE, a redirect URI and offline_access; then take flow out",
            ),
            Flow::Code => {}
        }
        Some(credential)
    }

    fn public_url(&mut self, path: &Path, written: Option<&str>) -> Option<Url> {
        let Some(written) = written else {
            let text = "is missing: browsers are sent back there";
            self.missing(path, text, "write it as in https://app.example.com");
            return None;
        };
        let url = self.secure_url(path, written)?;
        if url.path() != "/" {
            let hint = "prefix and callback_path say the rest";
            self.error(path, "is an origin: it has no path", hint);
            return None;
        }
        Some(url)
    }

    fn cookie_key(&mut self, path: &Path, raw: &raw::Session) -> Option<SecretPair> {
        let current = Forms {
            key: "key",
            value: raw.key.as_ref(),
            file: raw.key_file.as_ref(),
            env: raw.key_env.as_ref(),
        };
        let previous = Forms {
            key: "key_previous",
            value: raw.key_previous.as_ref(),
            file: raw.key_previous_file.as_ref(),
            env: raw.key_previous_env.as_ref(),
        };
        if !current.given() {
            if previous.given() {
                self.error(&path.key("key_previous"), "replaces none", "give key too");
            } else if raw.store != Some(raw::SessionStore::Directory) {
                self.warn(
                    path,
                    "has no key, so that a restart signs everybody out",
                    "give key_file; openssl rand -base64 32 makes a good one",
                );
            }
            return None;
        }
        let pair = self.secret_pair(path, current, previous)?;
        for (key, source) in [
            ("key", Some(&pair.current)),
            ("key_previous", pair.previous.as_ref()),
        ] {
            self.at_least(path, key, source, SHORTEST_KEY);
        }
        Some(pair)
    }

    fn session_store(&mut self, path: &Path, raw: &raw::Session) -> Option<SessionStore> {
        match raw.store {
            None | Some(raw::SessionStore::Cookie) => Some(SessionStore::Cookie),
            Some(raw::SessionStore::Memory) => Some(SessionStore::Memory),
            Some(raw::SessionStore::Directory) => {
                let at = path.key("directory");
                let Some(directory) = raw.directory.as_deref() else {
                    self.missing(&at, "is missing: sessions are kept there", "");
                    return None;
                };
                let inside = std::path::Path::new(directory).join("session");
                let writable = self.writable_directory(&at, &inside.to_string_lossy());
                writable.then(|| SessionStore::Directory(directory.into()))
            }
        }
    }

    fn lifetimes(&mut self, path: &Path, raw: &raw::Session) -> (Duration, Duration) {
        let absolute = self.duration(
            &path.key("absolute"),
            raw.absolute.as_deref(),
            HOUR.saturating_mul(12),
            MINUTE..=DAY.saturating_mul(90),
        );
        let idle = self.duration(
            &path.key("idle"),
            raw.idle.as_deref(),
            HOUR.saturating_mul(4).min(absolute),
            MINUTE..=DAY.saturating_mul(30),
        );
        if idle > absolute {
            let text = "is longer than absolute, so that it has no effect";
            self.error(&path.key("idle"), text, "");
        }
        (idle, absolute)
    }

    fn pages(&mut self, path: &Path, written: &str) -> Option<std::path::PathBuf> {
        let at = path.key("pages");
        if std::path::Path::new(written).is_dir() {
            return Some(written.into());
        }
        let text = format!("{} is not a directory", shown(&at, written));
        self.error(
            &at,
            text,
            "it holds sign-in.html, signed-out.html or error.html",
        );
        None
    }

    /// As browsers write them.
    fn origins(&mut self, path: &Path, written: Option<&raw::Texts>) -> Option<Vec<String>> {
        let mut origins = Vec::new();
        for (n, text) in written.iter().flat_map(|all| all.0.iter()).enumerate() {
            let at = path.index(n);
            let url = self.url(&at, text)?;
            if url.path() != "/" {
                self.error(&at, "is an origin: it has no path", "");
            }
            origins.push(url.origin().ascii_serialization());
        }
        Some(origins)
    }

    /// The session that a rule names.
    pub(super) fn session_called(&mut self, path: &Path, name: &str) -> Option<AdmitRule> {
        if let Some(session) = self.sessions.get(name) {
            return Some(AdmitRule::Session(Arc::clone(session)));
        }
        let declared = self.tree.get("sessions").map(super::Node::keys);
        let declared = declared.unwrap_or_default();
        if declared.contains(&name) {
            return None; // it is there, with problems of its own
        }
        let hint = did_you_mean(name, declared.iter().copied())
            .unwrap_or_else(|| "declare it under sessions".into());
        let text = format!("no session is called '{}'", name.escape_debug());
        self.error(path, text, hint);
        None
    }

    /// What only shows when routes and sessions are seen together.
    pub(super) fn people(&mut self, routes: &[Numbered]) {
        let mut used = Vec::new();
        for Numbered { index, route } in routes {
            let path = Path::root().key("routes").index(*index);
            let rules = match &route.admit {
                Admit::Rules(rules) => rules.as_slice(),
                Admit::Local | Admit::Anyone => &[],
            };
            let sessions = rules.iter().filter_map(|rule| match rule {
                AdmitRule::Session(session) => Some(session),
                _ => None,
            });
            let sessions: Vec<_> = sessions.collect();
            used.extend(sessions.iter().map(|session| Arc::clone(&session.name)));
            if sessions.len() > 1 {
                let text = "names several sessions, and a browser cannot know by which to sign in";
                self.error(&path.key("admit"), text, "name one");
            }
            let Some(inject) = &route.inject else {
                continue;
            };
            if inject.credential.grant.flow().is_none() {
                continue;
            }
            let name = &inject.credential.name;
            let theirs = |rule: &AdmitRule| matches!(rule, AdmitRule::Session(session) if session.credential.name == *name);
            if rules.is_empty() || !rules.iter().all(theirs) {
                let text = format!(
                    "{name} is the token of a person who is signed in, and not everybody whom the route admits is"
                );
                let hint = "write admit: {session: …}, with a session of this credential, and nothing else";
                self.error(&path.key("inject").key("credential"), text, hint);
            }
        }
        let unused: Vec<_> = self
            .sessions
            .keys()
            .filter(|name| !used.contains(name))
            .cloned()
            .collect();
        for name in unused {
            let path = Path::root().key("sessions").key(&name);
            let hint = format!("a route admits its people with admit: {{session: {name}}}");
            self.warn(&path, "no route asks for this session", hint);
        }
    }
}
