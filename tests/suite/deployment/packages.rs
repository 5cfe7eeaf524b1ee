//! The packages that `cargo xtask dist` makes: what is in them, and what they do to a Debian, and what they leave.
//!
//! ```text
//!   target/dist/ARCH/*.deb ──dpkg-deb──▶ files, conffiles, scripts
//!                          ──chroot──▶ dpkg: install, upgrade, remove, purge     (a service starts in packaged.rs only)
//!   target/dist/ARCH/*.rpm ──rpm──▶ files, scripts; install and erase in the same root
//! ```

use super::install::{debian_root, paths};
use super::pages::{PAGES, succeed};
use anyhow::{Context, Result, ensure};
use profiler_tests::{dist_folder, skip, test_name, tool_or_skip};
use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];
pub(super) const NOT_MADE: &str = "there are no packages: run `cargo xtask dist`";
const CONFIGURATION: &str = "etc/flamekeeper/config.toml";

/// The package of an architecture, if it was made.
pub(super) fn package(architecture: &str, ending: &str) -> Option<PathBuf> {
    let folder = dist_folder().join(architecture);
    let mut entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.find(|path| path.extension().is_some_and(|found| found == ending))
}

/// The same package with a higher version, and a line more in what it brings as configuration.
pub(super) fn next_version(deb: &Path, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("tree");
    succeed(Command::new("dpkg-deb").arg("--raw-extract").arg(deb).arg(&tree))?;
    let edit = |name: &str, change: &dyn Fn(&str) -> String| -> Result<()> {
        let path = tree.join(name);
        let text = std::fs::read_to_string(&path)?;
        let changed = change(&text);
        ensure!(changed != text, "{name} is as before");
        Ok(std::fs::write(path, changed)?)
    };
    edit("DEBIAN/control", &|text| text.replace("\nVersion: ", "\nVersion: 9:"))?;
    edit(CONFIGURATION, &|text| format!("{text}\n# Of the next version.\n"))?;
    let next = folder.join("next.deb");
    succeed(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&next))?;
    Ok(next)
}

/// Files that both kinds of package hold.
fn common() -> BTreeSet<String> {
    let pages = PAGES.map(|page| format!("/usr/share/man/man1/{page}.gz"));
    let others = [
        "/etc/flamekeeper/config.toml",
        "/usr/bin/flamekeeper",
        "/usr/lib/systemd/system/flamekeeper.service",
        "/usr/lib/sysusers.d/flamekeeper.conf",
        "/usr/share/bash-completion/completions/flamekeeper",
        "/usr/share/fish/vendor_completions.d/flamekeeper.fish",
        "/usr/share/doc/flamekeeper/README.md",
    ];
    pages.into_iter().chain(others.map(str::to_owned)).collect()
}

#[test]
fn a_deb_holds_what_a_host_needs() -> Result<()> {
    tool_or_skip!("dpkg-deb");
    let mut seen = 0;
    for (architecture, debian) in ARCHITECTURES {
        let Some(deb) = package(architecture, "deb") else { continue };
        seen += 1;
        let ask =
            |words: &[&str]| succeed(Command::new("dpkg-deb").arg(words[0]).arg(&deb).args(&words[1..]));
        ensure!(ask(&["--field", "Package"])? == "flamekeeper\n");
        ensure!(ask(&["--field", "Architecture"])?.trim() == debian);
        ensure!(ask(&["--info", "conffiles"])?.trim() == format!("/{CONFIGURATION}"));
        let listing = ask(&["--contents"])?;
        let files: BTreeSet<String> = listing
            .lines()
            .filter(|line| !line.starts_with('d'))
            .filter_map(|line| Some(line.split_whitespace().nth(5)?.trim_start_matches('.').to_owned()))
            .collect();
        let mut expected = common();
        for own in [
            "/usr/lib/sysctl.d/60-flamekeeper.conf",
            "/usr/share/doc/flamekeeper/LICENSE-APACHE",
            "/usr/share/doc/flamekeeper/LICENSE-GPL2",
            "/usr/share/doc/flamekeeper/LICENSE-MIT",
            "/usr/share/doc/flamekeeper/copyright",
            "/usr/share/zsh/vendor-completions/_flamekeeper",
        ] {
            expected.insert(own.to_owned());
        }
        let different: Vec<_> = files.symmetric_difference(&expected).collect();
        ensure!(different.is_empty(), "{different:?}:\n{listing}");
        ensure!(listing.lines().all(|line| line.contains(" 0/0 ")), "not all of it is root's:\n{listing}");
        let configuration = listing.lines().find(|line| line.ends_with(CONFIGURATION));
        ensure!(configuration.is_some_and(|line| line.starts_with("-rw-r-----")), "{configuration:?}");
        for script in ["postinst", "prerm", "postrm"] {
            let text = ask(&["--info", script])?;
            ensure!(!text.contains("#DEBHELPER#"), "{script} was not completed:\n{text}");
            succeed(Command::new("sh").args(["-n", "-c", &text]))?;
        }
    }
    if seen == 0 {
        return skip(test_name!(), NOT_MADE);
    }
    Ok(())
}

