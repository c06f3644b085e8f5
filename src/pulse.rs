//! Whether the threads still answer: each bumps a number of its own about once a second, from its
//! own runtime, so that one which hangs in a call or spins in a future stands still.
//!
//! Whoever watches asks which have not moved since it last asked. Where nobody watches (no
//! watchdog of a service manager) no thread is woken for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

/// Where the threads report. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    threads: Arc<Mutex<Vec<Thread>>>,
    /// Between two beats, where somebody watches.
    every: Option<Duration>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    beats: Arc<AtomicU64>,
    seen: u64,
}

impl Pulse {
    /// Nobody watches.
    pub fn unwatched() -> Self {
        Self::default()
    }

    /// Somebody asks from time to time, not more often than `every`.
    pub fn watched(every: Duration) -> Self {
        Self {
            threads: Arc::default(),
            every: Some((every / 4).clamp(Duration::from_millis(10), MOST)),
        }
    }

    pub fn is_watched(&self) -> bool {
        self.every.is_some()
    }

    /// Keeps beating for the thread that awaits it, for as long as it does.
    pub fn keep(&self, name: &str) -> impl Future<Output = ()> + Send + use<> {
        let every = self.every;
        let beats = Arc::new(AtomicU64::new(0));
        if every.is_some() {
            self.threads.lock().push(Thread {
                name: name.to_owned(),
                beats: Arc::clone(&beats),
                seen: u64::MAX,
            });
        }
        async move {
            while let Some(every) = every {
                beats.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(every).await;
            }
        }
    }

    /// The threads that stood still since this was last asked.
    pub fn still(&self) -> Vec<String> {
        let mut still = Vec::new();
        for thread in self.threads.lock().iter_mut() {
            let now = thread.beats.load(Ordering::Relaxed);
            if now == thread.seen {
                still.push(thread.name.clone());
            }
            thread.seen = now;
        }
        still
    }
}

/// Between two beats, at most.
const MOST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stands_still_is_named_until_it_moves() {
        let pulse = Pulse::watched(Duration::from_secs(10));
        let moving = pulse.keep("worker-0");
        let mut stuck = std::pin::pin!(pulse.keep("worker-1"));
        tokio::pin!(moving);
        assert!(pulse.still().is_empty(), "none had time to move");
        let ten = Duration::from_secs(10);
        let _ = tokio::time::timeout(ten, &mut moving).await;
        assert_eq!(pulse.still(), ["worker-1"]);
        let both = async { tokio::join!(&mut moving, &mut stuck) };
        let _ = tokio::time::timeout(ten, both).await;
        assert!(pulse.still().is_empty());
        assert_eq!(pulse.still(), ["worker-0", "worker-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_woken_where_nobody_watches() {
        let pulse = Pulse::unwatched();
        pulse.keep("worker-0").await;
        assert!(pulse.still().is_empty());
    }
}
