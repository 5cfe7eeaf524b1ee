//! A fork → the child joins the table of sampled processes if its parent is there.
//! Runs in process context, so this file alone may update a hash map.

use aya_ebpf::programs::RawTracePointContext;
use profiler_common::abi::{FOLLOW_CHILDREN, ON_FORK, Target};
use profiler_common::outcome::Outcome;

use crate::abilities::Full;
use crate::helpers::{self, Task};
use crate::maps::{TARGETS, config};
use crate::sample::start_time;

pub fn on_fork(ctx: &RawTracePointContext) {
    let began = helpers::monotonic_nanos();
    follow(ctx);
    helpers::count_run(ON_FORK, began);
}

/// Arguments of sched_process_fork: parent task, child task (include/trace/events/sched.h).
#[inline(always)]
fn follow(ctx: &RawTracePointContext) {
    let config = config();
    if config.flags & FOLLOW_CHILDREN == 0 || config.task.tgid == 0 {
        return;
    }
    let parent = Task::from_pointer(ctx.arg::<u64>(0));
    let child = Task::from_pointer(ctx.arg::<u64>(1));
    let parent_tgid = parent.u32_at(config.task.tgid);
    let child_tgid = child.u32_at(config.task.tgid);
    if parent_tgid == child_tgid {
        return; // a thread: its process is judged as a whole
    }
    // SAFETY: read at once; see is_wanted in sample.rs.
    let Some(target) = (unsafe { TARGETS.get(parent_tgid) }) else { return };
    if target.follow_children == 0 {
        return;
    }
    if target.start_time != 0 && target.start_time != start_time(parent, &config) {
        return; // the entry is of an earlier process with this pid
    }
    let child = Target { start_time: start_time(child, &config), sampled: 1, follow_children: 1 };
    if TARGETS.insert(child_tgid, child, 0).is_err() {
        helpers::lose!(Full, Outcome::TargetTableFull, child_tgid);
    }
}
