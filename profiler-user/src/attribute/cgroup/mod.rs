//! The bytes of `/proc/PID/cgroup` → what the names of its folders tell: containers, pod, systemd unit, slice, user.
//!
//! ```text
//!   0::/system.slice/docker-9f3c….scope                                  a container of Docker
//!   5:memory:/kubepods/burstable/pod8a2b…/4d1e…                          a pod's container, version 1
//!   0::/../../system.slice/nginx.service                                 seen from inside a cgroup namespace
//!   0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service a user's unit
//! ```
//!
//! Pure and bounded: any bytes give an answer, which is empty where nothing is recognized. Whoever may make cgroups
//! may give them any name, so nothing here is proof of who somebody is. [`segment`] tells what one name means.

pub mod segment;
pub mod unit;

use self::segment::Segment;
pub use self::segment::{CgroupContainer, Runtime};

/// Real files have at most 2 KiB; what is longer is cut.
pub const CGROUP_FILE_BYTES_MAX: usize = 16 << 10;
/// The kernel's PATH_MAX.
const PATH_BYTES_MAX: usize = 4096;
/// Real paths have some 10.
const SEGMENTS_MAX: usize = 64;
/// Containers in containers.
const CONTAINERS_MAX: usize = 4;
/// A file has a line for each hierarchy; there are 14 controllers.
const LINES_MAX: usize = 64;

/// What the cgroup of a process tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// The path that told most, from the root of the hierarchy or of our cgroup namespace.
    pub path: String,
    /// The containers that it lies in, outermost first; none on the host.
    pub containers: Vec<CgroupContainer>,
    /// The Kubernetes pod, as the API server writes its uid (a static pod: 32 digits without dashes).
    pub pod_uid: Option<String>,
    /// Unit of the innermost systemd that manages it, named as `systemctl` does, such as `getty@tty1.service`.
    pub unit: Option<String>,
    /// The user whose own systemd manages the unit, if it is a user's unit.
    pub unit_of_user: Option<u32>,
    /// The innermost slice, such as `system-getty.slice`.
    pub slice: Option<String>,
    /// The user whose slice it is in.
    pub slice_of_user: Option<u32>,
}

impl Cgroup {
    /// Reads the bytes of `/proc/PID/cgroup`. Of several hierarchies the one counts that tells most; of equals version 2,
    /// then systemd's own.
    pub fn parse(file: &[u8]) -> Self {
        let file = file.get(..CGROUP_FILE_BYTES_MAX).unwrap_or(file);
        let mut best: Option<(u32, Self)> = None;
        let mut seen: Vec<&[u8]> = Vec::new();
        for (preference, path) in file.split(|&byte| byte == b'\n').take(LINES_MAX).filter_map(line) {
            if seen.contains(&path) && preference == 0 {
                continue;
            }
            seen.push(path);
            let told = Self::of_path(path);
            let weight = told.weight() + preference;
            if best.as_ref().is_none_or(|(before, _)| weight > *before) {
                best = Some((weight, told));
            }
        }
        best.map_or_else(Self::default, |(_, told)| told)
    }

    /// What one path tells.
    fn of_path(path: &[u8]) -> Self {
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let path = String::from_utf8_lossy(path.get(..PATH_BYTES_MAX).unwrap_or(path)).into_owned();
        let mut told = Self::default();
        let mut before = "";
        for name in path.split('/').filter(|name| !matches!(*name, "" | "." | "..")).take(SEGMENTS_MAX) {
            for segment in segment::read(before, name) {
                told.enter(segment);
            }
            before = name;
        }
        told.path = path;
        told
    }

    fn enter(&mut self, segment: Segment) {
        match segment {
            Segment::Container(container) => {
                // The runtime's own unit is not the container's; a unit that starts one container is.
                if !self.unit.as_deref().is_some_and(unit::may_own_a_container) {
                    (self.unit, self.unit_of_user) = (None, None);
                }
                if self.containers.len() < CONTAINERS_MAX {
                    self.containers.push(container);
                } else if let Some(innermost) = self.containers.last_mut() {
                    *innermost = container;
                }
            }
            Segment::Pod(uid) => {
                (self.unit, self.unit_of_user) = (None, None);
                self.pod_uid = Some(uid);
            }
            Segment::Slice(name) => {
                self.slice_of_user = unit::user_of_slice(&name).or(self.slice_of_user);
                self.slice = Some(name);
            }
            Segment::Unit(name) => {
                let manager = self.unit.as_deref().and_then(unit::user_of_manager);
                // A manager's own processes are those of its service.
                if name == "init.scope" && (manager.is_some() || self.unit_of_user.is_some()) {
                    return;
                }
                self.unit_of_user = manager.or(self.unit_of_user);
                self.unit = Some(name);
            }
        }
    }

    fn weight(&self) -> u32 {
        let told = [
            (self.containers.is_empty(), 64),
            (self.pod_uid.is_none(), 32),
            (self.unit.is_none(), 16),
            (self.slice.is_none(), 8),
        ];
        let deep = if self.path.len() > 1 { 4 } else { 0 };
        told.iter().filter(|(is_absent, _)| !is_absent).map(|(_, weight)| weight).sum::<u32>() + deep
    }
}

/// How much a hierarchy is preferred among equals, and its path.
fn line(line: &[u8]) -> Option<(u32, &[u8])> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let preference = match controllers {
        b"" => 2,
        b"name=systemd" => 1,
        _ => 0,
    };
    path.starts_with(b"/").then_some((preference, path))
}

#[cfg(test)]
mod tests;
