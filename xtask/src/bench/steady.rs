//! What the daemon costs a host with two busy CPUs while it pushes each window: `--part daemon`.

use super::cost_figures::{Aims, figures};
use super::load::Load;
use super::rounds::rounds;
use super::{Measured, Setting};
use anyhow::Result;

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let load = Load::start(setting.folder)?;
    load.is_busy().await?;
    let load_cpu = || {
        load.check()?;
        load.cpu()
    };
    let rounds = rounds(setting, load_cpu).await?;
    let mut about = vec![format!("Load on two CPUs: {}.", load.names())];
    about.extend(rounds.about);
    Ok(Measured { about, figures: figures(&rounds.costs, Aims::HOST) })
}
