//! What Debian, gcc and qemu have for each architecture of guests.

pub(super) use crate::dist::Architecture as Arch;

impl Arch {
    /// By Debian's name, which guests have as well.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.debian() == name)
    }

    /// The C compiler of an amd64 machine for it.
    pub(super) fn compiler(self) -> &'static str {
        match self {
            Self::X86_64 => "gcc",
            Self::Aarch64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// `e_machine` of its ELF files, from elf.h.
    pub(super) fn of_elf(header: &[u8]) -> Option<Self> {
        match header.get(18..20)? {
            [62, 0] => Some(Self::X86_64),
            [183, 0] => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The emulator with a machine that needs no more than a kernel and an initramfs. The pointer authentication of
    /// `max` is the architecture's own cipher unless told otherwise, and costs half of the time.
    pub(super) fn emulator(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["qemu-system-x86_64", "-M", "q35", "-cpu", "max"],
            Self::Aarch64 => &["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// The console, and what else its kernels need to be told. Without `no_timer_check` some stop at an emulated timer that
    /// comes late.
    pub(super) fn kernel_words(self) -> &'static str {
        match self {
            Self::X86_64 => "console=ttyS0 no_timer_check",
            Self::Aarch64 => "console=ttyAMA0",
        }
    }
}
