//! What is asked of tokens that are bound to the key or certificate of who may use them.

use super::{
    super::{Bound, NonceUse, OLDEST_PROOF, Offered, ProofRules, path::Path, raw},
    Check,
    scalar::{MINUTE, SECOND},
};

impl Check<'_> {
    pub(super) fn bound(&mut self, path: &Path, raw: &raw::BearerRule) -> (Bound, ProofRules) {
        let bound = match raw.bound {
            None | Some(raw::BoundMode::Checked) => Bound::Checked,
            Some(raw::BoundMode::Required) => Bound::Required,
            Some(raw::BoundMode::Ignored) => {
                self.warn(
                    &path.key("bound"),
                    "a token that is bound to a key or certificate is good here without it, also for who stole it",
                    "let something in front of this proxy check it, or write checked",
                );
                Bound::Ignored
            }
        };
        let at = path.key("dpop");
        let Some(dpop) = &raw.dpop else {
            let offered = if bound == Bound::Required {
                Offered::Yes
            } else {
                Offered::No
            };
            let rules = ProofRules {
                offered,
                ..ProofRules::default()
            };
            return (bound, rules);
        };
        if bound == Bound::Ignored {
            self.error(
                &at,
                "has no effect: bound is ignored",
                "leave one of them out",
            );
        }
        let rules = ProofRules {
            algorithms: self.algorithms(&at.key("algorithms"), dpop.algorithms.as_ref()),
            nonce: match dpop.nonce {
                None | Some(raw::NonceMode::Off) => NonceUse::Off,
                Some(raw::NonceMode::Optional) => NonceUse::Optional,
                Some(raw::NonceMode::Required) => NonceUse::Required,
            },
            max_age: self.duration(
                &at.key("max_age"),
                dpop.max_age.as_deref(),
                MINUTE,
                SECOND..=OLDEST_PROOF,
            ),
            offered: Offered::Yes,
        };
        (bound, rules)
    }
}