#[test]
fn an_rpm_holds_what_a_host_needs() -> Result<()> {
    tool_or_skip!("rpm");
    let mut seen = 0;
    for (architecture, _) in ARCHITECTURES {
        let Some(rpm) = package(architecture, "rpm") else { continue };
        seen += 1;
        let ask = |words: &[&str]| {
            succeed(Command::new("rpm").args(["--query", "--package"]).args(words).arg(&rpm))
        };
        ensure!(ask(&["--queryformat", "%{NAME} %{ARCH}"])? == format!("flamekeeper {architecture}"));
        let files: BTreeSet<String> = ask(&["--list"])?.lines().map(str::to_owned).collect();
        let mut expected = common();
        for own in [
            "/usr/share/licenses/flamekeeper/LICENSE",
            "/usr/share/licenses/flamekeeper/LICENSE-APACHE",
            "/usr/share/licenses/flamekeeper/LICENSE-GPL2",
            "/usr/share/licenses/flamekeeper/LICENSE-MIT",
            "/usr/share/zsh/site-functions/_flamekeeper",
        ] {
            expected.insert(own.to_owned());
        }
        let different: Vec<_> = files.symmetric_difference(&expected).collect();
        ensure!(different.is_empty(), "{different:?}");
        ensure!(ask(&["--configfiles"])?.trim() == format!("/{CONFIGURATION}"));
        let owners =
            ask(&["--queryformat", "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME}\n]"])?;
        let configuration = format!("/{CONFIGURATION} -rw-r----- root:flamekeeper");
        ensure!(owners.lines().any(|line| line == configuration), "{owners}");
        let requires = ask(&["--requires"])?;
        ensure!(!requires.contains(".so"), "a static program requires libraries:\n{requires}");
        let users = super::text("systemd/flamekeeper.sysusers")?;
        let user = users.lines().find(|line| line.starts_with("u ")).context("no user")?;
        ensure!(ask(&["--scripts"])?.contains(user), "its user is another than that of sysusers");
    }
    if seen == 0 {
        return skip(test_name!(), NOT_MADE);
    }
    Ok(())
}

