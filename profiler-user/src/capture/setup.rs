//! Configuration and host → what is fixed before anything is loaded: the kernel half's configuration, sizes, the walker.

use std::sync::Arc;

use profiler_common::abi::{
    ABI_VERSION, FILTER_TARGETS, FOLLOW_CHILDREN, SNAPSHOT_BYTES_MAX, SNAPSHOT_SPAN_BITS, SamplerConfig,
    TaskOffsets, WALK_BY_ROWS,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::config::{SessionConfig, Unwind};
use super::error::CaptureError;
use super::rights::Rights;
use crate::elf::{ElfHeaders, vdso};
use crate::host::Host;
use crate::sample::abilities::{Abilities, Walking};
use crate::sample::{Hertz, WalkerMaps, chain};
use crate::unwind::RowStore;
use crate::unwind::cache::{CACHE_BYTES_MAX, CacheError, RowCache};
use crate::unwind::publish::KernelTables;
use crate::unwind::publisher::Publisher;
use crate::unwind::walker::Walker;

/// File descriptors in all, if the process may have as many.
const DESCRIPTORS_MAX: u64 = 32_768;
/// Of them, left for all but the files to be named: a ring, a tick and its link on each CPU, blocks of unwind rows, files
/// whose rows are being made, and some for the rest.
const OTHER_DESCRIPTORS: u64 = 224;
/// See [`OTHER_DESCRIPTORS`].
const DESCRIPTORS_A_CPU: u64 = 3;

/// Whether our process ids are the kernel's.
pub(super) fn shares_ids(
    config: &SessionConfig,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<bool, CaptureError> {
    let shares_ids = host.proc.is_initial_pid_namespace().unwrap_or(true);
    if !shares_ids && !config.scope.is_host() {
        return Err(CaptureError::OwnPidNamespace);
    } else if !shares_ids {
        let text = "in a PID namespace of its own (a container): processes have neither names nor functions; \
                    `flamekeeper doctor` tells how to share the host's";
        warnings.push(text.to_owned());
    }
    Ok(shares_ids)
}

/// What walks stacks by rows, over the loaded tables.
pub(super) fn walker(
    config: &SessionConfig,
    host: &Host,
    tables: WalkerMaps,
    rights: Arc<dyn Rights>,
    begin_rows_thread: Box<dyn FnOnce() + Send>,
    warnings: &mut Vec<String>,
) -> Result<Walker, CaptureError> {
    let cache = row_cache(config, warnings);
    let store =
        RowStore::start(host.proc.clone(), host.clock, cache, config.kept.row_bytes, begin_rows_thread)
            .map_err(|source| CaptureError::System { what: "start a thread for unwind rows", source })?;
    let mut tables = KernelTables::new(tables, Box::new(move || rights.row_block()));
    if let Err(refused) = tables.try_a_block() {
        warnings.push(format!(
            "stacks are not walked in the kernel, which costs more and bounds their number: {}",
            chain(&refused)
        ));
    }
    let tables = Box::new(tables);
    // Without its headers the vdso is walked by frame pointers.
    let vdso = vdso::image_of_this_process(&host.proc).ok().flatten();
    let vdso = vdso.and_then(|image| ElfHeaders::read(&*image).ok());
    Ok(Walker::new(Publisher::new(tables, config.unwind_tables_max_bytes, vdso), store))
}

/// The folder of rows. That there is none is no news; that somebody meddled with it is.
fn row_cache(config: &SessionConfig, warnings: &mut Vec<String>) -> Option<RowCache> {
    match RowCache::open(config.cache_dir.as_deref()?, CACHE_BYTES_MAX) {
        Ok(cache) => Some(cache),
        Err(error @ CacheError::NotTrusted { .. }) => {
            warnings.push(format!("{error}; --cache-dir names another folder"));
            None
        }
        Err(CacheError::Unavailable { .. }) => None,
    }
}

/// What is known before anything is loaded.
pub(super) struct Setting<'a> {
    pub(super) config: &'a SessionConfig,
    pub(super) host: &'a Host,
    /// Whether our process ids are the kernel's.
    pub(super) shares_ids: bool,
    pub(super) ring_bytes: u32,
    pub(super) abilities: &'a Abilities,
}

impl Setting<'_> {
    /// Where each stack has to be copied, what a snapshot costs is no reason against it; the ring's fill is.
    fn snapshots_a_span(&self) -> u32 {
        match self.abilities.choice().walking {
            Walking::InOneGo | Walking::ByTailCalls => snapshots_a_span(self.config.rate_max),
            Walking::InUserSpace => u32::MAX,
        }
    }
}

