//! The authorization endpoint and what it asks people: to sign in, to choose, to allow.
//!
//! An [`Interaction`] is a request that waits for a person. After each of their answers it is looked
//! at afresh, and goes on, or asks the next thing.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::SET_COOKIE};

use super::super::{
    answer,
    idp::{Form, Idp, OAuthError, random_text},
    server::Body,
    token::{Issue, OFFLINE},
};
use super::{
    Account, Person, Since, browser, pages,
    request::{Ask, Bad, Flow, Prompt},
    set_cookie,
};

/// Seconds that a person has.
const PATIENCE: u64 = 1800;

/// A request that waits for a person.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct Interaction {
    pub(super) ask: Ask,
    pub(super) goal: Goal,
    /// What the person has done here.
    done: BTreeSet<Step>,
    ends: u64,
}

/// What the person's consent is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// An answer to the client in this browser.
    Answer,
    /// The device that polls with this code.
    Device(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    SignedIn,
    Chosen,
    /// Chose to sign in as somebody else.
    Another,
    Consented,
}

/// What comes next.
#[derive(Debug)]
enum Next {
    SignIn,
    Choose(Vec<Account>),
    Consent(Account),
    Finish,
}

impl Interaction {
    pub(super) fn client_name(&self) -> &str {
        match self.ask.client.registration.name.as_str() {
            "" => &self.ask.client.id,
            name => name,
        }
    }
}

