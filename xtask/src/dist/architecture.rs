//! What binaries are handed out for, each architecture with the names that others give it.

use crate::debian::Package;
use clap::ValueEnum;

/// An architecture with an eBPF object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

use Architecture::{Aarch64, X86_64};

impl Architecture {
    pub(crate) const ALL: [Self; 2] = [X86_64, Aarch64];

    /// As the kernel, Rust and rpm call it; also the name of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            X86_64 => "x86_64",
            Aarch64 => "aarch64",
        }
    }

    /// As Debian and container images call it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            X86_64 => "amd64",
            Aarch64 => "arm64",
        }
    }

    /// What cargo builds for.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-musl", self.name())
    }

    /// Debian's cross compiler, also the linker: start files and C library come with Rust.
    pub(super) fn cross_compiler(self) -> String {
        format!("{}-linux-gnu-gcc", self.name())
    }

    /// musl's headers, by which a compiler made for another C library compiles for this one.
    pub(super) fn headers(self) -> Package {
        let (name, sha256) = match self {
            X86_64 => ("musl-dev:amd64", "7c34f29a0c1aa12f6da1d25ed6de6fe6bbd9e048ee76b3dcb88c5e51fb65507f"),
            Aarch64 => ("musl-dev:arm64", "55c2ca4bc3041c8ed8ac7dc3ef6080d9551a21650568b2fd7610b59eaf98a4f4"),
        };
        Package { name, version: "1.2.3-1", suite: "bookworm", sha256 }
    }
}
