//! The kernel half's sources → one stripped object per host architecture, in `profiler-ebpf/prebuilt`.
//!
//! ```text
//!   profiler-ebpf + profiler-common ──cargo, bpf-linker──▶ object with DWARF and BTF
//!                                   ──rust-objcopy──▶ flamekeeper-ARCH.o (BTF only) + SOURCES.lock
//! ```
//!
//! The objects are committed, so that a plain stable `cargo build` embeds them and a user needs none of this.
//! The bytes depend on the sources, the compiler and bpf-linker, never on the folder, the home or the machine.

use crate::shell;
use crate::sources;
use crate::toolchain::Rustc;
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to type when the committed objects do not fit the sources.
pub(crate) const REBUILD: &str = "cargo xtask ebpf";

/// Host architectures with an object: `PerfEventContext` and the register file differ.
pub(crate) const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// File name of the object for a host architecture.
pub(crate) fn object_name(architecture: &str) -> String {
    format!("flamekeeper-{architecture}.o")
}

/// Builds both objects and writes them with the lock file of their sources.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let prebuilt = workspace.prebuilt();
    fs::create_dir_all(&prebuilt).with_context(|| format!("create {}", prebuilt.display()))?;
    let builder = Builder::new(workspace)?;
    for architecture in ARCHITECTURES {
        let file = prebuilt.join(object_name(architecture));
        let bytes = builder.object(architecture)?;
        fs::write(&file, &bytes).with_context(|| format!("write {}", file.display()))?;
        println!("{}: {} bytes", file.display(), bytes.len());
    }
    sources::write_lock(workspace)
}

/// Builds both objects and compares them with the committed ones, byte by byte.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let builder = Builder::new(workspace)?;
    let mut different = Vec::new();
    for architecture in ARCHITECTURES {
        let file = workspace.prebuilt().join(object_name(architecture));
        let built = builder.object(architecture)?;
        match fs::read(&file) {
            Ok(committed) if committed == built => println!("{}: same {} bytes", file.display(), built.len()),
            Ok(committed) => {
                let (old, new) = (committed.len(), built.len());
                different.push(format!("{} differs ({old} bytes committed, {new} built)", file.display()));
            }
            Err(error) => different.push(format!("{}: {error}", file.display())),
        }
    }
    if !different.is_empty() {
        bail!("{}; run `{REBUILD}` and commit the result", different.join(", "));
    }
    sources::check_lock(workspace)
}

/// Lints the kernel half in a call of its own: together with user space it would get the feature `user`, and std.
pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    let builder = Builder::new(workspace)?;
    for architecture in ARCHITECTURES {
        let mut clippy = builder.cargo("clippy", architecture);
        shell::run(clippy.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Everything that turns the sources into an object.
struct Builder<'a> {
    workspace: &'a Workspace,
    rustc: Rustc,
    linker: PathBuf,
    library: PathBuf,
    /// Path prefixes of this machine, each with what the object says instead.
    remapped: Vec<(PathBuf, String)>,
}

impl<'a> Builder<'a> {
    fn new(workspace: &'a Workspace) -> Result<Self> {
        let rustc = Rustc::of(workspace)?;
        let library = rustc.library_source(workspace)?;
        let linker = tools::bpf_linker(workspace, &rustc)?;
        // Crates must be unpacked before their folders can be listed.
        shell::run(workspace.cargo().args(["fetch", "--locked", "--quiet"]))?;
        let mut remapped = vec![(workspace.root().to_owned(), "flamekeeper".to_owned())];
        remapped
            .extend(crate_folders(workspace.cargo_home())?.into_iter().map(|dir| (dir, "crates".to_owned())));
        // Last, because the last match wins and this folder may lie below the first; then cargo hands the
        // compiler paths from the top folder, which have to be matched as they are spelled.
        let virtual_library = format!("/rustc/{}/library", rustc.commit);
        if let Ok(inside) = library.strip_prefix(workspace.root()) {
            remapped.push((inside.to_owned(), virtual_library.clone()));
        }
        remapped.push((library.clone(), virtual_library));
        Ok(Self { workspace, rustc, linker, library, remapped })
    }

    /// The stripped object for one host architecture.
    fn object(&self, architecture: &str) -> Result<Vec<u8>> {
        shell::run(&mut self.cargo("build", architecture))?;
        let built = self.target(architecture).join("bpfel-unknown-none/bpf/flamekeeper-ebpf");
        let stripped = built.with_extension("stripped.o");
        let mut strip = Command::new(self.rustc.objcopy());
        // DWARF is four fifths of the file; BTF is what the loader and the verifier read.
        strip.arg("--strip-debug").args(plain_names(&built)?).arg(&built).arg(&stripped);
        strip.env("LD_LIBRARY_PATH", self.rustc.sysroot.join("lib"));
        shell::output(&mut strip)?;
        fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))
    }

    /// `cargo build` or `cargo clippy` of the kernel half.
    fn cargo(&self, verb: &str, architecture: &str) -> Command {
        let mut cargo = self.workspace.cargo();
        cargo.args([verb, "--locked", "--package", "profiler-ebpf", "--profile", "bpf"]);
        cargo.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"]);
        cargo.arg(self.target(architecture));
        // Stable with its unstable switches on: building `core` for a target without one asks for it.
        cargo.env("RUSTC_BOOTSTRAP", "1");
        // Cargo's own tests look for the library here; the only way to name a folder outside the sysroot.
        cargo.env("__CARGO_TESTS_ONLY_SRC_ROOT", &self.library);
        // Not by `-C linker`: a path among the flags would reach the names of symbols.
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags(architecture).join("\x1f"));
        cargo
    }

    fn flags(&self, architecture: &str) -> Vec<String> {
        let mut flags = fixed_flags(architecture);
        for (from, to) in &self.remapped {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        flags
    }

    /// One folder each: in a shared one each build throws away the other's `core`.
    fn target(&self, architecture: &str) -> PathBuf {
        self.workspace.target().join("ebpf").join(architecture)
    }
}

