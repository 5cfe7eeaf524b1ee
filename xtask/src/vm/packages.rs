//! A wanted package → its file below `target/vm/packages`, as the lock says or, when the archive has dropped that, the newest
//! that it still has.
//!
//! ```text
//!   Wanted ─▶ vm.lock ─▶ cache ─▶ private apt root of the suite ─▶ apt-get download ─▶ SHA-256
//!      └── gone from the archive ─▶ newest by pattern, said aloud; `--update` makes that the lock
//! ```
//!
//! Installs nothing and touches nothing of the host's apt.

use super::arch::Arch;
use super::lock::Locked;
use super::wanted::{Suite, Wanted};
use crate::debian::{PrivateApt, archives};
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Fetches, and remembers which package lists it has fetched.
pub(super) struct Packages<'w> {
    workspace: &'w Workspace,
    folder: PathBuf,
    suites: BTreeMap<&'static str, PrivateApt>,
}

impl<'w> Packages<'w> {
    pub(super) fn new(workspace: &'w Workspace) -> Result<Self> {
        let folder = workspace.target().join("vm/packages");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { workspace, folder, suites: BTreeMap::new() })
    }

    /// What the lock names, or what comes nearest to it; with the package that it is.
    pub(super) fn fetch(
        &mut self,
        wanted: &Wanted,
        arch: Arch,
        lock: &[Locked],
    ) -> Result<(PathBuf, Locked)> {
        let locked = lock.iter().find(|locked| locked.what == wanted.what && locked.arch == arch);
        let mut why = format!("the lock has no {} for {}", wanted.what, arch.debian());
        if let Some(locked) = locked {
            match self.exactly(wanted, locked) {
                Ok(file) => return Ok((file, locked.clone())),
                Err(error) => why = format!("{} cannot be had ({error:#})", locked.full_name()),
            }
        }
        for other in self.candidates(wanted, arch)? {
            match self.exactly(wanted, &other) {
                Ok(file) => {
                    println!("vm: {why}: taking {}; `cargo xtask vm --update` locks it", other.full_name());
                    return Ok((file, other));
                }
                Err(error) => why += &format!("; nor {} ({error:#})", other.full_name()),
            }
        }
        bail!("{why}; and there is no other");
    }

    /// The best that can be downloaded now, whatever the lock says.
    pub(super) fn newest(&mut self, wanted: &Wanted, arch: Arch) -> Result<Locked> {
        let mut why = String::new();
        for candidate in self.candidates(wanted, arch)? {
            match self.exactly(wanted, &candidate) {
                Ok(_) => return Ok(candidate),
                Err(error) => why += &format!("; {error:#}"),
            }
        }
        bail!("no {} for {}{why}", wanted.what, arch.debian())
    }

    fn exactly(&mut self, wanted: &Wanted, locked: &Locked) -> Result<PathBuf> {
        let place = self.folder.join(format!("{}.deb", locked.full_name()));
        if !place.is_file() {
            let suite = wanted.suites.iter().find(|suite| suite.0 == locked.suite);
            let suite =
                suite.with_context(|| format!("{} is not looked for in {}", wanted.what, locked.suite))?;
            let apt = self.suite(*suite)?;
            let exact = format!("{}:{}={}", locked.package, locked.arch.debian(), locked.version);
            shell::run(apt.command("apt-get").args(["--quiet", "download", &exact]))?;
            let file = apt.only_package()?;
            let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let found = shell::sha256(&bytes)?;
            if found != locked.sha256 {
                fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
                bail!("SHA-256 {found} instead of {}", locked.sha256);
            }
            fs::rename(&file, &place).with_context(|| format!("move {}", file.display()))?;
        }
        Ok(place)
    }

    /// Best first: suites in their order, then versions, newest first.
    fn candidates(&mut self, wanted: &Wanted, arch: Arch) -> Result<Vec<Locked>> {
        let mut all = Vec::new();
        for suite in wanted.suites {
            let apt = self.suite(*suite)?;
            let search = ["search", "--names-only", &wanted.search(arch)];
            let found = shell::output(apt.command("apt-cache").args(search))?;
            let names = found.lines().filter_map(|line| line.split(" - ").next());
            let names = names.filter(|name| wanted.rank(name, arch).is_some());
            let names: Vec<String> = names.map(|name| format!("{name}:{}", arch.debian())).collect();
            if names.is_empty() {
                continue;
            }
            let shown = shell::output(apt.command("apt-cache").arg("show").args(&names))?;
            let mut found = stanzas(&shown, wanted, arch, suite.0);
            found.sort_by_cached_key(|locked| (natural(&locked.version), wanted.rank(&locked.package, arch)));
            all.extend(found.into_iter().rev());
        }
        Ok(all)
    }

    fn suite(&mut self, suite: Suite) -> Result<&PrivateApt> {
        if !self.suites.contains_key(suite.0) {
            let root = self.workspace.target().join("vm/apt").join(suite.0);
            let architectures = Arch::ALL.map(Arch::debian);
            let mut why = String::new();
            for archive in archives(self.workspace, suite.archive())? {
                match PrivateApt::make(&root, suite.0, &archive, &architectures) {
                    Ok(apt) => {
                        self.suites.insert(suite.0, apt);
                        break;
                    }
                    Err(error) => why += &format!("; {error:#}"),
                }
            }
            if !self.suites.contains_key(suite.0) {
                bail!("no archive of this host has {}{why}", suite.0);
            }
        }
        self.suites.get(suite.0).context("a suite that was just added")
    }
}

/// What `apt-cache show` tells, a paragraph a package.
fn stanzas(shown: &str, wanted: &Wanted, arch: Arch, suite: &str) -> Vec<Locked> {
    let stanza = |text: &str| {
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            value.map(str::to_owned)
        };
        Some(Locked {
            what: wanted.what.to_owned(),
            arch: Arch::named(&field("Architecture")?).filter(|found| *found == arch)?,
            suite: suite.to_owned(),
            package: field("Package")?,
            version: field("Version")?,
            sha256: field("SHA256")?,
        })
    };
    shown.split("\n\n").filter_map(stanza).collect()
}

/// A key by which 5.10.9 comes before 5.10.237: numbers by their value, what is between them as text.
fn natural(version: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = vec![(0, String::new())];
    for letter in version.chars() {
        let Some((number, text)) = parts.last_mut() else { break };
        match letter.to_digit(10) {
            Some(digit) if text.is_empty() => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
            }
            Some(digit) => parts.push((u64::from(digit), String::new())),
            None => text.push(letter),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::wanted::KERNELS;
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let mut versions = ["5.10.237-1", "5.10.9-1", "5.10.46-4", "5.10.46-11", "5.9-1"];
        versions.sort_by_cached_key(|version| natural(version));
        assert_eq!(versions, ["5.9-1", "5.10.9-1", "5.10.46-4", "5.10.46-11", "5.10.237-1"]);
    }

    #[test]
    fn a_paragraph_is_a_package() {
        let shown = "Package: linux-image-6.1.0-50-cloud-arm64\nVersion: 6.1.170-1\nArchitecture: arm64\nSHA256: ab\n\n\
                     Package: other\nVersion: 1\nArchitecture: amd64\nSHA256: cd\n\nPackage: without\n";
        let found = stanzas(shown, &KERNELS[1], Arch::Aarch64, "bookworm");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].full_name(), "linux-image-6.1.0-50-cloud-arm64_6.1.170-1_arm64");
    }
}
