//! The sampled task → the mappings that user space has published for the program that it runs now.
//!
//! An entry carries start and exec of its process, so a reused pid or an exec makes it stale without any hook. A
//! forked child is walked by its parent's entry while its memory is still laid out as its parent's.

use profiler_common::abi::SamplerConfig;
use profiler_common::outcome::Outcome;

use crate::helpers::{self, Task};
use crate::maps::{PROCESSES, Walk};
use crate::sample;

/// `PF_FORKNOEXEC` of include/linux/sched.h, unchanged since 2.6.12: forked, and has executed nothing since.
const PF_FORKNOEXEC: u32 = 0x0000_0040;

/// Gives the walk its mappings, none if the program is not published.
#[inline(always)]
pub fn find(walk: &mut Walk, task: Task, config: &SamplerConfig) {
    walk.mappings = 0;
    if walk.sample.start_time == 0 {
        return; // nothing would tell a reused pid
    }
    let (tgid, start_time, exec_id) = (walk.sample.tgid, walk.sample.start_time, walk.sample.exec_id);
    if adopt(walk, tgid, start_time, exec_id) {
        return;
    }
    if task.u32_at(config.task.flags) & PF_FORKNOEXEC == 0 {
        return;
    }
    let parent = task.task_at(config.task.real_parent);
    let (own_memory, parent_memory) = (task.task_at(config.task.mm), parent.task_at(config.task.mm));
    if !is_laid_out_alike(own_memory, parent_memory, config) {
        return;
    }
    let (start_time, exec_id) = (sample::start_time(parent, config), sample::exec_id(parent, config));
    if adopt(walk, parent.u32_at(config.task.tgid), start_time, exec_id) {
        helpers::count(Outcome::WalkedByParent);
    }
}

#[inline(always)]
fn adopt(walk: &mut Walk, tgid: u32, start_time: u64, exec_id: u32) -> bool {
    // SAFETY: copied at once. A concurrent replacement may give another process's entry, whose start differs.
    let Some(process) = (unsafe { PROCESSES.get(tgid) }) else { return false };
    let process = *process;
    if process.start_time != start_time || process.exec_id != exec_id {
        return false;
    }
    walk.first_mapping = process.first_mapping;
    walk.mappings = process.mappings;
    true
}

/// Whether two memories have stack, heap, mappings and program at the same addresses. Each of them is random by some
/// 28 bits (arch/x86/mm/mmap.c), so only a fork makes all of them equal.
#[inline(always)]
fn is_laid_out_alike(own: Task, parent: Task, config: &SamplerConfig) -> bool {
    let at = &config.task;
    own.u64_at(at.mm_start_stack) == parent.u64_at(at.mm_start_stack)
        && own.u64_at(at.mm_start_brk) == parent.u64_at(at.mm_start_brk)
        && own.u64_at(at.mm_start_code) == parent.u64_at(at.mm_start_code)
        && own.u64_at(at.mm_mmap_base) == parent.u64_at(at.mm_mmap_base)
}
