//! One process as far as its events and `/proc` tell: how it begins, by what it inherits. Reads nothing itself.

use std::collections::HashMap;
use std::sync::Arc;

use super::Root;
use super::known::DOUBT_NANOS_MIN;
use crate::collect::{Tgid, Tid};
use crate::host::MonotonicNanos;
use crate::process::ProcessId;
use crate::process::mappings::Mappings;
use crate::process::scan::ScannedProcess;

/// What a process is called that ended before anything about it was known.
const UNSEEN_NAME: &str = "[unknown process]";

/// Mappings that come without a doubt, or as many as there were.
const MAPPINGS_NEW_MAX: usize = 512;
/// So many times as many are held until the next sample.
const DROPPED_FACTOR: usize = 4;

/// What is known of a process that has not ended, or only just.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Start on the boot clock, 0 if no sample or scan told yet.
    pub(super) start_time: u64,
    /// Programs executed by its last sample, 0 if none came since its fork or exec.
    pub(super) exec_id: u32,
    pub(super) executable_name: Arc<str>,
    /// Set by exec until the first mapping tells the file's full name.
    pub(super) executable_name_is_short: bool,
    pub(super) threads: HashMap<Tid, Arc<str>>,
    pub(super) mappings: Arc<Mappings>,
    pub(super) mappings_generation: u64,
    /// All mappings come from events or a scan, so an unknown address is unknown to the kernel too.
    pub(super) is_known: bool,
    /// Events of it may have been lost since it was read about.
    pub(super) is_suspect: bool,
    /// Mappings that were known to be there when it was read about last.
    pub(super) mappings_verified: usize,
    pub(super) parent: Option<Tgid>,
    pub(super) has_executed: bool,
    pub(super) started: Option<MonotonicNanos>,
    pub(super) sampled_as: Option<ProcessId>,
    /// When its mappings were last found to be wrong.
    pub(super) doubted: Option<MonotonicNanos>,
    /// They are not read again for so long.
    pub(super) doubt_nanos: u64,
    /// When code came to lie where other code was.
    pub(super) code_replaced: Option<MonotonicNanos>,
    /// Its root folder, if it was needed.
    pub(super) root: Root,
    /// Cuts since it was last sampled, while its root folder is open.
    pub(super) segments_unsampled: u32,
}

impl Live {
    /// As `/proc` tells of it.
    pub(super) fn scanned(found: ScannedProcess, mappings_generation: u64) -> Self {
        Self {
            start_time: found.start_time,
            executable_name: found.executable_name,
            threads: found.threads,
            mappings_verified: found.mappings.len(),
            mappings: Arc::new(found.mappings),
            is_known: true,
            ..Self::unknown(mappings_generation)
        }
    }

    /// Its child, which has its memory and the calling thread. A fork is told of by its caller's process alone,
    /// so the child's thread is called what the parent's first one is.
    pub(super) fn forked(&self, child: Tgid, parent: Tgid, at: MonotonicNanos) -> Self {
        let name = self.threads.get(&Tid(parent.0)).unwrap_or(&self.executable_name);
        Self {
            start_time: 0,
            exec_id: 0,
            executable_name: Arc::clone(&self.executable_name),
            executable_name_is_short: self.executable_name_is_short,
            threads: HashMap::from([(Tid(child.0), Arc::clone(name))]),
            mappings: Arc::clone(&self.mappings),
            mappings_generation: self.mappings_generation,
            is_known: self.is_known,
            is_suspect: self.is_suspect,
            mappings_verified: self.mappings_verified,
            parent: Some(parent),
            has_executed: false,
            started: Some(at),
            sampled_as: None,
            doubted: None,
            doubt_nanos: DOUBT_NANOS_MIN,
            code_replaced: self.code_replaced,
            root: Root::NotNeeded,
            segments_unsampled: 0,
        }
    }

    /// The program that it begins with an exec.
    pub(super) fn executed(
        before: Option<&Self>,
        tgid: Tgid,
        name: &str,
        at: MonotonicNanos,
        generation: u64,
    ) -> Self {
        Self {
            start_time: before.map_or(0, |live| live.start_time),
            executable_name: name.into(),
            executable_name_is_short: true,
            // Whichever thread called exec is the leader now, and the only one.
            threads: HashMap::from([(Tid(tgid.0), name.into())]),
            is_known: true,
            has_executed: true,
            parent: before.and_then(|live| live.parent),
            started: Some(at),
            ..Self::unknown(generation)
        }
    }

    /// Doubts a list of mappings that keeps growing: the kernel does not tell what was unmapped, and a process that maps
    /// code at ever new addresses leaves its dead mappings behind. It is read again with its next sample; if none comes
    /// the list is dropped, and read when one does.
    pub(super) fn bound_mappings(&mut self) {
        let grown = self.mappings.len().saturating_sub(self.mappings_verified);
        let bound = MAPPINGS_NEW_MAX.max(self.mappings_verified);
        if grown > bound {
            self.is_known = false;
        }
        if grown > DROPPED_FACTOR * bound {
            self.mappings = Arc::default();
            self.mappings_verified = 0;
        }
    }

    /// Whether nothing was found out about it but that it is there.
    pub(super) fn is_unseen(&self) -> bool {
        !self.is_known && self.mappings.is_empty() && &*self.executable_name == UNSEEN_NAME
    }

    /// Nothing is known but that there is one.
    pub(super) fn unknown(mappings_generation: u64) -> Self {
        Self {
            start_time: 0,
            exec_id: 0,
            executable_name: UNSEEN_NAME.into(),
            executable_name_is_short: false,
            threads: HashMap::new(),
            mappings: Arc::default(),
            mappings_generation,
            is_known: false,
            is_suspect: false,
            mappings_verified: 0,
            parent: None,
            has_executed: false,
            started: None,
            sampled_as: None,
            doubted: None,
            doubt_nanos: DOUBT_NANOS_MIN,
            code_replaced: None,
            root: Root::NotNeeded,
            segments_unsampled: 0,
        }
    }
}
