//! Why a capture could not be made, in words for the person at the terminal.

use std::ffi::OsString;
use std::io;

use super::config::ConfigErrors;
use crate::collect::sideband::SideBandError;
use crate::deliver::file::BadOutputs;
use crate::sample::capabilities::MissingCapabilities;
use crate::sample::kernel_features::KernelFeatureError;
use crate::sample::{SampleError, chain};

/// A capture failed before there was anything to write.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The arguments contradict themselves or the host.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// An output could not be written later.
    #[error("{0}")]
    Outputs(BadOutputs),
    /// Capabilities are missing.
    #[error("{0}")]
    NotPermitted(MissingCapabilities),
    /// The kernel's type information is needed and not there.
    #[error("{what} needs the kernel's type information (BTF): {}", chain(source))]
    NeedsBtf {
        /// What was asked for.
        what: &'static str,
        /// Why there is none.
        source: KernelFeatureError,
    },
    /// Processes were asked for by ids that are not the kernel's.
    #[error(
        "in a PID namespace of its own (a container) flamekeeper cannot tell which process is meant; share the \
         host's: --pid=host for docker and podman, hostPID: true in Kubernetes"
    )]
    OwnPidNamespace,
    /// The kernel cannot be asked what is allowed.
    #[error("{}", chain(.0))]
    Features(#[from] KernelFeatureError),
    /// Sampling cannot begin.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Process events cannot be had.
    #[error(transparent)]
    SideBand(#[from] SideBandError),
    /// The command could not be started.
    #[error("{}: {source}", command.to_string_lossy())]
    Command {
        /// Its first word.
        command: OsString,
        /// Why.
        source: io::Error,
    },
    /// A call that always works did not.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl RecordError {
    /// The exit status that says so; `with_command` for the conventions of programs that run others.
    pub fn exit_code(&self, with_command: bool) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Outputs(bad) if bad.is_usage() => 64,
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            Self::NotPermitted(_) => 77,
            _ if self.is_permission() => 77,
            _ if with_command => 125,
            _ => 1,
        }
    }

    /// Whether the kernel said no for want of a right that no capability set told of beforehand.
    fn is_permission(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(cause) = source {
            if cause
                .downcast_ref::<io::Error>()
                .is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
            {
                return true;
            }
            source = cause.source();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SysFs;
    use crate::sample::kernel_features::task_offsets;

    #[test]
    fn what_the_kernel_said_is_told() {
        let source = task_offsets(&SysFs::at("/nowhere")).unwrap_err();
        let error = RecordError::NeedsBtf { what: "following child processes", source };
        assert_eq!(
            error.to_string(),
            "following child processes needs the kernel's type information (BTF): read the kernel's type \
             information /nowhere/kernel/btf/vmlinux: No such file or directory (os error 2)"
        );
        assert_eq!(error.exit_code(true), 125);
    }
}
