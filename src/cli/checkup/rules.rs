//! The kernel's rules that transparent listeners live on.

use super::Finding;
use crate::{
    cli::redirect::{InPlace, in_place},
    config::{Config, Mode},
};

/// Nothing where no listener is transparent.
pub(in crate::cli) fn findings(config: &Config) -> Vec<Finding> {
    let transparent = |mode: Mode| matches!(mode, Mode::Transparent(_));
    let listeners = config.listeners.iter();
    let listeners: Vec<String> = listeners
        .filter(|listener| transparent(listener.mode))
        .map(|listener| listener.bind.to_string())
        .collect();
    if listeners.is_empty() {
        return Vec::new();
    }
    let what = format!("rules for the listener {}", listeners.join(", "));
    vec![judged(&what, in_place())]
}

fn judged(what: &str, found: InPlace) -> Finding {
    match found {
        InPlace::By(program) => Finding::ok("rules", what, format!("there are some, of {program}")),
        InPlace::None => {
            let seen = "there are none in this network namespace: nothing is redirected to it";
            let remedy = "itwin-auth-proxy redirect --apply --uid USER-OF-THE-PROXY, where the callers' \
                          connections are made";
            Finding::failure("rules", what, seen, remedy)
        }
        InPlace::Unknown(why) => {
            let seen = format!("whether there are any cannot be seen: {why}");
            let remedy = "ask as root, or with CAP_NET_ADMIN and CAP_NET_RAW, in the network namespace of the \
                 callers";
            Finding::warning("rules", what, seen, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::checkup::Verdict;

    #[test]
    fn rules_that_are_missing_are_told_from_rules_that_cannot_be_seen() {
        for (found, verdict) in [
            (InPlace::By("nft".into()), Verdict::Ok),
            (InPlace::None, Verdict::Failure),
            (InPlace::Unknown("not permitted".into()), Verdict::Warning),
        ] {
            assert_eq!(judged("rules", found).verdict, verdict);
        }
    }
}
