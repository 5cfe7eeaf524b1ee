//! What is known of a process, from all sources → source labels, whose names begin with `__meta_`.
//!
//! `relabel_configs` see them beside the series labels; none of them leaves the host, for all names with `__` in front are
//! removed then. [`TABLE`] is the list of them, and docs/labels.md shows it. The command line is none of them: it may
//! hold secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cgroup::{Cgroup, CgroupContainer, unit};
use super::containers::ContainerInfo;
use super::go_build::GoBuild;
use super::kubernetes::PodInfo;
use super::labels::Labels;
use super::language::Language;
use crate::collect::Tgid;

/// A container, and what its runtime knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownContainer {
    /// As the cgroup names it.
    pub container: CgroupContainer,
    /// `None` if no source knows it.
    pub info: Option<Arc<ContainerInfo>>,
}

/// All that is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Process id in the host's namespace.
    pub tgid: Tgid,
    /// Name of the executable file, or the kernel's name of a kernel thread.
    pub executable_name: Arc<str>,
    /// Path of the executable, as the process sees it; empty if it could not be read.
    pub executable_path: Arc<str>,
    /// What the first thread calls itself; empty if it could not be read.
    pub comm: Arc<str>,
    /// The effective user.
    pub user_id: Option<u32>,
    /// Whether it is the kernel's.
    pub is_kernel_thread: bool,
    /// What its cgroup tells.
    pub cgroup: Arc<Cgroup>,
    /// The innermost container that a runtime or a pod knows, else the innermost. `None` on the host.
    pub container: Option<KnownContainer>,
    /// The pod, as the API server tells of it.
    pub pod: Option<Arc<PodInfo>>,
    /// What it is written in.
    pub language: Option<Language>,
    /// Of a Go program.
    pub go: Option<Arc<GoBuild>>,
}

impl Sources {
    /// Of a process of which nothing else could be read.
    pub fn unread(tgid: Tgid, executable_name: Arc<str>) -> Self {
        Self {
            tgid,
            executable_name,
            executable_path: "".into(),
            comm: "".into(),
            user_id: None,
            is_kernel_thread: false,
            cgroup: Arc::default(),
            container: None,
            pod: None,
            language: None,
            go: None,
        }
    }
}

/// A row of the table of source labels: the name (with `<name>` where the rest is another label's) and what it says.
pub type SourceLabel = (&'static str, &'static str);

