//! Telling clients that a session has ended: by logout tokens (`OpenID` Connect Back-Channel Logout
//! 1.0) and by frames (Front-Channel Logout 1.0).
//!
//! Logout tokens are sent at once and waited for, not for long: who sees the page that says so may
//! count on it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{
    Request, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::super::{
    idp::{Idp, random_text},
    signing::Forgery,
};
use super::{Account, Person};

/// No client is waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client's part of a session that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    client_id: String,
    person: Person,
    sid: String,
}

impl Ended {
    pub(super) fn of(account: &Account) -> Vec<Self> {
        let clients = account.clients.iter();
        clients
            .map(|client_id| Self {
                client_id: client_id.clone(),
                person: account.person.clone(),
                sid: account.sid.clone(),
            })
            .collect()
    }
}

impl Idp {
    /// Sends the logout tokens; returns the frames for those who want one.
    pub(super) async fn notify(&self, ended: &[Ended]) -> Vec<String> {
        let mut frames = Vec::new();
        let mut posts = Vec::new();
        for ended in ended {
            let Ok(client) = self.clients.known(&ended.client_id) else {
                continue;
            };
            let registration = client.registration;
            if let Some(uri) = &registration.frontchannel_logout_uri {
                let mut query = url::form_urlencoded::Serializer::new(String::new());
                query.append_pair("iss", &self.issuer);
                query.append_pair("sid", &ended.sid);
                let joint = if uri.contains('?') { '&' } else { '?' };
                frames.push(format!("{uri}{joint}{}", query.finish()));
            }
            if let Some(uri) = registration.backchannel_logout_uri
                && let Some(token) = self.logout_token(ended)
            {
                posts.push(async move {
                    let sent = tokio::time::timeout(PATIENCE, post(&uri, &token)).await;
                    self.journal.count(|counts| match sent {
                        Ok(Some(status)) if status.is_success() => counts.logout_tokens_taken += 1,
                        _ => counts.logout_tokens_refused += 1,
                    });
                });
            }
        }
        join_all(posts).await;
        frames
    }

    /// Ends every session of that person, in all browsers, as an administrator does.
    pub(in crate::sandbox) async fn end_sessions(&self, mail: &str) -> usize {
        let mut ended = Vec::new();
        for accounts in self.desk.lock().browsers.values_mut() {
            accounts.retain(|account| {
                let of_person = account.person.mail == mail;
                if of_person {
                    ended.extend(Ended::of(account));
                }
                !of_person
            });
        }
        self.notify(&ended).await;
        ended.len()
    }

    fn logout_token(&self, ended: &Ended) -> Option<String> {
        let now = self.clock.now().unix_seconds();
        let claims = json!({
            "iss": self.issuer,
            "sub": ended.person.subject(),
            "aud": ended.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": random_text(),
            "sid": ended.sid,
            "events": events(),
        });
        let signed = self.signer.sign_as("logout+jwt", &claims, Forgery::Genuine);
        signed.ok()
    }
}

/// What makes a logout token one (section 2.4).
pub(super) fn events() -> Value {
    json!({"http://schemas.openid.net/event/backchannel-logout": {}})
}

/// `logout_token=…` to an address on this machine or another, without TLS.
async fn post(uri: &str, token: &str) -> Option<StatusCode> {
    let uri: http::Uri = uri.parse().ok()?;
    let authority = uri.authority()?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = tokio::net::TcpStream::connect((host, port)).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::post(uri.path_and_query()?.as_str())
        .header(HOST, authority.as_str())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(format!("logout_token={token}"))))
        .ok()?;
    // the answer's body is not read; with both dropped the connection ends
    let answer = async move {
        let answer = sender.send_request(request).await.ok()?;
        Some(answer.status())
    };
    let (status, _) = tokio::join!(answer, connection);
    status
}
