//! How far a backup or restore is, on standard error: a live bar on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{
    HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle,
};

use crate::exit;

/// How often a line is written where there is no terminal.
const LINES_APART: Duration = Duration::from_secs(10);

/// How far something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items done.
    pub done: u64,
    /// Items known of.
    pub total: u64,
    /// Bytes done, where known.
    pub bytes: Option<u64>,
}

/// Shows how far something is.
pub struct Meter {
    what: String,
    bar: Option<ProgressBar>,
    begun: Instant,
    last_line: Instant,
    shown: Counts,
}

impl Meter {
    /// Begins to show; `what` stands in front, for example `Backing up x`.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| terminal_bar(&what));
        let now = Instant::now();
        Self {
            what,
            bar,
            begun: now,
            last_line: now,
            shown: Counts::default(),
        }
    }

    /// Shows the counts.
    pub fn show(&mut self, counts: Counts) {
        let before = std::mem::replace(&mut self.shown, counts);
        if let Some(bar) = &self.bar {
            bar.set_length(counts.total);
            bar.set_position(counts.done);
            bar.set_message(
                counts
                    .bytes
                    .map(|bytes| format!("  {}", HumanBytes(bytes)))
                    .unwrap_or_default(),
            );
        } else if before != counts && self.last_line.elapsed() >= LINES_APART {
            self.last_line = Instant::now();
            exit::complain(&self.line());
        }
    }

    /// Stops showing and tells the whole in one line.
    pub fn finish(mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        exit::complain(&self.line());
    }

    /// Writes a line without disturbing the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| exit::complain(line)),
            None => exit::complain(line),
        }
    }

    fn line(&self) -> String {
        let Counts { done, total, bytes } = self.shown;
        let took = self.begun.elapsed();
        let bytes = bytes
            .map(|bytes| format!(", {}", HumanBytes(bytes)))
            .unwrap_or_default();
        let rate = rate(done, took);
        let items = format!("{} of {} items", HumanCount(done), HumanCount(total));
        format!(
            "{}: {items}{bytes} in {:.1} s ({rate})",
            self.what,
            took.as_secs_f64()
        )
    }
}

fn terminal_bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix}  [{wide_bar}] {human_pos}/{human_len} items  {rate}{msg}  {elapsed} (left {eta})",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ")
    .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = out.write_str(&rate(state.pos(), state.elapsed()));
    });
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr())
        .with_style(style)
        .with_finish(ProgressFinish::AndClear);
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "for people to read"
)]
fn rate(items: u64, took: Duration) -> String {
    let per_second = items as f64 / took.as_secs_f64().max(0.001);
    if per_second < 10.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{}/s", HumanCount(per_second as u64))
    }
}
