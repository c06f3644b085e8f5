//! Another configuration for the process that runs.
//!
//! It is read and checked whole, and everything that it needs is made beside what there is: sockets,
//! certificates, keys, the plan. Only then do the threads take it, one after another, each between two
//! requests; what is under way ends as it began. What cannot be read, checked or made changes nothing, and log,
//! metric and `/status` say why. So do keys that hold as long as a process runs: half a configuration is
//! nobody's.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    StartError,
    again::{self, Again, Text},
    data,
    generation::{Generation, Standing},
    present::{Cause, Doing, Fault, Last, Mends, Outcome, Pending, Present},
    sockets::{Files, Sockets},
};
use crate::{
    admin,
    audit::Event,
    config::{self, Loaded, Problems, Severity},
    health::{Disobeyed, Order},
    metrics::ReloadLabels,
    net::succession::Offers,
    rotation,
    shutdown::{Shutdown, Stage},
};

/// Between looks at the file. What it says must be the same at two of them: it may be being written.
const LOOK: Duration = Duration::from_secs(1);
/// How long the tokens of new credentials are waited for before requests are.
const FIRST_TOKENS: Duration = Duration::from_secs(10);

/// An order to read the configuration again.
struct Ordered {
    cause: Cause,
    answer: Option<oneshot::Sender<Outcome>>,
}

/// Has the configuration read again. Clones share.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::UnboundedSender<Ordered>);

impl Reloads {
    /// Does not wait for what comes of it.
    pub fn begin(&self, cause: Cause) {
        // nobody reads it only when the process ends
        let _ = self.0.send(Ordered {
            cause,
            answer: None,
        });
    }
}

impl Order for Reloads {
    fn path(&self) -> &'static str {
        "/reload"
    }

    fn obey(&self, _: Bytes) -> BoxFuture<'_, Result<Value, Disobeyed>> {
        async {
            let (answer, answered) = oneshot::channel();
            let _ = self.0.send(Ordered {
                cause: Cause::Order,
                answer: Some(answer),
            });
            match answered.await {
                Ok(Outcome::Applied(difference)) => {
                    Ok(json!({ "result": "applied", "difference": difference }))
                }
                Ok(Outcome::Unchanged) => Ok(json!({ "result": "unchanged" })),
                Ok(Outcome::Refused(faults)) => {
                    Err(Disobeyed::Refused(faults.iter().map(Fault::line).collect()))
                }
                Err(_) => Err(Disobeyed::Refused(vec!["the process is stopping".into()])),
            }
        }
        .boxed()
    }
}

/// What the threads of the data plane have given for it.
pub(super) struct Hands {
    pub(super) workers: data::Workers,
    pub(super) sockets: Sockets,
    pub(super) files: Files,
    pub(super) offers: Option<Arc<Offers>>,
    pub(super) admin: admin::Sockets,
}

/// The task that does it, one at a time.
pub(super) struct Reloader {
    present: Arc<Present>,
    standing: Standing,
    orders: mpsc::UnboundedReceiver<Ordered>,
    hands: Hands,
    /// Held while another configuration is made: it takes up tokens that nobody else needs yet.
    making: Arc<tokio::sync::Mutex<()>>,
}

pub(super) struct Prepared {
    orders: mpsc::UnboundedReceiver<Ordered>,
}

/// Orders wait until there is somebody to obey them.
pub(super) fn prepare() -> (Reloads, Prepared) {
    let (order, orders) = mpsc::unbounded_channel();
    (Reloads(order), Prepared { orders })
}

impl Prepared {
    pub(super) fn with(self, present: Arc<Present>, standing: Standing, hands: Hands) -> Reloader {
        Reloader {
            present,
            standing,
            orders: self.orders,
            hands,
            making: Arc::default(),
        }
    }
}

impl Reloader {
    /// Until the stop begins: then the sockets are let go.
    pub(super) async fn run(mut self) {
        let stop = self.standing.seams.shutdown.clone();
        let watched = self.watched();
        let mut looked = Looked::new(watched);
        let file = self.present.sources.as_ref();
        let file = file.and_then(|sources| sources.file());
        let mut again = Again::new(file, super::control::rng());
        loop {
            let ordered = tokio::select! {
                () = stop.reached(Stage::Soft) => return,
                ordered = self.orders.recv() => match ordered {
                    Some(ordered) => ordered,
                    None => return,
                },
                () = looked.changed() => Ordered { cause: Cause::File, answer: None },
                () = again.due() => Ordered { cause: Cause::Again, answer: None },
            };
            if ordered.cause != Cause::File {
                // before it is read: a change that comes while it is read is one more
                looked.seen = looked.look().await;
            }
            let text = again.text().await;
            *self.present.pending.lock() = Some(Pending {
                since: self.standing.seams.clock.now(),
                cause: ordered.cause,
                doing: Doing::Reading,
            });
            let tracer = &self.standing.seams.tracer;
            let cause = ("itwin_auth_proxy.reload.cause", ordered.cause.word().into());
            let mut span = tracer.background("reload", [cause]);
            let making = Arc::clone(&self.making).lock_owned().await;
            let outcome = self.reload().await;
            drop(making);
            span.attribute("itwin_auth_proxy.reload.result", outcome.word());
            if let Outcome::Refused(faults) = &outcome {
                let first = faults.first().map(Fault::line);
                span.fails("refused", first.unwrap_or_default());
            }
            drop(span);
            *self.present.pending.lock() = None;
            self.tell(ordered.cause, &outcome, again.after(text, &outcome));
            if let Some(answer) = ordered.answer {
                // who asked may have gone
                let _ = answer.send(outcome);
            }
            // the configuration itself says whether its file is watched
            looked.watch(self.watched());
        }
    }

