//! Asks the running kernel what it lets us do, by trying.
//!
//! Called before anything is loaded (`record`) and by `doctor`. Keeps nothing open and changes nothing.

use std::io;
use std::path::PathBuf;

use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter};
use profiler_common::abi::TaskOffsets;

use super::btf::{Btf, BtfError};
use crate::host::{ProcFs, SysFs};

/// The kernel's own types, in `/sys`.
pub(super) const BTF_ENTRY: &str = "kernel/btf/vmlinux";
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
    /// capget(2) failed, which it does not.
    #[error("read the capabilities of this thread")]
    Capabilities {
        /// Why.
        source: io::Error,
    },
    /// perf_event_open(2) refused the event.
    #[error("open the {event} event on CPU {cpu}")]
    OpenEvent {
        /// What was to be counted.
        event: &'static str,
        /// Where.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
    /// The memory that a perf event shares with us was refused.
    #[error("map a ring of {bytes} bytes of perf events on CPU {cpu}")]
    EventRing {
        /// Size asked for.
        bytes: usize,
        /// Where.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
    /// bpf(2) refused the trial program.
    #[error("load a BPF program")]
    LoadProgram {
        /// The verifier's words; empty if it was never asked.
        verifier: String,
        /// Why.
        source: io::Error,
    },
    /// bpf(2) refused the ring buffer.
    #[error("make a BPF ring buffer of {bytes} bytes")]
    CreateRing {
        /// Size asked for.
        bytes: u32,
        /// Why.
        source: io::Error,
    },
    /// bpf(2) refused an array of programs.
    #[error("make an array of BPF programs")]
    CreateProgramArray {
        /// Why.
        source: io::Error,
    },
    /// The program loaded but may not be attached.
    #[error("attach a BPF program to the clock of CPU {cpu}")]
    Attach {
        /// Where.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
}

impl KernelFeatureError {
    /// The operating system's answer, if it was one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::ParseBtf { .. } => None,
            Self::ReadBtf { source, .. }
            | Self::Capabilities { source }
            | Self::OpenEvent { source, .. }
            | Self::EventRing { source, .. }
            | Self::LoadProgram { source, .. }
            | Self::CreateRing { source, .. }
            | Self::CreateProgramArray { source }
            | Self::Attach { source, .. } => Some(source),
        }
    }
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
    let btf = Btf::parse(bytes)?;
    let [tgid, flags, mm, group_leader, start_boottime, self_exec_id, real_parent, thread, stack] = btf
        .member_offsets(
            "task_struct",
            [
                &["tgid"],
                &["flags"],
                &["mm"],
                &["group_leader"],
                // Renamed in 5.5.
                &["start_boottime", "real_start_time"],
                &["self_exec_id"],
                &["real_parent"],
                &["thread"],
                &["stack"],
            ],
        )?;
    // arm64: `tp_value` is the first member of `uw` since 4.17.
    let [in_thread] = btf.member_offsets("thread_struct", [&["fsbase", "uw"]])?;
    let [mm_start_stack, mm_start_brk, mm_start_code, mm_mmap_base] =
        btf.member_offsets("mm_struct", [&["start_stack"], &["start_brk"], &["start_code"], &["mmap_base"]])?;
    Ok(TaskOffsets {
        tgid,
        flags,
        mm,
        group_leader,
        start_boottime,
        self_exec_id,
        real_parent,
        thread_pointer: thread.saturating_add(in_thread),
        mm_start_stack,
        mm_start_brk,
        mm_start_code,
        mm_mmap_base,
        stack,
        saved_registers: saved_registers(btf.struct_bytes("pt_regs")?),
    })
}

/// THREAD_SIZE of both architectures: 16 KiB, or a page where that is more (arch/x86/include/asm/page_64_types.h,
/// arch/arm64/include/asm/memory.h). A kernel built for KASAN has twice as much; there the registers are not found.
const KERNEL_STACK_BYTES_MIN: u32 = 16 << 10;

/// Where a task saves the user's registers, counted from the lower end of its kernel stack: at its upper end
/// (`task_pt_regs` in asm/processor.h).
fn saved_registers(pt_regs_bytes: u32) -> u32 {
    let page_bytes = u32::try_from(rustix::param::page_size()).unwrap_or(KERNEL_STACK_BYTES_MIN);
    KERNEL_STACK_BYTES_MIN.max(page_bytes).saturating_sub(pt_regs_bytes)
}

/// Whether the whole of a CPU may be sampled by the kernel's timer, which is the default. Opens the event, disabled.
pub fn perf_cpu_clock(cpu: u32) -> Result<(), KernelFeatureError> {
    clock_event(cpu).map(drop)
}

/// Whether there is a hardware cycle counter for `--event cycles`, and it runs; virtual machines mostly have none.
pub fn perf_hardware_cycles(cpu: u32) -> Result<(), KernelFeatureError> {
    open_event(Hardware::CPU_CYCLES, "hardware cycles", cpu)?;
    let refused = |source| KernelFeatureError::OpenEvent { event: "hardware cycles", cpu, source };
    if own_cycles().map_err(refused)? > 0 {
        Ok(())
    } else {
        Err(refused(io::Error::new(io::ErrorKind::Unsupported, "the counter stands still")))
    }
}

/// Cycles that this thread takes for a little work; some virtual machines offer a counter that never moves.
fn own_cycles() -> io::Result<u64> {
    let mut counter = Builder::new(Hardware::CPU_CYCLES).observe_self().any_cpu().include_kernel().build()?;
    counter.enable()?;
    (0..10_000_u32).for_each(|step| {
        std::hint::black_box(step);
    });
    counter.disable()?;
    counter.read()
}

/// Whether a ring of `bytes`, a power of two, may be shared with the kernel's perf events on this CPU: the records of
/// new mappings come through one on each.
pub fn perf_ring(cpu: u32, bytes: usize) -> Result<(), KernelFeatureError> {
    let event = open_event(Software::DUMMY, "dummy", cpu)?;
    event.sampled(bytes).map(drop).map_err(|source| KernelFeatureError::EventRing { bytes, cpu, source })
}

pub(super) fn clock_event(cpu: u32) -> Result<Counter, KernelFeatureError> {
    open_event(Software::CPU_CLOCK, "CPU clock", cpu)
}

/// An event over every process on a CPU, kernel included, that never starts.
fn open_event<E: Event>(event: E, name: &'static str, cpu: u32) -> Result<Counter, KernelFeatureError> {
    let refused = |source| KernelFeatureError::OpenEvent { event: name, cpu, source };
    let number = usize::try_from(cpu).map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
    let mut builder = Builder::new(event);
    builder.any_pid().one_cpu(number).include_kernel().sample_period(1_000_000_000);
    builder.build().map_err(refused)
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