/// Every source label that there is, in the order of the documentation.
pub const TABLE: [SourceLabel; 38] = [
    ("__meta_process_pid", "process id in the host's pid namespace"),
    ("__meta_process_executable_name", "name of the executable file; of a kernel thread its whole name"),
    ("__meta_process_executable_path", "path of the executable, as the process sees it"),
    ("__meta_process_comm", "name of the first thread (`/proc/PID/comm`)"),
    ("__meta_process_user_id", "effective user id"),
    ("__meta_process_language", "`go rust cpp python java node ruby php perl native`"),
    ("__meta_process_kernel_thread", "`true` for a kernel thread"),
    ("__meta_process_cgroup_path", "the cgroup path that the other labels were read from"),
    ("__meta_process_go_module", "path of a Go program's main module"),
    ("__meta_container_id", "id of the innermost container: 64 digits, or the name of a machine"),
    ("__meta_container_runtime", "`docker containerd cri-o podman lxc nspawn garden`, or `unknown`"),
    ("__meta_container_name", "the runtime's name of the container"),
    ("__meta_container_image", "image that the container was made from"),
    ("__meta_container_outer_id", "id of the outermost container, where containers run in containers"),
    (
        "__meta_container_label_<name>",
        "each label of the container, and each annotation of an OCI configuration",
    ),
    ("__meta_container_labelpresent_<name>", "`true` for each of those"),
    ("__meta_systemd_unit", "the unit, exactly as `systemctl` names it, also logins and transient units"),
    ("__meta_systemd_unit_template", "of a template's unit: what stands before the `@`"),
    ("__meta_systemd_unit_instance", "of a template's unit: the instance, with its escapes undone"),
    ("__meta_systemd_slice", "the innermost slice"),
    ("__meta_systemd_user_id", "the user in whose slice it runs"),
    ("__meta_systemd_is_user_unit", "`true` for a unit of a user's own systemd"),
    ("__meta_kubernetes_namespace", "namespace of the pod"),
    ("__meta_kubernetes_pod_name", "name of the pod"),
    ("__meta_kubernetes_pod_uid", "uid of the pod"),
    ("__meta_kubernetes_pod_node_name", "node that the pod runs on"),
    ("__meta_kubernetes_pod_label_<name>", "each label of the pod"),
    ("__meta_kubernetes_pod_labelpresent_<name>", "`true` for each of those"),
    ("__meta_kubernetes_pod_annotation_<name>", "each annotation of the pod, as far as the watch keeps it"),
    ("__meta_kubernetes_pod_annotationpresent_<name>", "`true` for each of those"),
    ("__meta_kubernetes_pod_container_name", "name of the container in the pod"),
    ("__meta_kubernetes_pod_container_id", "id of the container in the pod"),
    ("__meta_kubernetes_pod_container_image", "image of the container in the pod"),
    ("__meta_kubernetes_pod_controller_kind", "kind of what made the pod, such as `ReplicaSet`"),
    ("__meta_kubernetes_pod_controller_name", "name of what made the pod"),
    ("__meta_go_version", "version of Go that built the program"),
    ("__meta_go_pgo", "`true` if it was built with a profile, else `false`"),
    ("__meta_vcs_revision", "revision that a Go program was built from, `+dirty` if files were changed"),
];

impl Sources {
    /// The pod's container, if the pod knows it.
    fn pod_container(&self) -> Option<&super::kubernetes::PodContainer> {
        let id = &self.container.as_ref()?.container.id;
        self.pod.as_ref()?.container(id)
    }

    /// What the runtime knows of the container.
    pub fn info(&self) -> Option<&ContainerInfo> {
        self.container.as_ref()?.info.as_deref()
    }

    /// Namespace and name of the pod: the API server's word, else the runtime's.
    pub fn pod_names(&self) -> Option<(&str, &str)> {
        let told = self.pod.as_ref().map(|pod| (&*pod.namespace, &*pod.name));
        told.or_else(|| {
            let pod = self.info()?.pod.as_ref()?;
            Some((&*pod.namespace, &*pod.name))
        })
    }

    /// Name of the container: the pod's word for it, else the runtime's. Empty if nobody gave it one.
    pub fn container_name(&self) -> &str {
        let in_pod = self.pod_container().map(|container| &*container.name);
        in_pod.or_else(|| self.info().map(|info| &*info.name)).unwrap_or_default()
    }

    /// All of it as source labels.
    pub fn labels(&self) -> Labels {
        let mut labels = Labels::default();
        self.add_process(&mut labels);
        self.add_container(&mut labels);
        self.add_systemd(&mut labels);
        self.add_kubernetes(&mut labels);
        labels
    }

    fn add_process(&self, labels: &mut Labels) {
        labels.set("__meta_process_pid", self.tgid.0.to_string());
        labels.set("__meta_process_executable_name", Arc::clone(&self.executable_name));
        labels.set("__meta_process_executable_path", Arc::clone(&self.executable_path));
        labels.set("__meta_process_comm", Arc::clone(&self.comm));
        labels.set("__meta_process_user_id", number(self.user_id));
        labels.set("__meta_process_language", self.language.map_or("", Language::name));
        labels.set("__meta_process_kernel_thread", if self.is_kernel_thread { "true" } else { "" });
        labels.set("__meta_process_cgroup_path", self.cgroup.path.as_str());
        if let Some(go) = &self.go {
            labels.set("__meta_process_go_module", go.module.as_str());
            labels.set("__meta_go_version", go.version.as_str());
            labels.set("__meta_go_pgo", if go.is_pgo { "true" } else { "false" });
            labels.set("__meta_vcs_revision", go.revision.as_str());
        }
    }

