//! A role → its capabilities; a thread → no others.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use super::Role;

/// The running kernel's version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.12.
    pub major: u32,
    /// 12 of 6.12.
    pub minor: u32,
}

impl KernelVersion {
    /// Since 5.19 a map's descriptor is enough to read and write it; before, each call of bpf(2) asks for CAP_BPF where
    /// `kernel.unprivileged_bpf_disabled` is set (kernel/bpf/syscall.c: `__sys_bpf`).
    const MAPS_NEED_NO_RIGHTS: Self = Self { major: 5, minor: 19 };

    /// Of `uname -r`. What cannot be read counts as old.
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }

    /// Of the running kernel.
    pub fn running() -> Self {
        Self::parse(&rustix::system::uname().release().to_string_lossy())
    }

    /// Whether whoever uses a map needs CAP_BPF.
    pub(super) fn maps_need_rights(self) -> bool {
        self < Self::MAPS_NEED_NO_RIGHTS
    }
}

/// To read what belongs to others: memory maps, files, deleted files, the kernel's addresses.
const READING: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE)
    .union(CapabilitySet::SYSLOG);

/// What a role needs.
pub(super) fn of(role: Role, kernel: KernelVersion) -> CapabilitySet {
    match role {
        Role::Broker => CapabilitySet::BPF.union(CapabilitySet::PERFMON),
        Role::Sampling if kernel.maps_need_rights() => READING.union(CapabilitySet::BPF),
        Role::Sampling | Role::Rows | Role::Naming => READING,
        Role::Log | Role::Network => CapabilitySet::empty(),
    }
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