/// Compiler flags that are the same on every machine; part of the lock file.
pub(crate) fn fixed_flags(architecture: &str) -> Vec<String> {
    vec![
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
        // bpf-linker turns DWARF into BTF.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ]
}

/// The folders that hold unpacked crates, one for each registry: their names depend on where crates come from.
pub(crate) fn crate_folders(cargo_home: &Path) -> Result<Vec<PathBuf>> {
    let sources = cargo_home.join("registry/src");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| format!("list {}", sources.display()))? {
        folders.push(entry.with_context(|| format!("list {}", sources.display()))?.path());
    }
    Ok(folders)
}

/// Options that give the functions which are called by their address (callbacks of bpf_loop) the names that
/// they have in the source. Their linker names hold a hash that cargo makes of the checkout's folder.
fn plain_names(object: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(object).with_context(|| format!("read {}", object.display()))?;
    let strings = bytes.split(|&byte| byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let mangled: BTreeSet<&str> = strings.filter(|string| string.starts_with("_R")).collect();
    Ok(mangled.into_iter().filter_map(redefinition).collect())
}

/// `_RNv…4walk10walk_frame` becomes `walk_frame`: the last part of a v0 name is its length and the identifier. Of a function
/// with type arguments (`_RI…`) there are several: such a name is made of all of its parts.
fn redefinition(mangled: &str) -> Option<String> {
    if let Some(generic) = mangled.strip_prefix("_RI") {
        let name = parts(generic.split_once(CRATE_PART)?.1).join("_");
        return (!name.is_empty()).then(|| format!("--redefine-sym={mangled}={name}"));
    }
    let digits = |at: usize| {
        mangled.get(at..)?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let starts = mangled.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at);
    let name = starts.rev().find_map(|at| {
        let length: usize = digits(at)?;
        let name = mangled.get(at + length.to_string().len()..)?;
        (name.len() == length).then_some(name)
    })?;
    Some(format!("--redefine-sym={mangled}={name}"))
}

/// What stands behind the hash in a v0 name: length and name of the crate.
const CRATE_PART: &str = "_16flamekeeper_ebpf";

/// The identifiers of a v0 name from a place on where a part begins. Back references (`B4_`) are passed over.
fn parts(mut rest: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some(first) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let part = rest.get(..digits).and_then(|length| length.parse().ok()).and_then(|length: usize| {
            Some((rest.get(digits..digits.checked_add(length)?)?, rest.get(digits + length..)?))
        });
        rest = match part {
            Some((part, behind)) => {
                parts.push(part);
                behind
            }
            None if first == 'B' => rest.split_once('_').map_or("", |(_, behind)| behind),
            None => rest.get(first.len_utf8()..).unwrap_or_default(),
        };
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_with_type_arguments_keeps_all_names() {
        let run = "_RINvNtCsjugbeIrnIGv_16flamekeeper_ebpf9abilities7one_runNtNtB4_4walk6CursorEB4_";
        let plain = format!("--redefine-sym={run}=abilities_one_run_walk_Cursor");
        assert_eq!(redefinition(run), Some(plain));
        assert_eq!(redefinition("_RINothing"), None);
    }

    #[test]
    fn a_callback_keeps_only_its_own_name() {
        let walk = "_RNvNtCsl0Ofa5sojIh_16flamekeeper_ebpf4walk10walk_frame";
        assert_eq!(redefinition(walk), Some(format!("--redefine-sym={walk}=walk_frame")));
        assert_eq!(redefinition("_RNvNothing"), None);
    }
}
