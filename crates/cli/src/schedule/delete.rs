//! `schedule delete`.

use anyhow::Result;
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_model::Schedule;

use crate::{
    exit::{self, Outcome},
    flags::SelectFlags,
    output::say,
    select,
    session::{self, Session},
};

/// Flags of `schedule delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteFlags {
    #[command(flatten)]
    select: SelectFlags,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
}

impl DeleteFlags {
    /// Deletes schedules.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        if !self.confirm && !session::confirmed("")? {
            return Ok(Outcome::Done);
        }
        let cluster = session.cluster().await?;
        let schedules = cluster.objects::<Schedule>(&session.namespace);
        let selected = select::selected(&schedules, &self.select).await?;
        if selected.objects.is_empty() {
            say("No schedules found")?;
        }
        let (mut done, mut failures) = (0, selected.failures);
        for schedule in &selected.objects {
            let name = schedule.object_name();
            match schedules.delete(name).await {
                Ok(()) => {
                    done += 1;
                    say(&format!("Schedule deleted: {name}"))?;
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
