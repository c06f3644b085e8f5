//! What a request may have to wait for before it is known whether its token is good: newer keys, or
//! the provider's word.
//!
//! Whoever waits asks again afterwards, and brings what it [`Waited`] for: nothing is waited for
//! twice.

use tokio::time::{Duration, Instant};

use super::{
    introspection::{Answer, Outcome},
    issuer::NewerKeys,
};

/// All that one request waits for its caller to be known.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Something that is under way.
#[derive(Debug)]
pub enum Coming {
    Keys(NewerKeys),
    Answer(Answer),
}

/// What a request has waited for.
#[derive(Debug, Default)]
pub struct Waited {
    keys: Keys,
    answers: Vec<(u32, Outcome)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Keys {
    #[default]
    AsTheyWere,
    Newest,
}

impl Waited {
    /// Waits for one thing more, but no longer than until then.
    pub async fn and_for(mut self, coming: Coming, then: Instant) -> Self {
        match coming {
            Coming::Keys(keys) => {
                keys.ended(then).await;
                self.keys = Keys::Newest;
            }
            Coming::Answer(answer) => {
                let of = answer.of();
                self.answers.push((of, answer.until(then).await));
            }
        }
        self
    }

    pub fn is_nothing(&self) -> bool {
        self.keys == Keys::AsTheyWere && self.answers.is_empty()
    }

    pub fn for_keys(&self) -> bool {
        self.keys == Keys::Newest
    }

    /// What the introspector of this number said.
    pub fn answer(&self, of: u32) -> Option<&Outcome> {
        let found = self.answers.iter().find(|(number, _)| *number == of);
        found.map(|(_, outcome)| outcome)
    }
}
