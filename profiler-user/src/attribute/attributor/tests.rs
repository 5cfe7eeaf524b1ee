//! Processes of a made-up `/proc`, with containers and pods that come to be known later.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use expect_test::expect;

use super::*;
use crate::attribute::containers::{ContainerFolders, ContainerInfo};
use crate::attribute::kubernetes::{PodContainer, PodInfo};
use crate::attribute::relabel::{Relabel, RelabelConfig};
use crate::collect::process_event::FileHint;
use crate::process::files::FileTable;
use crate::process::mappings::{Mapping, Mappings};
use profiler_common::address::{FileOffset, RuntimeAddr};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f";
const SECOND: u64 = 1_000_000_000;

/// A folder that looks like `/proc`, and who is attributed by it.
struct World {
    folder: tempfile::TempDir,
    attributor: Attributor,
    files: FileTable,
    mappings: Mappings,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let proc = ProcFs::at(folder.path());
        let containers = ContainerStore::new(ProcFs::host(), ContainerFolders::none(), true);
        let host = HostLabels { instance: "host-1".into(), ..HostLabels::default() };
        let attributor = Attributor::new(proc, host, containers);
        Self { folder, attributor, files: FileTable::new(0), mappings: Mappings::default() }
    }

    /// A process in this cgroup. The program that it runs is a file that cannot be opened, as if its memory were gone.
    fn start(&self, pid: u32, cgroup: &str) {
        let process = self.folder.path().join(pid.to_string());
        std::fs::create_dir_all(&process).unwrap();
        std::fs::write(process.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        std::fs::write(process.join("comm"), "first\n").unwrap();
        std::fs::write(process.join("status"), "Name:\tx\nUid:\t1000\t1001\t1002\t1003\nGid:\t1\n").unwrap();
        if !process.join("exe").is_symlink() {
            symlink("/usr/bin/no-such-program", process.join("exe")).unwrap();
        }
    }

    fn end(&self, pid: u32) {
        std::fs::remove_dir_all(self.folder.path().join(pid.to_string())).unwrap();
    }

    fn says(&mut self, process: Process, seconds: u64) -> Arc<Attribution> {
        let program = Program {
            executable_name: process.name,
            parent: process.parent.map(Tgid),
            has_executed: process.has_executed,
            mappings: &self.mappings,
            files: &self.files,
        };
        let run = key(process.pid, process.run);
        let facts = ProcessFacts {
            tgid: Tgid(process.pid),
            run,
            is_kernel_thread: process.is_kernel_thread,
            program,
        };
        self.attributor.attribute(&facts, MonotonicNanos(seconds * SECOND))
    }

    fn looked_at(&self) -> u64 {
        self.attributor.counts().looked_at
    }
}

#[derive(serde::Deserialize)]
struct Rules {
    relabel_configs: Vec<RelabelConfig>,
}

#[derive(Clone, Copy)]
struct Process {
    pid: u32,
    run: u32,
    name: &'static str,
    parent: Option<u32>,
    has_executed: bool,
    is_kernel_thread: bool,
}

fn process(pid: u32, name: &'static str) -> Process {
    Process { pid, run: pid, name, parent: None, has_executed: false, is_kernel_thread: false }
}

fn short(attribution: &Attribution) -> String {
    let labels = &attribution.labels;
    let dropped = attribution.dropped.as_ref().map(|why| format!(" dropped by {why}")).unwrap_or_default();
    format!("{} {}{dropped}", attribution.rule, labels.get("service_name"))
}

fn pods(annotation: &str) -> Arc<PodTable> {
    Arc::new(PodTable::new([Arc::new(PodInfo {
        namespace: "prod".into(),
        name: "shop-6c9f".into(),
        uid: "8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3".into(),
        annotations: [("pyroscope.io/service_name".into(), annotation.into())].into(),
        containers: vec![PodContainer { id: ID.into(), name: "web".into(), image: "".into() }],
        ..PodInfo::default()
    })]))
}

/// As the table of processes has it.
fn key(pid: u32, run: u32) -> ProcessKey {
    ProcessKey { tgid: Tgid(pid), start_time: 1, exec_id: run }
}

