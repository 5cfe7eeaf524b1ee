//! A role → system calls that the kernel refuses it with EPERM.
//!
//! A list of what is refused, not of what is allowed: the C library, the runtime and the kernel choose among calls that do
//! the same, and a list of what they may choose is wrong with the next version of any of them. What is named here is what no
//! part of ours does, and what whoever took over a thread would want. The service's own filter (`deploy/systemd`) lists what
//! is allowed, for the process as a whole.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{PrivilegeError, Role};

/// kexec_file_load, which libc does not name for musl on arm64 (syscall_64.tbl, asm-generic/unistd.h).
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// What nobody here does.
const NOBODY: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    KEXEC_FILE_LOAD,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_settimeofday,
    libc::SYS_setuid,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Commands of bpf(2) (include/uapi/linux/bpf.h): what reads and writes a map whose descriptor one has.
const MAP_COMMANDS: &[u64] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    24, // BPF_MAP_LOOKUP_BATCH
    26, // BPF_MAP_UPDATE_BATCH
    27, // BPF_MAP_DELETE_BATCH
];

/// What the broker does besides: make a map, attach the program that is loaded to another event.
const BROKER_COMMANDS: &[u64] = &[
    0,  // BPF_MAP_CREATE
    15, // BPF_OBJ_GET_INFO_BY_FD
    18, // BPF_BTF_LOAD: aya describes a map's values to the kernel
    28, // BPF_LINK_CREATE
];

/// Address families that lead out of the machine.
const NETWORK_FAMILIES: [libc::c_int; 4] = [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET, libc::AF_NETLINK];

/// Filters the calling thread's system calls from now on.
pub(super) fn filter(role: Role) -> Result<(), PrivilegeError> {
    let failed = |error: seccompiler::Error| PrivilegeError::SystemCalls(error.to_string());
    let program = program(role).map_err(|error| failed(error.into()))?;
    seccompiler::apply_filter(&program).map_err(failed)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn program(role: Role) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = Rules::new();
    NOBODY.iter().for_each(|&call| refuse(&mut rules, call));
    if role != Role::Broker {
        refuse(&mut rules, libc::SYS_perf_event_open);
    }
    if role != Role::Naming {
        refuse(&mut rules, libc::SYS_execve);
        refuse(&mut rules, libc::SYS_execveat);
    }
    match role {
        Role::Broker => {
            rules.insert(libc::SYS_bpf, vec![none_of(&[MAP_COMMANDS, BROKER_COMMANDS].concat())?])
        }
        Role::Sampling => rules.insert(libc::SYS_bpf, vec![none_of(MAP_COMMANDS)?]),
        Role::Rows | Role::Naming | Role::Log | Role::Network => rules.insert(libc::SYS_bpf, Vec::new()),
    };
    if role != Role::Network {
        // A name of the service manager's socket is resolved by the kernel alone.
        let families = NETWORK_FAMILIES.map(|family| is_first(u64::try_from(family).unwrap_or(u64::MAX)));
        rules.insert(libc::SYS_socket, families.into_iter().collect::<Result<_, _>>()?);
        refuse(&mut rules, libc::SYS_listen);
        refuse(&mut rules, libc::SYS_accept4);
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
}

/// Whatever its arguments.
fn refuse(rules: &mut Rules, call: libc::c_long) {
    rules.insert(call, Vec::new());
}

fn is_first(value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
}

/// The first argument is none of these.
fn none_of(values: &[u64]) -> Result<SeccompRule, seccompiler::BackendError> {
    let differs = |&value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    SeccompRule::new(values.iter().map(differs).collect::<Result<_, _>>()?)
}
