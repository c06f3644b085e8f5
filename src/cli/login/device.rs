//! Signing in on another device (RFC 8628): a code to enter there, and questions until that is done.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    client::{Client, Refused},
    qr::{self, Ink},
    waiting::wait,
};
use crate::{
    cli::{
        Exit,
        output::{chain, complain},
    },
    config::source,
    oauth::{
        Class, Issued,
        grant::device_code::{self, DeviceAuthorization, Progress},
    },
};

/// RFC 8628 section 3.5.
const SLOWER: Duration = Duration::from_secs(5);
/// After a failure of the network.
const LONGEST: Duration = Duration::from_secs(60);

/// Signs somebody in.
pub(super) async fn sign_in(client: &Client, limit: Duration) -> Result<Issued, Exit> {
    let started = start(client).await.map_err(|error| {
        complain(format!("error: {}", chain(&error)));
        complain("hint: without --device the browser of this machine is used");
        Exit::Unavailable
    })?;
    show(&started);
    let limit = limit.min(started.life);
    wait(
        "the other device",
        limit,
        &client.clock,
        ask(client, &started),
    )
    .await?
}

async fn start(client: &Client) -> Result<DeviceAuthorization, Refused> {
    let endpoint = client.metadata.device_authorization()?;
    let proof = client.proof(endpoint)?;
    let request = client.request(endpoint, &proof);
    let now = client.clock.now();
    Ok(device_code::start(&request, &client.http, now).await?)
}

fn show(started: &DeviceAuthorization) {
    let complete = started.verification_uri_complete.as_ref();
    let scanned = complete.unwrap_or(&started.verification_uri);
    let ink = if source::no_color() || !io::stderr().is_terminal() {
        Ink::Blocks
    } else {
        Ink::Colours
    };
    if let Some(code) = qr::draw(scanned.as_str(), ink) {
        complain(format!("\n{}", code.trim_end()));
    }
    complain(format!(
        "\nScan this, or open on any device\n\n    {}\n\nand enter the code\n\n    {}\n",
        started.verification_uri, started.user_code
    ));
    if complete.is_some() {
        complain(
            "The page must show the same code. Do not enter one that somebody else sent you.\n",
        );
    }
}

async fn ask(client: &Client, started: &DeviceAuthorization) -> Result<Issued, Exit> {
    let mut interval = started.interval;
    loop {
        sleep(interval).await;
        match once(client, started).await {
            Ok(Progress::Done(issued)) => return Ok(*issued),
            Ok(Progress::Pending) => {}
            Ok(Progress::SlowDown) => interval += SLOWER,
            Ok(Progress::Denied) => {
                complain("error: the sign-in was declined on the other device");
                return Err(Exit::No);
            }
            Ok(Progress::Expired) => {
                complain("error: the code has expired; start again for another one");
                return Err(Exit::Unavailable);
            }
            // RFC 8628 section 3.5: a connection that fails is no answer
            Err(Refused::Exchange(error)) if error.class() == Class::Transient => {
                interval = (interval * 2).min(LONGEST);
            }
            Err(error) => {
                complain(format!("error: {}", chain(&error)));
                return Err(Exit::Unavailable);
            }
        }
    }
}

async fn once(client: &Client, started: &DeviceAuthorization) -> Result<Progress, Refused> {
    let endpoint = &client.metadata.token_endpoint;
    let proof = client.proof(endpoint)?;
    let request = client.request(endpoint, &proof);
    let (code, now) = (&started.device_code, client.clock.now());
    Ok(device_code::poll(&request, code, &client.http, now).await?)
}
