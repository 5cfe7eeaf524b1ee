//! runc, with the cgroup paths that kubelet gives to pods, and a look from inside another container.

use std::fs::File;
use std::io::BufReader;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{RunningWorkload, Workload, machine_or_skip, tool_or_skip};
use profiler_user::attribute::cgroup::Cgroup;
use profiler_user::attribute::containers::ContainerFolders;
use serde_json::{Value, json};

use super::{CgroupsGone, POD_UID, attributed, attributor, ensure_is, fresh_id, output, pods, root_with};

/// A bundle of runc below a folder, and its container while it runs.
struct Bundle {
    folder: tempfile::TempDir,
    id: String,
}

impl Bundle {
    /// `workload` with these arguments, at a cgroup path that ends in the container's id.
    fn new(workload: &str, args: &[&str], cgroup: &str, adjust: impl FnOnce(&mut Value)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        root_with(workload, &folder.path().join("rootfs"))?;
        output(Command::new("runc").arg("spec").current_dir(folder.path()))?;
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_reader(BufReader::new(File::open(&path)?))?;
        let id = fresh_id()?;
        let program = format!("/{workload}");
        let words: Vec<&str> = [program.as_str()].into_iter().chain(args.iter().copied()).collect();
        config["process"]["args"] = json!(words);
        config["process"]["terminal"] = json!(false);
        // Raising them takes CAP_SYS_RESOURCE, which few test machines give.
        config["process"].as_object_mut().context("a process")?.remove("rlimits");
        config["linux"]["cgroupsPath"] = json!(format!("{cgroup}/{id}"));
        adjust(&mut config);
        std::fs::write(&path, config.to_string())?;
        Ok(Self { folder, id })
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.folder.path().join("state"));
        command
    }

    fn run_words(&self) -> [std::ffi::OsString; 6] {
        let (state, bundle) = (self.folder.path().join("state"), self.folder.path());
        [
            "--root".into(),
            state.into(),
            "run".into(),
            "--bundle".into(),
            bundle.into(),
            self.id.clone().into(),
        ]
    }

    /// Starts it and waits until its program says that it works.
    fn start(&self) -> Result<(RunningWorkload, u32)> {
        let running = Workload::program("runc").args(self.run_words()).start()?;
        let state: Value = serde_json::from_str(&output(self.runc().arg("state").arg(&self.id))?)?;
        let pid = state["pid"].as_u64().context("a pid")?;
        Ok((running, u32::try_from(pid)?))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.runc().args(["delete", "--force", &self.id]).output().ok();
    }
}

#[test]
fn a_pods_process_is_told_by_path_alone_and_by_the_api_servers_word() -> Result<()> {
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("kubepods");
    for class in ["burstable/", "besteffort/", ""] {
        let path = format!("/kubepods/{class}pod{POD_UID}");
        let bundle = Bundle::new("c_frame_pointers", &[], &path, |_| ())?;
        let (_running, pid) = bundle.start()?;
        let mut attributor = attributor(ContainerFolders::none());
        let alone = attributed(&mut attributor, pid)?;
        ensure_is(
            &alone,
            "executable",
            r#"{instance="host-1", language="native", process_executable_name="c_frame_pointers", service_name="c_frame_pointers"}"#,
        )?;
        let sources = alone.sources.labels();
        let ids = [sources.get("__meta_kubernetes_pod_uid"), sources.get("__meta_container_id")];
        ensure!(ids == [POD_UID, &bundle.id], "{sources}");

        attributor.set_pods(pods(&bundle.id, &[]));
        ensure_is(
            &*attributed(&mut attributor, pid)?,
            "pod_app_name",
            r#"{container="web", instance="host-1", language="native", namespace="prod", node="node-1", pod="shop-6c9f-x2x", process_executable_name="c_frame_pointers", service_name="shop"}"#,
        )?;
        attributor.set_pods(pods(&bundle.id, &[("pyroscope.io/service_name", "front")]));
        let annotated = attributed(&mut attributor, pid)?;
        ensure!(annotated.labels.get("service_name") == "front", "{}", annotated.labels);
    }
    Ok(())
}

#[test]
fn a_pods_slice_of_systemd_is_read_alike() -> Result<()> {
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("kubepods.slice");
    let uid = POD_UID.replace('-', "_");
    let slice = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
    let bundle = Bundle::new("c_frame_pointers", &[], &slice, |config| {
        let path = config["linux"]["cgroupsPath"].as_str().unwrap_or_default().to_owned();
        let (slice, id) = path.rsplit_once('/').unwrap_or_default();
        config["linux"]["cgroupsPath"] = json!(format!("{slice}/cri-containerd-{id}.scope"));
    })?;
    let (_running, pid) = bundle.start()?;
    let mut attributor = attributor(ContainerFolders::none());
    attributor.set_pods(pods(&bundle.id, &[]));
    let found = attributed(&mut attributor, pid)?;
    ensure!(found.labels.get("service_name") == "shop", "{}", found.labels);
    let sources = found.sources.labels();
    ensure!(sources.get("__meta_container_runtime") == "containerd", "{sources}");
    Ok(())
}

/// The agent's view when it is itself in a container, with a cgroup namespace of its own and the host's pids.
#[test]
fn another_container_is_recognized_from_inside_one() -> Result<()> {
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("kubepods");
    let path = format!("/kubepods/burstable/pod{POD_UID}");
    let burner = Bundle::new("c_frame_pointers", &[], &path, |_| ())?;
    let (_running, pid) = burner.start()?;
    let file = format!("/proc/{pid}/cgroup");
    let agent = Bundle::new("c_print_file", &[&file], "/kubepods/besteffort/podagent", |config| {
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "cgroup"}, {"type": "uts"}]);
    })?;
    let words = agent.run_words();
    let seen = output(Command::new("runc").args(&words))?;
    ensure!(seen.contains(":/../"), "seen from a cgroup namespace of its own:\n{seen}");
    let cgroup = Cgroup::parse(seen.as_bytes());
    let containers: Vec<&str> = cgroup.containers.iter().map(|container| &*container.id).collect();
    ensure!(containers == [burner.id.as_str()] && cgroup.pod_uid.as_deref() == Some(POD_UID), "{cgroup:?}");
    Ok(())
}
