//! The measurements as tables that read the same on a terminal and in docs/benchmarks.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::measure::Sample;
use super::objects::Sizes;
use super::subject::{Subject, WORKS, Work};

/// Between these lines docs/benchmarks.md has what the last run with `--write` measured.
const BEGIN: &str = "<!-- cargo xtask bench objects --write: begin -->\n";
const END: &str = "<!-- cargo xtask bench objects --write: end -->\n";
/// A measurement counts as disturbed when others took more than this share of the machine.
const DISTURBED: f64 = 0.1;

/// All measurements of a run of the benchmark.
pub(super) struct Results {
    pub sizes: Sizes,
    pub samples: BTreeMap<(Work, Subject), Vec<Sample>>,
}

impl Results {
    /// Both tables and the targets, in Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        let measured = |work: &Work| self.samples.keys().any(|(of, _)| of == work);
        for work in WORKS.into_iter().filter(measured) {
            let _ = write!(text, "{}\n\n{}\n", self.title(work), self.table(work));
        }
        let targets = self.targets();
        if !targets.is_empty() {
            let _ = write!(text, "### Targets\n\n{}", target_table(&targets));
        }
        let disturbed = self
            .samples
            .values()
            .flatten()
            .filter(|sample| sample.foreign > DISTURBED)
            .count();
        if disturbed > 0 {
            let _ = write!(
                text,
                "\n{disturbed} of {} measurements were taken while other work used more than {:.0} % of the machine.\n",
                self.samples.values().map(Vec::len).sum::<usize>(),
                DISTURBED * 100.0
            );
        }
        text
    }

    fn title(&self, work: Work) -> String {
        let Sizes {
            objects, restored, ..
        } = self.sizes;
        match work {
            Work::BackupOfSome => format!("### Back up {restored} of {objects} objects (ten namespaces)"),
            Work::BackupOfAll => format!("### Back up all {objects} objects"),
            Work::Restore => format!("### Restore {restored} objects into new namespaces"),
        }
    }

    fn table(&self, work: Work) -> String {
        let header = [
            "",
            "time, s",
            "by its own clock, s",
            "to the floor",
            "to Velero",
            "CPU, s",
            "peak RSS, MiB",
            "in the bucket, MB",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for ((_, subject), samples) in self.samples.iter().filter(|((of, _), _)| *of == work) {
            let wall = Spread::of(samples, |sample| sample.wall.as_secs_f64());
            let floor = self.wall(work, Subject::Floor).map(|floor| wall.median / floor);
            let velero = self
                .wall(work, Subject::Velero)
                .filter(|_| *subject != Subject::Floor);
            let cpu = Spread::of(samples, |sample| sample.cpu);
            let rss = Spread::of(samples, |sample| mebibytes(sample.peak_rss));
            let stored = samples.iter().find_map(|sample| sample.stored);
            rows.push(vec![
                who(*subject, work).to_owned(),
                wall.text(2),
                own_clock(samples),
                floor.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×")),
                velero.map_or_else(|| "–".to_owned(), |velero| faster(velero / wall.median)),
                cpu.text(1),
                rss.text(0),
                stored.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1}", megabytes(bytes))),
            ]);
        }
        render(&rows)
    }

    fn wall(&self, work: Work, subject: Subject) -> Option<f64> {
        self.median(work, subject, |sample| sample.wall.as_secs_f64())
    }

    fn median(&self, work: Work, subject: Subject, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        self.samples
            .get(&(work, subject))
            .map(|samples| Spread::of(samples, of).median)
    }

    /// What the project sets itself, and what came out. Empty where Refloat's server was not measured.
    fn targets(&self) -> Vec<Target> {
        let rss = |work| self.median(work, Subject::Server, |sample| mebibytes(sample.peak_rss));
        let faster = |work| Some(self.wall(work, Subject::Velero)? / self.wall(work, Subject::Server)?);
        let of_floor = |work| Some(self.wall(work, Subject::Server)? / self.wall(work, Subject::Floor)?);
        let Sizes {
            objects, restored, ..
        } = self.sizes;
        let targets = [
            (
                format!("backup of {objects}: times faster than Velero"),
                Bound::AtLeast(15.0),
                faster(Work::BackupOfAll),
            ),
            (
                format!("backup of {objects}: times the LIST floor"),
                Bound::AtMost(2.0),
                of_floor(Work::BackupOfAll),
            ),
            (
                format!("restore of {restored}: times faster than Velero"),
                Bound::AtLeast(10.0),
                faster(Work::Restore),
            ),
            (
                format!("restore of {restored}: % of the POST floor's rate"),
                Bound::AtLeast(70.0),
                of_floor(Work::Restore).map(|ratio| 100.0 / ratio),
            ),
            (
                "peak RSS of backups, MiB".to_owned(),
                Bound::AtMost(96.0),
                rss(Work::BackupOfAll),
            ),
            (
                "peak RSS of restores, MiB".to_owned(),
                Bound::AtMost(96.0),
                rss(Work::Restore),
            ),
            (
                format!("growth of peak RSS from {restored} to {objects}, %"),
                Bound::AtMost(20.0),
                rss(Work::BackupOfAll)
                    .zip(rss(Work::BackupOfSome))
                    .map(|(all, some)| 100.0 * (all / some - 1.0)),
            ),
        ];
        let measured = targets.into_iter().filter_map(|(what, bound, value)| {
            Some(Target {
                what,
                bound,
                value: value?,
            })
        });
        measured.collect()
    }
}

