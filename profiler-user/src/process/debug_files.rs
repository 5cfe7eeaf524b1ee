//! A stripped ELF file → the file that holds its symbols and debug information.
//!
//! ```text
//!   build id ─▶ /usr/lib/debug/.build-id/ab/cdef….debug        in the process's root, then in the host's
//!   debug link ─▶ DIR/NAME, DIR/.debug/NAME, /usr/lib/debug/DIR/NAME            likewise
//! ```
//!
//! For names, and for unwind information that was split off. All of these can be planted by a process, so they are
//! opened by `namespace.rs` and taken only if they carry the same build id, or, for a file without one, the checksum
//! in the link. blazesym's own search is off: it would open what a link names wherever it leads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::namespace::{FinalLink, ProcessRoot};
use crate::elf::sections::{DebugLink, Sections};
use crate::elf::{BuildId, ElfError, ElfHeaders, read_up_to};
use crate::host::ProcFs;

/// Where distributions put debug files.
const DEBUG_FOLDER: &str = "/usr/lib/debug";
/// The largest debug file that is opened; only its headers are read at first.
const DEBUG_FILE_BYTES_MAX: u64 = 4 << 30;
/// A checksum has to read the whole file: some 0.3 s for so much.
const CHECKSUM_FILE_BYTES_MAX: u64 = 512 << 20;
const CHECKSUM_PIECE_BYTES: usize = 256 << 10;

/// The folders of debug files.
#[derive(Debug)]
pub struct DebugFiles {
    host: ProcessRoot,
}

/// An ELF file whose headers were read.
#[derive(Debug)]
pub(crate) struct OpenElf {
    pub(crate) file: File,
    pub(crate) headers: ElfHeaders,
    pub(crate) sections: Sections,
}

impl OpenElf {
    pub(crate) fn read(file: File) -> Result<Self, ElfError> {
        let headers = ElfHeaders::read(&file)?;
        let sections = Sections::read(&file, &headers)?;
        Ok(Self { file, headers, sections })
    }
}

impl DebugFiles {
    /// Those of the running host, beside each process's own.
    pub fn of_host(procfs: &ProcFs) -> io::Result<Self> {
        ProcessRoot::at_folder(procfs, Path::new("/"), 0, 1).map(Self::below)
    }

    /// Any folder as the root of the host.
    pub fn below(host: ProcessRoot) -> Self {
        Self { host }
    }

    /// The debug file of a file at `path`, as its process sees it. `None` if there is none that fits.
    pub(crate) fn find(&self, elf: &OpenElf, path: &Path, process: Option<&ProcessRoot>) -> Option<OpenElf> {
        // Damaged links are no links.
        let link = elf.sections.debug_link(&elf.file).ok().flatten();
        let process = process.filter(|root| !root.is_same_folder(&self.host));
        let roots = || process.into_iter().chain([&self.host]);
        let by_id = candidate_by_build_id(elf.headers.build_id());
        let by_link = link.iter().flat_map(|link| candidates_by_link(path, &link.file_name));
        by_id
            .into_iter()
            .chain(by_link)
            .flat_map(|candidate| roots().map(move |root| (root, candidate.clone())))
            .find_map(|(root, candidate)| accept(root, &candidate, elf, link.as_ref()))
    }
}

fn candidate_by_build_id(id: Option<&BuildId>) -> Option<PathBuf> {
    let Some(id @ BuildId::Gnu(_)) = id else { return None };
    let digits = id.to_string();
    let (folder, file) = digits.split_at_checked(2).filter(|(_, file)| !file.is_empty())?;
    Some(Path::new(DEBUG_FOLDER).join(".build-id").join(folder).join(format!("{file}.debug")))
}

fn candidates_by_link(path: &Path, file_name: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let global = Path::new(DEBUG_FOLDER).join(folder.strip_prefix("/").unwrap_or(folder));
    [folder.to_owned(), folder.join(".debug"), global].iter().map(|folder| folder.join(file_name)).collect()
}

/// Opens a candidate; `None` if it is missing, unsafe to open, damaged or another file's.
fn accept(root: &ProcessRoot, candidate: &Path, elf: &OpenElf, link: Option<&DebugLink>) -> Option<OpenElf> {
    let file = root.open_planted(candidate, FinalLink::FollowInside, DEBUG_FILE_BYTES_MAX).ok()?;
    let found = OpenElf::read(file).ok()?;
    let fits = match (elf.headers.build_id(), link) {
        (Some(id), _) => found.headers.build_id() == Some(id),
        (None, Some(link)) => checksum(&found.file).ok().flatten() == Some(link.crc32),
        (None, None) => false,
    };
    fits.then_some(found)
}

