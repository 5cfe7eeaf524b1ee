//! A process's executable and the names of what it has mapped → the language that its frames are in.
//!
//! ```text
//!   name of the executable   java, python3.13, node, php-fpm8.2, …     an interpreter, whatever it is linked with
//!   mapped libraries         libjvm.so, libpython3.13.so, libphp.so    an interpreter inside another program
//!   the executable           Go's build information, Rust's, C++'s     [`executable`], read once a file
//! ```
//!
//! Costs nothing but a system call or two for a file that is known. Never runs anything, and never guesses: what shows no
//! language is `native`.

mod executable;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use self::executable::Evidence;
use super::go_build::GoBuild;
use crate::host::ProcFs;
use crate::process::files::{Inode, open_regular};

/// What a process is written in, for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Go, with cgo or without.
    Go,
    /// Rust; also where parts are C or C++.
    Rust,
    /// C++.
    Cpp,
    /// Python by CPython or PyPy.
    Python,
    /// Whatever runs in a JVM.
    Java,
    /// JavaScript by Node.js.
    Node,
    /// Ruby.
    Ruby,
    /// PHP.
    Php,
    /// Perl.
    Perl,
    /// C, and what is not known better.
    Native,
}

impl Language {
    /// As in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Cpp => "cpp",
            Self::Python => "python",
            Self::Java => "java",
            Self::Node => "node",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::Perl => "perl",
            Self::Native => "native",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Executables of interpreters: the name, behind which a version may stand.
const INTERPRETERS: [(&str, Language); 12] = [
    ("python", Language::Python),
    ("pypy", Language::Python),
    ("java", Language::Java),
    ("node", Language::Node),
    ("nodejs", Language::Node),
    ("ruby", Language::Ruby),
    ("php", Language::Php),
    ("php-fpm", Language::Php),
    ("php-cgi", Language::Php),
    ("php-cli", Language::Php),
    ("frankenphp", Language::Php),
    ("perl", Language::Perl),
];

/// Libraries of interpreters: the start of the name, behind which a version stands.
const LIBRARIES: [(&str, Language); 8] = [
    ("libjvm.so", Language::Java),
    ("libnode.so", Language::Node),
    ("libpython", Language::Python),
    ("libpypy", Language::Python),
    ("libphp", Language::Php),
    ("libruby.so", Language::Ruby),
    ("libruby-", Language::Ruby),
    ("libperl.so", Language::Perl),
];

/// Programs that can be scripted but are not written in what they are scripted in.
const SCRIPTABLE: [&str; 13] = [
    "gdb",
    "lldb",
    "lldb-server",
    "vim",
    "vim.basic",
    "vim.gtk3",
    "nvim",
    "postgres",
    "snmpd",
    "irssi",
    "exim4",
    "perf",
    "soffice.bin",
];

/// What was found out about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// `None` for a kernel thread, and for a process that ended before it could be looked at.
    pub language: Option<Language>,
    /// Of a Go program.
    pub go: Option<Arc<GoBuild>>,
}

/// Executables that are remembered; a host has some hundred.
const FILES_MAX: usize = 4096;

/// Tells languages, and remembers files.
#[derive(Debug)]
pub struct LanguageDetector {
    files: HashMap<Inode, Evidence>,
    search: executable::Search,
}

impl LanguageDetector {
    /// Knows no file yet.
    pub fn new() -> Self {
        Self { files: HashMap::new(), search: executable::Search::new() }
    }

    /// The language of a process: by the name of its executable, the paths of its mapped files, and its executable.
    pub fn detect<'a>(
        &mut self,
        proc: &ProcFs,
        pid: u32,
        executable_name: &str,
        mapped: impl IntoIterator<Item = &'a OsStr>,
    ) -> Detected {
        if let Some(language) = by_executable_name(executable_name) {
            return Detected { language: Some(language), go: None };
        }
        let libraries = Libraries::of(mapped);
        let evidence = self.evidence(proc, pid);
        // A Go program may be linked with anything, and stays one.
        if let Some(Evidence::Go(build)) = &evidence {
            return Detected { language: Some(Language::Go), go: Some(Arc::clone(build)) };
        }
        let inside = libraries.interpreter.filter(|_| !SCRIPTABLE.contains(&executable_name));
        let own = || match evidence? {
            Evidence::Go(_) => Some(Language::Go),
            Evidence::Rust => Some(Language::Rust),
            Evidence::Cpp => Some(Language::Cpp),
            // A small program in front of its libraries takes after them.
            Evidence::Stub if libraries.has_cpp => Some(Language::Cpp),
            Evidence::Stub | Evidence::None => Some(Language::Native),
        };
        Detected { language: inside.or_else(own), go: None }
    }

    fn evidence(&mut self, proc: &ProcFs, pid: u32) -> Option<Evidence> {
        let (file, metadata) = open_regular(&proc.process_path(pid, "exe"))?;
        let inode = Inode::of(&metadata);
        if let Some(known) = self.files.get(&inode) {
            return Some(known.clone());
        }
        if self.files.len() >= FILES_MAX {
            self.files.clear(); // reading them again costs less than an order of uses
        }
        let evidence = self.search.evidence(&file, metadata.len());
        self.files.insert(inode, evidence.clone());
        Some(evidence)
    }
}

impl Default for LanguageDetector {
    fn default() -> Self {
        Self::new()
    }
}

/// `python3.13`, `php-fpm8.2`, `perl5.36-x86_64-linux-gnu`: the name, and behind it nothing, or what begins a version.
fn by_executable_name(name: &str) -> Option<Language> {
    let is_version = |rest: &str| {
        rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
    };
    // The longest first: `php-fpm` also begins with `php`.
    let known = INTERPRETERS.iter().filter(|(known, _)| name.strip_prefix(known).is_some_and(is_version));
    known.max_by_key(|(known, _)| known.len()).map(|&(_, language)| language)
}

/// What the names of mapped files tell.
#[derive(Default)]
struct Libraries {
    interpreter: Option<Language>,
    has_cpp: bool,
}

impl Libraries {
    fn of<'a>(mapped: impl IntoIterator<Item = &'a OsStr>) -> Self {
        let mut found = Self::default();
        for path in mapped {
            let path = path.as_encoded_bytes();
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
            if !name.starts_with(b"lib") {
                continue;
            }
            let is = |start: &str| name.starts_with(start.as_bytes());
            found.has_cpp |= is("libstdc++.so") || is("libc++.so");
            let interpreter = LIBRARIES.iter().find(|(start, _)| is(start));
            found.interpreter = found.interpreter.or(interpreter.map(|&(_, language)| language));
        }
        found
    }
}

#[cfg(test)]
mod tests;
