//! A process that is new, or may have moved → looked at in `/proc`: cgroup, executable, user, language.
//!
//! Four small files and a link for a new process; one file and the link to see whether it has moved.

use std::io;
use std::sync::Arc;

use super::{Attribution, Attributor, Entry, ProcessFacts};
use crate::attribute::cgroup::{CGROUP_FILE_BYTES_MAX, Cgroup};
use crate::attribute::kubernetes::PodInfo;
use crate::attribute::language::Detected;
use crate::attribute::sources::{KnownContainer, Sources};
use crate::collect::Tgid;
use crate::host::MonotonicNanos;
use crate::process::files::FileTable;
use crate::process::mappings::Backing;
use crate::process::scan;
use crate::process::table::Program;

/// A process that is sampled is looked at again after this, then after twice as long, …
const CHECK_NANOS_MIN: u64 = 1_000_000_000;
/// … and at least so often: a move to another cgroup is rare, and so is a library that tells another language.
const CHECK_NANOS_MAX: u64 = 64_000_000_000;
/// `/proc/PID/status` has some 1.5 KiB, with the user in the first half.
const STATUS_BYTES_MAX: u64 = 1024;
/// The kernel's names of threads have 15 bytes, those of its own workers some more.
const COMM_BYTES_MAX: u64 = 64;

/// A process to be looked at.
struct Seen<'a> {
    tgid: Tgid,
    /// Whose `/proc` entries show it: its own, or those of its parent if it has ended.
    by: Tgid,
    is_kernel_thread: bool,
    program: Program<'a>,
}

impl<'a> Seen<'a> {
    fn of(facts: &ProcessFacts<'a>) -> Self {
        let ProcessFacts { tgid, is_kernel_thread, program, run: _ } = *facts;
        Self { tgid, by: tgid, is_kernel_thread, program }
    }
}

impl Attributor {
    /// Who any running process is, also one that was never sampled: for pages that list all of them. Not remembered, and
    /// reads all of its `/proc` entries: some 0.2 ms, so not for the thread that takes samples.
    pub fn look_up(&mut self, tgid: Tgid, now: MonotonicNanos) -> Option<Arc<Attribution>> {
        let scanned = scan::scan(&self.proc, tgid)?;
        let files = FileTable::new(0);
        let program = Program {
            executable_name: &scanned.executable_name,
            parent: None,
            has_executed: false,
            mappings: &scanned.mappings,
            files: &files,
        };
        let is_kernel_thread = scan::is_kernel_thread(&self.proc, tgid);
        let cgroup = self.cgroup_bytes(tgid)?;
        Some(self.look_at(&Seen { tgid, by: tgid, is_kernel_thread, program }, &cgroup, now))
    }

    /// A process that was not seen before, or another program.
    pub(super) fn meet(&mut self, facts: &ProcessFacts<'_>, now: MonotonicNanos) -> Arc<Attribution> {
        let program = &facts.program;
        let own = self.read_cgroup(facts);
        self.counts.ended_first += u64::from(own.is_none());
        let parent = program.parent.and_then(|parent| self.processes.get(&parent));
        let entry = match parent {
            Some(parent) if !program.has_executed && own.as_ref().is_none_or(|own| *own == parent.cgroup) => {
                entry(
                    facts,
                    Arc::clone(&parent.attribution),
                    Arc::clone(&parent.cgroup),
                    parent.relabeling,
                    now,
                )
            }
            _ => {
                // One that has ended was where its parent is, and what its parent is if it ran no other program.
                let of_parent = || parent.map(|parent| Arc::clone(&parent.cgroup));
                let read_of_parent = || program.parent.and_then(|parent| self.cgroup_bytes(parent));
                let ended_as_parent = program.parent.filter(|_| own.is_none() && !program.has_executed);
                let cgroup = own.or_else(of_parent).or_else(read_of_parent).unwrap_or_default();
                let seen = Seen { by: ended_as_parent.unwrap_or(facts.tgid), ..Seen::of(facts) };
                let attribution = self.look_at(&seen, &cgroup, now);
                entry(facts, attribution, cgroup, self.relabeling, now)
            }
        };
        if self.processes.len() >= self.processes_max && !self.processes.contains_key(&facts.tgid) {
            self.processes.clear();
            self.counts.overflows += 1;
        }
        let attribution = Arc::clone(&entry.attribution);
        self.processes.insert(facts.tgid, entry);
        attribution
    }

    /// Whether a process has moved, or has come to map what tells another language.
    pub(super) fn check(&mut self, facts: &ProcessFacts<'_>, now: MonotonicNanos) -> Arc<Attribution> {
        let own = self.read_cgroup(facts);
        let Some(known) = self.processes.get_mut(&facts.tgid) else { return self.meet(facts, now) };
        let mapped = facts.program.mappings.len();
        let has_moved = own.as_ref().is_some_and(|own| *own != known.cgroup);
        let may_tell_more = own.is_some() && mapped != known.mapped;
        known.pause_nanos = known.pause_nanos.saturating_mul(2).min(CHECK_NANOS_MAX);
        known.check_at = MonotonicNanos(now.0.saturating_add(known.pause_nanos));
        known.mapped = mapped;
        if !has_moved && !may_tell_more {
            return Arc::clone(&known.attribution);
        }
        let cgroup = own.unwrap_or_else(|| Arc::clone(&known.cgroup));
        let attribution = self.look_at(&Seen::of(facts), &cgroup, now);
        if let Some(known) = self.processes.get_mut(&facts.tgid) {
            (known.cgroup, known.relabeling) = (cgroup, self.relabeling);
            known.attribution = Arc::clone(&attribution);
        }
        attribution
    }

