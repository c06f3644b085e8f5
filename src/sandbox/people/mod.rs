//! People who sign in at the mock authorization server: OpenID Connect with pages, as a browser
//! and a program at a desk meet it.
//!
//! Who there is ([`Person`]), who is signed in where, and what was given for it ([`Desk`]). Nobody
//! here is real, and everybody's password is shown on the page that asks for it. The pages have no
//! script but the one line that sends a `form_post`.

pub(super) mod authorize;
pub(super) mod codes;
pub(super) mod device;
mod end_session;
pub(super) mod id_token;
mod notify;
mod pages;
mod push;
mod registration;
mod request;
mod response;
mod userinfo;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, header::COOKIE};
use serde_json::{Map, Value};

pub use self::registration::{Consent, Implicit, Registration};
use self::{authorize::Interaction, codes::Code, device::Device, push::Pushed};
use super::{guid, idp::random_text};

/// Somebody who can sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Also the name to sign in with.
    pub mail: String,
    pub name: String,
    pub password: String,
}

impl Person {
    /// `sub` of every token about this person.
    pub(super) fn subject(&self) -> String {
        guid(0xc2, &self.mail)
    }

    /// The claims that `scopes` ask for (`OpenID` Connect Core section 5.4).
    pub(super) fn describe(&self, scopes: &[String], claims: &mut Map<String, Value>) {
        let has = |scope: &str| scopes.iter().any(|asked| asked == scope);
        if has("profile") {
            claims.insert("name".into(), self.name.clone().into());
            let (given, family) = self.name.split_once(' ').unwrap_or((&self.name, ""));
            claims.insert("given_name".into(), given.into());
            claims.insert("family_name".into(), family.into());
            claims.insert("preferred_username".into(), self.mail.clone().into());
        }
        if has("email") {
            claims.insert("email".into(), self.mail.clone().into());
            claims.insert("email_verified".into(), true.into());
        }
    }
}

/// What a person granted a client, once; all tokens that come of it are one family.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) person: Person,
    pub(super) client_id: String,
    pub(super) scopes: Vec<String>,
    pub(super) auth_time: u64,
    pub(super) sid: String,
    pub(super) nonce: Option<String>,
    pub(super) family: u64,
}

/// One person's session in one browser.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) person: Person,
    pub(super) auth_time: u64,
    pub(super) sid: String,
    /// Who has to be told when it ends.
    pub(super) clients: BTreeSet<String>,
}

/// Everything that is under way or remembered.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// By the cookie's value; the last account is the active one.
    pub(super) browsers: HashMap<String, Vec<Account>>,
    pub(super) interactions: HashMap<String, Interaction>,
    pub(super) pushed: HashMap<String, Pushed>,
    pub(super) codes: HashMap<String, Code>,
    /// By `device_code`.
    pub(super) devices: HashMap<String, Device>,
    /// What was allowed before, by mail and client.
    pub(super) consents: BTreeMap<(String, String), BTreeSet<String>>,
    /// The serial numbers of the access tokens of each family.
    families: Vec<Vec<u64>>,
    /// The code of the last sign-in, and of the one before.
    pub(super) last_code: Option<String>,
    pub(super) earlier_code: Option<String>,
}

impl Desk {
    pub(super) fn family(&mut self) -> u64 {
        self.families.push(Vec::new());
        self.families.len() as u64 - 1
    }

    /// Notes a new access token of `family`.
    pub(super) fn issued(&mut self, family: u64, serial: u64) {
        let family = usize::try_from(family).ok();
        if let Some(serials) = family.and_then(|family| self.families.get_mut(family)) {
            serials.push(serial);
        }
    }

    pub(super) fn serials(&self, family: u64) -> &[u64] {
        let family = usize::try_from(family).ok();
        family
            .and_then(|family| self.families.get(family))
            .map_or(&[], Vec::as_slice)
    }

    /// Who is signed in in this browser.
    pub(super) fn accounts(&self, browser: Option<&str>) -> &[Account] {
        browser
            .and_then(|browser| self.browsers.get(browser))
            .map_or(&[], Vec::as_slice)
    }

    /// `person` has just shown the password, or was chosen: active from now on.
    pub(super) fn activate(&mut self, browser: &str, person: &Person, since: Since) {
        let accounts = self.browsers.entry(browser.to_owned()).or_default();
        let known = accounts
            .iter()
            .position(|account| account.person == *person)
            .map(|place| accounts.remove(place));
        let mut account = match (known, since) {
            (Some(account), _) => account,
            (None, Since::Now(auth_time)) => Account {
                person: person.clone(),
                auth_time,
                sid: random_text(),
                clients: BTreeSet::new(),
            },
            (None, Since::Before) => return,
        };
        if let Since::Now(auth_time) = since {
            account.auth_time = auth_time;
        }
        accounts.push(account);
    }

    /// The active account, which from now on has something to do with `client_id`.
    pub(super) fn meet(&mut self, browser: &str, client_id: &str) -> Option<Account> {
        let account = self.browsers.get_mut(browser)?.last_mut()?;
        account.clients.insert(client_id.to_owned());
        Some(account.clone())
    }

    /// What a person granted in that session.
    pub(super) fn grant(
        &mut self,
        account: &Account,
        client_id: &str,
        scopes: Vec<String>,
        nonce: Option<String>,
    ) -> Arc<Granted> {
        Arc::new(Granted {
            person: account.person.clone(),
            client_id: client_id.to_owned(),
            scopes,
            auth_time: account.auth_time,
            sid: account.sid.clone(),
            nonce,
            family: self.family(),
        })
    }
}

/// When somebody showed the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Unix seconds.
    Now(u64),
    /// At some time in this session.
    Before,
}

/// Browsers know an address by its host alone: several sandboxes would take each other's cookie.
fn cookie_name(issuer: &str) -> String {
    let port = issuer.rsplit(':').next().unwrap_or_default();
    format!("sandbox-sign-in-{port}")
}

/// The value of our cookie.
pub(super) fn browser(headers: &HeaderMap, issuer: &str) -> Option<String> {
    let name = cookie_name(issuer);
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// `SameSite=None`, so that a hidden frame of another site can ask with `prompt=none`.
fn set_cookie(issuer: &str, value: &str) -> Option<HeaderValue> {
    let name = cookie_name(issuer);
    let end = if value.is_empty() { "; Max-Age=0" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; Secure; SameSite=None{end}");
    HeaderValue::from_str(&text).ok()
}
