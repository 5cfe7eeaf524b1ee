//! What this kernel can do for sampling, found out by trying → which of the kernel half's programs are loaded, and how
//! they are attached. Versions are not asked for: distributions take features into older kernels, and leave some out.
//!
//! ```text
//!   bpf_loop, task registers ──▶ on_tick             walks each stack in one go
//!   else, tail calls         ──▶ on_tick_plain ─▶ walk_on ─▶ walk_on …   some frames a program
//!   else                     ──▶ on_tick_plain       sends each stack's upper part, which user space unwinds
//! ```

use std::collections::BTreeSet;
use std::io;

use profiler_common::abi::{FRAMES_A_PROGRAM, TaskOffsets};

use super::bpf_trial::{TrialProgram, knows_helper, tail_calls};
use super::kernel_features::{BTF_ENTRY, KernelFeatureError, task_offsets};
use crate::host::SysFs;

/// `bpf_loop`, by its number in include/uapi/linux/bpf.h; since 5.17.
const BPF_LOOP: u32 = 181;
/// `bpf_get_current_task_btf`; since 5.11.
const BPF_GET_CURRENT_TASK_BTF: u32 = 158;
/// `bpf_task_pt_regs`; since 5.15.
const BPF_TASK_PT_REGS: u32 = 175;

/// Frames that the kernel half walks by tail calls: the 33 programs that the kernel runs one after the other, by the
/// frames of each.
pub const TAIL_CALLED_FRAMES: u32 = 33 * FRAMES_A_PROGRAM;

/// Something that one kernel has and another lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// Loops that the verifier looks at once.
    Loop,
    /// A helper that tells the registers that a task has saved.
    TaskRegisters,
    /// Programs that call programs.
    TailCalls,
    /// Programs are attached to perf events by a link; else by the event's ioctl.
    PerfLinks,
    /// The kernel describes its types (BTF).
    Types,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Loop, Self::TaskRegisters, Self::TailCalls, Self::PerfLinks, Self::Types];

    /// As it is asked to be left out, and as reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loop => "bpf_loop",
            Self::TaskRegisters => "bpf_task_pt_regs",
            Self::TailCalls => "tail_calls",
            Self::PerfLinks => "perf_links",
            Self::Types => "btf",
        }
    }
}

/// Abilities by their names, joined by commas. What is no name is nothing.
pub fn named(names: &str) -> BTreeSet<Ability> {
    let is_named = |ability: &Ability| names.split(',').any(|name| name.trim() == ability.name());
    Ability::ALL.into_iter().filter(is_named).collect()
}

/// The abilities of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities(BTreeSet<Ability>);

impl Abilities {
    /// Tries each on this host, on a CPU that is online, with a program that does nothing, if the kernel takes one; less than a
    /// millisecond. `without` is taken for missing, so that
    /// what is done on other kernels can be tried on this one. Types are not tried here: who reads them finds out.
    pub fn probe(program: Option<&TrialProgram>, cpu: u32, without: &BTreeSet<Ability>) -> Self {
        let has = |ability: &Ability| match ability {
            Ability::Loop => knows_helper(BPF_LOOP),
            Ability::TaskRegisters => {
                knows_helper(BPF_GET_CURRENT_TASK_BTF) && knows_helper(BPF_TASK_PT_REGS)
            }
            Ability::TailCalls => tail_calls().is_ok(),
            Ability::PerfLinks => program.is_some_and(|program| program.link_to_clock(cpu).is_ok()),
            Ability::Types => true,
        };
        Self(Ability::ALL.into_iter().filter(|ability| !without.contains(ability) && has(ability)).collect())
    }

    /// Where the kernel keeps what sampling reads of a task, if it describes its types.
    pub fn task_offsets(&self, sys: &SysFs) -> Result<TaskOffsets, KernelFeatureError> {
        if self.has(Ability::Types) {
            return task_offsets(sys);
        }
        let source = io::ErrorKind::NotFound.into();
        Err(KernelFeatureError::ReadBtf { path: sys.path(BTF_ENTRY), source })
    }

