//! Signing in with a browser: authorization code with PKCE (RFC 7636), `state`, `nonce` and `iss`
//! (RFC 9207), pushed first where the provider takes it (RFC 9126).

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::mpsc;
use url::Url;

use super::{
    browser::Browser,
    client::{Client, Refused},
    loopback::{Callback, Loopback, LoopbackError, address},
    page::Page,
    typed,
    waiting::wait,
};
use crate::{
    cli::{
        Exit,
        output::{chain, complain},
    },
    config::{Flow, Redirect, source},
    oauth::{
        Issued,
        authorization::{
            Answer, AuthorizationRequest, Pkce, RefusedKind, ResponseType, read_response,
            unguessable,
        },
        grant::authorization_code::Code,
    },
    secret::Secret,
    shutdown::Shutdown,
};

/// How the person gets to the provider and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The browser of this machine.
    Browser,
    /// A browser anywhere, and the keyboard.
    Address,
}

/// One authorization request, and what its answer is checked with.
struct Begun {
    state: String,
    nonce: String,
    pkce: Pkce,
    redirect: Url,
}

/// How it comes back.
enum Back {
    Browser(Callback),
    Keyboard(Secret),
}

/// A sign-in, and the page that is still to say how it ended.
pub(super) struct SignedIn {
    pub(super) issued: Issued,
    pub(super) nonce: String,
    pub(super) page: Option<Callback>,
}

/// Signs somebody in.
pub(super) async fn sign_in(
    client: &Client,
    redirect: &Redirect,
    means: Means,
    extra: &[(String, String)],
    limit: Duration,
    shutdown: &Shutdown,
) -> Result<SignedIn, Exit> {
    let loopback = bind(redirect, means).await?;
    let mut rng = StdRng::from_os_rng();
    let redirect = match &loopback {
        Some(loopback) => loopback.uri.clone(),
        None => unheard(redirect)?,
    };
    let begun = Begun {
        state: unguessable(&mut rng),
        nonce: unguessable(&mut rng),
        pkce: Pkce::new(&mut rng),
        redirect,
    };
    let callbacks = loopback.map(|loopback| loopback.listen(&begun.state, shutdown));
    let url = begin(client, &begun, extra)
        .await
        .map_err(|error| failed(&error))?;
    let keyboard = invite(&url, means);
    let comes = back(callbacks, keyboard, &begun);
    let back = wait("the browser", limit, &client.clock, comes).await??;
    let (query, page) = match back {
        Back::Browser(callback) => (callback.query.clone(), Some(callback)),
        Back::Keyboard(query) => (query, None),
    };
    match redeem(client, &begun, &query, page.is_some()).await {
        Ok(issued) => Ok(SignedIn {
            issued,
            nonce: begun.nonce,
            page,
        }),
        Err(Refusal { exit, text, short }) => {
            if let Some(page) = page {
                page.end(Page::failed(&short));
            }
            complain(format!("error: {text}"));
            Err(exit)
        }
    }
}

/// Where nobody listens the person brings the answer back.
async fn bind(redirect: &Redirect, means: Means) -> Result<Option<Loopback>, Exit> {
    match Loopback::bind(redirect).await {
        Ok(loopback) => Ok(Some(loopback)),
        Err(LoopbackError::Taken { .. }) if means == Means::Address => Ok(None),
        Err(error) => {
            complain(format!("error: {error}"));
            complain(
                "hint: end the program that has the port, give more ports (redirect.ports, --redirect) that are registered, \
                 or use --no-browser and bring the address back by hand",
            );
            Err(Exit::Unavailable)
        }
    }
}

fn unheard(redirect: &Redirect) -> Result<Url, Exit> {
    let port = redirect.ports.first().copied().unwrap_or(8400);
    address(redirect, port).map_err(|error| {
        complain(format!("error: {error}"));
        Exit::Config
    })
}

fn failed(error: &Refused) -> Exit {
    complain(format!("error: {}", chain(error)));
    complain("hint: is the client registered there with this redirect and these scopes?");
    Exit::Unavailable
}

async fn begin(client: &Client, begun: &Begun, extra: &[(String, String)]) -> Result<Url, Refused> {
    let endpoint = client.metadata.authorization_endpoint()?;
    let request = AuthorizationRequest {
        client_id: &client.credential.client_id,
        redirect_uri: &begun.redirect,
        scopes: &client.credential.scopes,
        response: ResponseType::Code(&begun.pkce),
        state: &begun.state,
        nonce: &begun.nonce,
        extra,
    };
    let Some(pushed) = &client.metadata.pushed else {
        return Ok(request.url(endpoint));
    };
    let proof = client.proof(pushed)?;
    let now = client.clock.now();
    match request.push(pushed, &proof, &client.http, now).await {
        Ok(pushed) => Ok(pushed.url(endpoint, &client.credential.client_id)),
        // the same request fits into an address
        Err(error) if !client.metadata.requires_pushed && error.is_wrong_address() => {
            Ok(request.url(endpoint))
        }
        Err(error) => Err(error.into()),
    }
}