    fn watched(&self) -> Option<PathBuf> {
        let sources = self.present.sources.as_ref()?;
        let generation = self.present.generation.load();
        generation
            .config
            .reload_watch
            .then(|| sources.file().map(PathBuf::from))?
    }

    async fn reload(&mut self) -> Outcome {
        let Some(sources) = self.present.sources.clone() else {
            let text = "the configuration was not read from a file".to_owned();
            return Outcome::Refused(vec![Fault::of(text, None)]);
        };
        let loaded = spawn_blocking(move || {
            // a pipe gave what it held at the start
            if let Some(file) = sources.file() {
                rotation::read(file).map_err(|error| {
                    let text = format!("cannot read {} again: {error}", file.display());
                    vec![Fault::of(text, None)]
                })?;
            }
            config::load(sources).map_err(|problems| faults(&problems))
        });
        let loaded = loaded.await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(faults)) => return Outcome::Refused(faults),
            Err(error) => return Outcome::Refused(vec![Fault::of(error.to_string(), None)]),
        };
        let before = self.present.generation.load_full();
        let difference = config::difference(&before.config, &loaded.config);
        if difference.is_empty() {
            return Outcome::Unchanged;
        }
        let fixed = config::needs_restart(&before.config, &loaded.config);
        if !fixed.is_empty() {
            let faults = fixed.into_iter().map(|key| Fault {
                path: key.to_owned(),
                mends: Mends::Never,
                ..Fault::of(
                    "cannot change while the process runs".to_owned(),
                    Some("restart the proxy; with a handover_socket, itwin-auth-proxy upgrade does so without refusing a connection".to_owned()),
                )
            });
            return Outcome::Refused(faults.collect());
        }
        match self.apply(&before, loaded).await {
            Ok(()) => Outcome::Applied(difference),
            Err(error) => Outcome::Refused(vec![Fault::of(chain(&error), hint(&error))]),
        }
    }

    async fn apply(&mut self, before: &Arc<Generation>, loaded: Loaded) -> Result<(), StartError> {
        let Hands {
            workers,
            sockets,
            files,
            offers,
            admin,
        } = &mut self.hands;
        self.present.does(Doing::Making);
        let made = self.standing.next(before, sockets, loaded.config)?;
        let (next, mut next_sockets) = made;
        let offered = match offers {
            Some(_) => Some(
                next_sockets
                    .duplicates(admin)
                    .map_err(StartError::Duplicate)?,
            ),
            None => None,
        };
        self.present.does(Doing::FirstTokens);
        // requests would wait for them; what has no token now is served by what there was until then
        let first = async {
            for handle in next.plan.tokens() {
                self.standing.tokens.ready(&handle).await;
            }
        };
        if timeout(FIRST_TOKENS, first).await.is_err() {
            tracing::warn!(
                "a credential of the new configuration has no token yet: its requests wait for it"
            );
        }
        let known = sockets.numbers();
        let fresh = next_sockets.all.iter();
        let fresh = fresh.filter(|bound| !known.contains(&bound.number));
        let fresh: Vec<_> = fresh.cloned().collect();
        let proofs = (!Arc::ptr_eq(&next.proofs, &before.proofs)).then_some(&next.proofs);
        let limits = &next.config.limits;
        workers
            .change(&next.plan, next_sockets.mint(), proofs, limits, &fresh)
            .await
            .map_err(StartError::Thread)?;
        // from here on nothing fails
        if let Some(log) = self.standing.seams.requests.log() {
            let configured = &next.config.log;
            // the level was understood when the file was read
            let _ = log.configure(&configured.level, super::format(configured.format));
        }
        let stop = &self.standing.seams.shutdown;
        for task in next_sockets.tls_tasks() {
            stop.spawn(task);
        }
        next_sockets.settle(files);
        if let (Some(offers), Some(offered)) = (offers, offered) {
            offers.store(Arc::new(offered));
        }
        let before_sockets = std::mem::replace(sockets, next_sockets);
        let goes_on = sockets.numbers();
        for bound in &before_sockets.all {
            if !goes_on.contains(&bound.number) {
                tracing::info!(address = %bound.name, "connections of this listener finish");
                bound.stop.advance(Stage::Soft);
                let next = sockets.successor(bound);
                if let Some(next) = next.filter(|next| bound.is_served_as(next)) {
                    // what is no message may go on: they would be admitted in the same way again
                    next.stop.adopt(&bound.stop);
                    continue;
                }
                let (part, after) = (bound.stop.clone(), limits.drain_timeout);
                stop.spawn(async move {
                    sleep(after).await;
                    part.advance(Stage::Hard);
                });
            }
        }
        for bound in &fresh {
            tracing::info!(address = %bound.name, "listening");
        }
        let (left, drain) = (before.sessions.clone(), limits.drain_timeout);
        let next = Arc::new(next);
        self.present.generation.store(Arc::clone(&next));
        next.count(&self.standing.seams.metrics);
        left.leave(&next.sessions);
        self.retire(stop, drain);
        Ok(())
    }

    /// Lets go of tokens that nobody needs any more, as soon as requests that began with them have
    /// ended.
    fn retire(&self, stop: &Shutdown, drain: Duration) {
        let (tokens, present) = (self.standing.tokens.clone(), Arc::clone(&self.present));
        let making = Arc::clone(&self.making);
        stop.spawn(async move {
            sleep(drain).await;
            let _making = making.lock_owned().await;
            let generation = present.generation.load_full();
            tokens.keep_only(generation.plan.tokens());
        });
    }

    /// Says it where it is news; `next` is the time until it is tried again.
    fn tell(&self, cause: Cause, outcome: &Outcome, next: Option<Duration>) {
        let now = self.standing.seams.clock.now();
        let next_try = next.map(|next| now.plus(next));
        {
            let mut last = self.present.last.lock();
            match (&mut *last, outcome, cause) {
                // it was said before
                (Some(last), _, Cause::Again) if last.outcome == *outcome => {
                    (last.tried_again, last.next_try) = (Some(now), next_try);
                    return;
                }
                (Some(last), Outcome::Unchanged, Cause::File)
                    if last.outcome.faults().is_empty() =>
                {
                    return;
                }
                // a comment, or what was ordered before the change was seen
                (None, Outcome::Unchanged, Cause::File) => return,
                _ => {}
            }
            *last = Some(Last {
                at: now,
                cause,
                outcome: outcome.clone(),
                tried_again: None,
                next_try,
            });
        }
        let generation = self.present.generation.load();
        let (cause, number) = (cause.word(), generation.number);
        let metrics = &self.standing.seams.metrics.configuration;
        let result = outcome.word();
        metrics
            .reloads
            .get_or_create(&ReloadLabels { result })
            .inc();
        let successful = outcome.faults().is_empty();
        metrics.last_successful.set(i64::from(successful));
        self.standing.seams.audit.note(Event::Reloaded {
            cause,
            result: outcome.word(),
            generation: number,
            difference: outcome.difference().to_vec(),
            problems: outcome.faults().iter().map(Fault::line).collect(),
        });
        match outcome {
            Outcome::Applied(difference) => {
                let changes = difference.len();
                tracing::info!(
                    cause,
                    generation = number,
                    changes,
                    "another configuration is in use"
                );
                for change in difference {
                    tracing::info!(change, "configuration");
                }
            }
            Outcome::Unchanged => {
                tracing::info!(cause, "the configuration is as it was");
            }
            Outcome::Refused(faults) => {
                let problems = faults.len();
                tracing::error!(
                    cause,
                    generation = number,
                    problems,
                    tried_again_in_seconds = next.map(|next| next.as_secs()),
                    hint = "itwin-auth-proxy check says the same",
                    "the configuration is refused; the one before stays in use"
                );
                for fault in faults {
                    tracing::error!(problem = fault.line(), "configuration");
                }
            }
        }
    }
}

