//! A network of the demonstration's own, in which the kernel may be told to redirect connections.
//!
//! It is a namespace that this process enters by becoming another: nothing outside of it is
//! touched, and it is gone, with all rules in it, when the process ends, however that happens.

use std::{
    env, io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

/// What the process calls itself that is in there.
pub(super) const INSIDE: &str = "--inside";
/// Where an agent believes that the service is: an address for documentation (RFC 5737), beyond an
/// interface that leads nowhere.
pub(super) const SERVICE: &str = "192.0.2.10:443";

/// Makes the namespace's interfaces, and tries whether rules can be made.
const PREPARE: &str = "ip link set lo up && ip link add outside type veth peer name beyond \
    && ip link set beyond up && ip link set outside up && ip address add 192.0.2.1/24 dev outside \
    && nft add table inet itwin_auth_proxy_demo && nft delete table inet itwin_auth_proxy_demo \
    && exec \"$@\"";

/// Why there is no such network.
pub(super) type Reason = String;

/// Becomes the demonstration in a network of its own.
///
/// # Errors
/// Returns only if that cannot be.
pub(super) fn enter() -> Reason {
    let tried = prepared(&["true"]).stdin(Stdio::null()).output();
    match tried {
        Err(error) => format!("unshare cannot be run: {error}"),
        Ok(tried) if !tried.status.success() => {
            let said = String::from_utf8_lossy(&tried.stderr);
            let said = said.lines().next().unwrap_or("unshare failed");
            format!("no network namespace with nftables can be made here: {said}")
        }
        Ok(_) => match env::current_exe() {
            Err(error) => format!("this program does not find itself: {error}"),
            Ok(program) => {
                let program = program.to_string_lossy();
                let arguments = [&*program, "demo", "--legacy", INSIDE];
                prepared(&arguments).exec().to_string()
            }
        },
    }
}

fn prepared(command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "sh", "-c", PREPARE, "sh"]);
    unshare.args(command);
    unshare
}

/// Has the kernel redirect what this user's programs send, or no longer.
///
/// # Errors
/// What the command said.
pub(super) async fn redirect(arguments: &[&str]) -> Result<(), Reason> {
    let program = env::current_exe().map_err(|error: io::Error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("redirect").args(arguments).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await;
    let ended = ended.map_err(|error| error.to_string())?;
    let ended = ended.map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned())
}
