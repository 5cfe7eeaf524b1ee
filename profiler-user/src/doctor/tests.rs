//! Made-up hosts, judged.

mod host;
mod shape;

use std::io::ErrorKind;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use rustix::thread::CapabilitySet;

use super::evidence::{Others, Pods, Refusal, Symbols, Tried};
use super::*;
use crate::attribute::containers::{SourceState, SourceStatus};
use crate::sample::abilities::Abilities;
use crate::sample::capabilities::Capabilities;

/// A virtual machine on which nothing is lost, profiled by root.
fn healthy() -> Evidence {
    Evidence {
        release: "6.1.0-42-amd64".to_owned(),
        architecture: "x86_64",
        capabilities: Some(Capabilities {
            effective: CapabilitySet::all() - CapabilitySet::SYS_RESOURCE,
            newest_known: 40,
            is_root: true,
            in_initial_user_namespace: true,
            executable: PathBuf::from("/usr/bin/flamekeeper"),
        }),
        program: Ok(Some(true)),
        empty_program: Ok(()),
        small_ring: Ok(()),
        sample_ring: Ok(()),
        attach: Some(Ok(())),
        sampler: Some(Ok(tried(&Abilities::of(Ability::ALL)))),
        abilities: Abilities::of(Ability::ALL),
        clock: Ok(()),
        cycles: refused(ErrorKind::NotFound),
        event_ring: Ok(()),
        types: Ok(()),
        jit_setting: Some(1),
        lockdown: None,
        paranoid: Some(3),
        symbols: Symbols::Addresses,
        tracefs: None,
        memory_lock: Some(8 << 20),
        max_stack: Some(127),
        max_sample_rate: Some(100_000),
        in_initial_pid_namespace: Some(true),
        hide_pid: None,
        init_stat: Ok(()),
        others: Others { readable: 80, refused: 1, reason: "permission denied".to_owned() },
        map_files: Ok(()),
        containers: vec![source("Docker", SourceState::Absent), source("rootless", SourceState::Ready)],
        pods: Pods::Answered { node: "node-7".to_owned(), pods: 12 },
    }
}

fn tried(abilities: &Abilities) -> Tried {
    Tried { cpus: 4, choice: abilities.choice(), rows: Ok(()) }
}

fn source(source: &'static str, state: SourceState) -> SourceStatus {
    SourceStatus { source, path: PathBuf::from("/run").join(source), state }
}

fn refused<T>(kind: ErrorKind) -> Result<T, Refusal> {
    Err(Refusal { kind, reason: kind.to_string(), verifier: String::new() })
}

fn drop_capabilities(evidence: &mut Evidence, lost: CapabilitySet) {
    let capabilities = evidence.capabilities.as_mut().unwrap();
    capabilities.effective -= lost;
    capabilities.is_root = false;
}

fn report_on(change: impl FnOnce(&mut Evidence)) -> Report {
    let mut evidence = healthy();
    change(&mut evidence);
    judge_all(&evidence)
}

/// What a changed host is told, without the checks that are still ok.
fn check(change: impl FnOnce(&mut Evidence), expected: Expect) {
    let mut report = report_on(change);
    report.checks.retain(|check| check.finding.state != State::Ok);
    expected.assert_eq(&report.to_text(80, false));
}

/// What was found by one check that is ok.
fn note(id: &str, change: impl FnOnce(&mut Evidence)) -> String {
    let report = report_on(change);
    let found = report.checks.into_iter().find(|check| check.id == id).unwrap().finding;
    assert_eq!(found.state, State::Ok, "{found:?}");
    found.found
}

