//! What is counted and logged of a tunnel: once, when it ends, however it does.

use std::sync::{Arc, atomic::Ordering};

use super::{record::Observer, slots::Full};
use crate::{
    clock::Moment,
    net::tunnel::{Flow, Passed, Spares},
    telemetry::RequestId,
};

/// A tunnel under way.
#[derive(Debug)]
pub struct Tunnelled {
    observer: Arc<Observer>,
    /// The request that opened it, where one did.
    request: Option<RequestId>,
    to: Box<str>,
    begun: Moment,
    passed: Passed,
    counts: Counts,
}

/// As what a tunnel counts while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// Its connection is counted.
    AsConnection,
    /// One of many on a connection (HTTP/2): itself.
    AsTunnel,
}

impl Tunnelled {
    pub(super) fn begin(
        observer: &Arc<Observer>,
        request: Option<RequestId>,
        to: impl Into<Box<str>>,
    ) -> Self {
        observer.metrics.tunnels.inc();
        Self {
            observer: Arc::clone(observer),
            request,
            to: to.into(),
            begun: observer.clock.now(),
            passed: Passed::default(),
            counts: Counts::AsConnection,
        }
    }

    /// The same, counted by itself: one of many on one connection.
    ///
    /// # Errors
    /// When there are as many as there may be connections.
    pub(super) fn counted(mut self) -> Result<Self, Full> {
        self.observer.tunnels.take()?;
        self.counts = Counts::AsTunnel;
        Ok(self)
    }

    pub fn flow<'f>(&'f self, spares: &'f Spares) -> Flow<'f> {
        Flow {
            spares,
            passed: &self.passed,
        }
    }
}

impl Drop for Tunnelled {
    fn drop(&mut self) {
        let metrics = &self.observer.metrics;
        let [there, back] = [&self.passed.there, &self.passed.back];
        let (there, back) = (there.load(Ordering::Relaxed), back.load(Ordering::Relaxed));
        metrics.tunnels.dec();
        if self.counts == Counts::AsTunnel {
            self.observer.tunnels.give_back();
        }
        metrics.tunnelled("received", there);
        metrics.tunnelled("sent", back);
        if !self.observer.log.is_on() {
            return;
        }
        let ended = self.observer.clock.mono();
        let seconds = ended
            .saturating_duration_since(self.begun.mono)
            .as_secs_f64();
        let request = self.request.map(|id| id.to_string());
        tracing::info!(
            request_id = request,
            to = %self.to,
            seconds,
            bytes_in = there,
            bytes_out = back,
            "a tunnel has ended"
        );
    }
}
