//! The daemon's own thread: samples, and cuts what was sampled where windows, pulls and rates begin and end.
//!
//! ```text
//!   session ── turn, every 100 ms ──┐
//!   boundary of a window ───────────┼─▶ cut ─▶ Work ─▶ names.rs
//!   pull asked for, over, given up ─┤
//!   CPU budget: another rate ───────┘
//! ```
//!
//! Never waits for anything but the next of these.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::boundaries::WindowClock;
use super::cpu_budget::CpuBudget;
use super::labelling::Labelling;
use super::labelling::host_labels;
use super::memory_budget::MemoryBudget;
use super::names::{self, Names, Work};
use super::pulls::Pulls;
use super::self_account::{RateChanges, SelfAccounts, Told};
use super::tell_manager;
use super::thread::told_to_end;
use super::windows::Times;
use crate::attribute::budget::LabelBudget;
use crate::capture::{CaptureError, Session};
use crate::config::DaemonConfig;
use crate::deliver::serve::{PullRequest, TargetsSnapshot};
use crate::host::{Clock, Host, MonotonicNanos};
use crate::sample::Hertz;
use crate::telemetry::overhead::OwnCost;

/// Between two looks at what the daemon costs, and two updates of its account.
const ACCOUNT_EVERY: Duration = Duration::from_secs(5);

/// Between two looks at whether pods or containers have become known: one that starts changes some times a second.
const NEWS_EVERY: Duration = Duration::from_secs(1);

/// What the thread works with.
pub(super) struct Sampling {
    /// Samples.
    pub(super) session: Session<Labelling>,
    /// Takes what was sampled.
    pub(super) names: Names,
    /// Asked for from outside.
    pub(super) pulls: mpsc::Receiver<PullRequest>,
    /// May change.
    pub(super) config: watch::Receiver<Arc<DaemonConfig>>,
    /// Every process, anew each window.
    pub(super) targets: watch::Sender<Arc<TargetsSnapshot>>,
    /// True once the daemon is to end.
    pub(super) stop: watch::Receiver<bool>,
    /// What the thread tells of itself.
    pub(super) account: Arc<SelfAccounts>,
    /// The outside world.
    pub(super) host: Host,
}

/// What goes on in it.
struct State {
    config: Arc<DaemonConfig>,
    clock: Clock,
    windows: WindowClock,
    budget: CpuBudget,
    pulls: Pulls,
    accounted: MonotonicNanos,
    informed: MonotonicNanos,
    cost: OwnCost,
    memory: MemoryBudget,
    rate_changes: RateChanges,
}

impl Sampling {
    /// Samples until it is told to stop, and hands over the last window.
    pub(super) async fn run(mut self) -> Result<Names, CaptureError> {
        let config = Arc::clone(&self.config.borrow_and_update());
        let clock = self.host.clock;
        let now = clock.monotonic();
        let mut state = State {
            windows: WindowClock::new(config.sampling.window, clock.wall_now(), now),
            budget: CpuBudget::new(config.sampling.rate, config.budget.cpu_percent),
            pulls: Pulls::default(),
            accounted: now,
            informed: now,
            cost: OwnCost::measure(&self.host.proc, &clock),
            memory: MemoryBudget::default(),
            rate_changes: RateChanges::default(),
            config,
            clock,
        };
        self.tell(&mut state)?;
        let mut is_stopped = std::pin::pin!(told_to_end(self.stop.clone()));
        loop {
            let wait = state.until_next();
            tokio::select! {
                turned = self.session.turn() => turned?,
                () = tokio::time::sleep(wait) => self.session.round_now(),
                Some(request) = self.pulls.recv() => self.begin_pull(&mut state, request)?,
                Ok(()) = self.config.changed() => self.reconfigure(&mut state)?,
                () = &mut is_stopped => break,
            }
            self.after_turn(&mut state)?;
        }
        state.pulls.stop();
        self.session.stop();
        self.names.end();
        self.end_window(&mut state);
        self.tell(&mut state)?;
        Ok(self.names)
    }

    fn after_turn(&mut self, state: &mut State) -> Result<(), CaptureError> {
        let now = state.clock.monotonic();
        self.account.turned(now);
        self.end_pulls(state, now)?;
        if state.clock.since(state.informed) >= NEWS_EVERY {
            state.informed = now;
            self.session.admission().refresh_if_told();
        }
        if state.windows.is_over(now) {
            self.end_window(state);
        }
        if state.clock.since(state.accounted) >= ACCOUNT_EVERY {
            self.tell(state)?;
        }
        Ok(())
    }

    /// Hands over what was sampled since the last cut.
    fn cut(&mut self) {
        let mut segment = self.session.cut();
        let labels = self.session.admission().of_segment(&mut segment);
        if segment.window.samples() > 0 {
            self.names.hand_over(Work::Segment(Box::new(segment), labels));
        }
    }

