//! The configuration → what each thread of the daemon goes by.

use std::time::Duration;

use crate::config::DaemonConfig;
use crate::deliver::series::SizeLimits;
use crate::sample::Hertz;

/// What may change while the daemon runs, as far as sampling and naming go by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// Samples per second on each CPU.
    pub(super) rate: Hertz,
    /// Length of a window.
    pub(super) window: Duration,
    /// What the daemon may use of one CPU, in percent; 0 for no limit.
    pub(super) cpu_budget_percent: f64,
    /// What the daemon may have resident.
    pub(super) memory_max_bytes: u64,
    /// How large a profile may be.
    pub(super) size_limits: SizeLimits,
    /// How many label sets a window may have.
    pub(super) label_sets_max: usize,
    /// From the order to end until the last window has to be in the spool.
    pub(super) drain_timeout: Duration,
}

impl Settings {
    /// Of a checked configuration.
    pub(super) fn new(config: &DaemonConfig) -> Self {
        Self {
            rate: config.sampling.rate,
            window: config.sampling.window,
            cpu_budget_percent: config.budget.cpu_percent,
            memory_max_bytes: config.budget.memory_max.as_u64(),
            size_limits: config.profile.size_limits(),
            label_sets_max: usize::try_from(config.labels.label_sets_max).unwrap_or(usize::MAX),
            drain_timeout: config.shutdown.drain_timeout,
        }
    }
}
