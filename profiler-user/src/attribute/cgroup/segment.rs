//! The name of one folder in a cgroup path → container, pod, unit or slice.
//!
//! The names are those that the runtimes give: Docker, containerd (CRI and nerdctl), CRI-O, Podman, LXC and Incus,
//! systemd-nspawn, Garden, ECS; kubelet's pods with either cgroup driver; systemd's units. A container's monitor (conmon,
//! lxc's) is none: it runs on the host.

use std::fmt;

use super::unit;

/// What runs a container, as far as the name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// containerd, by CRI or by nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Cloud Foundry's Garden.
    Garden,
    /// The name does not tell, as with kubelet's cgroupfs driver.
    Unknown,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Garden => "garden",
            Self::Unknown => "unknown",
        })
    }
}

/// A container, as a cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupContainer {
    /// 64 hexadecimal digits, or the name where the runtime identifies containers by names.
    pub id: String,
    /// What runs it.
    pub runtime: Runtime,
}

impl CgroupContainer {
    /// The container's name, where its id is one.
    pub fn name(&self) -> Option<&str> {
        matches!(self.runtime, Runtime::Lxc | Runtime::Nspawn).then_some(&*self.id)
    }
}

/// What one name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Container(CgroupContainer),
    Pod(String),
    Slice(String),
    Unit(String),
}

/// Names of files of a folder have 255 bytes at most.
const NAME_BYTES_MAX: usize = 255;

/// Prefixes of the 64 digits, and who sets them. The more exact come first.
const PREFIXES: [(&str, Runtime); 9] = [
    ("docker-", Runtime::Docker),
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("containerd-", Runtime::Containerd),
    ("crio-", Runtime::CriO),
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
    ("kata_", Runtime::Unknown),
    ("kata-", Runtime::Unknown),
];

/// Folders whose children are containers by the bare 64 digits, and whose.
const PARENTS: [(&str, Runtime); 3] =
    [("docker", Runtime::Docker), ("default", Runtime::Containerd), ("k8s.io", Runtime::Containerd)];

/// What a name means below another (empty at the root); at most two things, the outer one first.
pub(super) fn read(before: &str, name: &str) -> Vec<Segment> {
    if name.len() > NAME_BYTES_MAX {
        return Vec::new();
    }
    // containerd without its systemd driver takes `slice:prefix:name` for a plain path.
    if let Some((slice, rest)) = name.split_once(':')
        && slice.ends_with(".slice")
        && let Some((prefix, id)) = rest.rsplit_once(':')
    {
        let runtime = runtime_of(prefix);
        let container = is_container_id(id).then(|| container(id, runtime));
        return pod_of_slice(slice).map(Segment::Pod).into_iter().chain(container).collect();
    }
    let inner = one(before, name);
    // A unit that is started for one container and carries its name.
    let is_container = matches!(inner, Some(Segment::Container(_)));
    let outer = is_container && name.ends_with(".service") && unit::is_valid(name);
    outer.then(|| Segment::Unit(name.to_owned())).into_iter().chain(inner).collect()
}

fn one(before: &str, name: &str) -> Option<Segment> {
    if let Some(container) = named_container(before, name) {
        return container.map(Segment::Container);
    }
    if let Some(uid) = name.strip_prefix("pod").and_then(pod_uid) {
        return Some(Segment::Pod(uid));
    }
    let name = unit::unescaped(name);
    if name.ends_with(".slice") {
        if let Some(uid) = pod_of_slice(name) {
            return Some(Segment::Pod(uid));
        }
        return unit::is_valid(name).then(|| Segment::Slice(name.to_owned()));
    }
    (unit::has_processes(name) && unit::is_valid(name)).then(|| Segment::Unit(name.to_owned()))
}

/// `Some(None)`: a container's monitor, which is neither container nor unit.
fn named_container(before: &str, name: &str) -> Option<Option<CgroupContainer>> {
    let bare = name.strip_suffix(".scope").unwrap_or(name);
    if is_container_id(bare) {
        let parent = PARENTS.iter().find(|(parent, _)| *parent == before);
        return Some(Some(id_container(bare, parent.map_or(Runtime::Unknown, |&(_, runtime)| runtime))));
    }
    let (head, id) = bare.split_at_checked(bare.len().saturating_sub(64))?;
    if is_container_id(id) {
        if head.ends_with("conmon-") {
            return Some(None);
        }
        let known = PREFIXES.iter().find(|(prefix, _)| *prefix == head);
        if let Some(&(_, runtime)) = known {
            return Some(Some(id_container(id, runtime)));
        }
        if head.ends_with(['-', '_', ':']) {
            return Some(Some(id_container(id, Runtime::Unknown)));
        }
    }
    by_name(before, name)
}

/// Containers that are known by names of their owners.
fn by_name(before: &str, name: &str) -> Option<Option<CgroupContainer>> {
    let named = |id: &str, runtime| (!id.is_empty()).then(|| CgroupContainer { id: id.to_owned(), runtime });
    if name.starts_with("lxc.monitor") {
        return Some(None);
    }
    if let Some(id) = name.strip_prefix("lxc.payload.") {
        return Some(named(id, Runtime::Lxc));
    }
    match before {
        "lxc" | "lxc.payload" => return Some(named(name, Runtime::Lxc)),
        // Its levels of CPU entitlement are no containers.
        "garden" if !matches!(name, "good" | "bad" | "init") => return Some(named(name, Runtime::Garden)),
        _ => {}
    }
    let machine = name.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"));
    if let Some(machine) = machine {
        return Some(named(&unit::decoded(machine), Runtime::Nspawn));
    }
    // `machinectl` registers containers as scopes and virtual machines too, whose names begin with the driver's.
    let machine = name.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope"));
    let machine = machine.map(unit::decoded).filter(|name| !name.starts_with("qemu-"))?;
    match machine.strip_prefix("lxc-") {
        // libvirt's LXC driver counts its containers.
        Some(counted) => {
            let name = counted.split_once('-').map_or(counted, |(_, name)| name);
            Some(named(name, Runtime::Lxc))
        }
        None => Some(named(&machine, Runtime::Nspawn)),
    }
}

fn id_container(id: &str, runtime: Runtime) -> CgroupContainer {
    CgroupContainer { id: id.to_owned(), runtime }
}

fn container(id: &str, runtime: Runtime) -> Segment {
    Segment::Container(id_container(id, runtime))
}

/// By the middle part of `slice:prefix:name`.
fn runtime_of(prefix: &str) -> Runtime {
    let own = PREFIXES.iter().find(|(known, _)| known.trim_end_matches(['-', '_']) == prefix);
    own.map_or(Runtime::Unknown, |&(_, runtime)| runtime)
}

/// Whether it is what all runtimes but those with names call a container.
pub fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `kubepods-burstable-pod8a2b_….slice`: systemd's dashes are levels, so kubelet writes its own as underscores.
fn pod_of_slice(name: &str) -> Option<String> {
    let inner = name.strip_suffix(".slice")?;
    let (above, uid) = inner.rsplit_once("-pod")?;
    above.contains("kubepods").then(|| pod_uid(&uid.replace('_', "-"))).flatten()
}

/// A UUID, or the 32 digits that a static pod has for one.
fn pod_uid(text: &str) -> Option<String> {
    let is_digits = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let is_uuid = || {
        let mut parts = text.split('-');
        [8, 4, 4, 4, 12].iter().all(|&length| parts.next().is_some_and(|part| is_digits(part, length)))
            && parts.next().is_none()
    };
    (is_digits(text, 32) || is_uuid()).then(|| text.to_owned())
}