/// A command in the root, without a service manager to talk to.
fn inside(root: &Path, words: &[&str]) -> Result<String> {
    let mut chroot = Command::new("chroot");
    chroot
        .arg(root)
        .args(words)
        .env_clear()
        .env("SYSTEMD_OFFLINE", "1")
        .env("DEBIAN_FRONTEND", "noninteractive");
    succeed(chroot.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// What two sets of paths differ by, but for what dpkg and rpm write about every package and what their tools keep.
fn difference(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Vec<String> {
    let notes = [
        "./packages",
        "./var/cache/",
        "./var/lib/dpkg/",
        "./var/lib/rpm",
        "./var/lib/systemd/deb-systemd",
        "./var/log/",
    ];
    // Every system of rpm's has them already.
    let folders = [
        "./usr/share/fish",
        "./usr/share/fish/vendor_completions.d",
        "./usr/share/licenses",
        "./usr/share/zsh/site-functions",
    ];
    let is_ours = |path: &&String| {
        !notes.iter().any(|note| path.starts_with(note)) && !folders.contains(&path.as_str())
    };
    one.symmetric_difference(other).filter(is_ours).cloned().collect()
}

const WANTS: &str = "etc/systemd/system/multi-user.target.wants/flamekeeper.service";

#[test]
fn a_debian_takes_the_packages_and_is_as_before_without_them() -> Result<()> {
    tool_or_skip!("mmdebstrap");
    let Some(deb) = package(ARCH, "deb") else { return skip(test_name!(), NOT_MADE) };
    let root = match debian_root("systemd,systemd-sysv")? {
        Ok(root) => root,
        Err(reason) => return skip(test_name!(), &reason),
    };
    let root = root.path();
    std::fs::create_dir(root.join("packages"))?;
    std::fs::copy(&deb, root.join("packages/this.deb"))?;
    let folder = tempfile::Builder::new().prefix("flamekeeper-test-").tempdir()?;
    std::fs::copy(next_version(&deb, folder.path())?, root.join("packages/next.deb"))?;
    let before = paths(root)?;

    inside(root, &["dpkg", "--install", "/packages/this.deb"])?;
    ensure!(inside(root, &["flamekeeper", "--version"])?.starts_with("flamekeeper "));
    inside(root, &["flamekeeper", "daemon", "--check-config", "--config", "/etc/flamekeeper/config.toml"])?;
    ensure!(root.join(WANTS).is_symlink(), "the service does not start with the host");
    let passwd = std::fs::read_to_string(root.join("etc/passwd"))?;
    let user = passwd.lines().find(|line| line.starts_with("flamekeeper:")).context("no user")?;
    ensure!(user.ends_with("nologin"), "{user}");
    let group = user.split(':').nth(3).context("no group")?;
    let configuration = root.join(CONFIGURATION);
    let owners = |path: &Path| -> Result<(u32, String, u32)> {
        let meta = path.metadata()?;
        Ok((meta.uid(), meta.gid().to_string(), meta.mode() & 0o7777))
    };
    ensure!(owners(&configuration)? == (0, group.to_owned(), 0o640), "{:?}", owners(&configuration)?);

    // A configuration that was changed is kept, also where the next version brings another.
    let ours = format!("{}\n# Ours.\n", std::fs::read_to_string(&configuration)?);
    std::fs::write(&configuration, &ours)?;
    inside(root, &["dpkg", "--force-confdef", "--force-confold", "--install", "/packages/next.deb"])?;
    ensure!(std::fs::read_to_string(&configuration)? == ours, "the upgrade took the configuration");
    ensure!(owners(&configuration)? == (0, group.to_owned(), 0o640), "{:?}", owners(&configuration)?);

    std::fs::create_dir_all(root.join("var/lib/flamekeeper/spool"))?;
    inside(root, &["dpkg", "--remove", "flamekeeper"])?;
    ensure!(configuration.is_file() && root.join("var/lib/flamekeeper/spool").is_dir(), "removing purged");
    ensure!(!root.join("usr/bin/flamekeeper").exists(), "the program is still there");
    inside(root, &["dpkg", "--purge", "flamekeeper"])?;
    let left = difference(&paths(root)?, &before);
    ensure!(left.is_empty(), "left behind, or gone with it: {left:?}");
    rpm(root, &before)
}

/// The same root takes the other package: rpm runs its scripts there.
fn rpm(root: &Path, before: &BTreeSet<String>) -> Result<()> {
    let (Some(package), Some(_)) = (package(ARCH, "rpm"), profiler_tests::tool("rpm")) else { return Ok(()) };
    let in_root = |words: &[&str]| {
        let mut rpm = Command::new("rpm");
        // Dependencies are in Debian's list, which rpm does not read.
        rpm.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm", "--nodeps"]).args(words);
        rpm.env("SYSTEMD_OFFLINE", "1");
        rpm
    };
    succeed(in_root(&["--install"]).arg(package))?;
    ensure!(root.join(WANTS).is_symlink(), "Debian's presets start everything");
    ensure!(inside(root, &["flamekeeper", "--version"])?.starts_with("flamekeeper "));
    succeed(&mut in_root(&["--erase", "flamekeeper"]))?;
    let left = difference(&paths(root)?, before);
    ensure!(left.is_empty(), "left behind by rpm, or gone with it: {left:?}");
    Ok(())
}
