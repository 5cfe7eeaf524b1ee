//! What is known of a process → its series labels, and the rule that named its service. Pure.
//!
//! ```text
//!   annotation flamekeeper.io/service_name, pyroscope.io/service_name ─┐
//!   label app.kubernetes.io/name                                      ─┤ the first that
//!   NAMESPACE/CONTAINER of a pod                                      ─┤ is there
//!   name of a container                                               ─┼───────────────▶ service_name
//!   systemd unit, if its name lasts                                   ─┤
//!   the kernel, for its own threads                                   ─┤
//!   name of the executable                                            ─┘
//! ```
//!
//! A value that is another at each start would make a series of its own each time, so none is taken that is known to be one:
//! container ids, numbers of logins, names of nameless units, the CPU in a kernel thread's name.

use std::fmt;
use std::sync::Arc;

use super::cgroup::unit;
use super::labels::Labels;
use super::language::Language;
use super::sources::Sources;

/// The labels that series have, beside static ones: no others are ever made.
pub const SERIES_LABELS: [&str; 12] = [
    SERVICE_NAME,
    "namespace",
    "pod",
    "container",
    "node",
    "systemd_unit",
    "process_executable_name",
    LANGUAGE,
    INSTANCE,
    "go_version",
    "go_pgo",
    "vcs_revision",
];

/// What profiles are chosen by.
pub const SERVICE_NAME: &str = "service_name";
/// The language of the process; a profile never mixes two.
pub const LANGUAGE: &str = "language";
/// The host.
pub const INSTANCE: &str = "instance";

/// What kernel threads are called.
const KERNEL: &str = "kernel";
/// The container that holds a pod's namespaces has no name; this is what its program is called.
const SANDBOX: &str = "pause";
/// Annotations that name the service; ours first.
const ANNOTATIONS: [&str; 2] = ["flamekeeper.io/service_name", "pyroscope.io/service_name"];
/// Kubernetes' recommended label.
const APP_NAME: &str = "app.kubernetes.io/name";

/// What named a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleName {
    /// An annotation of its pod.
    PodAnnotation,
    /// `app.kubernetes.io/name` of its pod.
    PodAppName,
    /// Its pod's namespace and container.
    PodContainer,
    /// Its container.
    Container,
    /// Its systemd unit.
    SystemdUnit,
    /// It is a kernel thread.
    KernelThread,
    /// Its executable.
    Executable,
}

impl RuleName {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::PodAnnotation,
        Self::PodAppName,
        Self::PodContainer,
        Self::Container,
        Self::SystemdUnit,
        Self::KernelThread,
        Self::Executable,
    ];

    /// In one word, for pages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PodAnnotation => "pod_annotation",
            Self::PodAppName => "pod_app_name",
            Self::PodContainer => "pod_container",
            Self::Container => "container",
            Self::SystemdUnit => "systemd_unit",
            Self::KernelThread => "kernel_thread",
            Self::Executable => "executable",
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the operator says of all processes of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLabels {
    /// Value of `instance`, usually the host's name.
    pub instance: Arc<str>,
    /// Value of `hostname`; without one there is no such label.
    pub hostname: Option<Arc<str>>,
    /// Value of `node`; without one that of the process's pod.
    pub node: Option<Arc<str>>,
    /// On every series, unless a rule says otherwise.
    pub static_labels: Labels,
}

/// The series labels of a process before `relabel_configs`, and what named its service.
pub fn apply(sources: &Sources, host: &HostLabels) -> (Labels, RuleName) {
    let mut labels = host.static_labels.clone();
    let (rule, service) = service(sources);
    labels.set(SERVICE_NAME, service);
    labels.set(INSTANCE, Arc::clone(&host.instance));
    set_if(&mut labels, "hostname", host.hostname.as_deref());
    set_if(&mut labels, "process_executable_name", Some(&*executable(sources)));
    set_if(&mut labels, LANGUAGE, sources.language.map(Language::name));
    set_if(&mut labels, "systemd_unit", unit_name(sources).as_deref());
    set_if(&mut labels, "container", Some(container(sources)));
    let pod = sources.pod_names();
    set_if(&mut labels, "namespace", pod.map(|(namespace, _)| namespace));
    set_if(&mut labels, "pod", pod.map(|(_, pod)| pod));
    let node = host.node.as_deref();
    set_if(&mut labels, "node", node.or(sources.pod.as_ref().map(|pod| &*pod.node)));
    if let Some(go) = &sources.go {
        set_if(&mut labels, "go_version", Some(&go.version));
        labels.set("go_pgo", if go.is_pgo { "true" } else { "false" });
        set_if(&mut labels, "vcs_revision", Some(&go.revision));
    }
    (labels, rule)
}

/// A static label of the same name stays where a process has none of its own.
fn set_if(labels: &mut Labels, name: &'static str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        labels.set(name, value);
    }
}

fn service(sources: &Sources) -> (RuleName, Arc<str>) {
    if let Some(pod) = &sources.pod {
        let mut annotated = ANNOTATIONS.iter().filter_map(|name| pod.annotations.get(*name));
        if let Some(service) = annotated.find(|service| !service.is_empty()) {
            return (RuleName::PodAnnotation, Arc::clone(service));
        }
        if let Some(service) = pod.labels.get(APP_NAME).filter(|service| !service.is_empty()) {
            return (RuleName::PodAppName, Arc::clone(service));
        }
    }
    let container = container(sources);
    if let Some((namespace, pod)) = sources.pod_names() {
        // A container that nobody could name yet: that of its pod is better than none.
        let name = if container.is_empty() { pod } else { container };
        return (RuleName::PodContainer, format!("{namespace}/{name}").into());
    }
    if !container.is_empty() {
        return (RuleName::Container, container.into());
    }
    if let Some(unit) = unit_name(sources) {
        return (RuleName::SystemdUnit, unit.into());
    }
    if sources.is_kernel_thread {
        return (RuleName::KernelThread, KERNEL.into());
    }
    (RuleName::Executable, Arc::clone(&sources.executable_name))
}

fn container(sources: &Sources) -> &str {
    let is_sandbox = sources.info().is_some_and(|info| info.is_sandbox);
    match sources.container_name() {
        "" if is_sandbox => SANDBOX,
        name => name,
    }
}

fn unit_name(sources: &Sources) -> Option<String> {
    sources.cgroup.unit.as_deref().and_then(unit::lasting)
}

/// Of a kernel thread without what is another for each CPU and device: `kworker/0:1H-kblockd` → `kworker`.
fn executable(sources: &Sources) -> Arc<str> {
    if !sources.is_kernel_thread {
        return Arc::clone(&sources.executable_name);
    }
    let name = sources.executable_name.split(['/', ':']).next().unwrap_or_default();
    let kind = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['_', '-']);
    if kind.is_empty() { Arc::clone(&sources.executable_name) } else { kind.into() }
}

#[cfg(test)]
mod tests;
