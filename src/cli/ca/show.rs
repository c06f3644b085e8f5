//! `itwin-auth-proxy ca show`: what an authority is, and what it can do.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;

use super::{Exit, Which, complain, output};
use crate::{
    clock::Clock,
    tls::authority::{Described, Names},
};

/// Show what the authority is, until when, and what it can sign for.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Exit> {
    let file = arguments.which.certificate()?;
    let described = Described::read(&file).map_err(|error| {
        complain(format!("error: {}", output::chain(&error)));
        Exit::No
    })?;
    let now = Clock::system().now().wall;
    let left = described.until.saturating_sub(now).as_secs() / (24 * 3600);
    let mut fingerprint = String::new();
    for (n, byte) in described.fingerprint.iter().enumerate() {
        let colon = if n == 0 { "" } else { ":" };
        let _ = write!(fingerprint, "{colon}{byte:02X}");
    }
    let ended = described.until <= now;
    let state = if ended {
        "it has ended".to_owned()
    } else {
        format!("{left} more days")
    };
    let others = match (described.signs, described.servers_only) {
        (false, _) => "no certificate: this is no authority",
        (true, true) => "certificates of servers only",
        (true, false) => "certificates of any kind",
    };
    output::say(format!(
        "certificate  {}\n\
        name         {}\n\
        SHA-256      {fingerprint}\n\
        good         {} to {}, {state}\n\
        signs for    {}\n\
        signs        {others}",
        file.display(),
        described.subject,
        date(described.from),
        date(described.until),
        names(&described.names),
    ));
    Ok(if ended || !described.signs {
        Exit::No
    } else {
        Exit::Ok
    })
}

/// All of it that fits in a line.
pub(super) fn line(described: &Described) -> String {
    format!(
        "{}: an authority for {}, until {}",
        described.subject,
        names(&described.names),
        date(described.until)
    )
}

fn names(names: &Names) -> String {
    match names {
        Names::All => "every name there is".into(),
        Names::Below(names) => format!("{}, and names below", names.join(", ")),
    }
}

fn date(since_1970: Duration) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_1970).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}
