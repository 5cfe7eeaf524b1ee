//! Why nothing can be sampled, in words for the person who asked for it.

use std::io;

use crate::collect::sideband::SideBandError;
use crate::sample::capabilities::MissingCapabilities;
use crate::sample::kernel_features::KernelFeatureError;
use crate::sample::{SampleError, chain, io_error};

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
    #[error("{}{}", chain(.0), advice(.0))]
    Features(#[from] KernelFeatureError),
    /// Sampling cannot begin.
    #[error("{}{}", .0, advice(.0))]
    Sample(#[from] SampleError),
    /// Process events cannot be had.
    #[error("{}{}", .0, advice(.0))]
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
        match self {
            Self::NotPermitted(_) => true,
            Self::Sample(error) if error.is_lockdown() => true,
            error => is_denied(error),
        }
    }

    /// For `map_err`: what was tried.
    pub fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// A kernel that refuses what the capabilities allow does not say by which rule: those that are known to be met,
/// and what to do about them.
fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    if error.downcast_ref().is_some_and(SampleError::is_lockdown) {
        "\nthe kernel is in lockdown for confidentiality and lets no program read its memory: boot with \
         lockdown=integrity or without; `flamekeeper doctor` tells more"
    } else if is_over_the_limit(error) {
        "\nthe capabilities are there: a seccomp profile or a security module forbids it; or the kernel is older than 5.11 \
         and counts BPF maps as locked memory: raise the limit (`ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd \
         unit); `flamekeeper doctor` tells more"
    } else if is_denied(error) {
        "\nthe capabilities are there: a seccomp profile or a security module forbids it, or kernel.perf_event_paranoid \
         is above 2, where kernels of Debian and Ubuntu ask for CAP_SYS_ADMIN as well (sudo sysctl \
         kernel.perf_event_paranoid=2); `flamekeeper doctor` tells more"
    } else {
        ""
    }
}

/// Whether the kernel said no for want of a right.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    io_error(error).is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether a map could not be made for that: capabilities have been looked at before.
fn is_over_the_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_of_a_map =
        matches!(error.downcast_ref(), Some(SampleError::Load { .. } | SampleError::Map { .. }));
    is_of_a_map && io_error(error).and_then(io::Error::raw_os_error) == Some(libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SysFs;
    use crate::sample::kernel_features::task_offsets;

    #[test]
    fn a_refusal_in_spite_of_the_capabilities_names_the_setting() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = CaptureError::from(SideBandError::Open { cpu: 0, source });
        assert!(error.is_permission());
        assert!(error.to_string().contains("kernel.perf_event_paranoid=2"), "{error}");
        let source = io::Error::from(io::ErrorKind::OutOfMemory);
        let error = CaptureError::from(SideBandError::Open { cpu: 0, source });
        assert_eq!(error.to_string(), "open the kernel's process events on CPU 0: out of memory");
    }

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