#[test]
fn a_virtual_machine_without_tracefs_and_counters_is_all_right() {
    let report = report_on(|_| {});
    assert_eq!((report.verdict(), report.exit_code()), (State::Ok, 0));
    expect![[r#"
        ok       kernel                  6.1.0-42-amd64 on x86_64
        ok       CAP_BPF                 held
        ok       CAP_PERFMON             held
        ok       CAP_SYS_PTRACE          held
        ok       CAP_DAC_READ_SEARCH     held
        ok       CAP_SYSLOG              held
        ok       CAP_CHECKPOINT_RESTORE  held
        ok       user namespace          the host's
        ok       lockdown                not in force (the kernel shows no such file)
        ok       perf_event_paranoid     3, which does not bind us
        ok       BPF program             loads, and may read kernel memory
        ok       BPF ring buffer         can be made
        ok       CPU clock               opens for the whole host
        ok       attaching               a program can be attached to the CPU clock
        ok       sampling program        loads and runs on 4 CPUs
        ok       in-kernel walker        yes, as deep as stacks are kept
        ok       BPF JIT                 on: the trial program was compiled
        ok       kernel types (BTF)      readable
        ok       hardware counters       none, as in most virtual machines; not needed,
                                         samples come by the CPU clock
        ok       perf event rings        512 KiB can be mapped
        ok       memory lock limit       8 MiB, by which this kernel does not count BPF
        ok       perf_event_max_stack    127 frames
        ok       sample rate limit       100000 a second on each CPU
        ok       tracefs                 not mounted, and not needed
        ok       kernel symbols          readable, with addresses
        ok       PID namespace           the host's
        ok       hidden processes        none
        ok       other processes         mappings of 80 of 81 looked at can be read
        ok       deleted programs        their files can be read
        ok       container names         no container runtime keeps its state here
        ok       pods of this node       12 on node-7

        ok: this host can be profiled in full
    "#]]
    .assert_eq(&report.to_text(80, false));
}

#[test]
fn what_does_not_hinder_is_a_note() {
    assert_eq!(note("hardware_counters", |e| e.cycles = Ok(())), "cycles can be counted (--event cycles)");
    assert_eq!(
        note("lockdown", |e| e.lockdown = Some("none [integrity] confidentiality".to_owned())),
        "integrity, which does not hinder sampling"
    );
    assert_eq!(
        note("lockdown", |e| e.lockdown = Some("[none] integrity confidentiality".to_owned())),
        "not in force"
    );
    assert_eq!(note("perf_event_paranoid", |e| e.paranoid = Some(-1)), "-1");
    assert_eq!(
        note("hidepid", |e| e.hide_pid = Some("invisible".to_owned())),
        "/proc has hidepid=invisible, which does not bind us"
    );
    assert_eq!(
        note("cap_syslog", |e| drop_capabilities(e, CapabilitySet::SYSLOG)),
        "not held, and not needed here"
    );
    assert_eq!(note("cap_bpf", |e| drop_capabilities(e, CapabilitySet::BPF)), "held, through CAP_SYS_ADMIN");
    assert_eq!(
        note("max_sample_rate", |e| e.max_sample_rate = Some(500)),
        "500 a second, enough for the default of 99"
    );
    assert_eq!(
        note("memory_lock", |e| e.memory_lock = None),
        "no limit, by which this kernel does not count BPF"
    );
    assert_eq!(
        note("tracefs", |e| e.tracefs = Some("kernel/tracing")),
        "mounted at /sys/kernel/tracing, not needed"
    );
    assert_eq!(
        note("bpf_jit", |e| (e.program, e.jit_setting) = (Ok(None), None)),
        "unknown: not shown in this network namespace"
    );
}

#[test]
fn an_older_kernel_is_sampled_in_another_way() {
    use Ability::{TailCalls, Types};
    let as_on_5_10 = |e: &mut Evidence| {
        e.abilities = Abilities::of([TailCalls, Types]);
        e.sampler = Some(Ok(tried(&e.abilities)));
    };
    assert_eq!(
        note("stack_walker", as_on_5_10),
        "yes, by tail calls (bpf_loop, bpf_task_pt_regs missing): user space goes on with stacks deeper than 132 \
         frames, as far as they are copied"
    );
    assert_eq!(
        note("attach", as_on_5_10),
        "a program can be attached to the CPU clock, by ioctl: there are no links for that"
    );
    check(
        |e| {
            e.abilities = Abilities::of([Types]);
            e.sampler = Some(Ok(tried(&e.abilities)));
        },
        expect![[r#"
            limited  in-kernel walker        no (bpf_loop, bpf_task_pt_regs missing, tail
                                             calls refused): stacks are unwound in user
                                             space
                     cost: each sample takes several times longer, and stacks of more than
                           16 KiB lose their outermost functions
                     cure: use a kernel of 5.17 or later

            limited: profiling works, but something is lost: in-kernel walker
        "#]],
    );
}

#[test]
fn a_kernel_that_refuses_the_walkers_tables_is_told() {
    check(
        |e| {
            e.sampler = Some(Ok(Tried {
                rows: Err("write rows: Invalid argument".to_owned()),
                ..tried(&e.abilities)
            }))
        },
        expect![[r#"
            limited  in-kernel walker        no (write rows: Invalid argument): stacks are
                                             unwound in user space
                     cost: each sample takes several times longer, and stacks of more than
                           16 KiB lose their outermost functions
                     cure: every kernel from 5.10 on should take them, so this is likely our
                           fault: please report it, with this text

            limited: profiling works, but something is lost: in-kernel walker
        "#]],
    );
}

#[test]
fn lost_names_are_limits() {
    let lost = CapabilitySet::SYS_PTRACE | CapabilitySet::SYSLOG;
    check(
        |e| {
            drop_capabilities(e, lost);
            e.symbols = Symbols::Zeros;
            e.others = Others { readable: 3, refused: 40, reason: "permission denied".to_owned() };
        },
        expect![[r#"
            limited  CAP_SYS_PTRACE          not held
                     cost: processes of other users show addresses, not functions
            limited  CAP_SYSLOG              not held
                     cost: functions of the kernel show as addresses
                     cure: run it as root, or give the program its capabilities once:
                       $ sudo /usr/bin/flamekeeper …
                       $ sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_checkpoint_restore+ep /usr/bin/flamekeeper
            limited  kernel symbols          readable, but every address is zero
                     cost: functions of the kernel show as addresses
                     cure: give flamekeeper CAP_SYSLOG, as said above
            limited  other processes         mappings of 40 of 43 looked at: permission
                                             denied
                     cost: processes of other users show addresses, not functions
                     cure: give flamekeeper CAP_SYS_PTRACE, as said above

            limited: profiling works, but something is lost: CAP_SYS_PTRACE, CAP_SYSLOG,
              kernel symbols, other processes
        "#]],
    );
    check(
        |e| {
            e.symbols = Symbols::Zeros;
            e.others = Others { readable: 3, refused: 40, reason: "permission denied".to_owned() };
            e.map_files = refused(ErrorKind::PermissionDenied);
        },
        expect![[r#"
            limited  kernel symbols          readable, but every address is zero
                     cost: functions of the kernel show as addresses
                     cure: let those see addresses who hold CAP_SYSLOG:
                       $ sudo sysctl kernel.kptr_restrict=1
            limited  other processes         mappings of 40 of 43 looked at: permission
                                             denied
                     cost: processes of other users show addresses, not functions
                     cure: a security module forbids it: in a container, --security-opt
                           apparmor=unconfined
            limited  deleted programs        no file to read: permission denied
                     cost: programs deleted or replaced while they run show addresses, not
                           functions
                     cure: use a kernel of 5.10 or later, and a /proc that is not
                           overmounted

            limited: profiling works, but something is lost: kernel symbols, other
              processes, deleted programs
        "#]],
    );
    check(
        |e| {
            e.in_initial_pid_namespace = Some(false);
            e.hide_pid = Some("2".to_owned());
            e.init_stat = refused(ErrorKind::NotFound);
            e.symbols = Symbols::Unreadable(refused::<()>(ErrorKind::NotFound).unwrap_err());
        },
        expect![[r#"
            limited  kernel symbols          unreadable: entity not found
                     cost: functions of the kernel show as addresses
                     cure: use a kernel built with CONFIG_KALLSYMS, and show /proc/kallsyms
                           to the container
            limited  PID namespace           one of its own (a container)
                     cost: processes outside the container are sampled, but have neither
                           names nor functions
                     cure: share the host's: --pid=host for docker and podman, hostPID: true
                           in Kubernetes
            limited  hidden processes        /proc is mounted with hidepid=2
                     cost: processes of other users have neither names nor functions
                     cure: give flamekeeper CAP_SYS_PTRACE, or mount /proc without hidepid

            limited: profiling works, but something is lost: kernel symbols, PID namespace,
              hidden processes
        "#]],
    );
}

#[test]
fn an_old_or_small_kernel_is_limited() {
    check(
        |e| {
            e.release = "4.18.0-553.el8_10.x86_64".to_owned();
            e.program = Ok(Some(false));
            e.types = refused(ErrorKind::NotFound);
            e.sample_ring = refused(ErrorKind::PermissionDenied);
            e.memory_lock = Some(64 << 10);
        },
        expect![[r#"
            limited  kernel                  4.18.0-553.el8_10.x86_64 on x86_64
                     cost: older than 5.10, the oldest that is tested; the checks below tell
                           what works
                     cure: use a kernel of 5.10 or later
            limited  in-kernel walker        no (btf missing): user stacks are walked along
                                             frame pointers
                     cost: programs without frame pointers show where they were, but not
                           their callers
                     cure: use a kernel built with CONFIG_DEBUG_INFO_BTF, as all
                           distributions' are
            limited  BPF JIT                 off: programs are interpreted
                     cost: each sample takes several times longer
                     cure: turn it on:
                       $ sudo sysctl net.core.bpf_jit_enable=1
            limited  kernel types (BTF)      not there
                     cost: a process is known by its number alone: one that reuses the
                           number may be taken for it
                     cure: use a kernel built with CONFIG_DEBUG_INFO_BTF, as all
                           distributions' are
            limited  memory lock limit       64 KiB, too low for a ring of 8 MiB
                     cost: samples may be lost in bursts
                     cure: raise it: LimitMEMLOCK=infinity in a systemd unit, or in the
                           shell before:
                       $ ulimit -l unlimited

            limited: profiling works, but something is lost: kernel, in-kernel walker, BPF
              JIT, kernel types (BTF), memory lock limit
        "#]],
    );
    check(
        |e| {
            e.event_ring = refused(ErrorKind::PermissionDenied);
            e.sample_ring = refused(ErrorKind::OutOfMemory);
            e.max_stack = Some(64);
            e.max_sample_rate = Some(50);
        },
        expect![[r#"
            limited  perf event rings        512 KiB cannot be mapped: permission denied
                     cost: smaller rings: when many processes start at once, some get no
                           names
                     cure: end other profilers, which share the allowance, or raise it:
                       $ sudo sysctl kernel.perf_event_mlock_kb=2064
            limited  memory lock limit       8 MiB; a ring of 8 MiB: out of memory
                     cost: samples may be lost in bursts
                     cure: give the container or unit more memory
            limited  perf_event_max_stack    64 frames
                     cost: deeper stacks lose their outermost functions
                     cure: raise it while nothing uses perf events:
                       $ sudo sysctl kernel.perf_event_max_stack=127
            limited  sample rate limit       50 a second
                     cost: the default of 99 a second is refused or throttled
                     cure: sample at a lower rate (-F), or raise it:
                       $ sudo sysctl kernel.perf_event_max_sample_rate=100000

            limited: profiling works, but something is lost: perf event rings, memory lock
              limit, perf_event_max_stack, sample rate limit
        "#]],
    );
}

#[test]
fn lockdown_is_not_mistaken_for_a_bug_of_ours() {
    check(
        |e| {
            e.lockdown = Some("none integrity [confidentiality]".to_owned());
            let verifier = "0: (85) call bpf_probe_read_kernel#113\nunknown func".to_owned();
            e.program = Err(Refusal {
                kind: ErrorKind::InvalidInput,
                reason: "invalid argument".to_owned(),
                verifier,
            });
            e.attach = None;
            e.sampler = None;
        },
        expect![[r#"
            missing  lockdown                confidentiality
                     cost: BPF programs may not read kernel memory: nothing can be sampled
                     cure: boot with lockdown=integrity; on Talos Linux, a kernel argument
                           of the machine configuration
            missing  BPF program             loads, but may not read kernel memory
                     cost: nothing can be sampled
                     cure: lift the kernel's lockdown: boot with lockdown=integrity or
                           without
            missing  attaching               not tried
            missing  sampling program        not tried
                     cost: nothing can be sampled
                     cure: mend the BPF program above first
            limited  in-kernel walker        not tried
                     cost: not known before the sampling program loads
                     cure: mend what is missing above first

            cannot profile this host: lockdown, BPF program, attaching, sampling program
        "#]],
    );
}

#[test]
fn a_seccomp_profile_is_told_from_missing_capabilities() {
    check(
        |e| {
            e.program = refused(ErrorKind::PermissionDenied);
            e.empty_program = refused(ErrorKind::PermissionDenied);
            e.small_ring = refused(ErrorKind::PermissionDenied);
            e.clock = refused(ErrorKind::PermissionDenied);
            (e.attach, e.sampler) = (None, None);
        },
        expect![[r#"
            limited  perf_event_paranoid     3
                     cost: some distributions' kernels ask for CAP_SYS_ADMIN at this level
                     cure: lower it if the CPU clock below is refused for no other reason:
                       $ sudo sysctl kernel.perf_event_paranoid=2
            missing  BPF program             refused: permission denied
            missing  BPF ring buffer         refused: permission denied
                     cost: nothing can be sampled
                     cure: the capabilities are there, so a seccomp profile or a security
                           module forbids bpf(): allow it in the container's seccomp
                           profile, and look for denials in the audit log
            missing  CPU clock               refused: permission denied
                     cost: nothing can be sampled
                     cure: the capabilities are there, so a seccomp profile or a security
                           module forbids perf_event_open(): allow it in the container's
                           seccomp profile, and look for denials in the audit log
            missing  attaching               not tried
            missing  sampling program        not tried
                     cost: nothing can be sampled
                     cure: mend the BPF program above first
            limited  in-kernel walker        not tried
                     cost: not known before the sampling program loads
                     cure: mend what is missing above first
            limited  hardware counters       not tried
                     cost: not known as long as the CPU clock is refused
                     cure: mend the CPU clock above first

            cannot profile this host: BPF program, BPF ring buffer, CPU clock, attaching,
              sampling program
        "#]],
    );
}

#[test]
fn a_rootless_container_is_told_to_leave_its_user_namespace() {
    let report = report_on(|e| e.capabilities.as_mut().unwrap().in_initial_user_namespace = false);
    assert_eq!((report.verdict(), report.exit_code()), (State::Missing, 2));
    let text = report.to_text(80, false);
    assert!(
        text.contains("missing  user namespace          one of its own (a rootless container)"),
        "{text}"
    );
}

#[test]
fn a_refused_clock_is_not_our_program_s_fault() {
    let report = report_on(|e| {
        e.clock = refused(ErrorKind::PermissionDenied);
        e.sampler = Some(Err("no".to_owned()));
    });
    let text = report.to_text(80, false);
    assert!(text.contains("sampling program        not tried") && !text.contains("our fault"), "{text}");
}

#[test]
fn a_refusal_of_our_own_program_asks_for_a_report() {
    let words =
        "the kernel refused program `on_tick`: Invalid argument; the verifier's last words:\n  R1 invalid";
    check(
        |e| e.sampler = Some(Err(words.to_owned())),
        expect![[r#"
            missing  sampling program        the kernel refused program `on_tick`: Invalid
                                             argument; the verifier's last words: R1 invalid
                     cost: nothing can be sampled
                     cure: the kernel takes simpler programs, so this is likely our fault:
                           please report it, with this text
            limited  in-kernel walker        not tried
                     cost: not known before the sampling program loads
                     cure: mend what is missing above first

            cannot profile this host: sampling program
        "#]],
    );
}

#[test]
fn container_runtimes_are_named_and_one_that_hides_its_state_is_a_loss() {
    assert_eq!(note("containers", |_| ()), "no container runtime keeps its state here");
    let found = note("containers", |e| {
        e.containers =
            ["Docker", "containerd", "containerd"].map(|name| source(name, SourceState::Ready)).into();
    });
    assert_eq!(found, "can be read: Docker, containerd");
    check(
        |e| {
            drop_capabilities(e, CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE);
            e.containers = vec![source("containerd", SourceState::Refused("permission denied".to_owned()))];
        },
        expect![[r#"
            limited  CAP_DAC_READ_SEARCH     not held
                     cost: programs that only their owner may read show addresses, not
                           functions
                     cure: run it as root, or give the program its capabilities once:
                       $ sudo /usr/bin/flamekeeper …
                       $ sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_checkpoint_restore+ep /usr/bin/flamekeeper
            limited  container names         containerd (/run/containerd): permission denied
                     cost: its containers are known by their ids alone, and called by their
                           executables
                     cure: give flamekeeper CAP_DAC_READ_SEARCH, as said above

            limited: profiling works, but something is lost: CAP_DAC_READ_SEARCH, container
              names
        "#]],
    );
}

#[test]
fn without_an_api_server_nothing_is_amiss() {
    assert_eq!(
        note("kubernetes", |e| e.pods = Pods::NotAsked),
        "not asked for: this is no pod of Kubernetes"
    );
}

#[test]
fn an_api_server_that_does_not_answer_costs_the_labels_of_pods() {
    let failed = |cause, reason: &str| Pods::Failed { cause, reason: reason.to_owned() };
    check(
        |e| e.pods = failed("forbidden", "the API server refuses: 403 pods is forbidden"),
        expect![[r#"
            limited  pods of this node       the API server refuses: 403 pods is forbidden
                     cost: processes in pods have no labels but those that their containers'
                           runtime tells
                     cure: let its service account list and watch pods (a ClusterRole, as
                           the Helm chart has it)

            limited: profiling works, but something is lost: pods of this node
        "#]],
    );
    check(
        |e| e.pods = Pods::Answered { node: "host".to_owned(), pods: 0 },
        expect![[r#"
        limited  pods of this node       none on a node called host
                 cost: processes in pods have no labels but those that their containers'
                       runtime tells
                 cure: set kubernetes.node_name to the name that kubectl get nodes shows
                       for this host

        limited: profiling works, but something is lost: pods of this node
    "#]],
    );
    for (cause, cure) in
        [("token", "automountServiceAccountToken"), ("silent", "network policies"), ("setup", "[kubernetes]")]
    {
        let report = report_on(|e| e.pods = failed(cause, "x"));
        assert!(report.to_text(400, false).contains(cure), "{cause}");
    }
}
