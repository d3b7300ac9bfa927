//! `cargo xtask bench`: how fast Refloat is, beside real Velero and beside the least that anyone must do.

mod api;
mod field;
mod floor;
mod machine;
mod measure;
mod objects;
mod report;
mod subject;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use refloat_testkit::cluster::{Cluster, ClusterOptions};

use self::field::Field;
use self::measure::Sample;
use self::objects::Sizes;
use self::report::Results;
use self::subject::{Subject, Task, WORKS};
use crate::program::{self, Profile};
use crate::tool::workspace;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Back up and restore many small objects, on a cluster of its own
    Objects(Objects),
    /// List the objects and throw them away
    #[command(hide = true)]
    FloorList(floor::List),
    /// Create the objects
    #[command(hide = true)]
    FloorPost(floor::Post),
}

#[derive(Args)]
pub(crate) struct Objects {
    /// How many objects the cluster has
    #[arg(long, default_value_t = 100_000)]
    objects: usize,
    /// How many of them are restored
    #[arg(long, default_value_t = 10_000)]
    restore_objects: usize,
    /// How often each measurement is taken; the subjects take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Leave Velero out, which takes most of the time
    #[arg(long)]
    skip_velero: bool,
    /// Leave Refloat out
    #[arg(long)]
    skip_refloat: bool,
    /// 2,000 objects, 500 restored, one run: does the benchmark work at all?
    #[arg(long, conflicts_with_all = ["objects", "restore_objects", "runs", "write"])]
    small: bool,
    /// Put the tables into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Objects(objects) => objects.run(),
        Command::FloorList(list) => tokio()?.block_on(list.run()),
        Command::FloorPost(post) => tokio()?.block_on(post.run()),
    }
}

/// As many threads as cores, as for the programs that are measured.
fn tokio() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

impl Objects {
    fn run(mut self) -> Result<()> {
        if self.small {
            (self.objects, self.restore_objects, self.runs) = (2000, 500, 1);
        }
        ensure!(
            (1..=self.objects).contains(&self.restore_objects),
            "--restore-objects must be at least 1 and at most --objects"
        );
        say("building with optimisation (minutes when cold)");
        let floors = program::build(Profile::Release, "xtask", "xtask")?;
        let refloat = if self.skip_refloat {
            PathBuf::new()
        } else {
            program::build(Profile::Release, "refloat-cli", "refloat")?
        };
        let name = format!("bench-{}", std::process::id());
        // Also when this process is killed, or stopped from the keyboard.
        Cluster::down_when_this_process_ends(&name)?;
        let cluster = Cluster::up(&ClusterOptions::new(&name, 0)).context("starting a cluster")?;
        let sizes = Sizes::new(self.objects, self.restore_objects);
        let field = Field::new(&cluster, sizes, floors, refloat)?;
        let results = self
            .measure(&field)
            .with_context(|| format!("measuring on the cluster `{name}`"));
        Cluster::down(&name).with_context(|| format!("taking the cluster `{name}` down"))?;
        self.publish(&results?)
    }

    fn measure(&self, field: &Field<'_>) -> Result<Results> {
        let filled = field.fill().context("filling the cluster")?;
        say(&format!(
            "created {} objects in {:.1} s",
            self.objects,
            filled.wall.as_secs_f64()
        ));
        let mut subjects = vec![Subject::Floor];
        subjects.extend((!self.skip_velero).then_some(Subject::Velero));
        subjects.extend(
            (!self.skip_refloat)
                .then_some([Subject::Server, Subject::ServerLess])
                .into_iter()
                .flatten(),
        );
        let mut samples: BTreeMap<_, Vec<Sample>> = BTreeMap::new();
        for run in 1..=self.runs {
            for subject in &subjects {
                for work in WORKS {
                    let task = Task {
                        subject: *subject,
                        work,
                        run,
                    };
                    let sample = field.measure(task)?;
                    say(&progress(task, &sample));
                    samples.entry((work, *subject)).or_default().push(sample);
                }
            }
            // The next run begins with another one.
            subjects.rotate_left(1);
        }
        Ok(Results {
            sizes: field.sizes,
            samples,
        })
    }

    fn publish(&self, results: &Results) -> Result<()> {
        let text = format!("{}\n{}", self.heading()?, results.markdown());
        io::stdout()
            .write_all(text.as_bytes())
            .context("printing the tables")?;
        if self.write {
            let file = workspace().join("docs/benchmarks.md");
            report::write_into(&file, &text)?;
        }
        Ok(())
    }

    fn heading(&self) -> Result<String> {
        Ok(format!(
            "- Measured: {}, median (least–most) of {} {}, subjects in turn on one cluster\n- Machine: {}\n- {}\n",
            jiff::Timestamp::now().strftime("%Y-%m-%d"),
            self.runs,
            if self.runs == 1 { "run" } else { "runs" },
            machine::describe()?,
            subject::versions()?,
        ))
    }
}

fn progress(task: Task, sample: &Sample) -> String {
    let Task { subject, work, run } = task;
    format!(
        "run {run}, {subject:?}, {work:?}: {:.2} s, CPU {:.2} s, peak {} MiB, others {:.0} %",
        sample.wall.as_secs_f64(),
        sample.cpu,
        sample.peak_rss >> 20,
        100.0 * sample.foreign
    )
}

#[expect(
    clippy::print_stderr,
    reason = "the benchmark takes long and says how far it is"
)]
fn say(text: &str) {
    eprintln!("bench: {text}");
}
