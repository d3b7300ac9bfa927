//! The server's metrics, named and labelled as Velero's so that its dashboards go on working.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use refloat_model::{Backup, BackupPhase, Restore, RestorePhase, labels};

/// The schedule that made a backup; empty: none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySchedule {
    schedule: String,
}

/// A storage location.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLocation {
    backup_location_name: String,
}

type Counters = Family<BySchedule, Counter>;
type Gauges = Family<BySchedule, Gauge>;
type FloatGauges = Family<BySchedule, Gauge<f64, AtomicU64>>;
type Durations = Family<BySchedule, Histogram, fn() -> Histogram>;

/// All metrics. Clones share them.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    backup_attempt: Counters,
    backup_success: Counters,
    backup_partial_failure: Counters,
    backup_failure: Counters,
    backup_validation_failure: Counters,
    backup_deletion_attempt: Counters,
    backup_deletion_success: Counters,
    backup_deletion_failure: Counters,
    backup_warning: Counters,
    backup_items: Gauges,
    backup_item_errors: Gauges,
    backup_last_status: Gauges,
    backup_last_successful: FloatGauges,
    backup_duration: Durations,
    backup_total: Gauge,
    location_status: Family<ByLocation, Gauge>,
    restore_attempt: Counters,
    restore_success: Counters,
    restore_partial_failure: Counters,
    restore_failed: Counters,
    restore_validation_failed: Counters,
    restore_total: Gauge,
}