    fn add_container(&self, labels: &mut Labels) {
        let Some(KnownContainer { container, info }) = &self.container else { return };
        labels.set("__meta_container_id", container.id.as_str());
        labels.set("__meta_container_runtime", container.runtime.to_string());
        if let Some(outer) = self.cgroup.containers.first().filter(|outer| outer.id != container.id) {
            labels.set("__meta_container_outer_id", outer.id.as_str());
        }
        let Some(info) = info else { return };
        labels.set("__meta_container_name", info.name.as_str());
        labels.set("__meta_container_image", info.image.as_str());
        add_each(labels, "__meta_container_label", &info.labels);
    }

    fn add_systemd(&self, labels: &mut Labels) {
        let cgroup = &self.cgroup;
        labels.set("__meta_systemd_slice", cgroup.slice.as_deref().unwrap_or_default());
        labels.set("__meta_systemd_user_id", number(cgroup.slice_of_user));
        let Some(name) = &cgroup.unit else { return };
        labels.set("__meta_systemd_unit", name.as_str());
        labels.set("__meta_systemd_is_user_unit", if cgroup.unit_of_user.is_some() { "true" } else { "" });
        if let Some((prefix, instance)) = unit::template(name) {
            labels.set("__meta_systemd_unit_template", prefix);
            labels.set("__meta_systemd_unit_instance", instance);
        }
    }

    fn add_kubernetes(&self, labels: &mut Labels) {
        if let Some((namespace, name)) = self.pod_names() {
            labels.set("__meta_kubernetes_namespace", namespace);
            labels.set("__meta_kubernetes_pod_name", name);
            labels.set("__meta_kubernetes_pod_container_name", self.container_name());
        }
        labels.set("__meta_kubernetes_pod_uid", self.pod_uid());
        if self.is_of_pod()
            && let Some(container) = &self.container
        {
            labels.set("__meta_kubernetes_pod_container_id", container.container.id.as_str());
            let in_pod = self.pod_container().map(|container| &*container.image);
            let image = in_pod.filter(|image| !image.is_empty()).or(self.info().map(|info| &*info.image));
            labels.set("__meta_kubernetes_pod_container_image", image.unwrap_or_default());
        }
        let Some(pod) = &self.pod else { return };
        labels.set("__meta_kubernetes_pod_node_name", Arc::clone(&pod.node));
        if let Some(owner) = &pod.owner {
            labels.set("__meta_kubernetes_pod_controller_kind", Arc::clone(&owner.kind));
            labels.set("__meta_kubernetes_pod_controller_name", Arc::clone(&owner.name));
        }
        add_each(labels, "__meta_kubernetes_pod_label", &pod.labels);
        add_each(labels, "__meta_kubernetes_pod_annotation", &pod.annotations);
    }

    /// Whether it runs in a pod, whoever says so.
    pub fn is_of_pod(&self) -> bool {
        !self.pod_uid().is_empty() || self.pod_names().is_some()
    }

    fn pod_uid(&self) -> &str {
        let told = self.pod.as_ref().map(|pod| &*pod.uid);
        let by_runtime = || self.info().and_then(|info| info.pod.as_ref()).map(|pod| &*pod.uid);
        told.or_else(by_runtime).or(self.cgroup.pod_uid.as_deref()).unwrap_or_default()
    }
}

fn number(value: Option<u32>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// `PREFIX_name` and `PREFIXpresent_name` for each, as Prometheus' service discoveries have it.
fn add_each<N: AsRef<str>, V: AsRef<str>>(labels: &mut Labels, prefix: &str, of: &BTreeMap<N, V>) {
    for (name, value) in of {
        let name = label_name(name.as_ref());
        labels.set(format!("{prefix}_{name}"), value.as_ref());
        labels.set(format!("{prefix}present_{name}"), "true");
    }
}

/// What a label's name may not have becomes `_`: `app.kubernetes.io/name` → `app_kubernetes_io_name`.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests;
