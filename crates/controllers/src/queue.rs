//! Which keys are to be worked on and when. No key is worked on twice at a time; a key that changes
//! while it is worked on comes again; failures come again after growing pauses. Time is an argument.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The keys of one controller.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<String>,
    in_ready: HashSet<String>,
    running: HashSet<String>,
    changed_while_running: HashSet<String>,
    timers: BTreeSet<(Instant, String)>,
    timer_of: HashMap<String, Instant>,
    failures: HashMap<String, u32>,
}

impl Queue {
    /// Wants `key` to be worked on as soon as possible.
    pub(crate) fn push(&mut self, key: &str) {
        if self.running.contains(key) {
            self.changed_while_running.insert(key.to_owned());
        } else if self.in_ready.insert(key.to_owned()) {
            self.ready.push_back(key.to_owned());
        }
    }

    /// Takes the next key to work on.
    pub(crate) fn start(&mut self) -> Option<String> {
        let key = self.ready.pop_front()?;
        self.in_ready.remove(&key);
        self.cancel_timer(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// The work on `key` went well; `again` is when to look at it without a change.
    pub(crate) fn done(&mut self, key: &str, again: Option<Instant>) {
        self.failures.remove(key);
        self.end(key, again);
    }

    /// The work on `key` failed in a way that may pass.
    pub(crate) fn failed(&mut self, key: &str, now: Instant) {
        let failures = self.failures.entry(key.to_owned()).or_default();
        let pause = (FIRST_PAUSE * 2u32.saturating_pow((*failures).min(16))).min(LONGEST_PAUSE);
        *failures += 1;
        self.end(key, Some(now + pause));
    }

    /// Nothing of that name exists any more.
    pub(crate) fn forget(&mut self, key: &str) {
        self.failures.remove(key);
        self.cancel_timer(key);
    }

    /// When to call [`Queue::wake`] next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Makes the keys ready whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        while self.next_timer().is_some_and(|at| at <= now) {
            if let Some((_, key)) = self.timers.pop_first() {
                self.timer_of.remove(&key);
                self.push(&key);
            }
        }
    }

    fn end(&mut self, key: &str, again: Option<Instant>) {
        self.running.remove(key);
        if self.changed_while_running.remove(key) && !self.failures.contains_key(key) {
            self.push(key);
        } else if let Some(at) = again {
            self.cancel_timer(key);
            self.timers.insert((at, key.to_owned()));
            self.timer_of.insert(key.to_owned(), at);
        }
    }

    fn cancel_timer(&mut self, key: &str) {
        if let Some(at) = self.timer_of.remove(key) {
            self.timers.remove(&(at, key.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_started_twice_and_comes_again_after_a_change() {
        let mut queue = Queue::default();
        queue.push("a");
        queue.push("a");
        assert_eq!(queue.start().as_deref(), Some("a"));
        assert_eq!(queue.start(), None);
        queue.push("a");
        assert_eq!(queue.start(), None, "it is being worked on");
        queue.done("a", None);
        assert_eq!(queue.start().as_deref(), Some("a"));
        queue.done("a", None);
        assert_eq!(queue.start(), None);
    }

    #[test]
    fn failures_come_again_after_growing_pauses() {
        let mut queue = Queue::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        queue.push("a");
        for _ in 0..12 {
            assert_eq!(queue.start().as_deref(), Some("a"));
            // Our own writes before the failure must not undo the pause.
            queue.push("a");
            queue.failed("a", now);
            let at = queue.next_timer().unwrap();
            pauses.push(at - now);
            now = at;
            assert_eq!(queue.start(), None);
            queue.wake(now);
        }
        assert_eq!(pauses[..3], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(pauses[11], LONGEST_PAUSE);
        queue.start();
        queue.done("a", None);
        queue.push("a");
        queue.start();
        queue.failed("a", now);
        assert_eq!(
            queue.next_timer(),
            Some(now + FIRST_PAUSE),
            "success resets the pauses"
        );
    }

    #[test]
    fn a_change_comes_before_the_timer_and_takes_its_place() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.push("a");
        queue.start();
        queue.done("a", Some(now + Duration::from_secs(60)));
        queue.push("a");
        assert_eq!(queue.start().as_deref(), Some("a"));
        assert_eq!(queue.next_timer(), None);
    }
}
