//! A slice of cgroups with services in it, as systemd would make them: removed with the value that stands for it.
//!
//! ```text
//!   HIERARCHY/flamekeeper-bench-PID.slice/bench-07.service/group-3
//! ```
//!
//! Version 2 alone, which systemd mounts beside version 1 too. Who is killed before it can tidy up leaves empty groups: the
//! next one removes them.

use super::clock;
use anyhow::{Context, Result};
use procfs::process::Process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Before the pid of the bench.
const PREFIX: &str = "flamekeeper-bench-";
const SUFFIX: &str = ".slice";
/// For processes in it to be gone: they were killed before.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// See the head of this file.
pub(super) struct Slice {
    folder: PathBuf,
}

impl Slice {
    /// Makes it, and removes those of benches that are gone.
    pub(super) fn make() -> Result<Self> {
        let hierarchy = hierarchy()?;
        remove_stale(&hierarchy);
        let folder = hierarchy.join(format!("{PREFIX}{}{SUFFIX}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Makes a group of a service; gives the file that takes its processes.
    pub(super) fn group(&self, service: &str, group: usize) -> Result<PathBuf> {
        let folder = self.service(service).join(format!("group-{group}"));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder.join("cgroup.procs"))
    }

    /// Removes the groups of a service whose processes have ended.
    pub(super) fn remove(&self, service: &str) -> Result<()> {
        let folder = self.service(service);
        remove_patiently(&folder).with_context(|| format!("remove {}", folder.display()))
    }

    /// CPU time of all processes in it, those that have ended too.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let file = self.folder.join("cpu.stat");
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        usage(&text).with_context(|| format!("no CPU time in {}", file.display()))
    }

    fn service(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.service"))
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if let Err(error) = remove_patiently(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

/// Where version 2 is mounted.
fn hierarchy() -> Result<PathBuf> {
    let mounts = Process::myself().and_then(|own| own.mountinfo()).context("read what is mounted")?;
    let found = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2");
    Ok(found.context("no cgroups of version 2 are mounted here, to put services into")?.mount_point)
}

fn usage(cpu_stat: &str) -> Option<Duration> {
    let micros = cpu_stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.parse().ok().map(Duration::from_micros)
}

fn remove_stale(hierarchy: &Path) {
    let Ok(entries) = fs::read_dir(hierarchy) else { return };
    for entry in entries.flatten() {
        let is_stale =
            entry.file_name().to_str().and_then(owner).is_some_and(|pid| Process::new(pid).is_err());
        if is_stale {
            // What cannot be removed is in nobody's way.
            remove_below(&entry.path()).ok();
        }
    }
}

/// The bench that made a slice.
fn owner(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn remove_patiently(folder: &Path) -> io::Result<()> {
    let patient_until = clock::now() + PATIENCE;
    loop {
        match remove_below(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && clock::now() < patient_until => {
                std::thread::sleep(LOOK);
            }
            done => return done,
        }
    }
}

/// Groups are removed one by one, the innermost first; their files go with them.
fn remove_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_in_microseconds() {
        let text = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n";
        assert_eq!(usage(text), Some(Duration::from_millis(1500)));
        assert_eq!(usage("nr_periods 0\n"), None);
    }

    #[test]
    fn a_slice_says_whose_it_is() {
        assert_eq!(owner("flamekeeper-bench-77.slice"), Some(77));
        assert_eq!(owner("flamekeeper-bench-x.slice"), None);
        assert_eq!(owner("system.slice"), None);
    }

    #[test]
    fn folders_are_removed_from_within() {
        let folder = tempfile::tempdir().unwrap();
        let slice = folder.path().join("a.slice");
        fs::create_dir_all(slice.join("b.service/group-1")).unwrap();
        fs::create_dir_all(slice.join("c.service")).unwrap();
        remove_below(&slice).unwrap();
        assert!(!slice.exists());
    }
}