fn faults(problems: &Problems) -> Vec<Fault> {
    let errors = problems
        .iter()
        .filter(|one| one.severity == Severity::Error);
    errors.map(Fault::from).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::oauth::chain(error)
}

/// The usual reason of a file that cannot be had though `check` reads it.
fn hint(error: &StartError) -> Option<String> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let denied = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
        if denied {
            return Some("the process has given up what its configuration did not name when it started: restart it".into());
        }
        next = error.source();
    }
    None
}

/// A file that is looked at now and then (a mounted `ConfigMap` is a symbolic link that moves, an NFS
/// client sends no events: looking works for all of them).
struct Looked {
    path: Option<PathBuf>,
    seen: Text,
}

impl Looked {
    /// Nothing was seen: it may have changed since it was read for the start.
    fn new(path: Option<PathBuf>) -> Self {
        Self { path, seen: None }
    }

    fn watch(&mut self, path: Option<PathBuf>) {
        self.path = path;
    }

    async fn look(&self) -> Text {
        again::text(self.path.clone()?).await
    }

    /// Until it says something else than before, for a while. A file that is gone says nothing.
    async fn changed(&mut self) {
        let mut unsettled = None;
        loop {
            sleep(LOOK).await;
            let now = self.look().await;
            if now.is_none() || now == self.seen {
                unsettled = None;
            } else if now == unsettled {
                self.seen = now;
                return;
            } else {
                unsettled = now;
            }
        }
    }
}
