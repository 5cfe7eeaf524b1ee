//! The smallest program and map of the kinds that sampling uses → whether this kernel takes them, and its reason.
//!
//! Bare system calls, so that the kernel's own answer is seen and nothing else has to be right first.
//! What is made here goes away with the value that holds it; nothing is pinned, nothing samples.

#![expect(unsafe_code, reason = "the bpf system call takes a struct with addresses; no crate has a safe one")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::kernel_features::{KernelFeatureError, clock_event};
use crate::host::ProcFs;

const BPF_MAP_CREATE: i32 = 0;
const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_PERF_EVENT: u32 = 41;
const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_TYPE_PERF_EVENT: u32 = 7;
/// What the verifier may say of seven instructions.
const VERIFIER_LOG_BYTES: usize = 16 << 10;

/// One instruction: code, registers (source << 4 | target), offset, immediate value.
type Instruction = [u8; 8];

/// `return 0`
const RETURN_ZERO: [Instruction; 2] = [
    [0xb7, 0x00, 0, 0, 0, 0, 0, 0], // r0 = 0
    [0x95, 0x00, 0, 0, 0, 0, 0, 0], // exit
];

/// `bpf_probe_read_kernel(&local, 8, 0); return 0`: the helper that lockdown's confidentiality mode takes away.
const READ_KERNEL: [Instruction; 7] = [
    [0xbf, 0xa1, 0, 0, 0, 0, 0, 0],             // r1 = r10
    [0x07, 0x01, 0, 0, 0xf8, 0xff, 0xff, 0xff], // r1 += -8
    [0xb7, 0x02, 0, 0, 8, 0, 0, 0],             // r2 = 8
    [0xb7, 0x03, 0, 0, 0, 0, 0, 0],             // r3 = 0
    [0x85, 0x00, 0, 0, 113, 0, 0, 0],           // call probe_read_kernel
    RETURN_ZERO[0],
    RETURN_ZERO[1],
];

/// A call of this helper with registers that nobody has written; then `return 0`.
fn blind_call(helper: u32) -> [Instruction; 3] {
    let [a, b, c, d] = helper.to_le_bytes();
    [[0x85, 0x00, 0, 0, a, b, c, d], RETURN_ZERO[0], RETURN_ZERO[1]]
}

/// `bpf_tail_call(context, map, 0); return 0` with the descriptor of the map.
fn tail_call(map: u32) -> [Instruction; 6] {
    let [a, b, c, d] = map.to_le_bytes();
    [
        [0x18, 0x12, 0, 0, a, b, c, d], // r2 = map, of two words; r1 is the context
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0xb7, 0x03, 0, 0, 0, 0, 0, 0],  // r3 = 0
        [0x85, 0x00, 0, 0, 12, 0, 0, 0], // call tail_call
        RETURN_ZERO[0],
        RETURN_ZERO[1],
    ]
}

/// What the trial program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Nothing.
    Nothing,
    /// Reads kernel memory, as the sampler does.
    ReadKernelMemory,
}

/// The first fields of `union bpf_attr` for BPF_PROG_LOAD; the kernel takes the rest as zero.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

/// The first fields of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapAttributes {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
}

/// The first fields of `union bpf_attr` for BPF_LINK_CREATE.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

const _: () = assert!(
    size_of::<LoadAttributes>() == 40
        && size_of::<MapAttributes>() == 20
        && size_of::<LinkAttributes>() == 16,
    "bpf_attr is ABI"
);

/// Calls bpf(2) for a command that answers with a new descriptor. A refusal may be for want of locked memory: then once more
/// with the limit lifted.
///
/// # Safety
/// `A` is `repr(C)`, without padding, a prefix of what `command` takes, and the addresses in it are of live memory of
/// the length that it states, writable where the kernel writes.
unsafe fn bpf_descriptor<A>(command: i32, attributes: &A) -> io::Result<OwnedFd> {
    let address: *const A = attributes;
    let call = || {
        // SAFETY: the kernel reads `size_of::<A>()` bytes from `address`; the caller vouches for what they point to.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, address, size_of::<A>()) };
        match i32::try_from(answer) {
            // SAFETY: a new descriptor that nobody else knows.
            Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
            _ => Err(io::Error::last_os_error()),
        }
    };
    match call() {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && lift_limit_of_locked_memory().is_ok() => {
            call()
        }
        answer => answer,
    }
}

/// Kernels before 5.11 count programs and maps as locked memory of a user, those of all processes together and for a while after
/// they are gone; 64 KiB are usual. An error where that is more than we may.
fn lift_limit_of_locked_memory() -> rustix::io::Result<()> {
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
}

fn kernel_address<T>(memory: *const T) -> u64 {
    u64::try_from(memory.expose_provenance()).unwrap_or(0)
}

/// A loaded program that does next to nothing; unloaded when dropped.
#[derive(Debug)]
pub struct TrialProgram(OwnedFd);

