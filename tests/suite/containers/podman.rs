//! Podman with a store of its own: names from its container list, and from its API as if it were Docker's.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use profiler_tests::{RunningWorkload, Workload, machine_or_skip, tool_or_skip};
use profiler_user::attribute::cgroup::Runtime;
use profiler_user::attribute::containers::{ContainerFolders, Elsewhere, SourceState, Wanted};
use profiler_user::host::{MonotonicNanos, ProcFs};

use super::{CgroupsGone, attributed, attributor, ensure_is, output, root_with};

/// Podman with everything below one folder.
pub(crate) struct Podman {
    folder: tempfile::TempDir,
}

impl Podman {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Locks in files, not in shared memory of the whole host; no limits that take CAP_SYS_RESOURCE to raise.
        let settings =
            "[containers]\ndefault_ulimits = []\n[engine]\nlock_type = \"file\"\nevents_logger = \"none\"\n";
        std::fs::write(folder.path().join("containers.conf"), settings)?;
        root_with("c_frame_pointers", &folder.path().join("rootfs"))?;
        Ok(Self { folder })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn words(&self) -> Vec<String> {
        let at = |name: &str| self.at(name).display().to_string();
        let fixed = ["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"];
        let placed = [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")];
        let mut words: Vec<String> = fixed.map(str::to_owned).into();
        words.extend(placed.iter().flat_map(|(flag, name)| [(*flag).to_owned(), at(name)]));
        words.extend(["--runtime-flag".to_owned(), format!("root={}", at("runc"))]);
        words
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.at("containers.conf")).args(self.words());
        command
    }

    /// Starts a burner; its container's id and the pid of its first process.
    fn start(&self, name: &str) -> Result<(String, u32)> {
        let rootfs = self.at("rootfs");
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--network=none"];
        let mut run = self.command();
        run.args(["run", "--detach", "--name", name, "--label", "team=a"]).args(limits);
        let id = output(run.arg("--rootfs").arg(rootfs).arg("/c_frame_pointers"))?;
        let pid = output(self.command().args(["inspect", name, "--format", "{{.State.Pid}}"]))?;
        Ok((id, pid.parse().context("a pid")?))
    }

    /// Its Docker-compatible API at a socket in its folder.
    fn serve(&self) -> Result<(RunningWorkload, PathBuf)> {
        let socket = self.at("api.sock");
        let script = "CONTAINERS_CONF=$1 podman \"${@:3}\" system service --time 0 unix://$2 & \
                      until [ -S $2 ]; do sleep 0.05; done; echo ready; wait";
        let paths = [self.at("containers.conf"), socket.clone()].map(|path| path.display().to_string());
        let words = ["-c", script, "bash"].map(str::to_owned).into_iter().chain(paths).chain(self.words());
        Ok((Workload::program("bash").args(words).start()?, socket))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.command().args(["rm", "--all", "--force", "--time", "0"]).output().ok();
    }
}

#[test]
fn its_list_tells_the_name_and_its_api_the_labels_too() -> Result<()> {
    tool_or_skip!("podman");
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("libpod_parent");
    let podman = Podman::new()?;
    let (id, pid) = podman.start("burner")?;
    let labels = r#"{container="burner", instance="host-1", language="native", process_executable_name="c_frame_pointers", service_name="burner"}"#;

    let folders = ContainerFolders { storage: vec![podman.at("root")], ..ContainerFolders::none() };
    ensure!(
        folders.status().iter().all(|source| source.state == SourceState::Ready),
        "{:?}",
        folders.status()
    );
    let by_list = attributed(&mut attributor(folders), pid)?;
    ensure_is(&by_list, "container", labels)?;
    ensure!(
        by_list.sources.labels().get("__meta_container_runtime") == "podman",
        "{}",
        by_list.sources.labels()
    );

    // Without the folders: first the id alone, then what the socket says.
    let mut attributor = attributor(ContainerFolders::none());
    let unknown = attributed(&mut attributor, pid)?;
    ensure!(unknown.labels.get("service_name") == "c_frame_pointers", "{}", unknown.labels);
    let wanted = attributor.take_wanted();
    let expected = Wanted { id: Arc::from(id.as_str()), runtime: Runtime::Podman, user: None };
    ensure!(wanted == [expected], "{wanted:?}");
    let (_service, socket) = podman.serve()?;
    let elsewhere = Elsewhere::new(ProcFs::host(), ContainerFolders::none(), &[socket])?;
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = threads.block_on(elsewhere.status());
    ensure!(status.iter().all(|source| source.state == SourceState::Ready), "{status:?}");
    let found = threads.block_on(elsewhere.look_up(&wanted[0]))?.context("the API knows its container")?;
    attributor.learn(found, MonotonicNanos(0));
    let by_api = attributed(&mut attributor, pid)?;
    ensure_is(&by_api, "container", labels)?;
    ensure!(by_api.sources.labels().get("__meta_container_label_team") == "a", "{}", by_api.sources.labels());
    let other = Wanted { id: "0".repeat(64).into(), ..wanted[0].clone() };
    ensure!(threads.block_on(elsewhere.look_up(&other))?.is_none(), "nobody has that id");
    Ok(())
}

#[test]
fn its_monitor_is_no_part_of_the_container() -> Result<()> {
    tool_or_skip!("podman");
    tool_or_skip!("runc");
    let _machine = machine_or_skip!();
    let _gone = CgroupsGone("libpod_parent");
    let podman = Podman::new()?;
    podman.start("burner")?;
    let format = ["inspect", "burner", "--format", "{{.State.ConmonPid}}"];
    let monitor: u32 = output(podman.command().args(format))?.parse()?;
    let folders = ContainerFolders { storage: vec![podman.at("root")], ..ContainerFolders::none() };
    let found = attributed(&mut attributor(folders), monitor)?;
    ensure!(found.labels.get("service_name") == "conmon", "{}", found.labels);
    ensure!(found.labels.get("container").is_empty(), "{}", found.labels);
    Ok(())
}
