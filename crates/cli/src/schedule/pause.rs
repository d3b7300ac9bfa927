//! `schedule pause` and `schedule unpause`.

use anyhow::Result;
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_model::Schedule;
use serde_json::json;

use crate::{
    exit::{self, Outcome},
    flags::{Said, SelectFlags},
    output::say,
    select,
    session::Session,
};

/// Flags of `schedule pause` and `schedule unpause`.
#[derive(Args, Clone, Debug)]
pub struct PauseFlags {
    #[command(flatten)]
    select: SelectFlags,
    /// Whether to wait for the next time although a run is due
    #[arg(long, value_name = "BOOL")]
    skip_immediately: Option<Said>,
}

impl PauseFlags {
    /// Pauses or unpauses schedules.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(&self, session: &Session, pause: bool) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let schedules = cluster.objects::<Schedule>(&session.namespace);
        let selected = select::selected(&schedules, &self.select).await?;
        if selected.objects.is_empty() {
            say("No schedules found")?;
        }
        let what = if pause { "paused" } else { "unpaused" };
        let (mut done, mut failures) = (0, selected.failures);
        for schedule in &selected.objects {
            let name = schedule.object_name();
            if schedule.spec.paused == pause {
                done += 1;
                say(&format!("Schedule {name} is already {what}, skip"))?;
                continue;
            }
            let skip = self.skip_immediately.map(|said| said.0);
            let patch = json!({ "spec": { "paused": pause, "skipImmediately": skip } });
            match schedules.merge_patch(name, &patch).await {
                Ok(_) => {
                    done += 1;
                    say(&format!("Schedule {name} {what} successfully"))?;
                }
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error.into())));
                }
            }
        }
        Ok(select::outcome(done, failures))
    }
}