impl Idp {
    /// `/connect/authorize`, by GET or POST.
    pub(in crate::sandbox) fn authorize(&self, request: &Request<Bytes>) -> Response<Body> {
        let form = match *request.method() {
            Method::GET => Form::parse(request.uri().query().unwrap_or_default().as_bytes()),
            Method::POST => Form::read(request.headers(), request.body()),
            _ => return answer::empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        let form = form.map_err(|error| Bad::Here(error.description));
        let ask = form
            .and_then(|form| self.pulled(form))
            .and_then(|form| Ask::read(&form, &self.clients));
        match ask {
            Ok(ask) => self.begin(ask, Goal::Answer, request),
            Err(Bad::Here(text)) => pages::error(&text),
            Err(Bad::There(back, error)) => self.refuse(&back, &error),
        }
    }

    /// Begins with a person, or goes on at once where nothing has to be asked.
    pub(super) fn begin(&self, ask: Ask, goal: Goal, request: &Request<Bytes>) -> Response<Body> {
        let mut browser = browser(request.headers(), &self.issuer);
        let mut interaction = Interaction {
            ask,
            goal,
            done: BTreeSet::new(),
            ends: self.clock.now().unix_seconds() + PATIENCE,
        };
        let mut fresh = None;
        if let Some(person) = self.visitor() {
            // who comes is known, and agrees
            let value = browser.clone().unwrap_or_else(random_text);
            let now = Since::Now(self.clock.now().unix_seconds());
            self.desk.lock().activate(&value, &person, now);
            interaction.done = [Step::SignedIn, Step::Chosen, Step::Consented].into();
            fresh = set_cookie(&self.issuer, &value);
            browser = Some(value);
        }
        let next = self.next(&interaction, browser.as_deref());
        let silent = interaction.ask.wants(Prompt::None);
        let mut response = match (&next, silent) {
            (Next::Finish, _) | (_, false) => {
                let id = random_text();
                let mut desk = self.desk.lock();
                let now = self.clock.now().unix_seconds();
                desk.interactions.retain(|_, waiting| now < waiting.ends);
                desk.interactions.insert(id.clone(), interaction.clone());
                drop(desk);
                self.show(&id, &interaction, browser.as_deref(), next, None)
            }
            (Next::SignIn, true) => self.unseen(&interaction.ask, "login_required"),
            (Next::Choose(_), true) => self.unseen(&interaction.ask, "interaction_required"),
            (Next::Consent(_), true) => self.unseen(&interaction.ask, "consent_required"),
        };
        if let Some(cookie) = fresh {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    /// Who is taken to be there, if the sandbox was told so.
    fn visitor(&self) -> Option<Person> {
        let mail = self.faults.known_visitor()?;
        self.people
            .iter()
            .find(|person| person.mail == mail)
            .cloned()
    }

    fn unseen(&self, ask: &Ask, error: &str) -> Response<Body> {
        let text = "a person would have to be asked";
        self.refuse(&ask.back, &OAuthError::new(error, text))
    }

    /// Decides (`OpenID` Connect Core section 3.1.2.3).
    fn next(&self, interaction: &Interaction, browser: Option<&str>) -> Next {
        let (ask, done) = (&interaction.ask, |step| interaction.done.contains(&step));
        let desk = self.desk.lock();
        let accounts = desk.accounts(browser);
        let Some(active) = accounts.last() else {
            return Next::SignIn;
        };
        if !done(Step::SignedIn) {
            let now = self.clock.now().unix_seconds();
            let too_old = |age: u64| now.saturating_sub(active.auth_time) > age;
            if ask.wants(Prompt::Login) || done(Step::Another) || ask.max_age.is_some_and(too_old) {
                return Next::SignIn;
            }
            let hinted = ask
                .id_token_hint
                .as_deref()
                .and_then(|hint| self.hinted(hint));
            if hinted.is_some_and(|hint| hint.subject != active.person.subject()) {
                return Next::SignIn;
            }
            let other = ask
                .login_hint
                .as_ref()
                .is_some_and(|hint| *hint != active.person.mail);
            if !done(Step::Chosen) && (other || ask.wants(Prompt::SelectAccount)) {
                return Next::Choose(accounts.to_vec());
            }
        }
        if !done(Step::Consented) {
            let before = (active.person.mail.clone(), ask.client.id.clone());
            let before = desk.consents.get(&before);
            let new = |scope: &String| before.is_none_or(|before| !before.contains(scope));
            let asked = ask.client.registration.consent == super::Consent::Asked;
            if ask.wants(Prompt::Consent) || asked && ask.scopes.iter().any(new) {
                return Next::Consent(active.clone());
            }
        }
        Next::Finish
    }

    fn show(
        &self,
        id: &str,
        interaction: &Interaction,
        browser: Option<&str>,
        next: Next,
        wrong: Option<&str>,
    ) -> Response<Body> {
        match next {
            Next::SignIn => pages::sign_in(interaction, id, &self.people, wrong),
            Next::Choose(accounts) => pages::choose(interaction, id, &accounts),
            Next::Consent(account) => pages::consent(interaction, id, &account.person),
            Next::Finish => {
                self.desk.lock().interactions.remove(id);
                self.finish(interaction, browser.unwrap_or_default())
            }
        }
    }

    /// `/interaction/ID[/STEP]`: the page again, or what a person answered.
    pub(in crate::sandbox) fn interact(
        &self,
        path: &str,
        request: &Request<Bytes>,
    ) -> Response<Body> {
        let (id, step) = path.split_once('/').unwrap_or((path, ""));
        let waiting = self.desk.lock().interactions.get(id).cloned();
        let now = self.clock.now().unix_seconds();
        let Some(mut interaction) = waiting.filter(|waiting| now < waiting.ends) else {
            return pages::error(
                "This page has been used, or is too old. Go back to where you came from.",
            );
        };
        let mut browser = browser(request.headers(), &self.issuer);
        let form = match *request.method() {
            Method::GET => Form::parse(b""),
            _ => Form::read(request.headers(), request.body()),
        };
        let Ok(form) = form else {
            return pages::error("This is not what the page sends.");
        };
        let (mut fresh, mut wrong) = (None, None);
        match (request.method(), step) {
            (&Method::GET, _) => {}
            (&Method::POST, "login") => {
                let person = self.people.iter().find(|person| {
                    form.get("login") == Some(&person.mail)
                        && form.get("password") == Some(&person.password)
                });
                if let Some(person) = person {
                    // another value than before the sign-in: nobody else may have set it
                    let value = random_text();
                    let mut desk = self.desk.lock();
                    let before = browser.as_deref().and_then(|old| desk.browsers.remove(old));
                    desk.browsers
                        .insert(value.clone(), before.unwrap_or_default());
                    desk.activate(&value, person, Since::Now(now));
                    drop(desk);
                    self.journal.count(|counts| counts.sign_ins += 1);
                    interaction.done.extend([Step::SignedIn, Step::Chosen]);
                    fresh = set_cookie(&self.issuer, &value);
                    browser = Some(value);
                } else {
                    wrong = Some("Nobody has this mail address and this password.");
                }
            }
            (&Method::POST, "select") => {
                let chosen = self.chosen(&form, browser.as_deref());
                let step = if chosen { Step::Chosen } else { Step::Another };
                interaction.done.insert(step);
            }
            (&Method::POST, "consent") if form.get("decision") == Some("allow") => {
                interaction.done.insert(Step::Consented);
            }
            (&Method::POST, "consent" | "cancel") => return self.denied(id, &interaction),
            _ => return answer::empty(StatusCode::NOT_FOUND),
        }
        let mut desk = self.desk.lock();
        desk.interactions.insert(id.to_owned(), interaction.clone());
        drop(desk);
        let next = self.next(&interaction, browser.as_deref());
        let mut response = self.show(id, &interaction, browser.as_deref(), next, wrong);
        if let Some(cookie) = fresh {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }

    /// Whether one of those who are signed in was chosen.
    fn chosen(&self, form: &Form, browser: Option<&str>) -> bool {
        let Some((login, browser)) = form.get("login").zip(browser) else {
            return false;
        };
        let mut desk = self.desk.lock();
        let accounts = desk.accounts(Some(browser)).iter();
        let person = accounts
            .map(|account| &account.person)
            .find(|person| person.mail == login);
        let Some(person) = person.cloned() else {
            return false;
        };
        desk.activate(browser, &person, Since::Before);
        true
    }

    fn denied(&self, id: &str, interaction: &Interaction) -> Response<Body> {
        self.desk.lock().interactions.remove(id);
        match &interaction.goal {
            Goal::Answer => {
                let error = OAuthError::new("access_denied", "the person said no");
                self.refuse(&interaction.ask.back, &error)
            }
            Goal::Device(code) => self.device_denied(code),
        }
    }

    /// All is said: the client gets what it asked for.
    fn finish(&self, interaction: &Interaction, browser: &str) -> Response<Body> {
        let ask = &interaction.ask;
        let mut desk = self.desk.lock();
        let Some(account) = desk.meet(browser, &ask.client.id) else {
            return pages::error("Nobody is signed in.");
        };
        let allowed = (account.person.mail.clone(), ask.client.id.clone());
        let allowed = desk.consents.entry(allowed).or_default();
        allowed.extend(ask.scopes.iter().cloned());
        let granted = desk.grant(
            &account,
            &ask.client.id,
            ask.scopes.clone(),
            ask.nonce.clone(),
        );
        drop(desk);
        if let Goal::Device(code) = &interaction.goal {
            return self.device_allowed(code, granted);
        }
        match ask.flow {
            Flow::Code => {
                let code = self.new_code(ask, granted);
                self.back(&ask.back, vec![("code", code)])
            }
            Flow::Tokens => {
                let issue = Issue {
                    client_id: ask.client.id.clone(),
                    user: Some(account.person.mail.clone()),
                    scopes: ask
                        .scopes
                        .iter()
                        .filter(|scope| *scope != OFFLINE)
                        .cloned()
                        .collect(),
                    renewable: Vec::new(),
                    exchanged: None,
                    granted: Some(granted),
                };
                match self.issue(&issue, None) {
                    Ok(document) => {
                        let names = [
                            "id_token",
                            "access_token",
                            "token_type",
                            "expires_in",
                            "scope",
                        ];
                        let text = |name: &'static str| match &document[name] {
                            serde_json::Value::String(text) => (name, text.clone()),
                            other => (name, other.to_string()),
                        };
                        self.back(&ask.back, names.map(text).to_vec())
                    }
                    Err(error) => self.refuse(&ask.back, &error),
                }
            }
        }
    }
}
