//! A process that is older than our process events → what `/proc` says of it now.
//! Reads four small files and the list of threads; a process that is gone gives `None`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::mappings::{Mapping, Mappings};
use super::maps::executable_mappings;
use crate::collect::{Tgid, Tid};
use crate::host::ProcFs;

/// What is known of a process.
#[derive(Clone, Debug)]
pub struct ScannedProcess {
    /// Start on the boot clock, in nanoseconds, to the kernel's clock tick (10 ms).
    pub start_time: u64,
    /// Name of the executable file, or the kernel's name of a kernel thread.
    pub executable_name: Arc<str>,
    /// Threads and their names.
    pub threads: HashMap<Tid, Arc<str>>,
    /// Executable mappings.
    pub mappings: Mappings,
}

/// Most threads a scan reads the names of; the others get the name of the process.
const THREADS_MAX: usize = 4096;
/// Most bytes of `/proc/PID/maps` that are read: some 600,000 mappings.
const MAPS_BYTES_MAX: u64 = 64 << 20;

/// Reads what there is to know.
pub fn scan(proc: &ProcFs, tgid: Tgid) -> Option<ScannedProcess> {
    let start_time = start_time(proc, tgid)?;
    let name = text(proc, tgid, "comm")?;
    let threads = threads(proc, tgid);
    let mut maps = maps(proc, tgid, "maps")?;
    let mut executable = std::fs::read_link(proc.process_path(tgid.0, "exe")).ok();
    // Kernel threads and processes that are ending have no memory, nor has a first thread that ended before others.
    if maps.is_empty()
        && let Some(other) = threads.keys().find(|tid| tid.0 != tgid.0)
    {
        maps = self::maps(proc, tgid, &format!("task/{}/maps", other.0))?;
        let path = proc.process_path(tgid.0, &format!("task/{}/exe", other.0));
        executable = std::fs::read_link(path).ok();
    }
    let mut mappings = Mappings::default();
    for entry in executable_mappings(&maps) {
        mappings.insert(Mapping::new(entry.start, entry.end, entry.offset, entry.path, entry.hint));
    }
    let executable_name = executable.map_or_else(|| Arc::clone(&name), |path| file_name(path.as_os_str()));
    Some(ScannedProcess { start_time, executable_name, threads, mappings })
}

/// Whether there is a process of this id.
pub(super) fn is_there(proc: &ProcFs, tgid: Tgid) -> bool {
    start_time(proc, tgid).is_some()
}

/// Empty where there is no memory, and where it may not be read. `None` if the process is gone.
fn maps(proc: &ProcFs, tgid: Tgid, entry: &str) -> Option<Vec<u8>> {
    let mut maps = Vec::new();
    if let Ok(file) = proc.open(tgid.0, entry) {
        file.take(MAPS_BYTES_MAX).read_to_end(&mut maps).ok()?;
    }
    Some(maps)
}

/// All processes that run now, by ascending id.
pub fn running(proc: &ProcFs) -> Vec<Tgid> {
    let Ok(folder) = std::fs::read_dir(proc.path("")) else { return Vec::new() };
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<Tgid> = pids.map(Tgid).collect();
    pids.sort_unstable();
    pids
}

/// The name of a file for people: without its folder, and without the kernel's note that it was deleted.
pub fn file_name(path: &OsStr) -> Arc<str> {
    let bytes = without_deleted(path).as_bytes();
    let name = bytes.rsplit(|&byte| byte == b'/').next().unwrap_or(bytes);
    String::from_utf8_lossy(name).into()
}

/// A path as it was before the kernel noted behind it that its file was deleted.
pub fn without_deleted(path: &OsStr) -> &OsStr {
    let bytes = path.as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes))
}

/// The twenty-second field of `/proc/PID/stat`, in clock ticks since boot (proc_pid_stat(5)).
fn start_time(proc: &ProcFs, tgid: Tgid) -> Option<u64> {
    let stat = text(proc, tgid, "stat")?;
    // The second field is the name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').nth(19)?.parse().ok()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(ticks.saturating_mul(1_000_000_000 / ticks_per_second))
}

