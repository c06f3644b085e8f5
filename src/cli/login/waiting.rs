//! Waiting for a person: a line that says what for and how long yet, an end that always comes, and
//! Ctrl-C before that.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    cli::{
        Exit,
        output::{complain, hint},
    },
    clock::Clock,
};

/// Back to the beginning of a line that is empty then.
const CLEAR: &str = "\r\x1b[2K";

/// Waits for `done`, which is `what` to the person.
pub(super) async fn wait<T>(
    what: &str,
    limit: Duration,
    clock: &Clock,
    done: impl Future<Output = T>,
) -> Result<T, Exit> {
    let ends = clock.now().plus(limit);
    let lively = io::stderr().is_terminal();
    if !lively {
        complain(format!(
            "Waiting for {what}, for {} at most.",
            humantime::format_duration(limit)
        ));
    }
    let show = async {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            if lively {
                let left = ends.remaining(clock.now()).as_secs();
                let (minutes, seconds) = (left / 60, left % 60);
                hint(&format!(
                    "{CLEAR}Waiting for {what}, {minutes}:{seconds:02} left. Ctrl-C ends it. "
                ));
            }
        }
    };
    let clear = || {
        if lively {
            hint(CLEAR);
        }
    };
    tokio::select! {
        // what is there counts, also in the last moment
        biased;
        result = timeout(limit, done) => {
            clear();
            result.map_err(|_| {
                complain(format!(
                    "error: no sign-in within {}; start again, with --timeout for more time",
                    humantime::format_duration(limit)
                ));
                Exit::Unavailable
            })
        }
        _ = tokio::signal::ctrl_c() => {
            clear();
            complain("Cancelled: nothing was changed.");
            Err(Exit::Interrupted)
        }
        () = show => Err(Exit::Software),
    }
}
