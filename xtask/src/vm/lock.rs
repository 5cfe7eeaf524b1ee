//! `xtask/vm.lock`: exactly which packages guests are made of, a line each. Text in, text out.

use super::arch::Arch;
use anyhow::{Context, Result};

const HEAD: &str = "\
# Packages that `cargo xtask vm` boots: what, architecture, suite, package, version, SHA-256.
# Written by `cargo xtask vm --update`.
";

/// A package of which every byte is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Locked {
    pub(super) what: String,
    pub(super) arch: Arch,
    pub(super) suite: String,
    pub(super) package: String,
    pub(super) version: String,
    pub(super) sha256: String,
}

impl Locked {
    /// For people, and for names of files.
    pub(super) fn full_name(&self) -> String {
        format!("{}_{}_{}", self.package, self.version.replace(':', "%3a"), self.arch.debian())
    }

    fn line(&self) -> String {
        let Self { what, arch, suite, package, version, sha256 } = self;
        format!("{what} {} {suite} {package} {version} {sha256}\n", arch.debian())
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Locked>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| locked(line).with_context(|| format!("no line of a lock file: {line:?}"))).collect()
}

fn locked(line: &str) -> Option<Locked> {
    let [what, arch, suite, package, version, sha256] =
        line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().ok()?;
    Some(Locked { what, arch: Arch::named(&arch)?, suite, package, version, sha256 })
}

pub(super) fn format(all: &[Locked]) -> String {
    HEAD.to_owned() + &all.iter().map(Locked::line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let all = [Locked {
            what: "6.1".to_owned(),
            arch: Arch::Aarch64,
            suite: "bookworm".to_owned(),
            package: "linux-image-6.1.0-50-cloud-arm64".to_owned(),
            version: "6.1.170-1".to_owned(),
            sha256: "ab12".to_owned(),
        }];
        assert_eq!(parse(&format(&all)).unwrap(), all);
        assert!(parse("6.1 arm64 bookworm\n").is_err());
        assert!(parse("6.1 mips bookworm a b c\n").is_err());
    }
}
