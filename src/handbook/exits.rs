//! How a command, or the proxy itself, ends: the codes of `sysexits.h`.

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok,
    /// What was asked about is not so: not ready, not served.
    No,
    /// The command line is wrong.
    Usage,
    /// A server that is needed cannot be reached.
    Unavailable,
    /// Something that should work did not.
    Software,
    /// A file cannot be written.
    CannotCreate,
    /// The system does not allow it.
    NotPermitted,
    /// The configuration is wrong.
    Config,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

impl Exit {
    pub const ALL: &[Self] = &[
        Self::Ok,
        Self::No,
        Self::Usage,
        Self::Unavailable,
        Self::Software,
        Self::CannotCreate,
        Self::NotPermitted,
        Self::Config,
        Self::Interrupted,
    ];

    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::No => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::CannotCreate => 73,
            Self::NotPermitted => 77,
            Self::Config => 78,
            Self::Interrupted => 130,
        }
    }

    /// In a few words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::No => "no",
            Self::Usage => "wrong command line",
            Self::Unavailable => "a server or an address cannot be had",
            Self::Software => "failed",
            Self::CannotCreate => "a file cannot be written",
            Self::NotPermitted => "not permitted",
            Self::Config => "wrong configuration",
            Self::Interrupted => "interrupted",
        }
    }

    /// What it means, and what to do about it; in Markdown.
    pub const fn meaning(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("All is well, or was told to stop and did.", "Nothing."),
            Self::No => (
                "What was asked about is not so: the proxy is not ready, no route takes the call, a token is not good, something does not answer as it should.",
                "Read what the command wrote.",
            ),
            Self::Usage => (
                "The command line is wrong.",
                "`itwin-auth-proxy COMMAND --help` says what it takes.",
            ),
            Self::Unavailable => (
                "A server that the command needs cannot be reached: a provider, or the running proxy's admin listener. Of `run`: an address to listen on is another program's, or none of this machine's.",
                "See whether the server runs, and whether address, port and firewall are right; of `run`, the last line of the log names the address, and `ss -ltnp` who has it. The proxy does not end because a provider is away: it waits, and says so at `/ready`.",
            ),
            Self::Software => (
                "Something that should work did not, such as a thread that the system does not give.",
                "The last line of the log names it.",
            ),
            Self::CannotCreate => (
                "A file cannot be written, or is there already.",
                "Look at the directory's owner and permissions; in a container, whether it is read-only.",
            ),
            Self::NotPermitted => (
                "The system does not allow it: a port below 1024, packets to be redirected, a keyring.",
                "The message names what is missing: a capability, a user, a group.",
            ),
            Self::Config => (
                "The configuration is wrong. The proxy does not start rather than doing half of what was meant.",
                "All problems are shown at once, each with file, line and hint; `itwin-auth-proxy check` shows them again. Before an upgrade, `check` of the new version tells whether it will start.",
            ),
            Self::Interrupted => ("Somebody pressed Ctrl-C.", "Nothing."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_sysexits_in_order() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.number()).collect();
        assert_eq!(numbers, [0, 1, 64, 69, 70, 73, 77, 78, 130]);
    }
}
