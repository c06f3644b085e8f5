//! The credential's client as a person's sign-in uses it: what the provider offers, codes redeemed,
//! ID tokens checked, tokens revoked.

use std::sync::Arc;

use url::Url;

use crate::{
    clock::{Clock, Moment},
    config::{Credential, secret::SecretError},
    oauth::{
        ClientError, ClientMaterial, DiscoveryError, ExchangeError, HttpClient, Issued, Proof,
        ProofError, SignInMetadata, TokenRequest, discover_sign_in,
        grant::authorization_code::{self, Code},
        revoke::{RevocationRequest, TokenKind, revoke},
    },
    secret::Secret,
    tokens::kept::Who,
    verify::{AtHash, ExpectedIdToken, IdTokenError, SentNonce, id_token_once},
};

/// A client that has read what the provider offers.
pub(in crate::cli) struct Client {
    pub(in crate::cli) credential: Arc<Credential>,
    pub(in crate::cli) metadata: SignInMetadata,
    pub(in crate::cli) http: HttpClient,
    pub(in crate::cli) clock: Clock,
    material: ClientMaterial,
}

/// What the provider does not do, or cannot be asked to.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Refused {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error(transparent)]
    IdToken(#[from] IdTokenError),
    #[error("the client has nothing to prove itself with")]
    NoProof,
    #[error("the provider gave no ID token although the scope `openid` was asked for")]
    NoIdToken,
    #[error("the provider does not revoke tokens")]
    NoRevocation,
}

impl Client {
    pub(in crate::cli) async fn connect(credential: &Arc<Credential>) -> Result<Self, Refused> {
        let provider = &credential.provider;
        let material = ClientMaterial::read(&credential.auth)?;
        let tls = ClientMaterial::tls(&credential.auth, &provider.tls);
        let http = HttpClient::new(&tls, provider.timeouts.connect, provider.timeouts.total)?;
        let metadata =
            discover_sign_in(&http, &provider.issuer, provider.also(), &credential.auth).await?;
        Ok(Self {
            credential: Arc::clone(credential),
            metadata,
            http,
            clock: Clock::system(),
            material,
        })
    }

    /// For one request to `endpoint`.
    pub(in crate::cli) fn proof(&self, endpoint: &Url) -> Result<Proof, Refused> {
        let now = self.clock.now();
        let proofs = self
            .material
            .proofs(&self.credential.client_id, endpoint, now)?;
        let first = proofs.into_iter().next();
        first.map(|(_, proof)| proof).ok_or(Refused::NoProof)
    }

    pub(in crate::cli) fn request<'a>(
        &'a self,
        endpoint: &'a Url,
        proof: &'a Proof,
    ) -> TokenRequest<'a> {
        TokenRequest {
            endpoint,
            client_id: &self.credential.client_id,
            proof,
            scopes: &self.credential.scopes,
            extra: &self.credential.extra,
        }
    }

    pub(super) async fn redeem(&self, code: &Code<'_>) -> Result<Issued, Refused> {
        let endpoint = &self.metadata.token_endpoint;
        let proof = self.proof(endpoint)?;
        let request = self.request(endpoint, &proof);
        let now = self.clock.now();
        Ok(authorization_code::exchange(&request, code, &self.http, now).await?)
    }

    /// Who signed in, by an ID token that is checked; nobody by name where none was asked for.
    pub(super) async fn who(
        &self,
        issued: &Issued,
        nonce: SentNonce<'_>,
        now: Moment,
    ) -> Result<Who, Refused> {
        let asked = &self.credential.scopes;
        let granted = issued.scopes.as_ref().unwrap_or(asked);
        let mut who = Who {
            subject: None,
            name: None,
            scopes: granted.to_string(),
            since: now.unix_seconds(),
        };
        let token = match &issued.id_token {
            Some(token) => token,
            None if asked.contains("openid") => return Err(Refused::NoIdToken),
            None => return Ok(who),
        };
        let expected = ExpectedIdToken {
            client_id: &self.credential.client_id,
            nonce,
            access_token: AtHash::IfPresent(&issued.header),
            max_age: None,
        };
        let provider = &self.credential.provider;
        let checked =
            id_token_once(&self.http, provider, token.expose(), &expected, &self.clock).await?;
        let said = [checked.name, checked.preferred_username, checked.email];
        let mut said: Vec<String> = said.into_iter().flatten().map(String::from).collect();
        said.dedup();
        who.name = match said.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            [name, .., address] => Some(format!("{name} ({address})")),
        };
        who.subject = Some(checked.subject.into());
        Ok(who)
    }

    pub(in crate::cli) async fn revoke(&self, token: &Secret) -> Result<(), Refused> {
        let endpoint = self.metadata.revocation.as_ref();
        let endpoint = endpoint.ok_or(Refused::NoRevocation)?;
        let proof = self.proof(endpoint)?;
        let request = RevocationRequest {
            endpoint,
            client_id: &self.credential.client_id,
            proof: &proof,
            token,
            kind: TokenKind::Refresh,
        };
        Ok(revoke(&self.http, &request, self.clock.now()).await?)
    }
}