    fn end_window(&mut self, state: &mut State) {
        self.cut();
        let times = state.windows.next(state.clock.wall_now(), state.clock.monotonic());
        self.names.hand_over(Work::WindowEnd(times));
        let completeness = names::read(&self.names.status()).counts.completeness;
        let targets = self.session.admission().targets(&completeness);
        self.targets.send_replace(Arc::new(targets));
    }

    fn begin_pull(&mut self, state: &mut State, request: PullRequest) -> Result<(), CaptureError> {
        let now = state.clock.monotonic();
        if let Some((id, selector)) = state.pulls.begin(request, now) {
            self.cut();
            self.names.hand_over(Work::PullBegin(id, selector));
            self.set_rate(state)?;
        }
        Ok(())
    }

    fn end_pulls(&mut self, state: &mut State, now: MonotonicNanos) -> Result<(), CaptureError> {
        let ended = state.pulls.ended(now);
        if ended.is_empty() {
            return Ok(());
        }
        self.cut();
        for pull in ended {
            let times = state.times(pull.began, now);
            self.names.hand_over(Work::PullEnd(pull.id, times, pull.reply));
        }
        self.set_rate(state)
    }

    /// Samples as often as the budget allows, or as a pull asks for. What was sampled before is weighed as it was.
    fn set_rate(&mut self, state: &mut State) -> Result<(), CaptureError> {
        let rate: Hertz =
            state.pulls.rate().map_or(state.budget.rate(), |asked| asked.max(state.budget.rate()));
        let before = self.session.rate();
        if rate != before {
            self.cut();
            self.session.set_rate(rate)?;
            let changes = &mut state.rate_changes;
            *(if rate < before { &mut changes.down } else { &mut changes.up }) += 1;
        }
        Ok(())
    }

    fn reconfigure(&mut self, state: &mut State) -> Result<(), CaptureError> {
        let config = Arc::clone(&self.config.borrow_and_update());
        if config.sampling.window != state.config.sampling.window {
            let (wall, now) = (state.clock.wall_now(), state.clock.monotonic());
            state.windows.set_window(config.sampling.window, wall, now);
        }
        state.budget.reconfigure(config.sampling.rate, config.budget.cpu_percent);
        let budget = label_budget(&config, &self.host);
        self.names.hand_over(Work::Reconfigure(config.profile.size_limits(), budget));
        self.session.admission().configure(&config);
        state.config = config;
        self.set_rate(state)
    }

    /// Holds the daemon to its budget, looks for CPUs that came online, and tells all of it; the service manager, that the loop
    /// turns.
    fn tell(&mut self, state: &mut State) -> Result<(), CaptureError> {
        tell_manager(&[sd_notify::NotifyState::Watchdog]);
        let before = std::mem::replace(&mut state.cost, OwnCost::measure(&self.host.proc, &state.clock));
        let elapsed = state.clock.since(state.accounted);
        state.accounted = state.clock.monotonic();
        let run_times = self.session.run_times()?;
        let used = state.cost.cpu_in_all().saturating_sub(before.cpu_in_all());
        if state.pulls.rate().is_some_and(|asked| asked > state.budget.rate()) {
            state.budget.skip(&run_times);
        } else {
            state.budget.judge(used, &run_times, elapsed);
        }
        self.set_rate(state)?;
        self.session.follow_cpus()?;
        self.session.admission().refresh();
        self.hold_memory(state);
        let told = Told {
            budget: &state.budget,
            rate_changes: state.rate_changes,
            caches_emptied: state.memory.times_emptied(),
            cost: state.cost,
            run_times,
        };
        self.account.sampling(&mut self.session, &self.names, told);
        Ok(())
    }

    fn hold_memory(&mut self, state: &mut State) {
        let Some(resident_bytes) = state.cost.resident_bytes else { return };
        let bytes_max = state.config.budget.memory_max.as_u64();
        if state.memory.judge(resident_bytes, bytes_max, state.accounted) {
            tracing::warn!(resident_bytes, bytes_max, "near budget.memory_max: caches are emptied");
            self.session.empty_caches();
            self.names.hand_over(Work::EmptyCaches);
        }
    }
}

/// How many label sets a window may have.
pub(super) fn label_budget(config: &DaemonConfig, host: &Host) -> LabelBudget {
    let sets_max = usize::try_from(config.labels.label_sets_max).unwrap_or(usize::MAX);
    LabelBudget::new(sets_max, &host_labels(config, host))
}

impl State {
    /// Until a window or a pull ends.
    fn until_next(&self) -> Duration {
        let now = self.clock.monotonic();
        let window = self.windows.ends();
        let next = self.pulls.next_end().map_or(window, |pull| pull.min(window));
        Duration::from_nanos(next.0.saturating_sub(now.0))
    }

    fn times(&self, started: MonotonicNanos, ended: MonotonicNanos) -> Times {
        let duration = Duration::from_nanos(ended.0.saturating_sub(started.0));
        let wall = self.clock.wall_now();
        let since = self.clock.monotonic().0.saturating_sub(started.0);
        Times { started: crate::host::WallNanos(wall.0.saturating_sub(since)), duration }
    }
}
