//! How many requests may be in flight: as many as the API server answers well.
//!
//! There is no fixed rate. The limit starts low and doubles per round trip until the server shows
//! strain, then grows by about one per round trip, as TCP does. Strain is a 429 (the limit halves
//! and everybody waits as long as `Retry-After` says), a 5xx or a time-out (it halves), or answers
//! that take far longer than the best seen (it shrinks by a tenth).

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// What a request's end says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, with whatever answer.
    Answered,
    /// It is overloaded; wait this long where it says so.
    Overloaded(Option<Duration>),
}

/// Bounds the number of requests in flight and adapts the bound.
#[derive(Debug)]
pub struct Limiter {
    permits: Semaphore,
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug)]
struct State {
    /// The bound; permits in the semaphore plus permits handed out, less the debt.
    limit: f64,
    /// Permits to swallow instead of giving back, after the bound shrank.
    debt: usize,
    /// Until the first strain the bound doubles per round trip.
    slow_start: bool,
    best_latency: Duration,
    smooth_latency: Duration,
    last_cut: Instant,
    paused_until: Option<Instant>,
}

/// Leave to send one request; give it back with [`Limiter::done`].
#[derive(Debug)]
pub struct Leave<'a> {
    permit: SemaphorePermit<'a>,
    began: Instant,
}

const FEWEST: f64 = 2.0;
const START: usize = 8;

impl Limiter {
    /// At most `most` requests in flight (at least one).
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let start = START.min(most);
        Self {
            permits: Semaphore::new(start),
            state: Mutex::new(State {
                limit: as_f64(start),
                debt: 0,
                slow_start: true,
                best_latency: Duration::MAX,
                smooth_latency: Duration::ZERO,
                last_cut: Instant::now(),
                paused_until: None,
            }),
            most,
        }
    }

    /// The bound now.
    #[must_use]
    pub fn limit(&self) -> usize {
        whole(self.lock().limit)
    }

    /// The bound that is never exceeded.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Waits for leave to send a request. Cancel safe.
    pub async fn enter(&self) -> Leave<'_> {
        loop {
            let pause = self
                .lock()
                .paused_until
                .and_then(|until| until.checked_duration_since(Instant::now()));
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => break,
            }
        }
        let permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        Leave {
            permit,
            began: Instant::now(),
        }
    }

    /// Tells how a request ended, and adapts.
    pub fn done(&self, leave: Leave<'_>, outcome: Outcome) {
        let latency = leave.began.elapsed();
        let mut state = self.lock();
        let before = whole(state.limit);
        match outcome {
            Outcome::Answered => state.answered(latency, as_f64(self.most)),
            Outcome::Overloaded(wait) => state.overloaded(wait),
        }
        let after = whole(state.limit);
        if after < before {
            state.debt += before - after;
        }
        let mut grow = after.saturating_sub(before);
        let pay = grow.min(state.debt);
        state.debt -= pay;
        grow -= pay;
        if state.debt > 0 {
            state.debt -= 1;
            drop(state);
            leave.permit.forget();
        } else {
            drop(state);
        }
        if grow > 0 {
            self.permits.add_permits(grow);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn answered(&mut self, latency: Duration, most: f64) {
        self.best_latency = self.best_latency.min(latency);
        self.smooth_latency = (self.smooth_latency * 15 + latency) / 16;
        let strained =
            self.smooth_latency > self.best_latency * 20 && self.smooth_latency > Duration::from_millis(500);
        if strained {
            self.cut(0.9);
        } else if self.slow_start {
            self.limit = (self.limit + 1.0).min(most);
        } else {
            self.limit = (self.limit + 1.0 / self.limit).min(most);
        }
    }

    fn overloaded(&mut self, wait: Option<Duration>) {
        if let Some(wait) = wait {
            let until = Instant::now() + wait.min(Duration::from_secs(60));
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
        }
        self.cut(0.5);
    }

    /// At most one cut per round trip: the requests in flight all report the same strain.
    fn cut(&mut self, factor: f64) {
        self.slow_start = false;
        if self.last_cut.elapsed() >= self.smooth_latency.max(Duration::from_millis(50)) {
            self.limit = (self.limit * factor).max(FEWEST.min(self.limit));
            self.last_cut = Instant::now();
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "limits are small")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are small and positive"
)]
fn whole(limit: f64) -> usize {
    (limit as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(limiter: &Limiter, times: usize, outcome: Outcome) {
        for _ in 0..times {
            let leave = limiter.enter().await;
            limiter.done(leave, outcome);
        }
    }

    #[tokio::test]
    async fn grows_to_the_bound_and_no_further() {
        let limiter = Limiter::new(30);
        run(&limiter, 200, Outcome::Answered).await;
        assert_eq!(limiter.limit(), 30);
        assert_eq!(limiter.permits.available_permits(), 30);
    }

    #[tokio::test]
    async fn halves_on_strain_and_recovers() {
        let limiter = Limiter::new(32);
        run(&limiter, 100, Outcome::Answered).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        run(&limiter, 1, Outcome::Overloaded(None)).await;
        assert_eq!(limiter.limit(), 16);
        run(&limiter, 40, Outcome::Answered).await;
        assert!(
            limiter.limit() < 20,
            "slow growth after strain, not {}",
            limiter.limit()
        );
        run(&limiter, 2000, Outcome::Answered).await;
        assert_eq!(limiter.limit(), 32);
        assert_eq!(limiter.permits.available_permits(), 32);
    }

    #[tokio::test]
    async fn everybody_waits_as_long_as_the_server_says() {
        let limiter = Limiter::new(4);
        run(&limiter, 1, Outcome::Overloaded(Some(Duration::from_millis(120)))).await;
        let began = Instant::now();
        let leave = limiter.enter().await;
        assert!(began.elapsed() >= Duration::from_millis(100));
        limiter.done(leave, Outcome::Answered);
    }
}
