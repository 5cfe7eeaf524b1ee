//! Folders of fixtures read, and the host that runs the tests tried as it is and as nobody.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::attribute::kubernetes::Reach;
use crate::doctor::evidence::{Evidence, Others, Symbols};
use crate::doctor::{State, run};
use crate::host::{ProcFs, SysFs};
use crate::sample::capabilities::Capabilities;

fn write(root: &Path, entry: &str, text: &str) {
    let path = root.join(entry);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn settings_are_read_from_the_folders_handed_in() {
    let (proc, sys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(proc.path(), "sys/kernel/osrelease", "5.10.0-1-arm64\n");
    write(proc.path(), "sys/net/core/bpf_jit_enable", "0\n");
    write(proc.path(), "sys/kernel/perf_event_paranoid", "-1\n");
    write(proc.path(), "sys/kernel/perf_event_max_stack", "64\n");
    write(proc.path(), "kallsyms", "0000000000000000 T _stext\n0000000000000000 T _text\n");
    write(proc.path(), "7/maps", "55d0c0000000-55d0c0001000 r--p 00000000 08:01 1 /bin/a\n");
    write(proc.path(), "8/maps", "");
    write(
        proc.path(),
        "self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw,nosuid shared:5 - proc proc rw,hidepid=invisible\n",
    );
    fs::create_dir_all(proc.path().join("self/ns")).unwrap();
    symlink("pid:[4026532201]", proc.path().join("self/ns/pid")).unwrap();
    write(sys.path(), "kernel/security/lockdown", "none [integrity] confidentiality\n");
    fs::create_dir_all(sys.path().join("kernel/debug/tracing/events")).unwrap();

    let found =
        Evidence::gather(&ProcFs::at(proc.path()), &SysFs::at(sys.path()), Reach::NotAsked, &BTreeSet::new());
    assert_eq!(found.release, "5.10.0-1-arm64");
    assert_eq!((found.jit_setting, found.paranoid, found.max_stack), (Some(0), Some(-1), Some(64)));
    assert_eq!((found.max_sample_rate, found.in_initial_pid_namespace), (None, Some(false)));
    assert_eq!(found.symbols, Symbols::Zeros);
    assert_eq!(found.hide_pid.as_deref(), Some("invisible"));
    assert_eq!(found.others, Others { readable: 1, refused: 0, reason: String::new() });
    assert_eq!(found.lockdown.as_deref(), Some("none [integrity] confidentiality"));
    assert_eq!(found.tracefs, Some("kernel/debug/tracing"));
    assert!(found.types.is_err() && found.init_stat.is_err() && found.map_files.is_err());
}

#[test]
fn the_host_that_runs_the_tests_can_be_sampled() {
    let rights = Capabilities::of_this_thread(&ProcFs::host()).unwrap();
    if let Some(missing) = rights.missing() {
        println!("skipped: {missing}");
        return;
    }
    let report = run(&ProcFs::host(), &SysFs::host(), Reach::NotAsked, &BTreeSet::new());
    let text = report.to_text(80, false);
    assert_ne!(report.verdict(), State::Missing, "{text}");
    for line in [
        "ok       BPF program",
        "ok       BPF ring buffer",
        "ok       attaching",
        "ok       sampling program",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[test]
fn nobody_is_told_that_nothing_works_and_why() {
    // Credentials belong to a thread; this one ends with the test.
    let report = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        run(&ProcFs::host(), &SysFs::host(), Reach::NotAsked, &BTreeSet::new())
    });
    let report = report.join().unwrap();
    assert_eq!((report.verdict(), report.exit_code()), (State::Missing, 2));
    assert!(
        report.summary().starts_with("cannot profile this host: CAP_BPF, CAP_PERFMON"),
        "{}",
        report.summary()
    );
    let text = report.to_text(80, false);
    assert!(text.contains("$ sudo setcap cap_bpf,cap_perfmon,"), "{text}");
}
