//! ELF files for tests: tiny ones made byte by byte, real ones by the system's compiler.
#![expect(clippy::cast_possible_truncation, reason = "sizes of fixtures are a few hundred bytes")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::headers::ElfHeaders;
use profiler_common::address::{ElfVaddr, FileOffset};

/// A 64-bit little-endian ELF file with only what a test asks for.
#[derive(Clone, Default)]
pub(crate) struct TinyElf {
    /// type, flags, offset, vaddr, bytes in the file.
    programs: Vec<(u32, u32, u64, u64, u64)>,
    notes: Vec<u8>,
    unwind: Vec<u8>,
}

impl TinyElf {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `flags`: 4 readable, 2 writable, 1 executable.
    pub(crate) fn load(mut self, offset: u64, vaddr: u64, bytes: u64, flags: u32) -> Self {
        self.programs.push((1, flags, offset, vaddr, bytes));
        self
    }

    pub(crate) fn note(mut self, name: &[u8], kind: u32, description: &[u8]) -> Self {
        self.notes.extend((name.len() as u32).to_le_bytes());
        self.notes.extend((description.len() as u32).to_le_bytes());
        self.notes.extend(kind.to_le_bytes());
        for part in [name, description] {
            self.notes.extend(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    pub(crate) fn gnu_build_id(self, id: &[u8]) -> Self {
        self.note(b"GNU\0", 3, id)
    }

    pub(crate) fn unwind_header(mut self, bytes: &[u8]) -> Self {
        self.unwind = bytes.to_vec();
        self
    }

    pub(crate) fn unwind_header_at(mut self, offset: u64, bytes: u64) -> Self {
        self.programs.push((0x6474_e550, 4, offset, 0, bytes));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut programs = self.programs.clone();
        let parts = usize::from(!self.notes.is_empty()) + usize::from(!self.unwind.is_empty());
        let notes_at = 64 + 56 * (programs.len() + parts) as u64;
        let unwind_at = notes_at + self.notes.len() as u64;
        if !self.notes.is_empty() {
            programs.push((4, 4, notes_at, 0, self.notes.len() as u64));
        }
        if !self.unwind.is_empty() {
            programs.push((0x6474_e550, 4, unwind_at, 0, self.unwind.len() as u64));
        }
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        for half in [3u16, 62] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(1u32.to_le_bytes());
        for word in [0u64, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        for half in [64, 56, programs.len() as u16, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for (kind, flags, offset, vaddr, size) in programs {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            for word in [offset, vaddr, vaddr, size, size, 4] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.extend(&self.notes);
        bytes.extend(&self.unwind);
        bytes
    }
}

/// A program compiled from C or C++ in a folder of its own.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    /// By `gcc`, with a build id, no debug information and whatever `flags` say.
    pub(crate) fn compile(source: &str, flags: &[&str]) -> Self {
        Self::by("gcc", "program.c", source, flags)
    }

    /// By `g++`.
    pub(crate) fn compile_cpp(source: &str, flags: &[&str]) -> Self {
        Self::by("g++", "program.cc", source, flags)
    }

    /// By another compiler of C.
    pub(crate) fn compile_by(compiler: &str, source: &str, flags: &[&str]) -> Self {
        Self::by(compiler, "program.c", source, flags)
    }

    /// From assembly, without a C library: the program is only read, never run.
    pub(crate) fn assemble(source: &str) -> Self {
        Self::by("gcc", "program.s", source, &["-nostdlib", "-no-pie", "-Wl,--entry=main"])
    }

    /// By `go build`, for this machine; `None`, and a word about it, where there is no Go.
    pub(crate) fn go(source: &str, flags: &[&str]) -> Option<Self> {
        Self::go_for(if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, source, flags)
    }

    /// For another machine, by Go's name of it.
    pub(crate) fn go_for(machine: &str, source: &str, flags: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.go"), source).unwrap();
        let go = ["go", "/usr/local/go/bin/go"]
            .into_iter()
            .find(|go| Command::new(go).arg("version").output().is_ok());
        let Some(go) = go else {
            println!("skipped: no go");
            return None;
        };
        let output = Command::new(go)
            .current_dir(folder.path())
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-trimpath")
            .env("GOARCH", machine)
            .args(["build", "-o", "program"])
            .args(flags)
            .arg("main.go")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { folder })
    }

    fn by(compiler: &str, file: &str, source: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), source).unwrap();
        let output = Command::new(compiler)
            .current_dir(folder.path())
            .args([file, "-o", "program", "-Wl,--build-id=sha1"])
            .args(flags)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    pub(crate) fn open(&self) -> File {
        File::open(self.path()).unwrap()
    }

    /// What a tool prints about the program.
    pub(crate) fn tool(&self, tool: &str, arguments: &[&str]) -> String {
        self.run(tool, &[arguments, &["program"]].concat())
    }

    /// Runs a tool in the folder.
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The linked address of a symbol, by `nm`.
    pub(crate) fn vaddr_of(&self, name: &str) -> ElfVaddr {
        let table = self.tool("nm", &[]);
        let line = table.lines().find(|line| line.split_whitespace().last() == Some(name)).unwrap();
        ElfVaddr(u64::from_str_radix(line.split_whitespace().next().unwrap(), 16).unwrap())
    }

    /// The place in the file of a linked address.
    pub(crate) fn offset_of(&self, ElfVaddr(vaddr): ElfVaddr) -> FileOffset {
        let headers = ElfHeaders::read(&self.open()).unwrap();
        let holds = |segment: &&super::headers::LoadSegment| {
            segment.executable && (segment.vaddr.0..segment.vaddr.0 + segment.file_bytes).contains(&vaddr)
        };
        let segment = headers.segments().iter().find(holds).unwrap();
        FileOffset(vaddr - segment.vaddr.0 + segment.file_offset.0)
    }
}
