//! Known-answer workloads, captures of them by the real `flamekeeper` binary, and readers for what it wrote.
//!
//! ```text
//!   workloads/*.c ──Workload──▶ running program ──┐
//!                                                 ├──Capture──▶ Captured ──folded, pprof, firefox──▶ Stacks ──▶ shares
//!   Machine (privileges + exclusive use) ─────────┘
//! ```
//!
//! And the daemon, with its account, and the other side of its connections: `peers/*` ──Peer──▶ running program, told to fail,
//! asked what it has.
//!
//! Used by the tests in `suite/` and in `guest/` only. Never names the product: a reader here shares no code with the writer it checks.
//! Everything that is waited for is a condition with a deadline; everything that is started is ended on drop.

mod account;
mod answer;
mod capture;
mod census;
mod child;
mod daemon;
mod firefox;
mod folded;
mod kube_api;
mod machine;
mod made_pprof;
mod peer;
mod places;
mod pprof;
mod pyroscope;
mod stacks;
mod twin;
mod workload;

pub use account::{EndpointWords, LastWords, delivered, ensure_all_arrived, repeated};
pub use answer::{Answer, Verdict};
pub use capture::{Capture, Captured, RunningCapture};
pub use census::{
    BpfCensus, BpfKind, cpu_ticks_of_kernel_threads, descendants, process_group_becomes_empty,
    process_group_is_empty,
};
pub use child::Running;
pub use daemon::{Daemon, WITHIN, wait_for};
pub use firefox::{FirefoxProfile, FirefoxThread};
pub use kube_api::{KubeApi, KubeRequest};
pub use machine::{Machine, skip, tool};
pub use made_pprof::{MadePprof, PERIOD, PackedPprof};
pub use peer::Peer;
pub use places::{build_folder, dist_folder, flamekeeper, repository};
pub use pprof::{FrameView, Pprof, PprofSample};
pub use pyroscope::{
    Pyroscope, PyroscopeCounts, PyroscopeOptions, PyroscopeState, ReceivedProfile, RefusedPush, WireTotals,
};
pub use stacks::{Stack, Stacks, ensure_near};
pub use twin::TwinNames;
pub use workload::{RunningWorkload, Workload};

pub use rustix::process::Signal;

/// Name of the function it is used in, with its module: what a skipped test is called.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here);
        name.strip_suffix("::here").unwrap_or(name)
    }};
}

/// The [`Machine`], for this test alone until the value is dropped; without the privileges the test is skipped, loudly.
#[macro_export]
macro_rules! machine_or_skip {
    () => {
        match $crate::Machine::acquire()? {
            Ok(machine) => machine,
            Err(reason) => {
                $crate::skip($crate::test_name!(), &reason)?;
                return Ok(());
            }
        }
    };
}

/// Path of a program that a test needs; without it the test is skipped, loudly.
#[macro_export]
macro_rules! tool_or_skip {
    ($name:expr) => {
        match $crate::tool($name) {
            Some(path) => path,
            None => {
                $crate::skip($crate::test_name!(), concat!($name, " is not installed"))?;
                return Ok(());
            }
        }
    };
}