#[test]
fn a_process_is_looked_at_once_and_again_after_an_exec() {
    let mut world = World::new();
    world.start(7, "/system.slice/nginx.service");
    let first = world.says(process(7, "nginx"), 0);
    expect!["systemd_unit nginx.service"].assert_eq(&short(&first));
    let sources = &first.sources;
    assert_eq!((&*sources.comm, sources.user_id), ("first", Some(1001)));
    assert_eq!(&*sources.executable_path, "/usr/bin/no-such-program");
    assert!(Arc::ptr_eq(&first, &world.says(process(7, "nginx"), 0)));
    assert_eq!(world.looked_at(), 1);
    let executed = world.says(Process { run: 8, ..process(7, "sh") }, 0);
    assert_eq!((executed.labels.get("process_executable_name"), world.looked_at()), ("sh", 2));
    world.attributor.forget(Tgid(7));
    assert!(world.attributor.known(key(7, 7)).is_none());
}

#[test]
fn a_fork_shares_its_parents_answer_in_the_same_cgroup_alone() {
    let mut world = World::new();
    world.start(7, "/system.slice/nginx.service");
    let parent = world.says(process(7, "nginx"), 0);
    world.start(8, "/system.slice/nginx.service");
    let fork = Process { parent: Some(7), ..process(8, "nginx") };
    assert!(Arc::ptr_eq(&parent, &world.says(fork, 0)));
    world.start(9, "/system.slice/other.service");
    let moved = world.says(Process { parent: Some(7), ..process(9, "nginx") }, 0);
    assert_eq!(short(&moved), "systemd_unit other.service");
    world.start(10, "/system.slice/nginx.service");
    let executed = world.says(Process { parent: Some(7), has_executed: true, ..process(10, "sh") }, 0);
    assert_eq!(executed.labels.get("process_executable_name"), "sh");
    assert_eq!(world.looked_at(), 3);
}

#[test]
fn one_that_has_ended_is_where_its_parent_was() {
    let mut world = World::new();
    world.start(7, "/system.slice/cron.service");
    world.says(process(7, "cron"), 0);
    let ended = |pid, parent| Process { parent, has_executed: true, ..process(pid, "backup") };
    let of_known = world.says(ended(8, Some(7)), 0);
    assert_eq!((&*short(&of_known), of_known.labels.get("language")), ("systemd_unit cron.service", ""));
    world.start(20, "/system.slice/batch.service");
    assert_eq!(
        short(&world.says(ended(21, Some(20)), 0)),
        "systemd_unit batch.service",
        "its parent was not sampled"
    );
    assert_eq!(short(&world.says(ended(22, None), 0)), "executable backup");
    // Not reaped yet: its cgroup reads as the root, but its program is gone.
    world.start(23, "/");
    std::fs::remove_file(world.folder.path().join("23/exe")).unwrap();
    assert_eq!(short(&world.says(ended(23, Some(7)), 0)), "systemd_unit cron.service");
    assert_eq!(world.attributor.counts().ended_first, 4);
    let thread = Process { is_kernel_thread: true, ..process(23, "kworker/0:1") };
    assert_eq!(short(&world.says(Process { run: 99, ..thread }, 0)), "kernel_thread kernel");
}

#[test]
fn of_one_that_nobody_looked_at_in_time_its_name_is_known_and_its_host() {
    let mut world = World::new();
    let unread = world.attributor.ended_unread(Tgid(30), &"cc1".into());
    let labels: Vec<_> = unread.labels.iter().collect();
    let expected = [("instance", "host-1"), ("process_executable_name", "cc1"), ("service_name", "cc1")];
    assert_eq!((labels, unread.dropped.is_some()), (expected.to_vec(), false));
}

#[test]
fn a_move_is_seen_within_a_second_then_less_often() {
    let mut world = World::new();
    world.start(7, "/system.slice/ssh.service");
    let shell = process(7, "bash");
    assert_eq!(short(&world.says(shell, 10)), "systemd_unit ssh.service");
    world.start(7, "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service");
    assert_eq!(short(&world.says(shell, 10)), "systemd_unit ssh.service", "not looked for with each sample");
    assert_eq!(short(&world.says(shell, 11)), "systemd_unit x.service");
    world.start(7, "/system.slice/y.service");
    assert_eq!(short(&world.says(shell, 12)), "systemd_unit x.service");
    assert_eq!(short(&world.says(shell, 13)), "systemd_unit y.service");
    world.end(7);
    assert_eq!(short(&world.says(shell, 1000)), "systemd_unit y.service", "one that has ended has not moved");
}

