//! Whether people could sign in: the provider's metadata, and, where it takes pushed requests (RFC 9126),
//! one that nobody follows. That it is taken says that client, secret, redirect URI and scopes are known.

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    cli::output::chain,
    clock::Moment,
    config::{Endpoints, Flow, Session},
    oauth::{
        ClientMaterial, HttpClient, SignInMetadata,
        authorization::{AuthorizationRequest, Pkce, ResponseType, unguessable},
        discover_sign_in,
    },
};

pub(super) async fn try_session(session: &Session, now: Moment) -> Result<String, String> {
    let credential = &session.credential;
    let (provider, auth) = (&credential.provider, &credential.auth);
    let timeouts = provider.timeouts;
    let tls = ClientMaterial::tls(auth, &provider.tls);
    let http = HttpClient::new(&tls, timeouts.connect, timeouts.total);
    let http = http.map_err(|error| chain(&error))?;
    let also = match &provider.endpoints {
        Endpoints::Discover { also } => also.as_slice(),
        Endpoints::Given { .. } => &[],
    };
    let metadata = discover_sign_in(&http, &provider.issuer, also, auth).await;
    let metadata = metadata.map_err(|error| chain(&error))?;
    let endpoint = metadata.authorization_endpoint();
    let endpoint = endpoint.map_err(|error| chain(&error))?;
    let redirect_uri = session.redirect_uri();
    let known = match credential.grant.flow() {
        Some(Flow::Code) => pushed(session, &metadata, &http, now).await?,
        _ => None,
    };
    let known = known.unwrap_or_else(|| {
        format!("whether it knows the client and {redirect_uri} is seen at the first sign-in")
    });
    Ok(format!("people are sent to {endpoint}; {known}"))
}

/// `None`: it takes no pushed requests.
async fn pushed(
    session: &Session,
    metadata: &SignInMetadata,
    http: &HttpClient,
    now: Moment,
) -> Result<Option<String>, String> {
    let Some(endpoint) = &metadata.pushed else {
        return Ok(None);
    };
    let credential = &session.credential;
    let mut rng = StdRng::from_os_rng();
    let pkce = Pkce::new(&mut rng);
    let (state, nonce) = (unguessable(&mut rng), unguessable(&mut rng));
    let extra = session.parameters.iter();
    let extra: Vec<_> = extra.map(|(k, v)| (k.clone(), v.clone())).collect();
    let redirect_uri = session.redirect_uri();
    let request = AuthorizationRequest {
        client_id: &credential.client_id,
        redirect_uri: &redirect_uri,
        scopes: &credential.scopes,
        response: ResponseType::Code(&pkce),
        state: &state,
        nonce: &nonce,
        extra: &extra,
    };
    let material = ClientMaterial::read(&credential.auth).map_err(|error| chain(&error))?;
    let proofs = material.proofs(&credential.client_id, endpoint, now);
    let mut refused = "there is nothing to prove the client with".to_owned();
    for (_, proof) in proofs.map_err(|error| chain(&error))? {
        match request.push(endpoint, &proof, http, now).await {
            Ok(_) => {
                let known = format!("the client and {redirect_uri} are known");
                return Ok(Some(known));
            }
            Err(error) => refused = chain(&error),
        }
    }
    Err(refused)
}
