//! Opens files that a profiled process can plant: perf maps, debug files beside its binaries.
//!
//! ```text
//!   (process, path as it sees it) ──openat2 in its root──▶ inode ──checks──▶ File, open for reading
//! ```
//!
//! The profiler is root, the process is a stranger who picks the path, what lies there and what it
//! links to. So the path never leaves the process's root, and the inode is looked at before it is opened:
//! a pipe cannot block us and a device is never touched. Never writes, and never follows `/proc`-style links.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use procfs::FromRead;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::host::ProcFs;

/// Why a path of a process was not opened.
#[derive(Debug, thiserror::Error)]
pub enum PlantedError {
    /// The process is gone, or `/proc` does not show it to us.
    #[error("look at process {pid}")]
    Process {
        /// Process id in the host's pid namespace.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The process's `status` does not read like one.
    #[error("read the status of process {pid}")]
    Status {
        /// Process id in the host's pid namespace.
        pid: u32,
        /// What did not fit.
        source: procfs::ProcError,
    },
    /// No such file, or the path leaves the root or ends in a link.
    #[error("open {} inside the root of its process", path.display())]
    Open {
        /// As the process sees it.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A folder, pipe, socket or device.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// As the process sees it.
        path: PathBuf,
    },
    /// Another user's file.
    #[error("{} belongs to user {owner}, not to its process's user or root", path.display())]
    Owner {
        /// As the process sees it.
        path: PathBuf,
        /// Who owns the file.
        owner: u32,
    },
    /// More than the caller is ready to read.
    #[error("{} has {bytes} bytes, more than {max_bytes}", path.display())]
    TooLarge {
        /// As the process sees it.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The caller's bound.
        max_bytes: u64,
    },
}

/// What to do with a symbolic link in the last component of a path. Links further up always are followed, inside the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalLink {
    /// Refuse: nothing that is looked for there is a link by rights.
    Refuse,
    /// Follow, still inside the root: distributions link build ids to debug files.
    FollowInside,
}

/// The root folder of a process, held open, with what is needed to judge files in it.
#[derive(Debug)]
pub struct ProcessRoot {
    folder: OwnedFd,
    owner: u32,
    innermost_pid: u32,
    procfs: ProcFs,
}

/// A folder of a mount, and the user whose files count in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootPlace {
    mount: u64,
    device: (u32, u32),
    inode: u64,
    owner: u32,
}

impl RootPlace {
    fn folder(self) -> (u64, (u32, u32), u64) {
        (self.mount, self.device, self.inode)
    }
}

/// openat2 answers EAGAIN when a rename or mount raced with it; so many attempts are made.
const ATTEMPTS: usize = 8;

