//! Why nothing can be sampled, in words for the person who asked for it.

use std::io;

use crate::collect::sideband::SideBandError;
use crate::sample::capabilities::MissingCapabilities;
use crate::sample::kernel_features::KernelFeatureError;
use crate::sample::{SampleError, chain};

/// Sampling cannot begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
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
    /// What is around the session could not be set up.
    #[error("{0}")]
    Surroundings(Box<dyn std::error::Error + Send + Sync>),
    /// A call that always works did not.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl CaptureError {
    /// Whether it is for want of a right: capabilities are missing, or the kernel said no though none is.
    pub fn is_permission(&self) -> bool {
        if matches!(self, Self::NotPermitted(_)) {
            return true;
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(cause) = source {
            let io = cause.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
                return true;
            }
            source = cause.source();
        }
        false
    }

    /// For `map_err`: what was tried.
    pub fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
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
        let error = CaptureError::NeedsBtf { what: "following child processes", source };
        assert_eq!(
            error.to_string(),
            "following child processes needs the kernel's type information (BTF): read the kernel's type \
             information /nowhere/kernel/btf/vmlinux: No such file or directory (os error 2)"
        );
    }
}
