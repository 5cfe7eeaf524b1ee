//! Roles entered by threads of this test → what the kernel lets them do then.

use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::CapabilitySet;

use super::*;
use crate::host::ProcFs;

/// What a thread finds out in a role.
fn in_role<T: Send>(role: Role, look: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            role.enter(Kernel::running(&ProcFs::host())).unwrap();
            look()
        });
        thread.join().unwrap()
    })
}

fn status_line(name: &str) -> String {
    let status = ProcFs::host().text("thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn refused<T>(result: rustix::io::Result<T>) -> bool {
    result.err() == Some(Errno::PERM)
}

fn network_socket() -> rustix::io::Result<std::os::fd::OwnedFd> {
    socket(AddressFamily::INET, SocketType::STREAM, None)
}

#[test]
fn every_role_is_filtered_and_cannot_rise_again() {
    for role in Role::ALL {
        let (seccomp, privileges, inheritable) =
            in_role(role, || (status_line("Seccomp"), status_line("NoNewPrivs"), status_line("CapInh")));
        assert_eq!((&*seccomp, &*privileges, &*inheritable), ("2", "1", "0000000000000000"), "{role:?}");
    }
    assert_eq!(status_line("Seccomp"), "0", "the thread that starts them is as before");
}

#[test]
fn each_role_keeps_its_own_capabilities_alone() {
    let held = rustix::thread::capabilities(None).unwrap().effective;
    let bits = |set: CapabilitySet| format!("{:016x}", (held & set).bits());
    for role in Role::ALL {
        let expected = bits(capabilities::of(role, Kernel::running(&ProcFs::host())));
        let found = in_role(role, || [status_line("CapEff"), status_line("CapPrm")]);
        assert_eq!(found, [expected.clone(), expected], "{role:?}");
    }
}

#[test]
fn the_network_is_for_one_role() {
    assert!(in_role(Role::Network, || network_socket().is_ok()));
    for role in [Role::Broker, Role::Sampling, Role::Rows, Role::Naming, Role::Log] {
        assert!(in_role(role, || refused(network_socket())), "{role:?}");
        let local = || socket(AddressFamily::UNIX, SocketType::DGRAM, None).is_ok();
        assert!(in_role(role, local), "{role:?} tells the service manager how it is");
    }
}

#[test]
fn programs_are_started_by_one_role() {
    let start = || std::process::Command::new("/bin/true").status().map(|status| status.success()).ok();
    assert_eq!(in_role(Role::Naming, start), Some(true));
    for role in [Role::Broker, Role::Sampling, Role::Rows, Role::Log, Role::Network] {
        assert_eq!(in_role(role, start), None, "{role:?}");
    }
}

#[test]
fn nobody_mounts_or_leaves_its_namespaces() {
    for role in Role::ALL {
        let unshared = in_role(role, || {
            let root = std::fs::File::open("/proc/self/ns/uts").unwrap();
            assert!(root.as_raw_fd() >= 0);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&root), None)
        });
        assert!(refused(unshared), "{role:?}");
    }
}

#[test]
fn kernels_before_5_19_need_a_right_for_maps() {
    let sampling = |release| capabilities::of(Role::Sampling, Kernel::parse(release, "2"));
    assert!(sampling("5.10.0-30-amd64").contains(CapabilitySet::BPF));
    assert!(sampling("garbage").contains(CapabilitySet::BPF));
    assert!(!sampling("5.19.0").contains(CapabilitySet::BPF));
    assert!(!sampling("6.18.44-fc").contains(CapabilitySet::BPF));
}

#[test]
fn one_thread_keeps_what_debian_asks_for() {
    let keeps = |role, paranoid| {
        capabilities::of(role, Kernel::parse("6.12.0", paranoid)).contains(CapabilitySet::SYS_ADMIN)
    };
    assert_eq!(
        ["3", "4\n", "2", "-1", "", "?"].map(|level| keeps(Role::Broker, level)),
        [true, true, false, false, false, false]
    );
    assert_eq!(Role::ALL.map(|role| keeps(role, "3")).iter().filter(|kept| **kept).count(), 1);
}