    /// Those given.
    pub fn of(abilities: impl IntoIterator<Item = Ability>) -> Self {
        Self(abilities.into_iter().collect())
    }

    /// Whether the kernel has it.
    pub fn has(&self, ability: Ability) -> bool {
        self.0.contains(&ability)
    }

    /// How it is sampled with these.
    pub fn choice(&self) -> Choice {
        let walking = if self.has(Ability::Loop) && self.has(Ability::TaskRegisters) {
            Walking::InOneGo
        } else if self.has(Ability::TailCalls) {
            Walking::ByTailCalls
        } else {
            Walking::InUserSpace
        };
        let attaching = if self.has(Ability::PerfLinks) { Attaching::Link } else { Attaching::Ioctl };
        Choice { walking, attaching }
    }

    /// What the best way to walk lacks here, by name.
    pub fn lacking_to_walk(&self) -> Vec<&'static str> {
        let needed = [Ability::Loop, Ability::TaskRegisters];
        needed.into_iter().filter(|ability| !self.has(*ability)).map(Ability::name).collect()
    }
}

/// Who walks the user stacks of processes that are known, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walking {
    /// The kernel half, as deep as a stack is kept.
    InOneGo,
    /// The kernel half, some 130 frames; user space goes on with what is copied of deeper stacks.
    ByTailCalls,
    /// User space, with the part of each stack that is copied.
    InUserSpace,
}

impl Walking {
    /// For a summary; nothing where nothing is different.
    pub fn words(self) -> Option<&'static str> {
        match self {
            Self::InOneGo => None,
            Self::ByTailCalls => Some("stacks are walked by tail calls, as this kernel can do no better"),
            Self::InUserSpace => Some("stacks are unwound in user space, as this kernel can do no better"),
        }
    }
}

/// How a program comes to a perf event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attaching {
    /// BPF_LINK_CREATE.
    Link,
    /// PERF_EVENT_IOC_SET_BPF.
    Ioctl,
}

/// How sampling is done on a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who walks.
    pub walking: Walking,
    /// How ticks come to the program.
    pub attaching: Attaching,
}

impl Choice {
    /// The program of the object that takes the ticks.
    pub fn program(&self) -> &'static str {
        match self.walking {
            Walking::InOneGo => "on_tick",
            Walking::ByTailCalls | Walking::InUserSpace => "on_tick_plain",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(abilities: &[Ability]) -> (Walking, Attaching) {
        let choice = Abilities::of(abilities.iter().copied()).choice();
        (choice.walking, choice.attaching)
    }

    #[test]
    fn every_set_of_abilities_has_a_way_to_sample() {
        use Ability::{Loop, PerfLinks, TailCalls, TaskRegisters};
        // 5.17 and later
        assert_eq!(choice(&[Loop, TaskRegisters, TailCalls, PerfLinks]), (Walking::InOneGo, Attaching::Link));
        // 5.15
        assert_eq!(choice(&[TaskRegisters, TailCalls, PerfLinks]), (Walking::ByTailCalls, Attaching::Link));
        // 5.10
        assert_eq!(choice(&[TailCalls]), (Walking::ByTailCalls, Attaching::Ioctl));
        // One without the other is not enough.
        assert_eq!(choice(&[Loop, TailCalls, PerfLinks]), (Walking::ByTailCalls, Attaching::Link));
        assert_eq!(choice(&[Loop, TaskRegisters]), (Walking::InOneGo, Attaching::Ioctl));
        assert_eq!(choice(&[]), (Walking::InUserSpace, Attaching::Ioctl));
    }

    #[test]
    fn what_is_left_out_is_said_by_name() {
        assert_eq!(named("bpf_loop, perf_links"), BTreeSet::from([Ability::Loop, Ability::PerfLinks]));
        assert_eq!(named(""), BTreeSet::new());
        assert_eq!(named("bpf_lop,all"), BTreeSet::new());
        assert_eq!(Abilities::of([Ability::TailCalls]).lacking_to_walk(), ["bpf_loop", "bpf_task_pt_regs"]);
    }
}