    /// Reads all that there is to know of a process.
    fn look_at(&mut self, seen: &Seen<'_>, cgroup: &Arc<[u8]>, now: MonotonicNanos) -> Arc<Attribution> {
        self.counts.looked_at += 1;
        let cgroup = self.shared.cgroup(cgroup);
        let (container, pod) = self.surroundings(&cgroup, now);
        let detected = if seen.is_kernel_thread { Detected::default() } else { self.language(seen) };
        let executable = self.proc.link(format!("{}/exe", seen.by.0)).unwrap_or_default();
        let comm = self.proc.head(format!("{}/comm", seen.by.0), COMM_BYTES_MAX).unwrap_or_default();
        let sources = Sources {
            tgid: seen.tgid,
            executable_name: self.shared.text(seen.program.executable_name),
            executable_path: self
                .shared
                .text(&scan::without_deleted(executable.as_os_str()).to_string_lossy()),
            comm: self.shared.text(&String::from_utf8_lossy(comm.trim_ascii_end())),
            user_id: self.user_id(seen.by),
            is_kernel_thread: seen.is_kernel_thread,
            cgroup,
            container,
            pod,
            language: detected.language,
            go: detected.go,
        };
        self.decide(sources)
    }

    /// The container and the pod of a cgroup: of nested containers the innermost that anybody knows.
    pub(super) fn surroundings(
        &mut self,
        cgroup: &Cgroup,
        now: MonotonicNanos,
    ) -> (Option<KnownContainer>, Option<Arc<PodInfo>>) {
        let inner_first = || cgroup.containers.iter().rev();
        let mut of_container =
            inner_first().filter_map(|container| self.pods.find(None, Some(&container.id)));
        let pod = of_container.next().or_else(|| self.pods.find(cgroup.pod_uid.as_deref(), None)).cloned();
        for container in inner_first() {
            let info = self.containers.get(container, cgroup.slice_of_user, now);
            let is_of_pod = pod.as_ref().is_some_and(|pod| pod.container(&container.id).is_some());
            if info.is_some() || is_of_pod {
                return (Some(KnownContainer { container: container.clone(), info }), pod);
            }
        }
        let innermost = inner_first().next();
        (innermost.map(|container| KnownContainer { container: container.clone(), info: None }), pod)
    }

    fn language(&mut self, seen: &Seen<'_>) -> Detected {
        let program = &seen.program;
        let paths = program.mappings.iter().filter_map(|mapping| match &mapping.backing {
            Backing::Unopened(named) => Some(named.path.as_os_str()),
            Backing::File(id) | Backing::Foreign(id) => Some(program.files.get(*id)?.path.as_os_str()),
            Backing::Vdso | Backing::Memory => None,
        });
        self.languages.detect(&self.proc, seen.by.0, program.executable_name, paths)
    }

    /// `None` if the process has ended. Until it is reaped version 1 says that it is in the root.
    fn read_cgroup(&self, facts: &ProcessFacts<'_>) -> Option<Arc<[u8]>> {
        let has_ended = || {
            let executable = self.proc.link(format!("{}/exe", facts.tgid.0));
            executable.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        self.cgroup_bytes(facts.tgid).filter(|_| facts.is_kernel_thread || !has_ended())
    }

    fn cgroup_bytes(&self, tgid: Tgid) -> Option<Arc<[u8]>> {
        let bytes_max = u64::try_from(CGROUP_FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let bytes = self.proc.head(format!("{}/cgroup", tgid.0), bytes_max).ok()?;
        Some(self.shared.bytes(&bytes))
    }

    fn user_id(&self, tgid: Tgid) -> Option<u32> {
        let status = self.proc.head(format!("{}/status", tgid.0), STATUS_BYTES_MAX).ok()?;
        let mut lines = status.split(|&byte| byte == b'\n');
        let users = lines.find_map(|line| line.strip_prefix(b"Uid:\t"))?;
        // Real, effective, saved, of file systems.
        std::str::from_utf8(users.split(|&byte| byte == b'\t').nth(1)?).ok()?.parse().ok()
    }
}

fn entry(
    facts: &ProcessFacts<'_>,
    attribution: Arc<Attribution>,
    cgroup: Arc<[u8]>,
    relabeling: u64,
    now: MonotonicNanos,
) -> Entry {
    let check_at = MonotonicNanos(now.0.saturating_add(CHECK_NANOS_MIN));
    let mapped = facts.program.mappings.len();
    Entry { run: facts.run, attribution, cgroup, mapped, check_at, pause_nanos: CHECK_NANOS_MIN, relabeling }
}