#[test]
fn a_library_that_is_loaded_later_tells_the_language() {
    let mut world = World::new();
    world.start(7, "/");
    // This test's own executable, so that there is a file to look into.
    std::fs::remove_file(world.folder.path().join("7/exe")).unwrap();
    symlink(std::env::current_exe().unwrap(), world.folder.path().join("7/exe")).unwrap();
    let server = process(7, "uwsgi");
    assert_eq!(world.says(server, 0).labels.get("language"), "rust");
    let (start, end) = (RuntimeAddr(0x1000), RuntimeAddr(0x2000));
    let path = "/usr/lib/libpython3.13.so.1.0".into();
    world.mappings.insert(Mapping::new(start, end, FileOffset(0), path, FileHint::None));
    assert_eq!(world.says(server, 1).labels.get("language"), "python");
}

#[test]
fn pods_and_containers_that_come_to_be_known_change_the_answer() {
    let mut world = World::new();
    world.start(7, &format!("/docker/{ID}"));
    world.start(8, &format!("/kubepods/pod8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3/{OTHER}"));
    world.start(9, "/system.slice/nginx.service");
    for (pid, name) in [(7, "web"), (8, "new"), (9, "nginx")] {
        world.says(process(pid, name), 0);
    }
    let now = MonotonicNanos(SECOND);
    let refreshed = |world: &mut World| {
        let changed = world.attributor.refresh(now);
        changed
            .iter()
            .map(|(tgid, answer)| format!("{} {}", tgid.0, short(answer)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(refreshed(&mut world), "");
    let wanted: BTreeSet<_> = world.attributor.take_wanted().into_iter().map(|wanted| wanted.id).collect();
    assert_eq!(wanted, BTreeSet::from([ID.into(), OTHER.into()]));
    let info = ContainerInfo { name: "shop-web-1".into(), ..ContainerInfo::default() };
    world.attributor.learn(Found { containers: vec![(ID.into(), info)] }, now);
    assert_eq!(refreshed(&mut world), "7 container shop-web-1");
    world.attributor.set_pods(pods(""));
    assert_eq!(refreshed(&mut world), "7 pod_container prod/web, 8 pod_container prod/shop-6c9f");
    world.attributor.set_pods(pods("shop"));
    assert_eq!(refreshed(&mut world), "7 pod_annotation shop, 8 pod_annotation shop");
    world.attributor.set_pods(pods("shop"));
    assert_eq!(refreshed(&mut world), "", "the same pods again");
    assert_eq!(short(world.attributor.known(key(7, 7)).unwrap()), "pod_annotation shop");
    assert_eq!(world.looked_at(), 3, "nothing of it is read from /proc again");
}

#[test]
fn of_nested_containers_the_innermost_counts_that_anybody_knows() {
    let mut world = World::new();
    let named = |id: &str, name: &str| {
        let info = ContainerInfo { name: name.into(), ..ContainerInfo::default() };
        Found { containers: vec![(id.into(), info)] }
    };
    world.start(7, &format!("/docker/{OTHER}/docker/{ID}"));
    assert_eq!(short(&world.says(process(7, "app"), 0)), "executable app");
    world.attributor.learn(named(OTHER, "outer"), MonotonicNanos(0));
    assert_eq!(short(&world.attributor.refresh(MonotonicNanos(0))[0].1), "container outer");
    world.attributor.learn(named(ID, "inner"), MonotonicNanos(0));
    assert_eq!(short(&world.attributor.refresh(MonotonicNanos(0))[0].1), "container inner");
    assert_eq!(
        world.attributor.known(key(7, 7)).unwrap().sources.labels().get("__meta_container_outer_id"),
        OTHER
    );
}

#[test]
fn relabelling_sees_all_and_leaves_no_source_label() {
    let mut world = World::new();
    world.start(7, "/system.slice/nginx.service");
    world.start(8, "/system.slice/ssh.service");
    for (pid, name) in [(7, "nginx"), (8, "sshd")] {
        world.says(process(pid, name), 0);
    }
    let rules: Rules = toml::from_str(
        r#"
            [[relabel_configs]]
            source_labels = ["__meta_systemd_unit"]
            target_label = "unit"
            [[relabel_configs]]
            source_labels = ["__meta_process_user_id"]
            target_label = "__tmp_user"
            [[relabel_configs]]
            source_labels = ["unit"]
            regex = "ssh.*"
            action = "drop"
        "#,
    )
    .unwrap();
    let rules = Relabel::new(rules.relabel_configs).unwrap();
    let relabel: RelabelStep =
        Box::new(move |labels| rules.dropped_by(labels).map(|rule| rule.to_string().into()));
    let host = HostLabels { instance: "host-2".into(), ..HostLabels::default() };
    world.attributor.configure(host, Some(relabel));
    let changed = world.attributor.refresh(MonotonicNanos(0));
    assert_eq!(changed.len(), 2);
    expect![[
        r#"{instance="host-2", process_executable_name="nginx", service_name="nginx.service", systemd_unit="nginx.service", unit="nginx.service"}"#
    ]]
    .assert_eq(&changed[0].1.labels.to_string());
    expect![[r#"systemd_unit ssh.service dropped by relabel_configs: rule 3: drop unit =~ "ssh.*""#]]
        .assert_eq(&short(&changed[1].1));
    assert_eq!(world.attributor.refresh(MonotonicNanos(0)), []);
    let counts = world.attributor.counts();
    assert_eq!((counts.processes, counts.dropped, counts.label_sets), (2, 1, 1));
    let targets = world.attributor.targets();
    assert_eq!(targets.iter().map(|(tgid, _)| tgid.0).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn nothing_is_decided_while_a_pod_is_waited_for() {
    let mut world = World::new();
    world.start(7, &format!("/kubepods/pod8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3/{ID}"));
    world.start(8, "/kubepods/pod00000000-3e4f-4a5b-9c6d-7e8f90a1b2c3/c1");
    world.start(9, "/system.slice/nginx.service");
    let relabel: RelabelStep =
        Box::new(|labels| (labels.get("namespace") != "prod").then(|| "rule 1".into()));
    world.attributor.configure(HostLabels::default(), Some(relabel));
    world.attributor.wait_for_pods(true);
    let decide = |world: &mut World, pid, seconds| {
        let known = world.says(process(pid, "x"), seconds);
        world.attributor.decision(&known, MonotonicNanos(seconds * SECOND))
    };
    assert_eq!(
        [7, 8, 9].map(|pid| decide(&mut world, pid, 10)),
        [Decision::Open, Decision::Open, Decision::Dropped]
    );
    let at_sample = world.says(process(7, "x"), 10);
    world.attributor.set_pods(pods("shop"));
    world.attributor.refresh(MonotonicNanos(11 * SECOND));
    assert_eq!([7, 8].map(|pid| decide(&mut world, pid, 11)), [Decision::Wanted, Decision::Open]);
    assert_eq!(decide(&mut world, 8, 15), Decision::Dropped, "nobody knows that pod");
    world.attributor.forget(Tgid(7));
    let anew = world.attributor.anew(&at_sample, MonotonicNanos(15 * SECOND));
    assert_eq!(short(&at_sample), "executable x dropped by relabel_configs: rule 1");
    assert_eq!(short(&anew), "pod_annotation shop");
    assert!(Arc::ptr_eq(&anew, &world.attributor.anew(&anew, MonotonicNanos(15 * SECOND))));
    world.attributor.set_pods(Arc::default());
    world.attributor.refresh(MonotonicNanos(16 * SECOND));
    assert_eq!(decide(&mut world, 7, 1000), Decision::Dropped, "waited for once, and not again");
}

#[test]
fn processes_of_one_series_share_their_labels_and_all_is_bounded() {
    let mut world = World::new();
    world.start(1, "/system.slice/nginx.service");
    let first = world.says(process(1, "nginx"), 0);
    world.start(2, "/system.slice/nginx.service");
    let second = world.says(process(2, "nginx"), 0);
    assert!(Arc::ptr_eq(&first.labels, &second.labels) && !Arc::ptr_eq(&first, &second));
    assert_eq!(first.sources.cgroup, second.sources.cgroup);
    world.attributor.processes_max = 100;
    for pid in 10..209 {
        world.says(process(pid, "gone"), 0);
        assert!(world.attributor.counts().processes <= 100);
    }
    assert_eq!(world.attributor.counts().overflows, 2);
}

#[test]
fn any_running_process_can_be_looked_up() {
    let host = HostLabels { instance: "host-1".into(), ..HostLabels::default() };
    let containers = ContainerStore::new(ProcFs::host(), ContainerFolders::none(), false);
    let mut attributor = Attributor::new(ProcFs::host(), host, containers);
    let own = attributor.look_up(Tgid(std::process::id()), MonotonicNanos(0)).unwrap();
    let executable = std::env::current_exe().unwrap();
    let name = executable.file_name().unwrap().to_str().unwrap();
    assert_eq!((own.labels.get("process_executable_name"), own.labels.get("language")), (name, "rust"));
    assert_eq!(own.sources.user_id, Some(rustix::process::geteuid().as_raw()));
    assert!(attributor.look_up(Tgid(u32::MAX), MonotonicNanos(0)).is_none());
    assert_eq!(attributor.counts().processes, 0);
}
