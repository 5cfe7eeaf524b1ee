//! A role → its capabilities; a thread → no others.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use super::Role;
use crate::host::ProcFs;

/// What matters of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// 6 and 12 of 6.12.
    version: (u32, u32),
    /// `kernel.perf_event_paranoid`.
    paranoid: i32,
}

impl Kernel {
    /// Since 5.19 a map's descriptor is enough to read and write it; before, each call of bpf(2) asks for CAP_BPF where
    /// `kernel.unprivileged_bpf_disabled` is set (kernel/bpf/syscall.c: `__sys_bpf`).
    const MAPS_NEED_NO_RIGHTS: (u32, u32) = (5, 19);
    /// The highest level of the kernel's own (Documentation/admin-guide/sysctl/kernel.rst). Debian's and Ubuntu's kernels have more, at
    /// which CAP_PERFMON does not count.
    pub const PARANOID_MAX: i32 = 2;

    /// Of `uname -r` and the setting. A version that cannot be read counts as old, such a setting as the kernel's own.
    pub fn parse(release: &str, paranoid: &str) -> Self {
        let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { version, paranoid: paranoid.trim().parse().unwrap_or(Self::PARANOID_MAX) }
    }

    /// The running one.
    pub fn running(proc: &ProcFs) -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::parse(&release, &proc.sysctl("kernel/perf_event_paranoid").unwrap_or_default())
    }

    /// Whether whoever uses a map needs CAP_BPF.
    fn maps_need_rights(self) -> bool {
        self.version < Self::MAPS_NEED_NO_RIGHTS
    }

    /// Whether opening a perf event may take CAP_SYS_ADMIN: nothing tells the kernels that ask for it, and others have no such level.
    fn events_need_sys_admin(self) -> bool {
        self.paranoid > Self::PARANOID_MAX
    }
}

/// To read what belongs to others: memory maps, files, deleted files, the kernel's addresses.
const READING: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE)
    .union(CapabilitySet::SYSLOG);

/// To make maps and to open perf events.
const BROKING: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// What a role needs.
pub(super) fn of(role: Role, kernel: Kernel) -> CapabilitySet {
    match role {
        Role::Broker if kernel.events_need_sys_admin() => BROKING.union(CapabilitySet::SYS_ADMIN),
        Role::Broker => BROKING,
        Role::Sampling if kernel.maps_need_rights() => READING.union(CapabilitySet::BPF),
        Role::Sampling | Role::Rows | Role::Naming => READING,
        Role::Log | Role::Network => CapabilitySet::empty(),
    }
}

/// Whether a thread that is started now keeps CAP_SYS_ADMIN to open perf events with.
pub fn keeps_sys_admin(kernel: Kernel) -> bool {
    let held = capabilities(None).is_ok_and(|held| held.permitted.contains(CapabilitySet::SYS_ADMIN));
    held && of(Role::Broker, kernel).contains(CapabilitySet::SYS_ADMIN)
}

/// Takes all others from the calling thread, now and over exec.
pub(super) fn keep(kept: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    // Kernels before 4.3 have no ambient set.
    clear_ambient_capability_set()
        .or_else(|error| if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) })?;
    let sets = CapabilitySets {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    // Or a program with capabilities of its own would bring them back.
    set_no_new_privs(true)?;
    Ok(())
}
