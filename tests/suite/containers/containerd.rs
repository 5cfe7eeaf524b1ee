//! containerd with a configuration of its own: pod and container from the annotations that CRI leaves in a task's state.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use profiler_tests::{RunningWorkload, Workload, machine_or_skip, tool_or_skip};
use profiler_user::attribute::containers::ContainerFolders;
use serde_json::json;

use super::{CgroupsGone, POD_UID, attributed, attributor, ensure_is, fresh_id, output, root_with};

/// containerd with everything below one folder, and out of the way of one that the host has.
struct Containerd {
    folder: tempfile::TempDir,
    _running: RunningWorkload,
}

impl Containerd {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("api.sock"),
            at("ttrpc.sock")
        );
        std::fs::write(folder.path().join("config.toml"), settings)?;
        // Its shims put sockets below /run whatever the configuration says, so it gets one of its own.
        let script = "mount -t tmpfs none /run && containerd --config $1 & \
                      until [ -S $2 ]; do sleep 0.05; done; echo ready; wait";
        let words = ["--mount", "sh", "-c", script, "sh"].map(str::to_owned);
        let words = words.into_iter().chain([at("config.toml"), at("api.sock")]);
        root_with("c_frame_pointers", &folder.path().join("rootfs"))?;
        output(Command::new("runc").arg("spec").current_dir(folder.path()))?;
        let running = Workload::program("unshare").args(words).start()?;
        Ok(Self { folder, _running: running })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.at("api.sock")).args(["--namespace", "k8s.io"]);
        command
    }
}

/// A container, removed with its task.
struct Container<'a> {
    containerd: &'a Containerd,
    id: String,
}

impl<'a> Container<'a> {
    /// A burner with these annotations in a pod's cgroup.
    fn start(containerd: &'a Containerd, annotations: &serde_json::Value) -> Result<Self> {
        let id = fresh_id()?;
        let spec = std::fs::read_to_string(containerd.at("config.json"))?;
        let mut config: serde_json::Value = serde_json::from_str(&spec)?;
        config["process"]["args"] = json!(["/c_frame_pointers"]);
        config["process"]["terminal"] = json!(false);
        config["process"].as_object_mut().context("a process")?.remove("rlimits");
        config["root"] = json!({"path": containerd.at("rootfs")});
        config["linux"]["cgroupsPath"] = json!(format!("/kubepods/burstable/pod{POD_UID}/{id}"));
        config["annotations"] = annotations.clone();
        let own = containerd.at(&format!("{id}.json"));
        std::fs::write(&own, config.to_string())?;
        let container = Self { containerd, id };
        let mut run = containerd.ctr();
        // Its pipes would lie below the /run that only containerd sees.
        run.args(["run", "--detach", "--null-io", "--config"]).arg(own).arg(&container.id);
        output(&mut run)?;
        Ok(container)
    }

    fn pid(&self) -> Result<u32> {
        let tasks = output(self.containerd.ctr().args(["tasks", "ls"]))?;
        let line = tasks.lines().find(|line| line.starts_with(&self.id)).context("its task")?;
        line.split_whitespace().nth(1).context("its pid")?.parse().context("a pid")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.containerd.ctr().args(["tasks", "rm", "--force", &self.id]).output().ok();
        self.containerd.ctr().args(["containers", "rm", &self.id]).output().ok();
    }
}

#[test]
fn annotations_of_cri_tell_pod_and_container_without_an_api_server() -> Result<()> {
    tool_or_skip!("containerd");
    tool_or_skip!("ctr");
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("kubepods");
    let containerd = Containerd::start()?;
    let folders =
        || ContainerFolders { containerd: vec![containerd.at("state")], ..ContainerFolders::none() };
    let pod = json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": "web",
        "io.kubernetes.cri.image-name": "docker.io/library/shop:1",
        "io.kubernetes.cri.sandbox-name": "shop-6c9f-x2x",
        "io.kubernetes.cri.sandbox-namespace": "prod",
        "io.kubernetes.cri.sandbox-uid": POD_UID,
    });
    let container = Container::start(&containerd, &pod)?;
    let found = attributed(&mut attributor(folders()), container.pid()?)?;
    ensure_is(
        &found,
        "pod_container",
        r#"{container="web", instance="host-1", language="native", namespace="prod", pod="shop-6c9f-x2x", process_executable_name="c_frame_pointers", service_name="prod/web"}"#,
    )?;
    let sources = found.sources.labels();
    let told = [sources.get("__meta_container_image"), sources.get("__meta_kubernetes_pod_uid")];
    ensure!(told == ["docker.io/library/shop:1", POD_UID], "{sources}");

    // As nerdctl annotates its containers.
    let other =
        Container::start(&containerd, &json!({"nerdctl/name": "cache", "nerdctl/namespace": "k8s.io"}))?;
    let found = attributed(&mut attributor(folders()), other.pid()?)?;
    ensure!(found.labels.get("container") == "cache", "{}", found.labels);
    ensure!(found.labels.get("service_name") == "cache", "{}", found.labels);
    Ok(())
}