/// Shows the way; what is entered then is read if it may be an answer.
fn invite(url: &Url, means: Means) -> Option<mpsc::Receiver<Secret>> {
    let opened = match means {
        Means::Browser => Browser::of(&source::desktop()).open(url).is_ok(),
        Means::Address => false,
    };
    if opened {
        complain(format!(
            "Your browser shows the sign-in. If it does not, open\n\n    {url}\n"
        ));
    } else {
        complain(format!("To sign in, open\n\n    {url}\n"));
    }
    let reads = means == Means::Address || io::stdin().is_terminal();
    if reads && !opened {
        complain(
            "On another machine, the browser ends on a page that it cannot load: copy the address of that page, and paste \
             it here.\n",
        );
    }
    reads.then(typed::lines)
}

/// Whichever is first: the browser, or the person.
async fn back(
    mut callbacks: Option<mpsc::Receiver<Callback>>,
    mut keyboard: Option<mpsc::Receiver<Secret>>,
    begun: &Begun,
) -> Result<Back, Exit> {
    loop {
        let callback = async {
            match &mut callbacks {
                Some(callbacks) => callbacks.recv().await,
                None => std::future::pending().await,
            }
        };
        let line = async {
            match &mut keyboard {
                Some(lines) => lines.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            callback = callback => match callback {
                Some(callback) => return Ok(Back::Browser(callback)),
                None => callbacks = None,
            },
            line = line => match line {
                Some(line) => {
                    let found = typed::answer(line.expose(), &begun.redirect, &begun.state);
                    if let Some(query) = found {
                        return Ok(Back::Keyboard(query));
                    }
                }
                None => keyboard = None,
            },
        }
        if callbacks.is_none() && keyboard.is_none() {
            complain(
                "error: nothing can come back: the port is taken, and standard input has ended",
            );
            return Err(Exit::Unavailable);
        }
    }
}

/// Why nobody is signed in: for the terminal, and fixed words for the page.
struct Refusal {
    exit: Exit,
    text: String,
    short: String,
}

impl Refusal {
    fn of(exit: Exit, short: &str, text: String) -> Self {
        Self {
            exit,
            text,
            short: short.into(),
        }
    }
}

async fn redeem(
    client: &Client,
    begun: &Begun,
    query: &Secret,
    says_issuer: bool,
) -> Result<Issued, Refusal> {
    let bad = "The answer of the provider cannot be used";
    let unusable =
        |error: &dyn std::error::Error| Refusal::of(Exit::Unavailable, bad, chain(error));
    let now = client.clock.now();
    let response = read_response(query.expose().as_bytes(), Flow::Code, now)
        .map_err(|error| unusable(&error))?;
    if !Secret::new(begun.state.as_str()).matches(response.state.as_bytes()) {
        let text =
            "that answer belongs to another sign-in; start again, and use the newest address";
        return Err(Refusal::of(Exit::No, bad, text.into()));
    }
    // who pasted a code alone has no issuer to show; PKCE binds it to this process
    let bare = !says_issuer && response.issuer.is_none();
    if !bare {
        response
            .check_issuer(&client.metadata)
            .map_err(|error| unusable(&error))?;
    }
    let code = match response.answer {
        Answer::Code(code) => code,
        Answer::Refused(refused) => {
            let described = refused.description.as_ref();
            let described = described
                .map(|text| format!(": {text}"))
                .unwrap_or_default();
            let (short, exit) = match refused.kind() {
                RefusedKind::Denied => ("The sign-in was declined", Exit::No),
                RefusedKind::Unavailable => ("The provider is not available", Exit::Unavailable),
                RefusedKind::NeedsPerson | RefusedKind::Request => {
                    ("The provider refuses the request", Exit::Unavailable)
                }
            };
            let host = client.credential.provider.issuer.host_str().unwrap_or("?");
            let text = format!("{host} answered {}{described}", refused.error);
            return Err(Refusal::of(exit, short, text));
        }
        Answer::Tokens(_) => {
            let text = "the provider answered with tokens where a code was asked for";
            return Err(Refusal::of(Exit::Unavailable, bad, text.into()));
        }
    };
    let code = Code {
        code: &code,
        verifier: &begun.pkce.verifier,
        redirect_uri: &begun.redirect,
    };
    client.redeem(&code).await.map_err(|error| {
        Refusal::of(
            Exit::Unavailable,
            "The code could not be redeemed",
            chain(&error),
        )
    })
}
