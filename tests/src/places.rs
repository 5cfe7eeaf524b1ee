//! Where things are: this repository, its build folder, the binary under test.
//!
//! Builds the binary under test at most once a test process, unless the caller named one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

/// The workspace's root folder.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Folder for built workloads, below cargo's own, made if it is missing.
pub fn build_folder() -> Result<PathBuf> {
    let folder = target_folder().join("profiler-tests");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// What `cargo xtask dist` made, if it did.
pub fn dist_folder() -> PathBuf {
    target_folder().join("dist")
}

/// Source folder of the workloads.
pub(crate) fn workload_sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads")
}

/// The binary under test: `FLAMEKEEPER_BIN`, else the workspace's release binary, brought up to date first.
pub fn flamekeeper() -> Result<PathBuf> {
    // The one static of this crate: a test runner starts tests as it likes, and none of them is the first.
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Some(named) = std::env::var_os("FLAMEKEEPER_BIN") {
        let path = PathBuf::from(named);
        ensure!(path.is_file(), "FLAMEKEEPER_BIN names {}, which is no file", path.display());
        return Ok(path);
    }
    let mut built = BUILT.lock().map_err(|_| anyhow::anyhow!("another test failed to build flamekeeper"))?;
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    // Always asked of cargo, which answers at once when nothing changed: a stale binary would pass or fail for
    // reasons that are no longer in the source.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", "profiler-user", "--bin", "flamekeeper"])
        .current_dir(repository())
        .output()
        .context("run cargo build for flamekeeper")?;
    ensure!(
        output.status.success(),
        "flamekeeper does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = target_folder().join("release/flamekeeper");
    *built = Some(path.clone());
    Ok(path)
}

/// Copies a program's file so that it can be executed at once.
///
/// By a process of its own: were the file open for writing here, a child that another thread starts at this
/// moment would hold it open, too, and executing it would fail.
pub(crate) fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status().context("run cp")?;
    ensure!(status.success(), "cannot copy {} to {}", from.display(), to.display());
    Ok(())
}