impl TrialProgram {
    /// Loads it as a perf_event program. The error carries the verifier's words, if it got that far.
    pub fn load(trial: Trial) -> Result<Self, KernelFeatureError> {
        match trial {
            Trial::Nothing => Self::load_instructions(&RETURN_ZERO),
            Trial::ReadKernelMemory => Self::load_instructions(&READ_KERNEL),
        }
    }

    fn load_instructions(instructions: &[Instruction]) -> Result<Self, KernelFeatureError> {
        let mut log = vec![0_u8; VERIFIER_LOG_BYTES];
        let attributes = LoadAttributes {
            kind: BPF_PROG_TYPE_PERF_EVENT,
            instruction_count: u32::try_from(instructions.len()).unwrap_or(0),
            instructions: kernel_address(instructions.as_ptr()),
            licence: kernel_address(c"Dual MIT/GPL".as_ptr()),
            log_level: 1,
            log_bytes: u32::try_from(log.len()).unwrap_or(0),
            log: kernel_address(log.as_mut_ptr()),
        };
        // SAFETY: the layout is the kernel's (asserted above); instructions, licence and log outlive the call, the
        // log is ours alone to write.
        let answer = unsafe { bpf_descriptor(BPF_PROG_LOAD, &attributes) };
        answer.map(Self).map_err(|source| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let verifier = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).trim().to_owned();
            KernelFeatureError::LoadProgram { verifier, source }
        })
    }

    /// The one that does nothing.
    pub fn empty() -> Result<Self, KernelFeatureError> {
        Self::load(Trial::Nothing)
    }

    /// Whether it was compiled to machine code; `None` if the kernel does not say.
    pub fn is_compiled(&self, proc: &ProcFs) -> Option<bool> {
        let facts = proc.text(format!("self/fdinfo/{}", self.0.as_raw_fd())).ok()?;
        let line = facts.lines().find_map(|line| line.strip_prefix("prog_jited:"))?;
        Some(line.trim() != "0")
    }

    /// Attaches it to the clock of a CPU and takes it off again.
    pub fn attach_to_clock(&self, cpu: u32) -> Result<(), KernelFeatureError> {
        let mut clock = clock_event(cpu)?;
        clock.set_bpf(self.0.as_raw_fd()).map_err(|source| KernelFeatureError::Attach { cpu, source })
    }

    /// Attaches it to the clock of a CPU by a link, and takes it off again.
    pub fn link_to_clock(&self, cpu: u32) -> Result<(), KernelFeatureError> {
        let clock = clock_event(cpu)?;
        let number = |descriptor: i32| u32::try_from(descriptor).unwrap_or(u32::MAX);
        let attributes = LinkAttributes {
            program: number(self.0.as_raw_fd()),
            target: number(clock.as_raw_fd()),
            attach_type: BPF_PERF_EVENT,
            flags: 0,
        };
        // SAFETY: the layout is the kernel's (asserted above) and holds no address.
        let answer = unsafe { bpf_descriptor(BPF_LINK_CREATE, &attributes) };
        answer.map(drop).map_err(|source| KernelFeatureError::Attach { cpu, source })
    }
}

/// Whether programs of our kind may call this helper. It is called with arguments that nobody has set: a kernel that has
/// it takes offence at them (EACCES), one that has not at its number (EINVAL).
pub fn knows_helper(helper: u32) -> bool {
    match TrialProgram::load_instructions(&blind_call(helper)) {
        Ok(_) => true, // it takes none
        Err(error) => error.io().is_some_and(|error| error.raw_os_error() == Some(libc::EACCES)),
    }
}

/// Whether programs may call programs.
pub fn tail_calls() -> Result<(), KernelFeatureError> {
    let attributes = MapAttributes {
        kind: BPF_MAP_TYPE_PROG_ARRAY,
        key_bytes: 4,
        value_bytes: 4,
        max_entries: 1,
        flags: 0,
    };
    // SAFETY: the layout is the kernel's (asserted above) and holds no address.
    let map = unsafe { bpf_descriptor(BPF_MAP_CREATE, &attributes) };
    let map = map.map_err(|source| KernelFeatureError::CreateProgramArray { source })?;
    let number = u32::try_from(map.as_raw_fd()).unwrap_or(u32::MAX);
    TrialProgram::load_instructions(&tail_call(number)).map(drop)
}

/// Makes a ring buffer of this size, a power of two and a multiple of the page size, and drops it.
pub fn ring_buffer(bytes: u32) -> Result<(), KernelFeatureError> {
    let attributes = MapAttributes {
        kind: BPF_MAP_TYPE_RINGBUF,
        key_bytes: 0,
        value_bytes: 0,
        max_entries: bytes,
        flags: 0,
    };
    // SAFETY: the layout is the kernel's (asserted above) and holds no address.
    let answer = unsafe { bpf_descriptor(BPF_MAP_CREATE, &attributes) };
    answer.map(drop).map_err(|source| KernelFeatureError::CreateRing { bytes, source })
}
