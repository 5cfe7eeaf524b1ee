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

/// The last lines that give a reason: statistics follow them, a line a function on new kernels.
fn last_words(log: &str) -> Vec<&str> {
    const STATISTICS: [&str; 4] = ["verification time ", "stack depth ", "processed ", "subprog "];
    let says_why =
        |line: &&str| !line.trim().is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    let mut words: Vec<&str> = log.lines().filter(says_why).collect();
    words.drain(..words.len().saturating_sub(6));
    words
}

impl SampleError {
    /// Whether the kernel's lockdown keeps programs from reading its memory.
    pub fn is_lockdown(&self) -> bool {
        let Self::Refused { source, .. } = self else { return false };
        let aya::programs::ProgramError::LoadError { verifier_log, .. } = &**source else { return false };
        forbids_reading(&verifier_log.to_string())
    }
}

/// Under lockdown the verifier knows the helpers that read kernel memory no more; else every kernel has them.
fn forbids_reading(verifier_words: &str) -> bool {
    verifier_words.lines().any(|line| {
        line.contains("bpf_probe_read")
            && (line.contains("cannot use helper") || line.contains("unknown func"))
    })
}

/// What the kernel said, if it was asked.
pub fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref() {
            return Some(io);
        }
        source = cause.source();
    }
    None
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
            let tail = last_words(&log);
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
    fn statistics_are_no_reason() {
        let log = "1: a\n2: b\n3: c\n4: d\n5: e\n6: f\nR1 is wrong\n\nverification time 3 usec\nstack depth 8+0\n\
                   subprog 1 (tell) static insns_self 0\nsubprog 2 (tell) static insns_self 0\nprocessed 57 insns\n";
        assert_eq!(last_words(log), ["2: b", "3: c", "4: d", "5: e", "6: f", "R1 is wrong"]);
        assert_eq!(last_words("processed 0 insns\n"), Vec::<&str>::new());
    }

    #[test]
    fn lockdown_is_told_from_a_program_that_is_wrong() {
        let call = "57: (85) call bpf_probe_read#4\n";
        assert!(forbids_reading(&format!("{call}program of this type cannot use helper bpf_probe_read#4")));
        assert!(forbids_reading(&format!("{call}unknown func bpf_probe_read_kernel#113")));
        assert!(!forbids_reading(&format!("{call}R1 type=scalar expected=fp")));
        assert!(!forbids_reading("unknown func bpf_loop#181"));
    }
}
