//! The instructions of `deploy/README.md`, followed to the letter in a Debian that is made for it: what they install, and
//! that nothing of it stays behind.
//!
//! ```text
//!   README.md ──block──▶ shell lines ──chroot──▶ a root by mmdebstrap ──▶ files, before and after
//! ```

use super::text;
use anyhow::{Context, Result, ensure};
use profiler_tests::{skip, test_name, tool_or_skip};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A root folder of the distribution that this machine runs, with these packages; the inner error says why not.
pub(super) fn debian_root(packages: &str) -> Result<Result<TempDir, String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("needs root".to_owned()));
    }
    let release = std::fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.context("/etc/os-release has no VERSION_CODENAME")?;
    let root = tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()?;
    let output = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--format=directory"])
        .arg(format!("--include={packages}"))
        .arg(codename)
        .arg(root.path())
        .output()
        .context("run mmdebstrap")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        return Ok(Err(format!("mmdebstrap cannot make a root here: {last}")));
    }
    Ok(Ok(root))
}

/// The checkout in a root, as far as the instructions need it, at `/src`.
pub(super) fn put_checkout(root: &Path, binary: &Path) -> Result<()> {
    let place = root.join("src/target/dist").join(std::env::consts::ARCH);
    std::fs::create_dir_all(&place)?;
    std::fs::copy(binary, place.join("flamekeeper"))?;
    let copied = Command::new("cp").arg("-r").arg(super::path("")).arg(root.join("src/deploy")).status()?;
    ensure!(copied.success(), "cp: {copied}");
    Ok(())
}

/// The shell lines of a block that begins with "```sh NAME".
pub(super) fn block(name: &str) -> Result<String> {
    let readme = text("README.md")?;
    let start = format!("```sh {name}\n");
    let (_, rest) = readme.split_once(&start).with_context(|| format!("no block {name}"))?;
    let (lines, _) = rest.split_once("```").with_context(|| format!("block {name} has no end"))?;
    Ok(lines.to_owned())
}

fn follow(root: &Path, name: &str) -> Result<()> {
    let output = Command::new("chroot")
        .arg(root)
        .args(["sh", "-euc", &format!("cd /src\n{}", block(name)?)])
        .env_clear()
        // No service manager to talk to: systemctl only changes files.
        .env("SYSTEMD_OFFLINE", "1")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .context("run chroot")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {said}", output.status);
    Ok(())
}

/// Every path below the root but `/src` and `/dev`.
pub(super) fn paths(root: &Path) -> Result<BTreeSet<String>> {
    let find = ["-xdev", "-path", "./src", "-prune", "-o", "-path", "./dev", "-prune", "-o", "-print"];
    let output = Command::new("find").arg(".").args(find).current_dir(root).output().context("run find")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What the tools that change passwd keep of the version before.
    let is_lasting =
        |path: &&str| !(path.starts_with("./etc/") && (path.ends_with('-') || path.ends_with(".lock")));
    Ok(String::from_utf8(output.stdout)?.lines().filter(is_lasting).map(str::to_owned).collect())
}

#[test]
fn the_instructions_install_it_and_leave_nothing_behind() -> Result<()> {
    tool_or_skip!("mmdebstrap");
    let root = match debian_root("systemd,systemd-sysv")? {
        Ok(root) => root,
        Err(reason) => return skip(test_name!(), &reason),
    };
    let root = root.path();
    put_checkout(root, &profiler_tests::flamekeeper()?)?;
    // A folder of the administrator's that this small system does not have yet.
    std::fs::create_dir_all(root.join("etc/sysusers.d"))?;
    let before = paths(root)?;
    let users = std::fs::read_to_string(root.join("etc/passwd"))?;

    follow(root, "install")?;
    // Its check of the configuration runs the installed program; a service cannot start in a folder.
    follow(root, "start")?;
    let installed: Vec<String> = paths(root)?.difference(&before).cloned().collect();
    let expected = [
        "./etc/flamekeeper",
        "./etc/flamekeeper/config.toml",
        "./etc/systemd/system/flamekeeper.service",
        "./etc/systemd/system/multi-user.target.wants/flamekeeper.service",
        "./etc/sysusers.d/flamekeeper.conf",
        "./usr/local/bin/flamekeeper",
    ];
    ensure!(installed == expected, "{installed:?}");
    let with_ours = std::fs::read_to_string(root.join("etc/passwd"))?;
    ensure!(with_ours.contains("\nflamekeeper:"), "no user:\n{with_ours}");
    ensure!(
        with_ours.lines().any(|line| line.starts_with("flamekeeper:") && line.ends_with("nologin")),
        "{with_ours}"
    );

    follow(root, "uninstall")?;
    let left: Vec<_> = paths(root)?.symmetric_difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left behind, or gone with it: {left:?}");
    ensure!(std::fs::read_to_string(root.join("etc/passwd"))? == users, "the users are not as before");
    Ok(())
}
