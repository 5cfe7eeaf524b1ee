//! The report's form: JSON, columns, names.

use std::io::ErrorKind;

use expect_test::expect;
use rustix::thread::CapabilitySet;

use super::{drop_capabilities, refused, report_on};
use crate::doctor::{CHECKS, State};

#[test]
fn json_keeps_its_form() {
    let mut report = report_on(|e| {
        e.program = Ok(Some(false));
        e.in_initial_pid_namespace = Some(false);
    });
    report.checks.retain(|check| matches!(check.id, "kernel" | "bpf_jit" | "pid_namespace"));
    expect![[r#"
        {
          "version": 1,
          "verdict": "limited",
          "exit_code": 1,
          "summary": "limited: profiling works, but something is lost: BPF JIT, PID namespace",
          "kernel": "6.1.0-42-amd64",
          "architecture": "x86_64",
          "checks": [
            {
              "id": "kernel",
              "title": "kernel",
              "state": "ok",
              "found": "6.1.0-42-amd64 on x86_64"
            },
            {
              "id": "bpf_jit",
              "title": "BPF JIT",
              "state": "limited",
              "found": "off: programs are interpreted",
              "cost": "each sample takes several times longer",
              "cure": "turn it on:",
              "commands": [
                "sudo sysctl net.core.bpf_jit_enable=1"
              ]
            },
            {
              "id": "pid_namespace",
              "title": "PID namespace",
              "state": "limited",
              "found": "one of its own (a container)",
              "cost": "processes outside the container are sampled, but have neither names nor functions",
              "cure": "share the host's: --pid=host for docker and podman, hostPID: true in Kubernetes"
            }
          ]
        }
    "#]]
    .assert_eq(&report.to_json());
}

#[test]
fn colours_change_no_column_and_lines_fit() {
    let report = report_on(|e| drop_capabilities(e, CapabilitySet::all()));
    let plain = report.to_text(80, false);
    let mut painted = report.to_text(80, true);
    assert!(painted.contains("\x1b[31mmissing") && painted.contains("\x1b[32mok"), "{painted}");
    for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
        painted = painted.replace(code, "");
    }
    assert_eq!(painted, plain);
    for width in [60, 80, 110] {
        let text = report.to_text(width, false);
        let longest = text.lines().filter(|line| !line.contains("$ ")).map(|line| line.chars().count()).max();
        assert!(longest.is_some_and(|columns| columns <= width), "{text}");
    }
}

#[test]
fn every_check_has_its_own_name_and_says_why_it_is_not_ok() {
    let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| check.title.len() <= 22));
    let worst = report_on(|e| {
        drop_capabilities(e, CapabilitySet::all());
        e.program = refused(ErrorKind::PermissionDenied);
        e.clock = refused(ErrorKind::PermissionDenied);
        e.event_ring = refused(ErrorKind::PermissionDenied);
    });
    let bad = worst.checks.iter().filter(|check| check.finding.state != State::Ok);
    for check in bad {
        assert!(check.finding.cost.is_some() && check.finding.cure.is_some(), "{check:?}");
    }
}
