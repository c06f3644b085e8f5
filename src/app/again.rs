//! A refused configuration that may be right: what it needs may come later.
//!
//! An address that is taken, a certificate or a secret that is not there yet: when they change, the file
//! that names them does not. So the same text is tried again, ever more rarely. Another text is not read
//! here: whoever wrote it says when it is to be.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use rand::rngs::StdRng;
use tokio::{
    task::spawn_blocking,
    time::{Sleep, sleep},
};

use super::present::{Mends, Outcome};
use crate::{backoff::Backoff, rotation};

/// Sockets are bound and files are read with each: it is to cost nothing while nobody looks after it.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60));

/// What a file says, or that it says nothing.
pub(super) type Text = Option<[u8; 32]>;

/// When to try again.
pub(super) struct Again {
    file: Option<PathBuf>,
    refused: Option<Refused>,
    rng: StdRng,
}

struct Refused {
    text: [u8; 32],
    outcome: Outcome,
    backoff: Backoff,
    due: Pin<Box<Sleep>>,
}

impl Again {
    pub(super) fn new(file: Option<&Path>, rng: StdRng) -> Self {
        Self {
            file: file.map(PathBuf::from),
            refused: None,
            rng,
        }
    }

    /// What the file says now.
    pub(super) async fn text(&self) -> Text {
        text(self.file.clone()?).await
    }

    /// Until the refused text should be tried again, which is what the file still says.
    pub(super) async fn due(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.due.as_mut().await;
            let wanted = refused.text;
            if self.text().await == Some(wanted) {
                return;
            }
            self.refused = None;
        }
        std::future::pending::<()>().await;
    }

    /// What came of this text; in which time it will be tried again.
    pub(super) fn after(&mut self, text: Text, outcome: &Outcome) -> Option<Duration> {
        let before = self.refused.take();
        let text = text.filter(|_| outcome.mends() == Mends::PerhapsByTime)?;
        let same = before.filter(|before| before.text == text && before.outcome == *outcome);
        let mut backoff = same.map_or(BACKOFF, |same| same.backoff);
        let wait = backoff.next(&mut self.rng);
        self.refused = Some(Refused {
            text,
            outcome: outcome.clone(),
            backoff,
            due: Box::pin(sleep(wait)),
        });
        Some(wait)
    }
}

/// A digest of it.
pub(super) async fn text(file: PathBuf) -> Text {
    let read = spawn_blocking(move || {
        let text = rotation::read(&file).ok()?;
        digest(&SHA256, &text).as_ref().try_into().ok()
    });
    read.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::SeedableRng;
    use tokio::time::timeout;

    use super::*;
    use crate::app::present::Fault;

    const HOUR: Duration = Duration::from_secs(3600);

    fn refused(why: &str) -> Outcome {
        Outcome::Refused(vec![Fault::of(why.into(), None)])
    }

    fn at(file: &tempfile::NamedTempFile) -> Again {
        Again::new(Some(file.path()), StdRng::seed_from_u64(1))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_the_same_reason_is_tried_ever_more_rarely() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut again = at(&file);
        let text = again.text().await;
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(again.after(text, &refused("taken")).unwrap().as_secs());
            again.due().await;
        }
        assert!((5..=10).contains(&waits[0]), "{waits:?}");
        assert!(waits[1..].iter().all(|wait| *wait >= 10), "{waits:?}");
        assert!(
            waits[3..].iter().all(|wait| (30..=60).contains(wait)),
            "{waits:?}"
        );
        let other = again.after(text, &refused("missing")).unwrap().as_secs();
        assert!((5..=10).contains(&other), "something has changed: {other}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_text_and_what_no_time_mends_are_not_tried_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut again = at(&file);
        let text = again.text().await;
        again.after(text, &refused("taken"));
        fs::write(file.path(), "another").unwrap();
        assert!(timeout(HOUR, again.due()).await.is_err());

        let text = again.text().await;
        let fixed = Fault {
            mends: Mends::Never,
            ..Fault::of("needs a restart".into(), None)
        };
        assert_eq!(again.after(text, &Outcome::Refused(vec![fixed])), None);
        again.after(text, &refused("taken"));
        assert_eq!(again.after(text, &Outcome::Applied(Vec::new())), None);
        assert!(timeout(HOUR, again.due()).await.is_err());
    }
}
