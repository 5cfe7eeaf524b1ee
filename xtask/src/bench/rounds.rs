//! A load that runs → rounds of what the daemon costs beside it.
//!
//! Begins after two windows, when the programs that are always there are known, and measures whole windows from middle to
//! middle, so that what belongs to a window is in one round: sampling, naming, writing, pushing.

use super::Setting;
use super::cost::Cost;
use super::daemon::{Daemon, WINDOW, middle_of_window, whole_windows};
use super::database::Database;
use super::machine::Others;
use anyhow::Result;
use std::time::Duration;

/// Before the first round.
const WARM_UP_WINDOWS: u32 = 2;

/// A daemon that pushes to a database.
pub(super) struct Stage<'a> {
    setting: &'a Setting<'a>,
    pub(super) daemon: Daemon,
    database: Database,
}

/// What was measured, and how.
pub(super) struct Rounds {
    pub(super) costs: Vec<Cost>,
    /// Lines for people.
    pub(super) about: Vec<String>,
}

/// Measures beside a load that runs. `load_cpu`: what it has taken up to now; fails if it has ended.
pub(super) async fn rounds(setting: &Setting<'_>, load_cpu: impl Fn() -> Result<Duration>) -> Result<Rounds> {
    let stage = Stage::start(setting).await?;
    stage.warm_up().await;
    let rounds = stage.rounds(load_cpu).await?;
    stage.daemon.stop().await?;
    Ok(rounds)
}

impl<'a> Stage<'a> {
    pub(super) async fn start(setting: &'a Setting<'a>) -> Result<Self> {
        let database = Database::start(setting.database, setting.folder).await?;
        let daemon = Daemon::start(setting.program, setting.folder, database.url()).await?;
        Ok(Self { setting, daemon, database })
    }

    /// Waits until what is always there is known, and then for the middle of a window.
    pub(super) async fn warm_up(&self) {
        tokio::time::sleep(WINDOW * WARM_UP_WINDOWS).await;
        middle_of_window().await;
    }

    /// As many as were asked for, from now on.
    pub(super) async fn rounds(&self, load_cpu: impl Fn() -> Result<Duration>) -> Result<Rounds> {
        let duration = whole_windows(self.setting.duration);
        let mut others = Others::default();
        let mut costs = Vec::new();
        for round in 0..self.setting.rounds {
            self.setting.tell(round);
            let before = others.before(load_cpu()?)?;
            let cost = Cost::of(&self.daemon, &self.database, duration).await?;
            others.after(before, load_cpu()?, cost.cpu())?;
            costs.push(cost);
        }
        let protocol = costs.last().map_or("", |cost| &cost.wire.protocol);
        let about = vec![
            format!(
                "The daemon as it is by default, pushing over loopback by {protocol} without TLS; its start took {:.2} s of CPU.",
                self.daemon.cpu_before.as_secs_f64()
            ),
            format!(
                "Median [least–most] of {} rounds of {} s, after {WARM_UP_WINDOWS} windows of {} s.",
                self.setting.rounds,
                duration.as_secs(),
                WINDOW.as_secs()
            ),
            others.told(),
        ];
        Ok(Rounds { costs, about })
    }
}
