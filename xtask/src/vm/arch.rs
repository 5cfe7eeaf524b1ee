//! The two architectures, by the names that Debian, gcc and qemu have for them.

use crate::dist::Architecture;
use clap::ValueEnum;

/// An architecture of guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(super) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Debian's name, which is ours too.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.debian() == name)
    }

    /// The same, as what is handed out calls it.
    pub(super) fn of_dist(self) -> Architecture {
        match self {
            Self::Amd64 => Architecture::X86_64,
            Self::Arm64 => Architecture::Aarch64,
        }
    }

    /// The C compiler of an amd64 machine for it.
    pub(super) fn compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// `e_machine` of its ELF files, from elf.h.
    pub(super) fn of_elf(header: &[u8]) -> Option<Self> {
        match header.get(18..20)? {
            [62, 0] => Some(Self::Amd64),
            [183, 0] => Some(Self::Arm64),
            _ => None,
        }
    }

    /// The emulator with a machine that needs no more than a kernel and an initramfs. The pointer authentication of
    /// `max` is the architecture's own cipher unless told otherwise, and costs half of the time.
    pub(super) fn emulator(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["qemu-system-x86_64", "-M", "q35", "-cpu", "max"],
            Self::Arm64 => &["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// The console, and what else its kernels need to be told. Without `no_timer_check` some stop at an emulated timer that
    /// comes late.
    pub(super) fn kernel_words(self) -> &'static str {
        match self {
            Self::Amd64 => "console=ttyS0 no_timer_check",
            Self::Arm64 => "console=ttyAMA0",
        }
    }
}