/// Whether a process is the kernel's: `PF_KTHREAD` of the kernel's sched.h in the ninth field of `/proc/PID/stat`.
pub fn is_kernel_thread(proc: &ProcFs, tgid: Tgid) -> bool {
    const KERNEL_THREAD: u64 = 0x0020_0000;
    let stat = text(proc, tgid, "stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let flags = fields.split(' ').nth(6).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

fn threads(proc: &ProcFs, tgid: Tgid) -> HashMap<Tid, Arc<str>> {
    let Ok(folder) = std::fs::read_dir(proc.process_path(tgid.0, "task")) else { return HashMap::new() };
    let tids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let named = |tid: u32| Some((Tid(tid), text(proc, tgid, &format!("task/{tid}/comm"))?));
    tids.take(THREADS_MAX).filter_map(named).collect()
}

fn text(proc: &ProcFs, tgid: Tgid, entry: &str) -> Option<Arc<str>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(512);
        proc.open(tgid.0, entry)?.take(4096).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().ok()?;
    Some(String::from_utf8_lossy(bytes.trim_ascii_end()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_as_we_know_it() {
        let me = scan(&ProcFs::host(), Tgid(std::process::id())).unwrap();
        let executable = std::env::current_exe().unwrap();
        assert_eq!(me.executable_name.as_ref(), executable.file_name().unwrap().to_str().unwrap());
        assert!(me.threads.contains_key(&Tid(std::process::id())));
        assert!(!me.mappings.is_empty());
        assert!(me.start_time > 0);
    }

    #[test]
    fn kernel_threads_are_told_from_processes() {
        let proc = ProcFs::host();
        assert!(!is_kernel_thread(&proc, Tgid(std::process::id())));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("2")).unwrap();
        std::fs::write(folder.path().join("2/stat"), "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0\n")
            .unwrap();
        assert!(is_kernel_thread(&ProcFs::at(folder.path()), Tgid(2)));
        assert!(!is_kernel_thread(&ProcFs::at(folder.path()), Tgid(3)));
    }

    #[test]
    fn a_process_that_is_not_there_is_none() {
        assert!(scan(&ProcFs::host(), Tgid(u32::MAX)).is_none());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_has_the_memory_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let process = folder.path().join("7");
        for thread in ["7", "9"] {
            std::fs::create_dir_all(process.join("task").join(thread)).unwrap();
            std::fs::write(process.join("task").join(thread).join("comm"), "worker\n").unwrap();
        }
        let stat = format!("7 (worker) Z {} 500 0 0", vec!["1"; 18].join(" "));
        std::fs::write(process.join("stat"), stat).unwrap();
        std::fs::write(process.join("comm"), "worker\n").unwrap();
        std::fs::write(process.join("maps"), "").unwrap();
        let maps = "5581d6a02000-5581d6a07000 r-xp 00002000 fe:00 1234 /usr/bin/program\n";
        std::fs::write(process.join("task/9/maps"), maps).unwrap();
        std::os::unix::fs::symlink("/usr/bin/program", process.join("task/9/exe")).unwrap();
        let found = scan(&ProcFs::at(folder.path()), Tgid(7)).unwrap();
        assert_eq!(found.mappings.iter().count(), 1);
        assert_eq!(found.executable_name.as_ref(), "program");
    }

    #[test]
    fn names_lose_folder_and_the_note_of_deletion() {
        assert_eq!(file_name(OsStr::new("/usr/bin/cat (deleted)")).as_ref(), "cat");
        assert_eq!(file_name(OsStr::new("/memfd:runner (deleted)")).as_ref(), "memfd:runner");
        assert_eq!(file_name(OsStr::from_bytes(b"/x/\xff")).as_ref(), "\u{fffd}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let folder = tempfile::tempdir().unwrap();
        let process = folder.path().join("7");
        std::fs::create_dir_all(process.join("task")).unwrap();
        let stat = format!("7 (a) b) S {} 500 0 0", vec!["1"; 18].join(" "));
        std::fs::write(process.join("stat"), stat).unwrap();
        std::fs::write(process.join("comm"), "a) b\n").unwrap();
        let found = scan(&ProcFs::at(folder.path()), Tgid(7)).unwrap();
        assert_eq!(found.start_time, 5_000_000_000);
        assert_eq!(found.executable_name.as_ref(), "a) b");
    }
}
