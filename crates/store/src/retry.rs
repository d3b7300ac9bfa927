//! When a failed call is tried again. OpenDAL's own retry layer is not used: it loses an upload whose call is
//! cancelled, so that it can no longer be aborted, and it hides whether an error may pass.

#[cfg(any(test, feature = "testing"))]
use std::sync::Arc;
use std::time::Duration;

use crate::error::{At, StoreError};

/// Times and sizes; the defaults are right outside tests.
#[derive(Clone)]
pub struct Tuning {
    /// Limit of one call without a body.
    pub call_timeout: Duration,
    /// Limit of one step of a transfer: a part up, the next bytes down.
    pub io_timeout: Duration,
    /// How often a failing call is tried in all.
    pub attempts: usize,
    /// Pause after the first failure; it doubles, with jitter.
    pub min_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// Size of the first thousand parts of an upload; it doubles with each further thousand.
    pub part_size: usize,
    /// Parts of one upload under way at once.
    pub parts_in_flight: usize,
    /// Faults between this store and its service.
    #[cfg(any(test, feature = "testing"))]
    pub http_faults: Option<Arc<crate::testing::HttpFaults>>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(30),
            io_timeout: Duration::from_mins(2),
            attempts: 5,
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
            part_size: 5 * 1024 * 1024,
            parts_in_flight: 2,
            #[cfg(any(test, feature = "testing"))]
            http_faults: None,
        }
    }
}

impl Tuning {
    /// The pause after so many failures in a row.
    pub(crate) fn delay(&self, failures: usize) -> Duration {
        let doubled = self
            .min_delay
            .saturating_mul(1 << failures.saturating_sub(1).min(10))
            .min(self.max_delay);
        doubled.mul_f64(rand::random_range(0.5..1.5))
    }

    /// Counts a failure and waits, if it may pass and tries are left; otherwise gives it back.
    pub(crate) async fn pause(
        &self,
        at: &At,
        error: &opendal::Error,
        writing: bool,
        failures: &mut usize,
    ) -> Result<(), StoreError> {
        *failures += 1;
        let known = StoreError::from_opendal(Box::new(at.clone()), error, writing);
        if !known.is_retryable() || matches!(known, StoreError::Changed { .. }) || *failures >= self.attempts
        {
            return Err(known);
        }
        let pause = self.delay(*failures);
        tracing::debug!(error = %known, failures, ?pause, "trying a call again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Makes a call until it succeeds, fails for good, or tries are used up. `writing` is as in
    /// [`StoreError::from_opendal`].
    pub(crate) async fn retry<T, F>(
        &self,
        at: &At,
        writing: bool,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = opendal::Result<T>>,
    {
        let mut failures = 0;
        loop {
            match call().await {
                Ok(result) => return Ok(result),
                Err(e) => self.pause(at, &e, writing, &mut failures).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use opendal::{Error, ErrorKind};

    use super::*;

    fn quick() -> Tuning {
        Tuning {
            min_delay: Duration::from_millis(1),
            attempts: 3,
            ..Tuning::default()
        }
    }

    #[tokio::test]
    async fn only_what_may_pass_is_tried_again_and_not_forever() {
        for (error, calls, reason) in [
            (
                || Error::new(ErrorKind::Unexpected, "reset").set_temporary(),
                3,
                "Temporary",
            ),
            (|| Error::new(ErrorKind::Unexpected, "nonsense"), 1, "StoreFailed"),
            (|| Error::new(ErrorKind::NotFound, "none"), 1, "ObjectNotFound"),
            (
                || Error::new(ErrorKind::PermissionDenied, "no"),
                1,
                "PermissionDenied",
            ),
        ] as [(fn() -> Error, u32, &str); 4]
        {
            let made = Cell::new(0);
            let call = || {
                made.set(made.get() + 1);
                std::future::ready(Err::<(), _>(error()))
            };
            let result = quick()
                .retry(&At::new("reading", "k", "s3://b"), false, call)
                .await;
            assert_eq!((result.unwrap_err().reason(), made.get()), (reason, calls));
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let tuning = Tuning::default();
        for (failures, millis) in [(1, 200), (2, 400), (4, 1600), (9, 10_000), (1000, 10_000)] {
            let pause = tuning.delay(failures).as_millis();
            assert!(
                (millis / 2..=millis * 3 / 2).contains(&pause),
                "{failures}: {pause}"
            );
        }
    }
}
