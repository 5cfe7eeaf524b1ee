//! Who a process in a real container is: runc under the paths of pods, Podman with its API, containerd with CRI's annotations.
//!
//! Each test starts a burner in a container of its own, asks the product's attribution about its pid from outside, and removes
//! the container with everything around it. They take the machine for themselves, since captures would see the burners.

mod containerd;
pub(crate) mod podman;
mod runc;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use profiler_tests::Workload;
use profiler_user::attribute::attributor::{Attribution, Attributor};
use profiler_user::attribute::containers::{ContainerFolders, ContainerStore};
use profiler_user::attribute::kubernetes::PodTable;
use profiler_user::attribute::rules::HostLabels;
use profiler_user::collect::Tgid;
use profiler_user::host::{MonotonicNanos, ProcFs};

/// Uid of the made-up pod.
const POD_UID: &str = "8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3";

/// Attribution by these state folders of the host, with an `instance` that does not depend on where the test runs.
fn attributor(folders: ContainerFolders) -> Attributor {
    let host = HostLabels { instance: "host-1".into(), ..HostLabels::default() };
    Attributor::new(ProcFs::host(), host, ContainerStore::new(ProcFs::host(), folders, true))
}

fn attributed(attributor: &mut Attributor, pid: u32) -> Result<Arc<Attribution>> {
    attributor.look_up(Tgid(pid), MonotonicNanos(0)).with_context(|| format!("no process {pid}"))
}

fn ensure_is(attribution: &Attribution, rule: &str, labels: &str) -> Result<()> {
    let found = format!("{}: {}", attribution.rule, attribution.labels);
    ensure!(found == format!("{rule}: {labels}"), "{found}\n{}", attribution.sources.labels());
    Ok(())
}

/// A container id that no other run of this test has.
fn fresh_id() -> Result<String> {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("a random number")?;
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).collect();
    Ok(digits.repeat(2))
}

/// A root file system with one static program in it.
fn root_with(workload: &str, folder: &Path) -> Result<()> {
    for inside in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(folder.join(inside))?;
    }
    Workload::build(workload)?.copied_to(&folder.join(workload))?;
    Ok(())
}

/// What a command prints; its own words if it fails.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes what a runtime leaves of these cgroups in each hierarchy: folders in which nothing is.
struct CgroupsGone(&'static str);

impl Drop for CgroupsGone {
    fn drop(&mut self) {
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let own = [Path::new("/sys/fs/cgroup").join(self.0)];
        for folder in hierarchies.map(|hierarchy| hierarchy.path().join(self.0)).chain(own) {
            remove_empty(&folder);
        }
    }
}

fn remove_empty(folder: &Path) {
    for inside in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if inside.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&inside.path());
        }
    }
    // Whatever still has processes stays.
    std::fs::remove_dir(folder).ok();
}

/// Pods as an API server would tell of them: one, whose container has this id.
fn pods(container_id: &str, annotations: &[(&str, &str)]) -> Arc<PodTable> {
    use profiler_user::attribute::kubernetes::{PodContainer, PodInfo};
    let pod = PodInfo {
        namespace: "prod".into(),
        name: "shop-6c9f-x2x".into(),
        uid: POD_UID.into(),
        node: "node-1".into(),
        labels: [("app.kubernetes.io/name".into(), "shop".into())].into(),
        annotations: annotations.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        containers: vec![PodContainer {
            id: container_id.into(),
            name: "web".into(),
            image: "shop:1".into(),
        }],
        owner: None,
    };
    Arc::new(PodTable::new([Arc::new(pod)]))
}
