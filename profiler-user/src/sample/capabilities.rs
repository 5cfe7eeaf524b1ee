//! The capabilities of this thread → which of those that sampling needs are missing, and how to get them.
//!
//! Reads; never raises or drops anything.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::thread::CapabilitySet;

use super::kernel_features::KernelFeatureError;
use crate::host::ProcFs;

/// The initial user namespace's inode: fixed by the kernel (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";
/// Last capability of a kernel whose `cap_last_cap` cannot be read: 5.9 and later.
const NEWEST_KNOWN: u32 = 40;

/// A capability that profiling the whole host needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Loads programs and makes maps.
    Bpf,
    /// Opens perf events for every process and reads kernel memory from a program.
    Perfmon,
    /// Reads what processes of other users have mapped.
    SysPtrace,
    /// Reads program files that only their owner may read.
    DacReadSearch,
    /// Reads the addresses of kernel symbols.
    Syslog,
    /// Opens mapped files that were deleted or replaced.
    CheckpointRestore,
}

impl Capability {
    /// All of them; without the first two there is no sample at all.
    pub const ALL: [Self; 6] = [
        Self::Bpf,
        Self::Perfmon,
        Self::SysPtrace,
        Self::DacReadSearch,
        Self::Syslog,
        Self::CheckpointRestore,
    ];

    /// As in capabilities(7).
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::Syslog => "CAP_SYSLOG",
            Self::CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        }
    }

    /// Without it nothing can be sampled; without the others names or processes are lost.
    pub fn is_essential(self) -> bool {
        matches!(self, Self::Bpf | Self::Perfmon)
    }

    fn flag(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::SysPtrace => CapabilitySet::SYS_PTRACE,
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
            Self::Syslog => CapabilitySet::SYSLOG,
            Self::CheckpointRestore => CapabilitySet::CHECKPOINT_RESTORE,
        }
    }

    /// The wider capability that the kernel accepts in its place.
    fn substitute(self) -> Option<(CapabilitySet, &'static str)> {
        match self {
            Self::Bpf | Self::Perfmon | Self::CheckpointRestore => {
                Some((CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"))
            }
            Self::DacReadSearch => Some((CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE")),
            Self::SysPtrace | Self::Syslog => None,
        }
    }
}

/// How a capability is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the effective set.
    Itself,
    /// Through a wider one, named here.
    Through(&'static str),
    /// In the effective set, but of a user namespace of its own: the kernel does not accept it.
    InsideNamespaceOnly,
    /// Not at all.
    No,
}

/// What this thread may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The effective set.
    pub effective: CapabilitySet,
    /// Highest capability number that this kernel knows; 39 is CAP_BPF.
    pub newest_known: u32,
    /// Whether we are root, who cannot be helped by sudo.
    pub is_root: bool,
    /// False in a rootless container, whose capabilities count only inside it.
    pub in_initial_user_namespace: bool,
    /// This program, for the commands to type.
    pub executable: PathBuf,
}

impl Capabilities {
    /// Those of the calling thread.
    pub fn of_this_thread(proc: &ProcFs) -> Result<Self, KernelFeatureError> {
        let sets = rustix::thread::capabilities(None)
            .map_err(|error| KernelFeatureError::Capabilities { source: io::Error::from(error) })?;
        let newest_known = proc.sysctl("kernel/cap_last_cap").ok().and_then(|text| text.parse().ok());
        // A kernel without user namespaces has no such link, and only the initial one.
        let user_namespace = proc.link("self/ns/user").ok();
        Ok(Self {
            effective: sets.effective,
            newest_known: newest_known.unwrap_or(NEWEST_KNOWN),
            is_root: rustix::process::geteuid().is_root(),
            in_initial_user_namespace: user_namespace
                .is_none_or(|link| link == Path::new(INITIAL_USER_NAMESPACE)),
            executable: proc.link("self/exe").unwrap_or_else(|_| PathBuf::from("flamekeeper")),
        })
    }

    /// How a capability is held.
    pub fn held(&self, capability: Capability) -> Held {
        // Older kernels do not know the number: there CAP_SYS_ADMIN stands for it.
        let known = capability.flag().bits().trailing_zeros() <= self.newest_known;
        let how = if known && self.effective.contains(capability.flag()) {
            Held::Itself
        } else {
            let wider = capability.substitute().filter(|(flag, _)| self.effective.contains(*flag));
            wider.map_or(Held::No, |(_, name)| Held::Through(name))
        };
        if how != Held::No && !self.in_initial_user_namespace { Held::InsideNamespaceOnly } else { how }
    }

    /// What is missing; `None` if nothing is.
    pub fn missing(&self) -> Option<MissingCapabilities> {
        let is_missing =
            |capability: &Capability| matches!(self.held(*capability), Held::No | Held::InsideNamespaceOnly);
        let missing: Vec<Capability> = Capability::ALL.into_iter().filter(is_missing).collect();
        (!missing.is_empty()).then(|| MissingCapabilities { missing, remedy: self.remedy() })
    }

    /// How to get all of them.
    pub fn remedy(&self) -> Remedy {
        if !self.in_initial_user_namespace {
            let advice = "leave the user namespace: run it on the host, or in a container of root's";
            return Remedy { advice, commands: Vec::new() };
        }
        if self.is_root {
            let advice = "root's capabilities were taken away; give them back: in a container with --cap-add or \
                          --privileged, in a systemd unit with AmbientCapabilities=";
            return Remedy { advice, commands: Vec::new() };
        }
        let program = shell_word(&self.executable);
        let names: Vec<String> = self.names_known_here().map(str::to_lowercase).collect();
        let setcap = format!("sudo setcap {}+ep {program}", names.join(","));
        let advice = "run it as root, or give the program its capabilities once:";
        Remedy { advice, commands: vec![format!("sudo {program} …"), setcap] }
    }

    fn names_known_here(&self) -> impl Iterator<Item = &'static str> {
        let bpf_is_known = CapabilitySet::BPF.bits().trailing_zeros() <= self.newest_known;
        let newest_known = self.newest_known;
        let known = Capability::ALL
            .into_iter()
            .filter(move |capability| capability.flag().bits().trailing_zeros() <= newest_known);
        known.map(Capability::name).chain((!bpf_is_known).then_some("CAP_SYS_ADMIN"))
    }
}

/// What to do about missing capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// One sentence.
    pub advice: &'static str,
    /// Commands to type, either of which will do.
    pub commands: Vec<String>,
}

