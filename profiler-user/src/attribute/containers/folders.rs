//! The state folders of container runtimes → what they know of a container, and which of them are there.
//!
//! ```text
//!   Docker       /var/lib/docker/containers/ID/config.v2.json
//!   containerd   /run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json
//!   CRI-O        /run/containers/storage/DRIVER-containers/ID/userdata/config.json
//!   Podman       /var/lib/containers/storage/DRIVER-containers/containers.json
//!   rootless     HOME/.local/share/{containers/storage,docker}/…
//! ```
//!
//! A folder is looked into when a container is met for the first time. Files are opened as a stranger's are: inside
//! the folder, without following links, only regular ones of root (in a home: of its owner), up to a size.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ContainerInfo, Containers, docker, oci, storage};
use crate::attribute::cgroup::segment::{Runtime, is_container_id};
use crate::host::ProcFs;
use crate::process::namespace::{FinalLink, ProcessRoot};

/// Where the runtimes keep their state. Each list may have several folders, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFolders {
    /// Docker's data roots.
    pub docker: Vec<PathBuf>,
    /// containerd's state folders.
    pub containerd: Vec<PathBuf>,
    /// containers/storage, run root: CRI-O's and Podman's.
    pub storage_run: Vec<PathBuf>,
    /// containers/storage, graph root: the lists.
    pub storage: Vec<PathBuf>,
    /// Folders with users' homes in them, for rootless Podman and Docker.
    pub homes: Vec<PathBuf>,
}

/// A container's account: some 10 KiB, more with a large environment.
const ACCOUNT_BYTES_MAX: u64 = 1 << 20;
/// The list: some 500 bytes a container.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Namespaces of containerd, storage drivers, users: entries of a folder that are looked through.
const ENTRIES_MAX: usize = 256;

impl ContainerFolders {
    /// Where distributions have them, below a folder: `/`, or where the host's root is mounted.
    pub fn below(root: &Path) -> Self {
        let at = |paths: &[&str]| paths.iter().map(|path| root.join(path)).collect();
        Self {
            docker: at(&["var/lib/docker"]),
            containerd: at(&[
                "run/containerd",
                "run/k3s/containerd",
                "var/snap/microk8s/common/run/containerd",
            ]),
            storage_run: at(&["run/containers/storage"]),
            storage: at(&["var/lib/containers/storage"]),
            homes: at(&["home"]),
        }
    }

    /// None at all.
    pub fn none() -> Self {
        let none = Vec::new;
        Self { docker: none(), containerd: none(), storage_run: none(), storage: none(), homes: none() }
    }

    /// Reads what the system's folders know of a container. A list tells of others too; they come behind it.
    pub(super) fn find(&self, proc: &ProcFs, runtime: Runtime, id: &str) -> Containers {
        if !is_container_id(id) {
            return Vec::new(); // it becomes part of a path
        }
        let one =
            |info: Option<ContainerInfo>| info.map(|info| vec![(Arc::from(id), info)]).unwrap_or_default();
        let docker = || one(self.docker.iter().find_map(|root| docker_account(proc, root, 0, id)));
        let containerd = || one(self.containerd.iter().find_map(|root| task(proc, root, id)));
        let crio = || one(self.storage_run.iter().find_map(|root| user_data(proc, root, id)));
        let lists = || {
            let mut lists = self.storage.iter().chain(&self.storage_run);
            lists.find_map(|root| list_with(proc, root, 0, id)).unwrap_or_default()
        };
        let in_turn = |sources: &[&dyn Fn() -> Containers]| {
            sources.iter().map(|source| source()).find(|found| !found.is_empty()).unwrap_or_default()
        };
        match runtime {
            Runtime::Docker => in_turn(&[&docker, &containerd]),
            Runtime::Containerd => in_turn(&[&containerd, &docker]),
            Runtime::CriO => in_turn(&[&crio, &lists]),
            Runtime::Podman => lists(),
            Runtime::Unknown => in_turn(&[&containerd, &docker, &crio, &lists]),
            Runtime::Lxc | Runtime::Nspawn | Runtime::Garden => Vec::new(),
        }
    }

    /// Reads what the homes know of a container of this user. May wait for a network: never on the thread of samples.
    pub(super) fn find_in_homes(&self, proc: &ProcFs, user: u32, id: &str) -> Containers {
        if !is_container_id(id) {
            return Vec::new();
        }
        let entries = self.homes.iter().flat_map(|homes| entries(homes));
        let own = entries.filter(|home| std::fs::metadata(home).is_ok_and(|found| found.uid() == user));
        for home in own {
            let share = home.join(".local/share");
            if let Some(info) = docker_account(proc, &share.join("docker"), user, id) {
                return vec![(id.into(), info)];
            }
            if let Some(list) = list_with(proc, &share.join("containers/storage"), user, id) {
                return list;
            }
        }
        Vec::new()
    }

