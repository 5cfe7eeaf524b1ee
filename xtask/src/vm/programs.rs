//! What runs in a guest of one architecture: `flamekeeper`, the guest's tests, the workloads, a C library for two of them.
//!
//! ```text
//!   `cargo xtask dist`, or --binary ─▶ /flamekeeper      tests/guest ─▶ /bin/guest    tests/workloads ─▶ /workloads/NAME
//!   the kernel half's object as it is committed ─▶ /flamekeeper.o
//! ```
//!
//! All of it is static but two workloads, which show that the dynamic linker is no obstacle.

use super::arch::Arch;
use crate::dist::{self, Compiler};
use crate::ebpf;
use crate::folders::fresh_folder;
use crate::shell;
use crate::toolchain::Rustc;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A workload: its name in the guest, its source, how it differs from what the source's first line says.
struct Workload {
    name: &'static str,
    source: &'static str,
    flags: &'static [&'static str],
    only: Option<Arch>,
}

const fn workload(name: &'static str, source: &'static str, flags: &'static [&'static str]) -> Workload {
    Workload { name, source, flags, only: None }
}

const NO_FRAMES: [&str; 3] = ["-O2", "-fomit-frame-pointer", "-DNO_FRAMES"];

const LOADS: [Workload; 6] = [
    workload("c_qsort", "c_qsort", &[]),
    workload("c_recursion_static", "c_recursion", &["-static"]),
    workload("c_signal", "c_signal", &[]),
    workload("c_kernel_reader", "c_kernel_reader", &NO_FRAMES),
    workload("c_storm", "c_storm", &NO_FRAMES),
    Workload {
        name: "c_recursion_pac",
        source: "c_recursion",
        flags: &["-static", "-mbranch-protection=standard"],
        only: Some(Arch::Aarch64),
    },
];

/// A file of the guest: its path there, and where it comes from.
pub(super) type GuestFile = (String, PathBuf);

/// Everything, built or found built.
pub(super) fn of(workspace: &Workspace, arch: Arch, binaries: &[PathBuf]) -> Result<Vec<GuestFile>> {
    let mut files = vec![
        ("flamekeeper".to_owned(), flamekeeper(workspace, arch, binaries)?),
        ("bin/guest".to_owned(), guest(workspace, arch)?),
        ("flamekeeper.o".to_owned(), workspace.prebuilt().join(ebpf::object_name(arch.name()))),
    ];
    let folder = fresh_folder(&workspace.target().join("vm/workloads").join(arch.debian()))?;
    for load in LOADS.iter().filter(|load| load.only.is_none_or(|only| only == arch)) {
        let program = folder.join(load.name);
        compile(workspace, arch, load, &program)?;
        files.push((format!("workloads/{}", load.name), program));
    }
    files.extend(c_library(workspace, arch)?);
    Ok(files)
}

/// One that was named, else the one that is handed out.
fn flamekeeper(workspace: &Workspace, arch: Arch, binaries: &[PathBuf]) -> Result<PathBuf> {
    for binary in binaries {
        let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
        let found = Arch::of_elf(&bytes);
        ensure!(found.is_some(), "{} is no program of amd64 or arm64", binary.display());
        if found == Some(arch) {
            return Ok(binary.clone());
        }
    }
    dist::run(workspace, &dist::Args { arch: vec![arch], binaries: true, ..dist::Args::default() })?;
    Ok(workspace.target().join("dist").join(arch.name()).join("flamekeeper"))
}

/// The program that runs the tests, static by the same compiler.
fn guest(workspace: &Workspace, arch: Arch) -> Result<PathBuf> {
    let target = arch.target();
    let compiler = Compiler::of(workspace, &Rustc::of(workspace)?, arch)?;
    let mut cargo = workspace.cargo();
    compiler.tell(&mut cargo, &[]);
    cargo.args(["build", "--quiet", "--locked", "--package", "profiler-tests", "--bin", "guest"]);
    cargo.args(["--target", &target]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", ["-Ctarget-feature=+crt-static", "-Cstrip=symbols"].join("\x1f"));
    shell::run(&mut cargo)?;
    Ok(workspace.target().join(target).join("debug/guest"))
}

fn compile(workspace: &Workspace, arch: Arch, load: &Workload, program: &Path) -> Result<()> {
    let source = workspace.path(format!("tests/workloads/{}.c", load.source));
    let text = fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
    let flags = text.lines().next().and_then(|line| line.strip_prefix("// build:"));
    let flags = flags.with_context(|| format!("{} does not begin with `// build:`", source.display()))?;
    let mut compiler = workspace.command(arch.compiler());
    compiler.args(flags.split_whitespace()).args(load.flags).arg("-o").arg(program).arg(&source);
    shell::output(&mut compiler)?;
    Ok(())
}

/// The dynamic linker and the C library that the compiler links to, at the paths at which programs look for them.
fn c_library(workspace: &Workspace, arch: Arch) -> Result<Vec<GuestFile>> {
    let (linker, place) = match arch {
        Arch::X86_64 => ("ld-linux-x86-64.so.2", "lib64"),
        Arch::Aarch64 => ("ld-linux-aarch64.so.1", "lib"),
    };
    let mut files = Vec::new();
    for (name, folder) in [(linker, place), ("libc.so.6", "lib")] {
        let mut compiler = workspace.command(arch.compiler());
        let path = shell::output(compiler.arg(format!("-print-file-name={name}")))?;
        let path = PathBuf::from(path.trim());
        ensure!(path.is_absolute(), "{} has no {name}", arch.compiler());
        files.push((format!("{folder}/{name}"), path));
    }
    Ok(files)
}