struct Target {
    what: String,
    bound: Bound,
    value: f64,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

fn target_table(targets: &[Target]) -> String {
    let mut rows = vec![
        ["Refloat as a server", "target", "measured", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for target in targets {
        let (sign, bound, reached) = match target.bound {
            Bound::AtLeast(bound) => ("≥", bound, target.value >= bound),
            Bound::AtMost(bound) => ("≤", bound, target.value <= bound),
        };
        rows.push(vec![
            target.what.clone(),
            format!("{sign} {bound}"),
            format!("{:.1}", target.value),
            if reached { "reached" } else { "missed" }.to_owned(),
        ]);
    }
    render(&rows)
}

const fn who(subject: Subject, work: Work) -> &'static str {
    match (subject, work) {
        (Subject::Floor, Work::Restore) => "floor: parallel POST",
        (Subject::Floor, _) => "floor: paged LIST",
        (Subject::Velero, _) => "Velero",
        (Subject::Server, _) => "Refloat, server",
        (Subject::ServerLess, _) => "Refloat, no server",
    }
}

/// What a server's status says, in whole seconds; the middle one of several.
fn own_clock(samples: &[Sample]) -> String {
    let mut seconds: Vec<_> = samples.iter().filter_map(|sample| sample.own_clock).collect();
    seconds.sort_unstable();
    let middle = seconds.get(seconds.len() / 2);
    middle.map_or_else(|| "–".to_owned(), ToString::to_string)
}

/// Median, least and most of several measurements.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Self {
        let mut values: Vec<_> = samples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }

    fn text(&self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

fn faster(ratio: f64) -> String {
    if (ratio - 1.0).abs() < f64::EPSILON {
        "1".to_owned()
    } else {
        format!("{ratio:.1} × faster")
    }
}

/// A Markdown table whose columns line up.
fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
            .max(3)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            let line = |width: &usize| format!("|{}", "-".repeat(width + 2));
            text.push_str(&widths.iter().map(line).collect::<String>());
            text.push_str("|\n");
        }
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Puts `text` between the markers of the file.
pub(super) fn write_into(file: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let new = replaced(&old, text).with_context(|| format!("{} has lost its markers", file.display()))?;
    fs::write(file, new).with_context(|| format!("writing {}", file.display()))
}

fn replaced(old: &str, text: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn samples(seconds: &[u64], mebibytes: u64) -> Vec<Sample> {
        let sample = |seconds: &u64| Sample {
            wall: Duration::from_secs(*seconds),
            cpu: 1.0,
            peak_rss: mebibytes << 20,
            own_clock: Some(60),
            stored: None,
            foreign: 0.0,
        };
        seconds.iter().map(sample).collect()
    }

    #[test]
    fn tables_and_targets() {
        let of =
            |subject, seconds: &[u64], mebibytes| ((Work::BackupOfAll, subject), samples(seconds, mebibytes));
        let results = Results {
            sizes: Sizes::new(100_000, 10_000),
            samples: BTreeMap::from([
                of(Subject::Floor, &[2, 4, 3], 20),
                of(Subject::Velero, &[60, 66], 340),
                of(Subject::Server, &[4], 97),
            ]),
        };
        let text = results.markdown();
        assert!(text.contains("| floor: paged LIST | 3.00 (2.00–4.00)"), "{text}");
        assert!(
            text.contains("| Velero            | 63.00 (60.00–66.00) | 60 "),
            "{text}"
        );
        assert!(text.contains("15.8 × faster"), "{text}");
        assert!(
            text.contains("| 15.8     | reached |") && text.contains("| 97.0     | missed  |"),
            "{text}"
        );
        assert!(!text.to_lowercase().contains("restore"), "{text}");
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(
            replaced(&old, "new\n").unwrap(),
            format!("before\n{BEGIN}\nnew\n\n{END}after\n")
        );
        assert!(replaced("no markers", "new").is_none());
    }
}
