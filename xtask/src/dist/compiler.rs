//! What compiles for an architecture: Rust's library for it, a C compiler and a linker.
//!
//! ```text
//!   this machine's architecture ─▶ musl-gcc, the usual linker
//!   another one                 ─▶ Debian's cross compiler with musl's headers, which also links
//! ```
//!
//! ring, zstd and xz are C and assembly. Start files, C library and unwinder come with Rust's library.

use super::architecture::Architecture;
use crate::debian;
use crate::packages::{self, Need};
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const MUSL_GCC: Need =
    Need { package: "musl-tools", program: Some("musl-gcc"), why: "C code of a static binary" };
const CROSS_GCC: [Need; 2] = [
    Need {
        package: "gcc-aarch64-linux-gnu",
        program: Some("aarch64-linux-gnu-gcc"),
        why: "C code for arm64, and the linker",
    },
    Need {
        package: "gcc-x86-64-linux-gnu",
        program: Some("x86_64-linux-gnu-gcc"),
        why: "C code for x86_64, and the linker",
    },
];

/// All that cargo has to be told to build for an architecture.
pub(crate) struct Compiler {
    architecture: Architecture,
    program: String,
    linker: Option<String>,
    c_flags: Vec<String>,
}

impl Compiler {
    /// Fetches what this machine does not have.
    pub(crate) fn of(workspace: &Workspace, rustc: &Rustc, architecture: Architecture) -> Result<Self> {
        standard_library(workspace, rustc, architecture)?;
        if is_native(rustc, architecture) {
            install(workspace, &MUSL_GCC)?;
            let program = "musl-gcc".to_owned();
            return Ok(Self { architecture, program, linker: None, c_flags: Vec::new() });
        }
        let program = architecture.cross_compiler();
        for need in CROSS_GCC.iter().filter(|need| need.program == Some(program.as_str())) {
            install(workspace, need)?;
        }
        let c_flags = flags_of_musl(&headers(workspace, architecture)?, &program)?;
        Ok(Self { architecture, linker: Some(program.clone()), program, c_flags })
    }

    /// Tells cargo; `more` goes to the C compiler as well.
    pub(crate) fn tell(&self, cargo: &mut Command, more: &[String]) {
        let target = self.architecture.target().replace('-', "_");
        cargo.env(format!("CC_{target}"), &self.program);
        let flags: Vec<&str> = self.c_flags.iter().chain(more).map(String::as_str).collect();
        cargo.env(format!("CFLAGS_{target}"), flags.join(" "));
        if let Some(linker) = &self.linker {
            cargo.env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase()), linker);
        }
    }
}

/// Whether this machine runs what is built.
pub(super) fn is_native(rustc: &Rustc, architecture: Architecture) -> bool {
    rustc.host.split('-').next() == Some(architecture.name())
}

fn install(workspace: &Workspace, need: &Need) -> Result<()> {
    packages::install(workspace, std::slice::from_ref(need))?;
    let program = need.program.unwrap_or_default();
    ensure!(shell::find_program(program).is_some(), "no {program}: install {}", need.package);
    Ok(())
}

/// The compiler's own library for the target.
pub(super) fn standard_library(
    workspace: &Workspace,
    rustc: &Rustc,
    architecture: Architecture,
) -> Result<()> {
    let target = architecture.target();
    if rustc.sysroot.join("lib/rustlib").join(&target).join("lib").is_dir() {
        return Ok(());
    }
    ensure!(
        shell::find_program("rustup").is_some(),
        "{} has no library for {target}, and there is no rustup to add it",
        rustc.sysroot.display()
    );
    shell::run(workspace.command("rustup").args(["target", "add", &target]))
}

/// The folder of musl's headers.
fn headers(workspace: &Workspace, architecture: Architecture) -> Result<PathBuf> {
    let package = architecture.headers();
    let place = workspace.tools().join(format!("musl-{}-{}", package.version, architecture.name()));
    let folder = format!("{}-linux-musl", architecture.name());
    if !place.is_dir() {
        let file = debian::download(workspace, &package)?;
        debian::unpack(workspace, &file, &format!("./usr/include/{folder}"), &place)?;
    }
    Ok(place.join(folder))
}

/// musl's headers before the compiler's own (vector types, arguments), and no others.
fn flags_of_musl(headers: &Path, compiler: &str) -> Result<Vec<String>> {
    let own = shell::output(Command::new(compiler).arg("-print-file-name=include"))?;
    let folder = |path: &Path| format!("-isystem{}", path.display());
    Ok(vec!["-nostdinc".to_owned(), folder(headers), folder(Path::new(own.trim_end()))])
}