impl ProcessRoot {
    /// Opens the root of a running process and reads whose it is.
    ///
    /// All of it comes from one handle on the process: a reused pid cannot mix two processes.
    pub fn of_process(procfs: &ProcFs, pid: u32) -> Result<Self, PlantedError> {
        let gone = |source: Errno| PlantedError::Process { pid, source: source.into() };
        let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process =
            rustix::fs::open(procfs.process_path(pid, ""), folder_flags, Mode::empty()).map_err(gone)?;
        let folder = rustix::fs::openat(&process, "root", folder_flags, Mode::empty()).map_err(gone)?;
        let status = rustix::fs::openat(&process, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(gone)?;
        let status = procfs::process::Status::from_read(File::from(status))
            .map_err(|source| PlantedError::Status { pid, source })?;
        let innermost_pid = status.nspid.as_ref().and_then(|pids| pids.last()).copied();
        let innermost_pid = innermost_pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(pid);
        Ok(Self { folder, owner: status.euid, innermost_pid, procfs: procfs.clone() })
    }

    /// Any folder as the root of a process of user `owner`: `/` for files of the host itself, or a test's folder.
    ///
    /// `procfs` must be the running host's: the inode that was checked is opened through `self/fd`.
    pub fn at_folder(procfs: &ProcFs, folder: &Path, owner: u32, innermost_pid: u32) -> io::Result<Self> {
        let folder =
            rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, owner, innermost_pid, procfs: procfs.clone() })
    }

    /// The process's id as it knows it itself: the one in `/tmp/perf-PID.map`.
    pub fn innermost_pid(&self) -> u32 {
        self.innermost_pid
    }

    /// Whether both are the same folder of the same mount, so that looking in one of them is enough.
    ///
    /// A process with mounts of its own (a service with a private `/tmp`, say) can have the host's root
    /// folder and still see other files below it. Kernels before 5.8 do not tell mounts apart: then never.
    pub fn is_same_folder(&self, other: &Self) -> bool {
        self.place().is_some_and(|own| other.place().is_some_and(|place| own.folder() == place.folder()))
    }

    /// Tells roots apart: two of one place are the same to whoever opens debug files in them. `None` where the kernel
    /// does not tell.
    pub fn place(&self) -> Option<RootPlace> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(&self.folder, "", AtFlags::EMPTY_PATH, wanted).ok()?;
        let is_known = StatxFlags::from_bits_retain(stat.stx_mask).contains(wanted);
        is_known.then_some(RootPlace {
            mount: stat.stx_mnt_id,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            owner: self.owner,
        })
    }

    /// Opens a regular file of the process's user or of root, of at most `max_bytes`, for reading.
    ///
    /// `path` is as the process sees it, absolute or relative to its root; `..` and absolute links stay
    /// inside the root. Returns at once whatever lies there. The file can still change or grow later.
    pub fn open_planted(&self, path: &Path, link: FinalLink, max_bytes: u64) -> Result<File, PlantedError> {
        let inode = self.find(path, link)?;
        let failed = |source: Errno| PlantedError::Open { path: path.to_owned(), source: source.into() };
        let stat = rustix::fs::fstat(&inode).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(PlantedError::NotRegular { path: path.to_owned() });
        }
        if stat.st_uid != self.owner && stat.st_uid != 0 {
            return Err(PlantedError::Owner { path: path.to_owned(), owner: stat.st_uid });
        }
        let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if bytes > max_bytes {
            return Err(PlantedError::TooLarge { path: path.to_owned(), bytes, max_bytes });
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = self.procfs.path(format!("self/fd/{}", inode.as_raw_fd()));
        rustix::fs::open(handle, flags, Mode::empty()).map(File::from).map_err(failed)
    }

    /// A handle on the inode that does not open it, so that nothing happens on its side.
    fn find(&self, path: &Path, link: FinalLink) -> Result<OwnedFd, PlantedError> {
        let flags = match link {
            FinalLink::Refuse => OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            FinalLink::FollowInside => OFlags::PATH | OFlags::CLOEXEC,
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut answer = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            answer = rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), resolve);
            if !matches!(answer, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        answer.map_err(|source| PlantedError::Open { path: path.to_owned(), source: source.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// A root folder `inside`, next to a folder `outside` that it must not reach.
    struct Planted {
        folder: tempfile::TempDir,
        root: ProcessRoot,
    }

    impl Planted {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["inside/tmp", "inside/real", "outside"] {
                std::fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            std::fs::write(folder.path().join("outside/secret"), "secret").unwrap();
            let own_uid = rustix::process::getuid().as_raw();
            let root =
                ProcessRoot::at_folder(&ProcFs::host(), &folder.path().join("inside"), own_uid, 7).unwrap();
            Self { folder, root }
        }

        fn inside(&self, name: &str) -> PathBuf {
            self.folder.path().join("inside").join(name)
        }

        fn check(&self, path: &str, link: FinalLink, expected: Expect) {
            let outcome = match self.root.open_planted(Path::new(path), link, 100) {
                Ok(mut file) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    format!("read {text:?}")
                }
                Err(PlantedError::Open { source, .. }) => format!("open: {}", source.kind()),
                Err(error) => error.to_string(),
            };
            expected.assert_eq(&outcome);
        }
    }

    #[test]
    fn a_regular_file_of_its_user_is_read() {
        let planted = Planted::new();
        std::fs::write(planted.inside("tmp/perf-7.map"), "good").unwrap();
        planted.check("/tmp/perf-7.map", FinalLink::Refuse, expect![[r#"read "good""#]]);
        planted.check("tmp/perf-7.map", FinalLink::Refuse, expect![[r#"read "good""#]]);
        planted.check("/tmp/perf-8.map", FinalLink::Refuse, expect!["open: entity not found"]);
    }

    #[test]
    fn a_path_cannot_leave_the_root() {
        let planted = Planted::new();
        let secret = planted.folder.path().join("outside/secret");
        symlink(&secret, planted.inside("tmp/absolute")).unwrap();
        symlink("../../outside/secret", planted.inside("tmp/relative")).unwrap();
        symlink("/proc/self/root", planted.inside("tmp/magic")).unwrap();
        for (link, kind) in
            [(FinalLink::Refuse, "not a regular file"), (FinalLink::FollowInside, "entity not found")]
        {
            for name in ["tmp/absolute", "tmp/relative", "tmp/magic"] {
                let error = planted.root.open_planted(Path::new(name), link, 100).unwrap_err();
                let text = match error {
                    PlantedError::Open { source, .. } => source.kind().to_string(),
                    other => other.to_string(),
                };
                assert!(text.contains(kind), "{name} with {link:?}: {text}");
            }
        }
        planted.check("/../outside/secret", FinalLink::Refuse, expect!["open: entity not found"]);
    }

    #[test]
    fn links_inside_the_root_lead_to_files_inside_the_root() {
        let planted = Planted::new();
        std::fs::write(planted.inside("real/file"), "inside").unwrap();
        symlink("/real", planted.inside("linked")).unwrap();
        symlink("/real/file", planted.inside("last")).unwrap();
        planted.check("/linked/file", FinalLink::Refuse, expect![[r#"read "inside""#]]);
        planted.check("/last", FinalLink::FollowInside, expect![[r#"read "inside""#]]);
        planted.check("/last", FinalLink::Refuse, expect!["/last is not a regular file"]);
    }

    #[test]
    fn a_magic_link_is_not_followed() {
        let procfs = ProcFs::host();
        let root = ProcessRoot::at_folder(&procfs, Path::new("/"), 0, 1).unwrap();
        let error =
            root.open_planted(Path::new("/proc/self/exe"), FinalLink::FollowInside, u64::MAX).unwrap_err();
        let PlantedError::Open { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn pipes_folders_and_devices_are_refused_at_once() {
        let planted = Planted::new();
        rustix::fs::mkfifoat(rustix::fs::CWD, planted.inside("tmp/fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        planted.check("/tmp/fifo", FinalLink::Refuse, expect!["/tmp/fifo is not a regular file"]);
        planted.check("/tmp", FinalLink::Refuse, expect!["/tmp is not a regular file"]);
        let host = ProcessRoot::at_folder(&ProcFs::host(), Path::new("/"), 0, 1).unwrap();
        let error = host.open_planted(Path::new("/dev/zero"), FinalLink::Refuse, 100).unwrap_err();
        assert_eq!(error.to_string(), "/dev/zero is not a regular file");
    }

    #[test]
    fn a_file_may_be_as_large_as_the_bound_and_no_larger() {
        let planted = Planted::new();
        std::fs::write(planted.inside("full"), [b'x'; 100]).unwrap();
        std::fs::write(planted.inside("over"), [b'x'; 101]).unwrap();
        assert!(planted.root.open_planted(Path::new("full"), FinalLink::Refuse, 100).is_ok());
        planted.check("/over", FinalLink::Refuse, expect!["/over has 101 bytes, more than 100"]);
    }

    #[test]
    fn only_files_of_its_user_and_of_root_count() {
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: needs root, to give a file to another user");
            return;
        }
        let planted = Planted::new();
        let root = ProcessRoot::at_folder(&ProcFs::host(), &planted.inside(""), 1234, 7).unwrap();
        for (name, owner) in [("own", 1234), ("roots", 0), ("others", 4321)] {
            std::fs::write(planted.inside(name), name).unwrap();
            std::os::unix::fs::chown(planted.inside(name), Some(owner), None).unwrap();
        }
        assert!(root.open_planted(Path::new("own"), FinalLink::Refuse, 100).is_ok());
        assert!(root.open_planted(Path::new("roots"), FinalLink::Refuse, 100).is_ok());
        let error = root.open_planted(Path::new("others"), FinalLink::Refuse, 100).unwrap_err();
        assert_eq!(error.to_string(), "others belongs to user 4321, not to its process's user or root");
    }

    #[test]
    fn user_and_innermost_pid_come_from_the_status() {
        let own = ProcessRoot::of_process(&ProcFs::host(), std::process::id()).unwrap();
        assert_eq!(own.owner, rustix::process::geteuid().as_raw());
        let host = ProcessRoot::at_folder(&ProcFs::host(), Path::new("/"), 0, 1).unwrap();
        assert!(own.is_same_folder(&host));
        assert!(!own.is_same_folder(&Planted::new().root));

        let fixture = tempfile::tempdir().unwrap();
        let process = fixture.path().join("4711");
        std::fs::create_dir(&process).unwrap();
        symlink(fixture.path(), process.join("root")).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let status: String = status
            .lines()
            .map(|line| match line.split(':').next() {
                Some("NSpid") => "NSpid:\t4711\t52\t7\n".to_owned(),
                Some("Uid") => "Uid:\t1000\t1001\t1002\t1003\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect();
        std::fs::write(process.join("status"), status).unwrap();
        let contained = ProcessRoot::of_process(&ProcFs::at(fixture.path()), 4711).unwrap();
        assert_eq!((contained.innermost_pid(), contained.owner), (7, 1001));

        let gone = ProcessRoot::of_process(&ProcFs::at(fixture.path()), 4712).unwrap_err();
        assert_eq!(gone.to_string(), "look at process 4712");
    }
}