/// Velero's buckets: 1, 5, 10, 15, 30 minutes, 1, 2, 3, 4 hours.
fn backup_durations() -> Histogram {
    Histogram::new([
        60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 14_400.0,
    ])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Arc::default(),
            backup_attempt: Counters::default(),
            backup_success: Counters::default(),
            backup_partial_failure: Counters::default(),
            backup_failure: Counters::default(),
            backup_validation_failure: Counters::default(),
            backup_deletion_attempt: Counters::default(),
            backup_deletion_success: Counters::default(),
            backup_deletion_failure: Counters::default(),
            backup_warning: Counters::default(),
            backup_items: Gauges::default(),
            backup_item_errors: Gauges::default(),
            backup_last_status: Gauges::default(),
            backup_last_successful: FloatGauges::default(),
            backup_duration: Durations::new_with_constructor(backup_durations),
            backup_total: Gauge::default(),
            location_status: Family::default(),
            restore_attempt: Counters::default(),
            restore_success: Counters::default(),
            restore_partial_failure: Counters::default(),
            restore_failed: Counters::default(),
            restore_validation_failed: Counters::default(),
            restore_total: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = Registry::with_prefix("velero");
        self.register_backups(&mut registry);
        for (name, help, family) in [
            (
                "restore_attempt",
                "Restores that were started",
                &self.restore_attempt,
            ),
            (
                "restore_success",
                "Restores that are complete",
                &self.restore_success,
            ),
            (
                "restore_partial_failure",
                "Restores with errors",
                &self.restore_partial_failure,
            ),
            ("restore_failed", "Restores that failed", &self.restore_failed),
            (
                "restore_validation_failed",
                "Restores with a wrong spec",
                &self.restore_validation_failed,
            ),
        ] {
            register_counters(&mut registry, name, help, family);
        }
        registry.register("restore_total", "Restores that exist", self.restore_total.clone());
        let status = "1: the storage location is available, 0: it is not";
        registry.register(
            "backup_location_status_gauge",
            status,
            self.location_status.clone(),
        );
        *self.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    fn register_backups(&self, registry: &mut Registry) {
        for (name, help, family) in [
            (
                "backup_attempt",
                "Backups that were started",
                &self.backup_attempt,
            ),
            (
                "backup_success",
                "Backups that are complete",
                &self.backup_success,
            ),
            (
                "backup_partial_failure",
                "Backups with errors",
                &self.backup_partial_failure,
            ),
            ("backup_failure", "Backups that failed", &self.backup_failure),
            (
                "backup_validation_failure",
                "Backups with a wrong spec",
                &self.backup_validation_failure,
            ),
            (
                "backup_deletion_attempt",
                "Deletions that were started",
                &self.backup_deletion_attempt,
            ),
            (
                "backup_deletion_success",
                "Deletions that worked",
                &self.backup_deletion_success,
            ),
            (
                "backup_deletion_failure",
                "Deletions that failed",
                &self.backup_deletion_failure,
            ),
            ("backup_warning", "Backups with warnings", &self.backup_warning),
        ] {
            register_counters(registry, name, help, family);
        }
        for (name, help, family) in [
            (
                "backup_items_total",
                "Items in the latest backup",
                &self.backup_items,
            ),
            (
                "backup_items_errors",
                "Errors in the latest backup",
                &self.backup_item_errors,
            ),
            (
                "backup_last_status",
                "1: the latest backup worked, 0: it did not",
                &self.backup_last_status,
            ),
        ] {
            registry.register(name, help, family.clone());
        }
        let latest = "Unix time of the latest backup that worked";
        registry.register(
            "backup_last_successful_timestamp",
            latest,
            self.backup_last_successful.clone(),
        );
        registry.register(
            "backup_duration_seconds",
            "How long backups took",
            self.backup_duration.clone(),
        );
        registry.register("backup_total", "Backups that exist", self.backup_total.clone());
    }

    /// All of them as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = encode(&mut text, &registry) {
            tracing::error!(%error, "cannot write the metrics");
        }
        text
    }

    pub(crate) fn backup_started(&self, backup: &Backup) {
        self.backup_attempt.get_or_create(&schedule_of(backup)).inc();
    }

    /// Counts a backup's final phase.
    pub(crate) fn backup_ended(&self, backup: &Backup) {
        let label = schedule_of(backup);
        let status = backup.status.clone().unwrap_or_default();
        let counters = match status.phase {
            BackupPhase::Completed => &self.backup_success,
            BackupPhase::PartiallyFailed => &self.backup_partial_failure,
            BackupPhase::FailedValidation => &self.backup_validation_failure,
            BackupPhase::Failed => &self.backup_failure,
            _ => return,
        };
        counters.get_or_create(&label).inc();
        let worked = status.phase == BackupPhase::Completed;
        self.backup_last_status
            .get_or_create(&label)
            .set(i64::from(worked));
        if status.warnings > 0 {
            self.backup_warning.get_or_create(&label).inc();
        }
        if let Some(progress) = status.progress {
            self.backup_items.get_or_create(&label).set(progress.total_items);
            self.backup_item_errors.get_or_create(&label).set(status.errors);
        }
        if let (Some(start), Some(end)) = (&status.start_timestamp, &status.completion_timestamp) {
            let seconds = end.0.duration_since(start.0).as_secs_f64();
            self.backup_duration.get_or_create(&label).observe(seconds);
            if worked {
                let at = end.0.as_duration().as_secs_f64();
                self.backup_last_successful.get_or_create(&label).set(at);
            }
        }
    }

    pub(crate) fn deletion_started(&self, schedule: &str) {
        self.backup_deletion_attempt
            .get_or_create(&by_schedule(schedule))
            .inc();
    }

    pub(crate) fn deletion_ended(&self, schedule: &str, worked: bool) {
        let counters = if worked {
            &self.backup_deletion_success
        } else {
            &self.backup_deletion_failure
        };
        counters.get_or_create(&by_schedule(schedule)).inc();
    }

    pub(crate) fn location(&self, name: &str, available: bool) {
        let label = ByLocation {
            backup_location_name: name.to_owned(),
        };
        self.location_status
            .get_or_create(&label)
            .set(i64::from(available));
    }

    pub(crate) fn location_gone(&self, name: &str) {
        self.location_status.remove(&ByLocation {
            backup_location_name: name.to_owned(),
        });
    }

    pub(crate) fn restore_started(&self, restore: &Restore) {
        self.restore_attempt
            .get_or_create(&by_schedule(&restore.spec.schedule_name))
            .inc();
    }

    /// Counts a restore's final phase.
    pub(crate) fn restore_ended(&self, restore: &Restore) {
        let phase = restore
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        let counters = match phase {
            RestorePhase::Completed => &self.restore_success,
            RestorePhase::PartiallyFailed => &self.restore_partial_failure,
            RestorePhase::FailedValidation => &self.restore_validation_failed,
            RestorePhase::Failed => &self.restore_failed,
            _ => return,
        };
        counters
            .get_or_create(&by_schedule(&restore.spec.schedule_name))
            .inc();
    }

    /// Makes the series of a schedule, so that its first failure is an increase that an alert sees. The
    /// last status is 1 until a backup says otherwise. Velero sets it back to 1 every minute, and loses
    /// a failure that way.
    pub(crate) fn schedule_seen(&self, name: &str) {
        let label = by_schedule(name);
        for family in self.counters() {
            drop(family.get_or_create(&label));
        }
        drop(self.backup_items.get_or_create(&label));
        drop(self.backup_item_errors.get_or_create(&label));
        if self.backup_last_status.get(&label).is_none() {
            self.backup_last_status.get_or_create(&label).set(1);
        }
    }

    /// Takes the series of a schedule away that is gone.
    pub(crate) fn schedule_gone(&self, name: &str) {
        let label = by_schedule(name);
        for family in self.counters() {
            family.remove(&label);
        }
        for family in [
            &self.backup_items,
            &self.backup_item_errors,
            &self.backup_last_status,
        ] {
            family.remove(&label);
        }
        self.backup_last_successful.remove(&label);
        self.backup_duration.remove(&label);
    }

    fn counters(&self) -> [&Counters; 14] {
        [
            &self.backup_attempt,
            &self.backup_success,
            &self.backup_partial_failure,
            &self.backup_failure,
            &self.backup_validation_failure,
            &self.backup_deletion_attempt,
            &self.backup_deletion_success,
            &self.backup_deletion_failure,
            &self.backup_warning,
            &self.restore_attempt,
            &self.restore_success,
            &self.restore_partial_failure,
            &self.restore_failed,
            &self.restore_validation_failed,
        ]
    }

    /// How many backups and restores there are now.
    pub(crate) fn backups_exist(&self, count: usize) {
        self.backup_total.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn restores_exist(&self, count: usize) {
        self.restore_total.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn register_counters(registry: &mut Registry, name: &str, help: &str, family: &Counters) {
    // A series that appears only with its first event has no increase that an alert could see.
    drop(family.get_or_create(&by_schedule("")));
    registry.register(name, help, family.clone());
}

fn by_schedule(name: &str) -> BySchedule {
    BySchedule {
        schedule: name.to_owned(),
    }
}

fn schedule_of(backup: &Backup) -> BySchedule {
    by_schedule(schedule_name(backup))
}

/// The schedule that made a backup; empty: none.
pub(crate) fn schedule_name(backup: &Backup) -> &str {
    let labels = backup.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(labels::SCHEDULE_NAME))
        .map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use refloat_model::{BackupSpec, BackupStatus};

    #[test]
    fn a_schedule_has_its_series_from_the_first_look_until_it_is_gone() {
        let metrics = Metrics::new();
        metrics.schedule_seen("daily");
        let has = |line: &str| metrics.text().lines().any(|have| have == line);
        assert!(has("velero_backup_failure_total{schedule=\"daily\"} 0"));
        assert!(has("velero_restore_attempt_total{schedule=\"daily\"} 0"));
        assert!(has("velero_backup_last_status{schedule=\"daily\"} 1"));
        let mut backup = Backup::new("a", BackupSpec::default());
        backup.metadata.labels = Some([(labels::SCHEDULE_NAME.to_owned(), "daily".to_owned())].into());
        backup.status = Some(BackupStatus {
            phase: BackupPhase::Failed,
            ..BackupStatus::default()
        });
        metrics.backup_ended(&backup);
        metrics.schedule_seen("daily");
        assert!(has("velero_backup_last_status{schedule=\"daily\"} 0"));
        assert!(has("velero_backup_failure_total{schedule=\"daily\"} 1"));
        metrics.schedule_gone("daily");
        assert!(!metrics.text().contains("daily"));
    }

    #[test]
    fn the_text_has_veleros_names() {
        let metrics = Metrics::new();
        let mut backup = Backup::new("a", BackupSpec::default());
        backup.status = Some(BackupStatus {
            phase: BackupPhase::Completed,
            ..BackupStatus::default()
        });
        metrics.backup_started(&backup);
        metrics.backup_ended(&backup);
        metrics.location("default", true);
        let text = metrics.text();
        for line in [
            "velero_backup_attempt_total{schedule=\"\"} 1",
            "velero_backup_success_total{schedule=\"\"} 1",
            "velero_backup_failure_total{schedule=\"\"} 0",
            "velero_backup_last_status{schedule=\"\"} 1",
            "velero_restore_failed_total{schedule=\"\"} 0",
            "velero_backup_location_status_gauge{backup_location_name=\"default\"} 1",
            "velero_backup_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
