//! A host on which things come and go: short programs all the time; each quarter of a minute a new service, with a new
//! executable in new cgroups, while the oldest goes with all of that.

use super::cgroups::Slice;
use super::services::{Bursts, List, Many, Services, Started, Storm, service_name};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Short programs.
const A_SECOND: u32 = 20;
const SHORT: Duration = Duration::from_millis(2);
/// Services that are there at a time.
const SERVICES: usize = 5;
/// Of each service.
const GROUPS: usize = 2;
/// In each group: sampled within a window, for all of them together work an eighth of a CPU.
const PROCESSES: usize = 2;
const BURSTS: Bursts = Bursts { length: Duration::from_millis(5), every: Duration::from_millis(800) };

/// In the order in which they go.
pub(super) struct Churn {
    alive: VecDeque<Service>,
    storm: Storm,
    slice: Slice,
    services: Services,
    /// Of the next service.
    number: usize,
}

struct Service {
    number: usize,
    started: Started,
    program: PathBuf,
}

impl Churn {
    /// With the short programs, and one service.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let services = Services::new(folder)?;
        let short = [services.build(0)?, services.build(1)?];
        let storm = Storm::start(folder, A_SECOND, SHORT, &short)?;
        let mut churn =
            Self { alive: VecDeque::new(), storm, slice: Slice::make()?, services, number: short.len() };
        churn.turn()?;
        Ok(churn)
    }

    /// A new service; the oldest goes if there are too many.
    pub(super) fn turn(&mut self) -> Result<()> {
        self.storm.check()?;
        let number = self.number;
        self.number += 1;
        let program = self.services.build(number)?;
        let mut list = List::default();
        for group in 0..GROUPS {
            let many = Many { group, processes: PROCESSES, bursts: BURSTS };
            list.add(&self.slice, number, &program, many)?;
        }
        let started = self.services.start(&service_name(number), &list)?;
        self.alive.push_back(Service { number, started, program });
        if self.alive.len() > SERVICES {
            self.end_oldest()?;
        }
        Ok(())
    }

    fn end_oldest(&mut self) -> Result<()> {
        let Some(Service { number, started, program }) = self.alive.pop_front() else { return Ok(()) };
        started.check()?;
        drop(started);
        self.slice.remove(&service_name(number))?;
        fs::remove_file(&program).with_context(|| format!("remove {}", program.display()))
    }

    /// What comes and goes, for the report.
    pub(super) fn told(&self) -> String {
        format!(
            "{A_SECOND} short programs a second; every 15 s a new service of {} processes in {GROUPS} new cgroups with a new \
             executable, {} in all, at most {SERVICES} at a time",
            GROUPS * PROCESSES,
            self.number
        )
    }
}
