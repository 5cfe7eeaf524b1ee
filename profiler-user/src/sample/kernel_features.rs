//! Asks the running kernel what it lets us do, by trying.
//!
//! Called before anything is loaded (`record`) and by `doctor`. Keeps nothing open and changes nothing.

use std::io;
use std::path::PathBuf;

use profiler_common::abi::TaskOffsets;

use super::btf::{Btf, BtfError};
use crate::host::{ProcFs, SysFs};

/// The kernel's own types, in `/sys`.
const BTF_ENTRY: &str = "kernel/btf/vmlinux";
/// Twelve times what a distribution's kernel has (5 MB).
const MAX_BTF_BYTES: u64 = 64 << 20;

/// What a probe could not do.
#[derive(Debug, thiserror::Error)]
pub enum KernelFeatureError {
    /// The kernel has no type information, or we may not read it.
    #[error("read the kernel's type information {}", path.display())]
    ReadBtf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there, but not in a form that we know.
    #[error("understand the kernel's type information {}", path.display())]
    ParseBtf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BtfError,
    },
}

/// Where the running kernel keeps what a sample needs of a `task_struct`, from its BTF.
///
/// Reads the whole file (5 MB) and lets it go again: a few milliseconds.
pub fn task_offsets(sys: &SysFs) -> Result<TaskOffsets, KernelFeatureError> {
    let path = sys.path(BTF_ENTRY);
    let bytes = match sys.bytes(BTF_ENTRY, MAX_BTF_BYTES) {
        Ok(bytes) => bytes,
        Err(source) => return Err(KernelFeatureError::ReadBtf { path, source }),
    };
    task_offsets_in(&bytes).map_err(|source| KernelFeatureError::ParseBtf { path, source })
}

fn task_offsets_in(bytes: &[u8]) -> Result<TaskOffsets, BtfError> {
    let wanted: [&[&str]; 6] = [
        &["tgid"],
        &["flags"],
        &["mm"],
        &["group_leader"],
        // Renamed in 5.5.
        &["start_boottime", "real_start_time"],
        &["self_exec_id"],
    ];
    let [tgid, flags, mm, group_leader, start_boottime, self_exec_id] =
        Btf::parse(bytes)?.member_offsets("task_struct", wanted)?;
    Ok(TaskOffsets { tgid, flags, mm, group_leader, start_boottime, self_exec_id })
}

/// `kernel.perf_event_max_sample_rate`: samples a second above which the kernel refuses or throttles.
pub fn max_sample_rate(proc: &ProcFs) -> Option<u32> {
    proc.sysctl("kernel/perf_event_max_sample_rate").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_type_information_is_an_error_that_names_the_file() {
        let empty = tempfile::tempdir().unwrap();
        let error = task_offsets(&SysFs::at(empty.path())).unwrap_err();
        assert!(error.to_string().ends_with("kernel/btf/vmlinux"), "{error}");
        assert!(matches!(error, KernelFeatureError::ReadBtf { .. }));
    }

    #[test]
    fn sample_rate_limit_is_read_as_a_number() {
        let root = tempfile::tempdir().unwrap();
        let proc = ProcFs::at(root.path());
        assert_eq!(max_sample_rate(&proc), None);
        std::fs::create_dir_all(root.path().join("sys/kernel")).unwrap();
        std::fs::write(root.path().join("sys/kernel/perf_event_max_sample_rate"), "50000\n").unwrap();
        assert_eq!(max_sample_rate(&proc), Some(50_000));
    }
}