/// Capabilities that are needed and not held. Shown as a few lines: what is missing, and what to type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCapabilities {
    missing: Vec<Capability>,
    remedy: Remedy,
}

impl MissingCapabilities {
    /// Those that are missing, never none.
    pub fn list(&self) -> &[Capability] {
        &self.missing
    }

    /// Whether sampling is possible all the same, with losses.
    pub fn can_sample(&self) -> bool {
        !self.missing.iter().any(|capability| capability.is_essential())
    }
}

impl std::error::Error for MissingCapabilities {}

impl fmt::Display for MissingCapabilities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.missing.iter().map(|capability| capability.name()).collect();
        let what = if self.can_sample() {
            "some names will be missing"
        } else {
            "not permitted to sample this host"
        };
        write!(formatter, "{what}: without {}\n{}", names.join(", "), self.remedy.advice)?;
        self.remedy.commands.iter().try_for_each(|command| write!(formatter, "\n  {command}"))
    }
}

/// A path as a shell takes it.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,=".contains(c);
    if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn nobody() -> Capabilities {
        Capabilities {
            effective: CapabilitySet::empty(),
            newest_known: 40,
            is_root: false,
            in_initial_user_namespace: true,
            executable: PathBuf::from("/opt/my tools/flamekeeper"),
        }
    }

    fn held(capabilities: &Capabilities) -> Vec<Held> {
        Capability::ALL.into_iter().map(|capability| capabilities.held(capability)).collect()
    }

    #[test]
    fn nobody_is_told_what_is_missing_and_what_to_type() {
        let missing = nobody().missing().unwrap();
        assert!(!missing.can_sample());
        expect![[r#"
            not permitted to sample this host: without CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_CHECKPOINT_RESTORE
            run it as root, or give the program its capabilities once:
              sudo '/opt/my tools/flamekeeper' …
              sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_checkpoint_restore+ep '/opt/my tools/flamekeeper'"#]]
        .assert_eq(&missing.to_string());
    }

    #[test]
    fn wider_capabilities_stand_for_narrower_ones() {
        let effective = CapabilitySet::SYS_ADMIN | CapabilitySet::SYSLOG | CapabilitySet::DAC_OVERRIDE;
        let admin = Capabilities { effective, ..nobody() };
        let through_admin = Held::Through("CAP_SYS_ADMIN");
        let expected = [
            through_admin,
            through_admin,
            Held::No,
            Held::Through("CAP_DAC_OVERRIDE"),
            Held::Itself,
            through_admin,
        ];
        assert_eq!(held(&admin), expected);
        let missing = admin.missing().unwrap();
        assert_eq!(missing.list(), [Capability::SysPtrace]);
        assert!(missing.can_sample());
    }

    #[test]
    fn a_kernel_before_5_8_needs_the_administrator_capability() {
        let all = CapabilitySet::from_bits_retain((1 << 38) - 1);
        let old = Capabilities { effective: all, newest_known: 37, ..nobody() };
        assert_eq!(old.missing(), None);
        assert_eq!(old.held(Capability::Bpf), Held::Through("CAP_SYS_ADMIN"));
        let without = Capabilities { effective: all - CapabilitySet::SYS_ADMIN, ..old };
        let text = without.missing().unwrap().to_string();
        assert!(
            text.contains("setcap cap_sys_ptrace,cap_dac_read_search,cap_syslog,cap_sys_admin+ep"),
            "{text}"
        );
    }

    #[test]
    fn all_capabilities_of_a_rootless_container_are_none() {
        let all = CapabilitySet::all();
        let rootless =
            Capabilities { effective: all, is_root: true, in_initial_user_namespace: false, ..nobody() };
        assert_eq!(held(&rootless), [Held::InsideNamespaceOnly; 6]);
        let text = rootless.missing().unwrap().to_string();
        assert!(text.contains("leave the user namespace") && !text.contains("sudo"), "{text}");
    }

    #[test]
    fn a_thread_that_drops_everything_is_told_so() {
        let before = Capabilities::of_this_thread(&ProcFs::host()).unwrap();
        let after = std::thread::spawn(|| {
            let none = CapabilitySet::empty();
            let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
            rustix::thread::set_capabilities(None, sets).unwrap();
            Capabilities::of_this_thread(&ProcFs::host()).unwrap()
        });
        let after = after.join().unwrap();
        assert_eq!(after.missing().unwrap().list(), Capability::ALL);
        assert_eq!(
            Capabilities::of_this_thread(&ProcFs::host()).unwrap(),
            before,
            "other threads keep theirs"
        );
    }
}
