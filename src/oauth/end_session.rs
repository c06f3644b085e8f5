//! Signing out at the provider: OpenID Connect RP-Initiated Logout 1.0 section 2.
//!
//! The ID token names whose session ends. It is personal, and as long as its issuer likes: one that
//! would make the URL longer than servers take is left out, and the provider asks the person.

use url::Url;

use crate::secret::Secret;

/// Servers take request lines of 8 KB.
const LONGEST_HINT: usize = 6 * 1024;

/// One request, which a browser carries.
#[derive(Debug, Clone, Copy)]
pub struct EndSession<'a> {
    pub client_id: &'a str,
    /// The last that was issued to the client for this person, expired or not.
    pub id_token: Option<&'a Secret>,
    /// Where the provider sends the browser; registered with it.
    pub return_to: &'a Url,
    pub state: Option<&'a str>,
}

impl EndSession<'_> {
    /// Where the browser is sent. Not for a log: the ID token is in it.
    pub fn url(&self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        let mut query = url.query_pairs_mut();
        let hint = self.id_token.map(Secret::expose);
        if let Some(hint) = hint.filter(|hint| hint.len() <= LONGEST_HINT) {
            query.append_pair("id_token_hint", hint);
        }
        query.append_pair("client_id", self.client_id);
        query.append_pair("post_logout_redirect_uri", self.return_to.as_str());
        if let Some(state) = self.state {
            query.append_pair("state", state);
        }
        drop(query);
        url
    }
}
