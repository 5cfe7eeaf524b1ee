//! What the daemon costs a host with 2,000 processes in 200 cgroups, of 50 services: `--part crowd`.
//!
//! Mostly they sleep: each works 4 ms every 6 s, which makes 1.3 CPUs, so that each is sampled by and by. Every service is a
//! file of its own.

use super::cgroups::Slice;
use super::cost_figures::{Aims, figures};
use super::rounds::rounds;
use super::services::{Bursts, List, Many, Services, Started};
use super::{Measured, Setting};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

const SERVICES: usize = 50;
/// Of each service.
const GROUPS: usize = 4;
/// In each group.
const PROCESSES: usize = 10;
const BURSTS: Bursts = Bursts { length: Duration::from_millis(4), every: Duration::from_secs(6) };

/// In the order in which they go: groups can only be removed when nobody is in them.
struct Crowd {
    started: Started,
    slice: Slice,
}

impl Crowd {
    async fn start(folder: &Path) -> Result<Self> {
        let slice = Slice::make()?;
        let services = Services::new(folder)?;
        let mut list = List::default();
        for number in 0..SERVICES {
            let program = services.build(number)?;
            for group in 0..GROUPS {
                let many = Many { group, processes: PROCESSES, bursts: BURSTS };
                list.add(&slice, number, &program, many)?;
            }
        }
        let started = services.start("crowd", &list)?;
        let crowd = Self { started, slice };
        crowd.started.all().await?;
        Ok(crowd)
    }
}

pub(super) async fn measure(setting: &Setting<'_>) -> Result<Measured> {
    let crowd = Crowd::start(setting.folder).await?;
    let load_cpu = || {
        crowd.started.check()?;
        crowd.slice.cpu()
    };
    let rounds = rounds(setting, load_cpu).await?;
    let mut about = vec![format!(
        "{} processes in {} cgroups, of {SERVICES} services; each works {} ms every {} s.",
        SERVICES * GROUPS * PROCESSES,
        SERVICES * GROUPS,
        BURSTS.length.as_millis(),
        BURSTS.every.as_secs(),
    )];
    about.extend(rounds.about);
    Ok(Measured { about, figures: figures(&rounds.costs, Aims::CROWD) })
}
