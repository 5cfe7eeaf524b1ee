//! A sample in its turn → counted in the window: as the kernel half walked it, or walked here from its snapshot, at once
//! or when the rows for it have been read.

use std::time::Duration;

use profiler_common::outcome::Outcome;

use super::Session;
use crate::capture::admission::Admission;
use crate::collect::{RawSample, StackHash, Tgid};
use crate::process::table::SampleOwner;
use crate::sample::Sampler;
use crate::unwind::snapshots::{Unwalked, Walked};

/// After the last sample, rows that are still being made are waited for so long: what the largest files take.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(5);

impl<A: Admission> Session<A> {
    /// Takes a sample; all that happened before it has been applied.
    pub(super) fn sample(&mut self, sample: RawSample) {
        if !self.config.include_self && self.is_of_us(sample.tgid) {
            self.counts.add(Outcome::Filtered, 1);
            return;
        }
        let owner = self.processes.owner(&sample);
        if !self.admission.admits(&sample, owner.process, &self.processes) {
            self.counts.add(Outcome::Filtered, 1);
            return;
        }
        let Some(walker) = &mut self.walker else { return self.count(&sample, owner, None) };
        // Without the kernel's types nothing tells a reused pid, so nothing is published.
        let has_memory = !matches!(sample.user_outcome, Outcome::KernelThread | Outcome::NoUserMemory);
        if has_memory && sample.start_time != 0 {
            walker.saw(&sample, owner);
        }
        if sample.snapshot.is_some() {
            let mappings = self.processes.pinned_mappings(sample.tgid);
            let unwalked = Unwalked { sample, owner, mappings, waits: 0 };
            if let Some(walked) = self.snapshots.take(unwalked, walker.store(), self.processes.files()) {
                self.walked(&walked);
            }
            return;
        }
        let mut sample = sample;
        if sample.user_stack.is_some() && walker.is_misled(&sample, owner, self.clock.monotonic()) {
            sample.user_stack = None;
            sample.user_outcome = Outcome::CodeReplaced;
        }
        self.count(&sample, owner, None);
    }

    /// A child of ours is us: a reader of debug information, or, before its exec, the command that was asked for.
    fn is_of_us(&self, tgid: Tgid) -> bool {
        if self.config.scope.own_children {
            self.processes.is_fork_without_exec(tgid, self.own)
        } else {
            self.processes.is_child(tgid, self.own)
        }
    }

    /// Counts a sample whose stack was walked here.
    fn walked(&mut self, walked: &Walked) {
        let (sample, owner) = (&walked.unwalked.sample, walked.unwalked.owner);
        if walked.unwound.is_off_the_map {
            self.processes.doubt(sample.tgid, sample.at);
        }
        if let Some(walker) = &mut self.walker {
            walked.pages.iter().for_each(|&(key, page)| walker.want(key, page));
        }
        self.count(sample, owner, Some(walked));
    }

    fn count(&mut self, sample: &RawSample, owner: SampleOwner, walked: Option<&Walked>) {
        let ask_again = ask_again(&mut self.sampler);
        self.window.take(sample, owner, walked, &mut self.stacks, &mut self.processes, ask_again);
    }

    /// Walks what waited for rows that have been read since.
    pub(super) fn retry_snapshots(&mut self) {
        let Some(walker) = &mut self.walker else { return };
        let walked = self.snapshots.retry(walker.store(), self.processes.files());
        walked.iter().for_each(|walked| self.walked(walked));
    }

    /// Waits for the rows that stacks still wait for, within reason, and walks them.
    pub(super) fn finish_snapshots(&mut self) {
        let started = self.clock.monotonic();
        while !self.snapshots.is_empty()
            && let Some(walker) = &mut self.walker
            && let Some(left) = ROWS_WAIT_MAX.checked_sub(self.clock.since(started))
        {
            let is_idle = !walker.store().wait(left);
            walker.collect();
            self.retry_snapshots();
            if is_idle {
                break; // nothing is being made that they could wait for
            }
        }
        let Some(walker) = &mut self.walker else { return };
        let walked = self.snapshots.give_up(walker.store(), self.processes.files());
        walked.iter().for_each(|walked| self.walked(walked));
    }
}

/// If the slot cannot be cleared the stack stays unknown, which the window has counted.
fn ask_again(sampler: &mut Sampler) -> impl FnMut(StackHash) + '_ {
    |hash| {
        let _counted = sampler.ask_again(hash.0);
    }
}
