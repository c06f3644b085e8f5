//! The places for connections: so many at a time.
//!
//! Whoever comes when all are taken gets the place of a connection that does nothing: first of those
//! that never asked anything, the one that came first; then the one that has been idle longest. So
//! nobody can keep the API server out by connections that are merely open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// All may be busy, and one of them idle soon.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    number: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Counts what happens: what happened later has a greater number.
    now: u64,
    places: BTreeMap<u64, State>,
}

#[derive(Debug)]
struct State {
    asked: bool,
    since: u64,
    busy: usize,
    end: Arc<Notify>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    end: Arc<Notify>,
    asked: AtomicBool,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

/// A question is under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Places {
    pub(super) fn new(number: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(number as usize)),
            number,
            taken: Mutex::default(),
        })
    }

    /// Waits for a place, and makes room for it.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Place> {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return self.enter(permit);
            }
            self.crowd_out();
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = timeout(LOOK_AGAIN, free).await {
                return self.enter(permit);
            }
        }
    }

    /// Waits until all places are free.
    pub(super) async fn empty(&self) {
        // the semaphore is never closed
        let _ = self.free.acquire_many(self.number).await;
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Arc<Place> {
        let end = Arc::new(Notify::new());
        let mut taken = self.taken.lock();
        let id = taken.tick();
        let state = State {
            asked: false,
            since: id,
            busy: 0,
            end: Arc::clone(&end),
        };
        taken.places.insert(id, state);
        Arc::new(Place {
            id,
            end,
            asked: AtomicBool::new(false),
            places: Arc::clone(self),
            _permit: permit,
        })
    }

    /// Asks a connection that does nothing to end.
    pub(super) fn crowd_out(&self) {
        let mut taken = self.taken.lock();
        let idle = taken.places.iter().filter(|(_, state)| state.busy == 0);
        let first = idle.min_by_key(|(_, state)| (state.asked, state.since));
        let Some(id) = first.map(|(id, _)| *id) else {
            return;
        };
        if let Some(state) = taken.places.remove(&id) {
            state.end.notify_one();
        }
    }
}

impl Taken {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

impl Place {
    /// Until another connection is to have the place.
    pub(super) async fn is_wanted(&self) {
        self.end.notified().await;
    }

    pub(super) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.asked.store(true, Ordering::Relaxed);
        if let Some(state) = self.places.taken.lock().places.get_mut(&self.id) {
            state.busy += 1;
            state.asked = true;
        }
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut taken = self.0.places.taken.lock();
        let now = taken.tick();
        if let Some(state) = taken.places.get_mut(&self.0.id) {
            state.busy = state.busy.saturating_sub(1);
            state.since = now;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().places.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wanted(place: &Place) -> bool {
        timeout(Duration::ZERO, place.is_wanted()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_when_all_are_taken_gets_the_place_of_who_does_nothing() {
        let places = Places::new(4);
        let asks = places.take().await;
        let busy = asks.busy();
        let asked_first = places.take().await;
        let asked_last = places.take().await;
        drop(asked_last.busy());
        drop(asked_first.busy());
        drop(asked_last.busy());
        let silent = places.take().await;
        for (place, what) in [
            (silent, "never asked"),
            (asked_first, "longest idle"),
            (asked_last, "idle"),
        ] {
            places.crowd_out();
            assert!(wanted(&place).await, "{what}");
        }
        places.crowd_out();
        assert!(!wanted(&asks).await, "a question is under way");
        drop(busy);
        places.crowd_out();
        assert!(wanted(&asks).await);
        drop(asks);
        timeout(Duration::from_secs(1), places.empty())
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_until_one_is_idle() {
        let places = Places::new(1);
        let first = places.take().await;
        let busy = first.busy();
        let mut next = std::pin::pin!(places.take());
        assert!(
            timeout(Duration::from_secs(9), next.as_mut())
                .await
                .is_err()
        );
        assert!(!wanted(&first).await);
        drop(busy);
        assert!(
            timeout(Duration::from_secs(1), next.as_mut())
                .await
                .is_err()
        );
        assert!(wanted(&first).await);
        drop(first);
        timeout(Duration::from_secs(1), next).await.unwrap();
    }
}
