//! What is known of a session, and how it is written where it survives: sealed in cookies or files.

use std::time::Duration;

use http::HeaderValue;
use zeroize::Zeroizing;

use super::codec::{Form, Malformed, Reader, Writer};
use crate::{
    config::ScopeSet,
    secret::Secret,
    tokens::{PersonState, PersonToken},
    verify::IdToken,
};

const FORM: Form = Form {
    kind: b'S',
    version: 1,
};
/// Names that people have are shorter; what is longer is cut before it gets here.
const LONGEST_NAME: usize = 256;

/// Who signed in, when, and where: what does not change as long as the session lives.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The provider's, and for which client: a session of another is none.
    pub issuer: String,
    pub client: String,
    pub subject: String,
    /// The provider's name for its session (`sid`).
    pub sid: Option<String>,
    pub name: Option<String>,
    pub username: Option<String>,
    pub email: Option<String>,
    /// When the person showed the provider who they are, since 1970-01-01T00:00:00Z.
    pub authenticated: Option<Duration>,
    /// When the session began, since 1970-01-01T00:00:00Z.
    pub began: Duration,
    /// For signing out at the provider.
    pub id_token: Option<Secret>,
}

impl Facts {
    pub(super) fn new(issuer: &str, client: &str, token: &IdToken, began: Duration) -> Self {
        let short = |text: &Option<Box<str>>| {
            let text = text.as_deref()?;
            let end = text
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|end| *end <= LONGEST_NAME)
                .last()
                .unwrap_or_default();
            Some(text[..end].to_owned()).filter(|text| !text.is_empty())
        };
        Self {
            issuer: issuer.to_owned(),
            client: client.to_owned(),
            subject: token.subject.to_string(),
            sid: token.session.as_deref().map(str::to_owned),
            name: short(&token.name),
            username: short(&token.preferred_username),
            email: short(&token.email),
            authenticated: token.auth_time,
            began,
            id_token: None,
        }
    }

    /// How the person is called in what people read.
    pub fn called(&self) -> &str {
        let called = self.name.as_ref().or(self.username.as_ref());
        called.or(self.email.as_ref()).unwrap_or(&self.subject)
    }
}

pub(super) fn write(facts: &Facts, person: &PersonState) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::new(FORM);
    writer.text(&facts.issuer).text(&facts.client);
    writer.text(&facts.subject);
    for text in [&facts.sid, &facts.name, &facts.username, &facts.email] {
        writer.maybe(text.as_deref(), |writer, text| {
            writer.text(text);
        });
    }
    writer.maybe(facts.authenticated, |writer, then| {
        writer.number(then.as_secs());
    });
    writer.number(facts.began.as_secs());
    writer.maybe(facts.id_token.as_ref(), |writer, token| {
        writer.secret(token);
    });
    writer.number(person.version);
    writer.maybe(person.refresh.as_ref(), |writer, token| {
        writer.secret(token);
    });
    writer.list(person.tokens.len());
    for token in &person.tokens {
        writer.text(&token.scopes.to_string());
        let header = token.header.to_str().unwrap_or_default();
        writer.secret(&Secret::new(header.strip_prefix(BEARER).unwrap_or(header)));
        writer.number(token.since.as_secs());
        writer.number(token.life.as_secs());
    }
    writer.finish()
}

const BEARER: &str = "Bearer ";

/// # Errors
/// When it is of another kind or version, or damaged.
pub(super) fn read(bytes: &[u8]) -> Result<(Facts, PersonState), Malformed> {
    let mut reader = Reader::new(bytes, FORM)?;
    let owned = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
    let facts = Facts {
        issuer: owned(&mut reader)?,
        client: owned(&mut reader)?,
        subject: owned(&mut reader)?,
        sid: reader.maybe(owned)?,
        name: reader.maybe(owned)?,
        username: reader.maybe(owned)?,
        email: reader.maybe(owned)?,
        authenticated: reader.maybe(Reader::number)?.map(Duration::from_secs),
        began: Duration::from_secs(reader.number()?),
        id_token: reader.maybe(Reader::secret)?,
    };
    let state = PersonState {
        version: reader.number()?,
        refresh: reader.maybe(Reader::secret)?,
        tokens: reader.list(token)?,
    };
    reader.finish()?;
    Ok((facts, state))
}

fn token(reader: &mut Reader<'_>) -> Result<PersonToken, Malformed> {
    let scopes = ScopeSet::new([reader.text()?]);
    let token = reader.secret()?;
    let mut header =
        HeaderValue::try_from(format!("{BEARER}{}", token.expose())).map_err(|_| Malformed)?;
    header.set_sensitive(true);
    Ok(PersonToken {
        scopes,
        header,
        since: Duration::from_secs(reader.number()?),
        life: Duration::from_secs(reader.number()?),
    })
}
