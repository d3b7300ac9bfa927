//! Which backups may run now: as many as `--concurrent-backups` says, oldest first, and none beside
//! one that concerns the same namespaces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_model::Backup;
use tokio::sync::watch;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    name: String,
    created: Option<Time>,
    /// A backup that had begun before goes in front.
    begun: bool,
    namespaces: Vec<String>,
}

impl Request {
    pub(crate) fn of(backup: &Backup) -> Self {
        Self {
            name: backup.metadata.name.clone().unwrap_or_default(),
            created: backup.metadata.creation_timestamp.clone(),
            begun: backup
                .status
                .as_ref()
                .is_some_and(|status| status.start_timestamp.is_some()),
            namespaces: backup.spec.included_namespaces.clone(),
        }
    }

    fn order(&self) -> (bool, &Option<Time>, &str) {
        (!self.begun, &self.created, &self.name)
    }

    /// Whether both may concern one namespace. Globs are taken to overlap with everything.
    fn overlaps(&self, other: &Self) -> bool {
        let wide =
            |list: &[String]| list.is_empty() || list.iter().any(|name| name.contains(['*', '?', '[']));
        wide(&self.namespaces)
            || wide(&other.namespaces)
            || self.namespaces.iter().any(|name| other.namespaces.contains(name))
    }
}

/// The queue. Which request may run is a function of the two lists alone.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    running: Vec<Request>,
    /// In the order in which they are to run.
    waiting: Vec<Request>,
}

impl State {
    /// The place in the queue, from 1; `None`: it may run.
    fn position(&self, name: &str, limit: usize) -> Option<i64> {
        let at = self.waiting.iter().position(|request| request.name == name)?;
        let request = &self.waiting[at];
        let ahead = self.running.iter().chain(&self.waiting[..at]);
        let mut free = limit.max(1).saturating_sub(self.running.len());
        for earlier in &self.waiting[..at] {
            // An earlier one that cannot run for its namespaces does not take a place.
            let before = self
                .running
                .iter()
                .chain(self.waiting.iter().take_while(|other| *other != earlier));
            let mut before = before;
            if !before.any(|other| other.overlaps(earlier)) {
                free = free.saturating_sub(1);
            }
        }
        let mut ahead = ahead;
        let held_back = ahead.any(|other| other.overlaps(request));
        let place = i64::try_from(at + 1).unwrap_or(i64::MAX);
        (free == 0 || held_back).then_some(place)
    }
}

impl Admission {
    /// At most `limit` at once; 0 counts as 1.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Takes a place in the queue.
    pub(crate) fn enqueue(self: &Arc<Self>, request: Request) -> Waiting {
        let name = request.name.clone();
        let changes = self.version.subscribe();
        let mut state = self.state();
        state.waiting.push(request);
        state.waiting.sort_by(|a, b| a.order().cmp(&b.order()));
        drop(state);
        self.tell();
        Waiting {
            admission: Arc::clone(self),
            name,
            changes,
            left: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// A place in the queue; dropping it gives it up.
pub(crate) struct Waiting {
    admission: Arc<Admission>,
    name: String,
    changes: watch::Receiver<u64>,
    left: bool,
}

impl Waiting {
    /// Takes the turn, if it is this one's; else tells the place in the queue, from 1. One step, so that nobody can
    /// come in between.
    pub(crate) fn take(&mut self) -> Result<Turn, i64> {
        self.changes.mark_unchanged();
        let mut state = self.admission.state();
        if let Some(place) = state.position(&self.name, self.admission.limit) {
            return Err(place);
        }
        self.left = true;
        if let Some(at) = state.waiting.iter().position(|request| request.name == self.name) {
            let request = state.waiting.remove(at);
            state.running.push(request);
        }
        drop(state);
        self.admission.tell();
        Ok(Turn {
            admission: Arc::clone(&self.admission),
            name: self.name.clone(),
        })
    }

    /// Ends when the queue has changed since [`Waiting::take`].
    pub(crate) async fn changed(&mut self) {
        // The sender lives in the queue that this place holds on to.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.left {
            self.admission
                .state()
                .waiting
                .retain(|request| request.name != self.name);
            self.admission.tell();
        }
    }
}

/// The right to run; dropping it lets the next one run.
pub(crate) struct Turn {
    admission: Arc<Admission>,
    name: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.admission
            .state()
            .running
            .retain(|request| request.name != self.name);
        self.admission.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn request(name: &str, created: i64, namespaces: &[&str]) -> Request {
        Request {
            name: name.to_owned(),
            created: Some(Time(Timestamp::from_second(created).unwrap())),
            begun: false,
            namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn the_oldest_runs_first_and_the_limit_holds() {
        let admission = Arc::new(Admission::new(1));
        let mut young = admission.enqueue(request("young", 2, &["b"]));
        let mut old = admission.enqueue(request("old", 1, &["a"]));
        assert_eq!(young.take().err(), Some(2));
        let turn = old.take().unwrap();
        assert_eq!(young.take().err(), Some(1));
        drop(turn);
        assert!(young.take().is_ok());
    }

    #[test]
    fn backups_of_one_namespace_never_run_side_by_side() {
        let admission = Arc::new(Admission::new(3));
        let mut first = admission.enqueue(request("first", 1, &["a", "b"]));
        let mut second = admission.enqueue(request("second", 2, &["b"]));
        let mut third = admission.enqueue(request("third", 3, &["c"]));
        let mut all = admission.enqueue(request("all", 4, &[]));
        let turn = first.take().unwrap();
        assert_eq!(second.take().err(), Some(1), "held back by the first");
        let third = third
            .take()
            .expect("not held back by the second, which cannot run");
        assert_eq!(all.take().err(), Some(2));
        drop(turn);
        let second = second.take().unwrap();
        drop((third, second));
        assert!(all.take().is_ok());
    }

    #[test]
    fn a_place_that_is_given_up_is_free() {
        let admission = Arc::new(Admission::new(1));
        let first = admission.enqueue(request("first", 1, &["a"]));
        let mut second = admission.enqueue(request("second", 2, &["a"]));
        assert_eq!(second.take().err(), Some(2));
        drop(first);
        assert!(second.take().is_ok());
    }

    #[test]
    fn a_backup_that_had_begun_goes_in_front() {
        let admission = Arc::new(Admission::new(1));
        let mut waiting = admission.enqueue(request("a", 1, &["a"]));
        let mut begun = admission.enqueue(Request {
            begun: true,
            ..request("b", 2, &["b"])
        });
        assert_eq!(waiting.take().err(), Some(2));
        assert!(begun.take().is_ok());
    }

    #[tokio::test]
    async fn the_next_hears_of_the_end_of_a_turn() {
        let admission = Arc::new(Admission::new(1));
        let turn = admission.enqueue(request("first", 1, &["a"])).take().unwrap();
        let mut second = admission.enqueue(request("second", 2, &["a"]));
        assert_eq!(second.take().err(), Some(1));
        drop(turn);
        second.changed().await;
        assert!(second.take().is_ok());
    }
}
