//! What can go wrong between the object file and a ticking CPU.

use std::io;

/// Loading or attaching failed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The object does not parse, or the kernel refuses one of its maps.
    #[error("the kernel did not take the sampling program: {}", chain(source))]
    Load {
        /// What aya says.
        source: Box<aya::EbpfError>,
    },
    /// The verifier or a security module refuses a program.
    #[error("the kernel refused program `{program}`: {}", refusal(source))]
    Refused {
        /// Name of the program in the object.
        program: &'static str,
        /// What aya says, the verifier's log included.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a program or map, or one has another type: the build is broken.
    #[error(
        "the embedded object has no usable `{name}`: this build of flamekeeper is broken, please report it"
    )]
    Missing {
        /// Name in the object.
        name: &'static str,
    },
    /// A map operation failed.
    #[error("map `{map}`: {source}")]
    Map {
        /// Name in the object.
        map: &'static str,
        /// What aya says.
        source: aya::maps::MapError,
    },
    /// perf_event_open or the attachment failed on a CPU.
    #[error("could not sample on CPU {cpu}: {}", chain(&**source))]
    Attach {
        /// The CPU.
        cpu: u32,
        /// What aya says, or the kernel.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host has no counter for the event.
    #[error(
        "this host has no hardware cycle counter (usual in virtual machines); leave out `--event cycles` to sample by cpu-clock"
    )]
    NoHardwareCycles,
    /// The list of online CPUs is unreadable.
    #[error("read the list of online CPUs ({file}): {source}")]
    OnlineCpus {
        /// File in /sys.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No CPU could be sampled.
    #[error("no CPU is online to sample on")]
    NoCpu,
    /// The thread that has the rights has ended.
    #[error("the thread that opens perf events and makes maps has ended")]
    NoBroker,
}

impl SampleError {
    /// Whether the kernel's lockdown keeps programs from reading its memory.
    pub fn is_lockdown(&self) -> bool {
        matches!(self, Self::Refused { .. }) && forbids_reading(&self.to_string())
    }
}

/// Under lockdown the verifier knows the helpers that read kernel memory no more; else every kernel has them.
fn forbids_reading(verifier_words: &str) -> bool {
    verifier_words.lines().any(|line| {
        line.contains("bpf_probe_read")
            && (line.contains("cannot use helper") || line.contains("unknown func"))
    })
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The verifier explains itself at the end of its log; the rest would fill screens.
fn refusal(error: &aya::programs::ProgramError) -> String {
    match error {
        aya::programs::ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let tail = lines.get(lines.len().saturating_sub(6)..).unwrap_or_default();
            if tail.is_empty() {
                io_error.to_string()
            } else {
                format!("{io_error}; the verifier's last words:\n  {}", tail.join("\n  "))
            }
        }
        other => chain(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_told_from_a_program_that_is_wrong() {
        let call = "57: (85) call bpf_probe_read#4\n";
        assert!(forbids_reading(&format!("{call}program of this type cannot use helper bpf_probe_read#4")));
        assert!(forbids_reading(&format!("{call}unknown func bpf_probe_read_kernel#113")));
        assert!(!forbids_reading(&format!("{call}R1 type=scalar expected=fp")));
        assert!(!forbids_reading("unknown func bpf_loop#181"));
    }
}
