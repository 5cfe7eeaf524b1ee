//! What is fetched from Debian for guests: kernels by the pattern of their packages' names, and busybox.

use super::arch::Arch;

/// A suite of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suite(pub(super) &'static str);

impl Suite {
    /// What the host's own suite of the same archive ends in: security updates have an archive of their own.
    pub(super) fn archive(self) -> &'static str {
        if self.0.ends_with("-security") { "-security" } else { "" }
    }
}

/// A package that is wanted for each architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// As in the lock file; of a kernel, what `--kernel` takes.
    pub(super) what: &'static str,
    /// Where to look, best first.
    pub(super) suites: &'static [Suite],
    /// What names begin with; a number follows. At the same version, a later one is better.
    prefixes: &'static [&'static str],
    /// What names end in.
    ending: fn(Arch) -> String,
    /// Of a kernel: what it is known to lack, as `flamekeeper doctor` calls it, joined by commas.
    pub(super) lacks: &'static str,
}

/// The kernels, oldest first. Cloud kernels are small and have all that a guest without modules needs built in.
pub(super) const KERNELS: [Wanted; 4] = [
    Wanted {
        lacks: "bpf_loop,bpf_task_pt_regs,perf_links",
        ..kernel("5.10", &[Suite("bullseye-security"), Suite("bullseye")], &["linux-image-5.10.0-"])
    },
    kernel("6.1", &[Suite("bookworm-security"), Suite("bookworm")], &["linux-image-6.1.0-"]),
    kernel("6.12", &[Suite("trixie-security"), Suite("trixie")], &["linux-image-6.12."]),
    // From 7.3 on, `linux-image-*` installs what `linux-binary-*` has.
    kernel("newest", &[Suite("trixie-backports")], &["linux-image-", "linux-binary-"]),
];

pub(super) const BUSYBOX: Wanted = Wanted {
    what: "busybox",
    suites: &[Suite("bookworm")],
    prefixes: &["busybox-static"],
    ending: |_| String::new(),
    lacks: "",
};

const fn kernel(what: &'static str, suites: &'static [Suite], prefixes: &'static [&'static str]) -> Wanted {
    Wanted { what, suites, prefixes, ending: |arch| format!("-cloud-{}", arch.debian()), lacks: "" }
}

impl Wanted {
    /// A pattern for `apt-cache search --names-only`, which finds a little too much.
    pub(super) fn search(&self, arch: Arch) -> String {
        let escaped = |text: &str| text.replace('.', "\\.");
        let prefixes: Vec<String> = self.prefixes.iter().map(|prefix| escaped(prefix)).collect();
        format!("^({}).*{}$", prefixes.join("|"), escaped(&(self.ending)(arch)))
    }

    /// How good a package's name is; `None`: not of this kind.
    pub(super) fn rank(&self, package: &str, arch: Arch) -> Option<usize> {
        let ending = (self.ending)(arch);
        let fits = |prefix: &&str| {
            let middle = package.strip_prefix(*prefix).and_then(|rest| rest.strip_suffix(&ending));
            middle.is_some_and(|middle| ending.is_empty() || middle.starts_with(|c: char| c.is_ascii_digit()))
        };
        self.prefixes.iter().rposition(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_own_package_is_told_from_its_kin() {
        let [old, .., newest] = &KERNELS;
        assert_eq!(old.rank("linux-image-5.10.0-32-cloud-amd64", Arch::X86_64), Some(0));
        for other in ["linux-image-5.10.0-32-cloud-amd64-dbg", "linux-image-5.10.0-32-amd64"] {
            assert_eq!(old.rank(other, Arch::X86_64), None, "{other}");
        }
        assert_eq!(newest.rank("linux-binary-7.3.4+deb13-cloud-arm64", Arch::Aarch64), Some(1));
        assert_eq!(newest.rank("linux-image-7.3.4+deb13-cloud-arm64", Arch::Aarch64), Some(0));
        assert_eq!(newest.rank("linux-image-cloud-arm64", Arch::Aarch64), None);
    }

    #[test]
    fn the_search_is_a_regular_expression() {
        assert_eq!(KERNELS[0].search(Arch::Aarch64), r"^(linux-image-5\.10\.0-).*-cloud-arm64$");
        assert_eq!(BUSYBOX.search(Arch::X86_64), "^(busybox-static).*$");
    }
}