/// What the kernel half is to know.
pub(super) fn sampler_config(
    setting: &Setting<'_>,
    warnings: &mut Vec<String>,
) -> Result<SamplerConfig, CaptureError> {
    let &Setting { config, shares_ids, ring_bytes, .. } = setting;
    let follow = config.scope.follows_forks();
    let task = match setting.abilities.task_offsets(&setting.host.sys) {
        Ok(task) => task,
        Err(source) if follow => {
            return Err(CaptureError::NeedsBtf { what: "following child processes", source });
        }
        Err(source) => {
            let cause = chain(&source);
            warnings.push(format!(
                "reused pids, execs and kernel threads are not recognized, and user stacks are walked by frame \
                 pointers only: {cause}"
            ));
            TaskOffsets::default()
        }
    };
    let mut flags = 0;
    if !config.scope.is_host() {
        flags |= FILTER_TARGETS;
    }
    if follow {
        flags |= FOLLOW_CHILDREN;
    }
    // Nothing could be published without the kernel's types, nor files be opened by ids of somebody else's.
    if config.unwind == Unwind::Rows && task != TaskOffsets::default() && shares_ids {
        flags |= WALK_BY_ROWS;
    }
    // Elsewhere our id is somebody else's in the kernel.
    let excluded_tgid = if config.include_self || !shares_ids { 0 } else { std::process::id() };
    Ok(SamplerConfig {
        abi_version: ABI_VERSION,
        flags,
        excluded_tgid,
        wakeup_bytes: ring_bytes / 2,
        snapshots_a_span: setting.snapshots_a_span(),
        task,
    })
}

/// What a thread that never sleeps takes of samples until its process is published, one and a half times.
fn snapshots_a_span(rate: Hertz) -> u32 {
    let span_nanos = 1u64 << SNAPSHOT_SPAN_BITS;
    let samples = span_nanos.div_ceil(rate.period_nanos().max(1));
    u32::try_from(samples + samples / 2).unwrap_or(u32::MAX)
}

/// Room for one and a half rounds of snapshots of every CPU, none of them short, between 1 and 16 MiB: at least a
/// second of plain samples at 999 Hz. Online CPUs, not those that we may run on: all of them write to it.
pub(super) fn ring_bytes(cpus: usize, rate: Hertz) -> u32 {
    let in_rounds = u64::from(rate.get()) * 3 / 20;
    let snapshots = u64::try_from(cpus).unwrap_or(u64::MAX).saturating_mul(in_rounds);
    let bytes = snapshots.saturating_mul(SNAPSHOT_BYTES_MAX as u64).next_power_of_two();
    u32::try_from(bytes.clamp(1 << 20, 16 << 20)).unwrap_or(1 << 20)
}

/// Raises the limit of file descriptors as far as it goes; how many of them files to be named may take.
pub(super) fn descriptors_max(cpus: usize, blocks_of_rows: u32) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        // If it cannot be raised, fewer files stay open.
        let _kept = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    let others = u64::try_from(cpus)
        .unwrap_or(u64::MAX)
        .saturating_mul(DESCRIPTORS_A_CPU)
        .saturating_add(u64::from(blocks_of_rows))
        .saturating_add(OTHER_DESCRIPTORS);
    let left = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(DESCRIPTORS_MAX)
        .min(DESCRIPTORS_MAX)
        .saturating_sub(others);
    usize::try_from(left).unwrap_or(0).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_samples_a_second_are_more_snapshots() {
        let at = |hertz| snapshots_a_span(Hertz::new(hertz).unwrap());
        assert_eq!([1, 99, 999].map(at), [1, 21, 202]);
    }

    #[test]
    fn the_ring_grows_with_cpus_and_rate_within_bounds() {
        let megabytes = |cpus, hertz| ring_bytes(cpus, Hertz::new(hertz).unwrap()) >> 20;
        assert_eq!([0, 2, 16, 17, 128, 8192].map(|cpus| megabytes(cpus, 99)), [1, 1, 4, 4, 16, 16]);
        assert_eq!([19, 499, 999].map(|hertz| megabytes(2, hertz)), [1, 4, 8]);
    }
}