/// CRC-32 as in gzip; `None` if the file is too large for it.
fn checksum(file: &File) -> Result<Option<u32>, ElfError> {
    let mut crc = flate2::Crc::new();
    let mut at = 0;
    loop {
        let piece = read_up_to(file, at, CHECKSUM_PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(Some(crc.sum()));
        }
        crc.update(&piece);
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if at > CHECKSUM_FILE_BYTES_MAX {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;
    use expect_test::{Expect, expect};

    const SOURCE: &str =
        "static int hidden(int n) { return n + 1; } int main(int n, char **v) { return hidden(n); }";

    /// A stripped program, its debug file, and folders `process` and `host` as roots to put the latter in.
    struct Stripped {
        fixture: Fixture,
    }

    impl Stripped {
        fn new(flags: &[&str]) -> Self {
            let fixture = Fixture::compile(SOURCE, &[&["-g"], flags].concat());
            fixture.run("objcopy", &["--only-keep-debug", "program", "program.debug"]);
            fixture.run("objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program"]);
            for root in ["process", "host"] {
                std::fs::create_dir(fixture.folder().join(root)).unwrap();
            }
            Self { fixture }
        }

        fn put(&self, place: &str) {
            let to = self.fixture.folder().join(place);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(self.fixture.folder().join("program.debug"), to).unwrap();
        }

        fn build_id_path(&self) -> String {
            let elf = OpenElf::read(self.fixture.open()).unwrap();
            let path = candidate_by_build_id(elf.headers.build_id()).unwrap();
            path.strip_prefix("/").unwrap().display().to_string()
        }

        fn root(&self, name: &str) -> ProcessRoot {
            let own_uid = rustix::process::getuid().as_raw();
            ProcessRoot::at_folder(&ProcFs::host(), &self.fixture.folder().join(name), own_uid, 1).unwrap()
        }

        fn find(&self) -> Option<OpenElf> {
            let elf = OpenElf::read(self.fixture.open()).unwrap();
            let files = DebugFiles::below(self.root("host"));
            files.find(&elf, Path::new("/opt/app/program"), Some(&self.root("process")))
        }
    }

    #[test]
    fn a_debug_file_is_found_in_every_place_and_root() {
        for flags in [&[][..], &["-Wl,--build-id=none"]] {
            for place in ["opt/app", "opt/app/.debug", "usr/lib/debug/opt/app"] {
                for root in ["process", "host"] {
                    let stripped = Stripped::new(flags);
                    stripped.put(&format!("{root}/{place}/program.debug"));
                    let found = stripped.find().unwrap_or_else(|| panic!("{root}/{place} {flags:?}"));
                    assert!(found.sections.has_dwarf() && found.sections.symbols().is_some());
                }
            }
        }
        for root in ["process", "host"] {
            let stripped = Stripped::new(&[]);
            stripped.put(&format!("{root}/{}", stripped.build_id_path()));
            assert!(stripped.find().is_some());
        }
        assert!(Stripped::new(&[]).find().is_none());
    }

    #[test]
    fn another_files_debug_information_is_refused() {
        let other_source = SOURCE.replace('1', "2");
        for flags in [&[][..], &["-Wl,--build-id=none"]] {
            let stripped = Stripped::new(flags);
            let other = Fixture::compile(&other_source, &[&["-g"], flags].concat());
            std::fs::copy(other.path(), stripped.fixture.folder().join("program.debug")).unwrap();
            stripped.put("host/opt/app/program.debug");
            assert!(stripped.find().is_none(), "{flags:?}");
        }
    }

    #[test]
    fn a_link_out_of_the_process_is_not_followed_and_a_pipe_does_not_block() {
        let stripped = Stripped::new(&[]);
        let folder = stripped.fixture.folder();
        std::fs::create_dir_all(folder.join("process/opt/app/.debug")).unwrap();
        let linked = folder.join("process/opt/app/program.debug");
        std::os::unix::fs::symlink(folder.join("program.debug"), linked).unwrap();
        stripped.fixture.run("mkfifo", &["process/opt/app/.debug/program.debug"]);
        assert!(stripped.find().is_none());
    }

    #[test]
    fn places_follow_from_id_and_path() {
        let check = |paths: Vec<PathBuf>, expected: Expect| {
            expected.assert_eq(&paths.iter().map(|path| format!("{}\n", path.display())).collect::<String>());
        };
        let id = BuildId::Gnu([0xab, 0xcd, 0xef].into());
        check(
            candidate_by_build_id(Some(&id)).into_iter().collect(),
            expect![["/usr/lib/debug/.build-id/ab/cdef.debug\n"]],
        );
        assert_eq!(candidate_by_build_id(Some(&BuildId::Gnu([0xab].into()))), None);
        assert_eq!(candidate_by_build_id(Some(&BuildId::Go("ab/cd".into()))), None);
        check(
            candidates_by_link(Path::new("/opt/app/program"), "x.debug"),
            expect![[r#"
                /opt/app/x.debug
                /opt/app/.debug/x.debug
                /usr/lib/debug/opt/app/x.debug
            "#]],
        );
    }
}
