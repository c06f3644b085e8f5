//! Soft and hard stop, and the tasks that must end before the program does.
//!
//! Every background task is spawned here, so that none is forgotten: [`Shutdown::spawn`] tracks
//! it, [`Shutdown::finished`] waits for all. `soft` means "take no new work and finish"; `hard`
//! means "now".

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

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
        }))
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
    async fn a_task_that_ends_by_itself_is_not_waited_for() {
        let stop = Shutdown::new();
        let task = stop.spawn(async { 5 });
        assert_eq!(task.await.ok().flatten(), Some(5));
        stop.finished().await;
    }
}