    /// What is there of each, and why not the rest.
    pub fn status(&self) -> Vec<SourceStatus> {
        let of = |name, folders: &[PathBuf]| -> Vec<SourceStatus> {
            folders.iter().map(|folder| SourceStatus::of_folder(name, folder)).collect()
        };
        [
            of("Docker", &self.docker.iter().map(|root| root.join("containers")).collect::<Vec<_>>()),
            of("containerd", &self.containerd.iter().map(|root| root.join(TASKS)).collect::<Vec<_>>()),
            of("CRI-O", &self.storage_run),
            of("Podman", &self.storage),
            of("rootless", &self.homes),
        ]
        .concat()
    }
}

const TASKS: &str = "io.containerd.runtime.v2.task";

fn docker_account(proc: &ProcFs, root: &Path, owner: u32, id: &str) -> Option<ContainerInfo> {
    let account = read(proc, root, owner, &format!("containers/{id}/config.v2.json"), ACCOUNT_BYTES_MAX)?;
    docker::parse(id, &account).ok().flatten()
}

fn task(proc: &ProcFs, root: &Path, id: &str) -> Option<ContainerInfo> {
    let tasks = root.join(TASKS);
    // The usual ones first: a folder with many namespaces is not listed for each container.
    let usual = ["k8s.io", "default", "moby"].map(|namespace| tasks.join(namespace));
    let others = || entries(&tasks);
    let of_namespace = |namespace: PathBuf| {
        let spec = read(proc, &namespace, 0, &format!("{id}/config.json"), ACCOUNT_BYTES_MAX)?;
        oci::parse(id, &spec).ok().flatten()
    };
    usual.into_iter().find_map(of_namespace).or_else(|| others().find_map(of_namespace))
}

fn user_data(proc: &ProcFs, root: &Path, id: &str) -> Option<ContainerInfo> {
    drivers(root).find_map(|driver| {
        let spec = read(proc, &driver, 0, &format!("{id}/userdata/config.json"), ACCOUNT_BYTES_MAX)?;
        oci::parse(id, &spec).ok().flatten()
    })
}

/// All containers of the list of one storage root, with this one first: the lasting ones, and those that a restart
/// forgets. `None` if it is not among them.
fn list_with(proc: &ProcFs, root: &Path, owner: u32, id: &str) -> Option<Containers> {
    let files = drivers(root).flat_map(|driver| {
        ["containers.json", "volatile-containers.json"]
            .into_iter()
            .filter_map(move |name| read(proc, &driver, owner, name, LIST_BYTES_MAX))
    });
    let mut all: Vec<_> = files.filter_map(|json| storage::parse(&json).ok()).flatten().collect();
    let position = all.iter().position(|(known, _)| **known == *id)?;
    all.swap(0, position);
    Some(all)
}

/// `overlay-containers`, `vfs-containers`, …
fn drivers(root: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_driver = |name: &OsStr| name.as_encoded_bytes().ends_with(b"-containers");
    entries(root).filter(move |path| path.file_name().is_some_and(is_driver))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.take(ENTRIES_MAX).map(|entry| entry.path())
}

/// Opens and reads a file of a runtime. `None` for whatever reason: [`ContainerFolders::status`] tells why.
fn read(proc: &ProcFs, folder: &Path, owner: u32, name: &str, bytes_max: u64) -> Option<Vec<u8>> {
    let folder = ProcessRoot::at_folder(proc, folder, owner, 0).ok()?;
    let file: File = folder.open_planted(Path::new(name), FinalLink::Refuse, bytes_max).ok()?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a source can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It is there and can be read.
    Ready,
    /// There is none, which is normal: few hosts have all runtimes.
    Absent,
    /// It is there, and we may not, or it does not answer.
    Refused(String),
}

/// One source, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// `Docker`, `containerd`, `CRI-O`, `Podman`, `rootless`, `socket`.
    pub source: &'static str,
    /// Folder or socket.
    pub path: PathBuf,
    /// What became of it.
    pub state: SourceState,
}

impl SourceStatus {
    fn of_folder(source: &'static str, folder: &Path) -> Self {
        let state = match std::fs::read_dir(folder) {
            Ok(_) => SourceState::Ready,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                SourceState::Absent
            }
            Err(error) => SourceState::Refused(error.kind().to_string()),
        };
        Self { source, path: folder.to_owned(), state }
    }
}

impl fmt::Display for SourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, path, state } = self;
        write!(f, "{source} ({}): ", path.display())?;
        match state {
            SourceState::Ready => f.write_str("can be read"),
            SourceState::Absent => f.write_str("not there"),
            SourceState::Refused(why) => f.write_str(why),
        }
    }
}
