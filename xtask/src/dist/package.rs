//! A binary → `.deb`, `.rpm` and `.tar.gz` of its architecture.
//!
//! ```text
//!   binary, unit, man pages, completions ─▶ target/package ──cargo-deb────────────▶ flamekeeper_VERSION-1_ARCH.deb
//!   deploy/, README.md, licences ───────────────────────────cargo-generate-rpm───▶ flamekeeper-VERSION-1.ARCH.rpm
//!                                                         └─tar─────────────────▶ flamekeeper-VERSION-ARCH.tar.gz
//! ```
//!
//! What lies where in the first two, and what they depend on, stands in `profiler-user/Cargo.toml`; their scripts in
//! `deploy/packages`. The same inputs give the same bytes: times are those of the last commit.

use super::architecture::Architecture;
use super::{BINARY, VERSION, pack};
use crate::folders::fresh_folder;
use crate::shell;
use crate::tools;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where packages put the program; by hand it goes to /usr/local.
const PROGRAM: &str = "/usr/bin/flamekeeper";
const PROGRAM_BY_HAND: &str = "/usr/local/bin/flamekeeper";

/// Writes the packages into the architecture's folder, beside its binary.
pub(super) fn make(workspace: &Workspace, architecture: Architecture, folder: &Path) -> Result<()> {
    let changed_at = workspace.changed_at()?;
    let stage = stage(workspace, folder, &changed_at)?;
    let target = architecture.target();
    let mut deb = workspace.command(tools::cargo_deb(workspace)?);
    deb.args(["--no-build", "--no-strip", "--locked", "--quiet", "--package", "profiler-user"]);
    deb.args(["--target", &target, "--output"]).arg(folder).env("SOURCE_DATE_EPOCH", &changed_at);
    shell::run(&mut deb)?;
    let mut rpm = workspace.command(tools::cargo_generate_rpm(workspace)?);
    rpm.args(["generate-rpm", "--package", "profiler-user", "--target", &target, "--output"]).arg(folder);
    shell::run(rpm.env("SOURCE_DATE_EPOCH", &changed_at))?;
    archive(workspace, architecture, &stage, folder, &changed_at)
}

/// What packages hold beside the files of the checkout.
fn stage(workspace: &Workspace, folder: &Path, changed_at: &str) -> Result<PathBuf> {
    // Not below CARGO_TARGET_DIR: the manifest names it.
    let stage = fresh_folder(&workspace.path("target/package"))?;
    fs::copy(folder.join(BINARY), stage.join(BINARY)).context("copy the binary")?;
    let unit = workspace.path("deploy/systemd/flamekeeper.service");
    let unit = fs::read_to_string(&unit).with_context(|| format!("read {}", unit.display()))?;
    ensure!(unit.contains(PROGRAM_BY_HAND), "the unit does not start {PROGRAM_BY_HAND}");
    fs::write(stage.join("flamekeeper.service"), unit.replace(PROGRAM_BY_HAND, PROGRAM))
        .context("write the unit")?;
    let mut pages = workspace.cargo();
    pages.args(["run", "--quiet", "--locked", "--package", "profiler-user", "--example", "pages", "--"]);
    shell::run(pages.arg(&stage).arg(date(changed_at)?))?;
    let man = stage.join("man");
    let mut gzip = Command::new("gzip");
    gzip.args(["--no-name", "--best"]);
    for page in fs::read_dir(&man).with_context(|| format!("list {}", man.display()))? {
        gzip.arg(page.context("list the man pages")?.path());
    }
    shell::output(&mut gzip)?;
    Ok(stage)
}

/// The day, as man pages tell it.
fn date(seconds: &str) -> Result<String> {
    let day = shell::output(Command::new("date").args(["--utc", "--date", &format!("@{seconds}"), "+%F"]))?;
    Ok(day.trim().to_owned())
}

/// For hosts of another kind: the same files, and the instructions to put them where they belong.
fn archive(
    workspace: &Workspace,
    architecture: Architecture,
    stage: &Path,
    folder: &Path,
    changed_at: &str,
) -> Result<()> {
    let name = format!("{BINARY}-{}-{}", VERSION, architecture.name());
    let root = fresh_folder(&stage.join(&name))?;
    let mut copy = workspace.command("cp");
    copy.args(["--recursive", "README.md", "CHANGELOG.md", "LICENSE", "LICENSE-APACHE", "LICENSE-MIT"]);
    copy.args(["profiler-ebpf/LICENSE-GPL2", "deploy/config.example.toml", "deploy/systemd"]);
    copy.args([BINARY, "man", "completions"].map(|name| stage.join(name))).arg(&root);
    shell::output(&mut copy)?;
    let mut tar = pack::tar(changed_at);
    let packed =
        shell::output_bytes(tar.arg(pack::PLAIN_MODES).arg("--directory").arg(stage).arg(&name), &[])?;
    fs::write(folder.join(format!("{name}.tar.gz")), pack::gzip(&packed)?).context("write the archive")
}
