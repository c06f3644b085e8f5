//! Soft and hard stop, and the tasks that must end before the program does.
//!
//! Every background task is spawned here, so that none is forgotten: [`Shutdown::spawn`] tracks
//! it, [`Shutdown::finished`] waits for all. `soft` means "take no new work and finish"; `hard`
//! means "now".

use std::{
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not stopping.
    Running,
    /// Finish what is under way, accept nothing new.
    Soft,
    /// Drop everything.
    Hard,
}

const RUNNING: u8 = Stage::Running as u8;
const SOFT: u8 = Stage::Soft as u8;

/// A handle on the program's stop. Clones share.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    stage: watch::Sender<Stage>,
    /// The same, for those who ask with every packet.
    glance: AtomicU8,
    alive: watch::Sender<()>,
    /// Somebody asked for the end.
    asked: watch::Sender<bool>,
    /// The process that has taken the listeners.
    successor: watch::Sender<Option<i32>>,
    /// Parts that stop with this, if they have not before.
    parts: Mutex<Vec<Weak<State>>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Running, with no task.
    pub fn new() -> Self {
        Self(Arc::new(State {
            stage: watch::Sender::new(Stage::Running),
            glance: AtomicU8::new(Stage::Running as u8),
            alive: watch::Sender::new(()),
            asked: watch::Sender::new(false),
            successor: watch::Sender::new(None),
            parts: Mutex::default(),
        }))
    }

    /// Of a part of the program, which may stop before all of it does: whatever this reaches, that
    /// has reached too.
    #[must_use]
    pub fn part(&self) -> Self {
        let part = Self::new();
        self.adopt(&part);
        part
    }

    /// What this reaches, `other` is to reach too.
    pub fn adopt(&self, other: &Self) {
        {
            let mut parts = self.0.parts.lock();
            parts.retain(|part| part.strong_count() > 0);
            parts.push(Arc::downgrade(&other.0));
        }
        // after it is listed: a stop that comes now is heard of in one way or the other
        other.advance(self.stage());
    }

    /// The stage now; costs a load.
    pub fn stage(&self) -> Stage {
        match self.0.glance.load(Ordering::Acquire) {
            RUNNING => Stage::Running,
            SOFT => Stage::Soft,
            _ => Stage::Hard,
        }
    }

    /// Moves on to `stage`; never back.
    pub fn advance(&self, stage: Stage) {
        self.0.stage.send_if_modified(|now| {
            let later = stage > *now;
            if later {
                *now = stage;
                // before anybody is woken
                self.0.glance.store(stage as u8, Ordering::Release);
            }
            later
        });
        let parts: Vec<_> = {
            let parts = self.0.parts.lock();
            parts.iter().filter_map(Weak::upgrade).collect()
        };
        for part in parts {
            Self(part).advance(stage);
        }
    }

    /// Asks whoever runs the program to stop it in order, as a signal does.
    pub fn ask(&self) {
        self.0.asked.send_replace(true);
    }

    /// Waits until the end was asked for.
    pub async fn asked(&self) {
        let mut asked = self.0.asked.subscribe();
        // the sender lives in `self`
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// Another process accepts on our sockets now: nothing new is to be taken here.
    pub fn supersede(&self, process: i32) {
        self.0.successor.send_replace(Some(process));
    }

    /// Waits until another process has taken the listeners; which.
    pub async fn superseded(&self) -> i32 {
        let mut successor = self.0.successor.subscribe();
        match successor.wait_for(Option::is_some).await.map(|one| *one) {
            Ok(Some(process)) => process,
            // the sender lives in `self`
            _ => std::future::pending().await,
        }
    }

    /// Waits until `stage` or a later one.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.0.stage.subscribe();
        // the sender lives in `self`, so the wait cannot end with an error
        let _ = stages.wait_for(|now| *now >= stage).await;
    }

    /// Runs `task` on the current runtime until it ends or the stop is hard.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alive = self.0.alive.subscribe();
        let stop = self.clone();
        tokio::spawn(async move {
            let _alive = alive;
            tokio::select! {
                output = task => Some(output),
                () = stop.reached(Stage::Hard) => None,
            }
        })
    }

    /// Waits until every spawned task has ended.
    pub async fn finished(&self) {
        self.0.alive.closed().await;
    }
}

/// A part of the program that ends, at once, when this is dropped.
#[derive(Debug)]
#[must_use = "what it stands for ends when it is dropped"]
pub struct Life(Shutdown);

impl Life {
    /// Of a part of what stops with this.
    pub fn within(shutdown: &Shutdown) -> Self {
        Self(shutdown.part())
    }

    /// Its tasks are spawned here.
    pub fn shutdown(&self) -> &Shutdown {
        &self.0
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.advance(Stage::Hard);
    }
}

/// Runs a connection's task on the data-plane thread that it belongs to. The thread's runtime owns
/// it and ends with the thread, at the latest at a hard stop; a guard of its own would be polled
/// with every packet.
#[expect(clippy::disallowed_methods, reason = "owned by the thread's runtime")]
pub fn spawn_on_worker(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hard_stop_ends_every_task() {
        let stop = Shutdown::new();
        stop.spawn(std::future::pending::<()>());
        stop.advance(Stage::Soft);
        assert_eq!(stop.stage(), Stage::Soft);
        stop.advance(Stage::Running);
        assert_eq!(stop.stage(), Stage::Soft, "a stop is not taken back");
        stop.advance(Stage::Hard);
        stop.finished().await;
    }

    #[tokio::test]
    async fn a_part_stops_with_the_whole_and_not_the_whole_with_a_part() {
        let stop = Shutdown::new();
        let (early, late) = (stop.part(), stop.part());
        early.advance(Stage::Soft);
        assert_eq!(
            (stop.stage(), late.stage()),
            (Stage::Running, Stage::Running)
        );
        let task = late.spawn(std::future::pending::<()>());
        stop.advance(Stage::Hard);
        assert_eq!((early.stage(), late.stage()), (Stage::Hard, Stage::Hard));
        assert_eq!(task.await.ok().flatten(), None);
        assert_eq!(stop.part().stage(), Stage::Hard, "too late to begin");
    }

    #[tokio::test]
    async fn what_has_a_life_ends_when_that_is_dropped() {
        let stop = Shutdown::new();
        let life = Life::within(&stop);
        let task = life.shutdown().spawn(std::future::pending::<()>());
        drop(life);
        assert_eq!(task.await.ok().flatten(), None);
        assert_eq!(stop.stage(), Stage::Running);
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_not_waited_for() {
        let stop = Shutdown::new();
        let task = stop.spawn(async { 5 });
        assert_eq!(task.await.ok().flatten(), Some(5));
        stop.finished().await;
    }
}
