//! What goes to an endpoint next and when, and what an answer means for it. Decides only: sends nothing, touches no file.
//!
//! ```text
//!   held (no answer, 429, several 5xx) ──▶ nothing, until then; after that one at a time until one passes
//!   new windows    ──▶ at once                                 ┐ in turns, where both wait
//!   the backlog    ──▶ oldest first, at so many bytes a second ┘
//!   older than the endpoint takes ──▶ set aside
//! ```
//!
//! What waits when an endpoint is lost is its backlog; what comes when it is back is new.
//!
//! Age is told by two clocks, and the younger one counts: the wall clock may have been set. If the endpoint refuses what
//! lies in our future (the clock was set back), it waits until our clock has come to it.

use std::ops::Bound;
use std::time::Duration;

use super::id::{ProfileId, WindowId};
use super::index::Window;
use super::pace::Pace;
use super::sender::{PushOutcome, RefuseCause, RetryCause};
use super::spooling::Spool;
use super::state::{EndpointKey, State};
use super::trouble::{Attempt, Troubles};
use super::{ReplaySettings, account, after, until};
use crate::host::{MonotonicNanos, WallNanos};

/// The longest that nobody looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The longest that one profile is left alone while others pass: ten attempts take some minutes.
const PROFILE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Send it; it is marked as being sent.
    Send(Departure),
    /// Set aside what waits of this window.
    SetAside(WindowId, Vec<usize>),
    /// Nothing, for so long.
    Wait(Duration),
    /// The endpoint is configured no more.
    Gone,
}

/// A profile that leaves now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) id: ProfileId,
    uncompressed_bytes: u32,
    at: MonotonicNanos,
}

/// What becomes of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done with.
    Mark(State),
    /// It waits again.
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    New,
    Backlog,
    /// The oldest of both: it is not known whether the endpoint is back.
    Any,
}

/// Of one endpoint.
#[derive(Debug)]
pub(super) struct Schedule {
    key: EndpointKey,
    settings: ReplaySettings,
    pace: Pace,
    troubles: Troubles,
    /// Nothing goes before.
    held_until: MonotonicNanos,
    /// Failures since something passed; of several at a time one counts.
    failures: u32,
    failed_at: MonotonicNanos,
    /// The newest window that is backlog.
    backlog_to: Option<WindowId>,
    turn: Lane,
    /// It was seen to refuse what lies in our future.
    refuses_future: bool,
    random: fastrand::Rng,
}

impl Schedule {
    /// All that waits now is backlog.
    pub(super) fn new(
        key: EndpointKey,
        settings: ReplaySettings,
        spool: &Spool,
        random: fastrand::Rng,
    ) -> Self {
        let now = spool.clock().monotonic();
        Self {
            key,
            settings,
            pace: Pace::new(settings.backlog_bytes_per_second, now),
            troubles: Troubles::default(),
            held_until: now,
            failures: 0,
            failed_at: MonotonicNanos(0),
            backlog_to: spool.index().newest(),
            turn: Lane::New,
            refuses_future: false,
            random,
        }
    }

    /// Whether nothing goes now.
    pub(super) fn is_held(&self, now: MonotonicNanos) -> bool {
        now < self.held_until
    }

    /// What to do next, with so many on their way.
    pub(super) fn next(&mut self, spool: &Spool, on_their_way: usize) -> Next {
        let now = spool.clock().monotonic();
        let wall = spool.clock().wall();
        let mut index = spool.index();
        let Some(endpoint) = index.endpoint(self.key) else { return Next::Gone };
        let takes_back = endpoint.takes_back;
        let is_too_old = |window: &Window| takes_back.is_some_and(|limit| age(window, now, wall) > limit);
        let oldest = index.next(self.key, .., |_, _, _| true).map(|(id, _)| id);
        if let Some(id) = oldest.filter(|id| index.get(*id).is_some_and(is_too_old)) {
            return Next::SetAside(id, index.waiting(id, self.key));
        }
        if self.is_held(now) {
            return Next::Wait(until(now, self.held_until).min(LOOK_EVERY));
        }
        if on_their_way >= if self.failures > 0 { 1 } else { self.settings.concurrency } {
            return Next::Wait(LOOK_EVERY);
        }
        let mut wait = self.troubles.next_after(now).map_or(LOOK_EVERY, |then| until(now, then));
        for &lane in self.lanes() {
            let range = match (lane, self.backlog_to) {
                (Lane::Any, _) => (Bound::Unbounded, Bound::Unbounded),
                (Lane::New, newest) => (newest.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded),
                (Lane::Backlog, Some(newest)) => (Bound::Unbounded, Bound::Included(newest)),
                (Lane::Backlog, None) => continue,
            };
            let found = index.next(self.key, range, |id, window, profile| {
                let is_future = self.refuses_future && window.started > wall;
                !is_future && self.troubles.may_go(profile_id(id, profile), now)
            });
            let Some((id, profile)) = found else { continue };
            if index.get(id).is_some_and(is_too_old) {
                return Next::SetAside(id, index.waiting(id, self.key));
            }
            if let Some(pause) = (lane == Lane::Backlog).then(|| self.pace.wait(now)).flatten() {
                wait = wait.min(pause);
                continue;
            }
            let bytes = index.note(id, profile).map_or(0, |note| note.uncompressed_bytes);
            index.set_state(id, self.key, profile, State::Sending);
            self.pace.take(u64::from(bytes));
            self.turn = if lane == Lane::New { Lane::Backlog } else { Lane::New };
            let id = profile_id(id, profile);
            return Next::Send(Departure { id, uncompressed_bytes: bytes, at: now });
        }
        Next::Wait(wait.min(LOOK_EVERY))
    }

    /// Where to look for something to send, the first first.
    fn lanes(&self) -> &'static [Lane] {
        match self.turn {
            _ if self.failures > 0 => &[Lane::Any],
            Lane::New | Lane::Any => &[Lane::New, Lane::Backlog],
            Lane::Backlog => &[Lane::Backlog, Lane::New],
        }
    }

    /// What an answer means.
    pub(super) fn landed(&mut self, spool: &Spool, sent: &Departure, outcome: &PushOutcome) -> Verdict {
        let verdict = match outcome {
            PushOutcome::Delivered => {
                self.answered(spool);
                self.troubles.passed(sent.uncompressed_bytes);
                Verdict::Mark(State::Delivered)
            }
            PushOutcome::Refused { cause, message } => {
                self.answered(spool);
                self.refused(spool, sent, cause, message)
            }
            PushOutcome::Retry { after, cause } => self.failed(spool, sent, *after, cause),
        };
        if let Verdict::Mark(_) = verdict {
            self.troubles.forget(sent.id);
        }
        if let Some(account) = spool.index().account_of(self.key) {
            let until = self.held_until;
            let is_held = spool.clock().monotonic() < until;
            account.held = account.held.filter(|_| is_held);
            if let (true, PushOutcome::Retry { cause, .. }) = (is_held, outcome) {
                account.held = Some(account::Held { cause: cause.name(), until });
            }
        }
        verdict
    }

    /// Its file could not be read for a reason that may pass.
    pub(super) fn unread(&mut self, spool: &Spool, sent: &Departure) -> Verdict {
        let attempt = Attempt { id: sent.id, bytes: sent.uncompressed_bytes, is_limit: false };
        // Nothing has to pass for this to count: the endpoint has no part in it.
        self.troubles.passed(0);
        match self.troubles.failed(attempt, self.settings.refusals_max) {
            Some(attempts) => {
                let pause = self.pause(attempts);
                self.troubles.delay(sent.id, spool.clock().monotonic(), pause);
                Verdict::Back
            }
            None => Verdict::Mark(State::Damaged),
        }
    }

    fn answered(&mut self, spool: &Spool) {
        if self.failures > 0 {
            // What came while it was away.
            self.backlog_to = spool.index().newest();
        }
        self.failures = 0;
        self.held_until = MonotonicNanos(0);
    }

    fn refused(&mut self, spool: &Spool, sent: &Departure, cause: &RefuseCause, message: &str) -> Verdict {
        let started = spool.index().get(sent.id.window).map(|window| window.started);
        let is_future = started.is_some_and(|started| started > spool.clock().wall());
        let mut index = spool.index();
        let what = index.note(sent.id.window, sent.index()).map(|note| note.tally()).unwrap_or_default();
        let Some(account) = index.account_of(self.key) else { return Verdict::Back };
        account.last_trouble = Some(message.to_owned());
        match cause {
            RefuseCause::OutsideWindow if is_future => {
                self.refuses_future = true;
                Verdict::Back
            }
            RefuseCause::OutsideWindow => Verdict::Mark(State::TooOld),
            RefuseCause::Status(status) => {
                account.refuse(&status.to_string(), what);
                Verdict::Mark(State::Refused)
            }
        }
    }

    fn failed(
        &mut self,
        spool: &Spool,
        sent: &Departure,
        wanted: Option<Duration>,
        cause: &RetryCause,
    ) -> Verdict {
        let now = spool.clock().monotonic();
        if let Some(account) = spool.index().account_of(self.key) {
            *account.retries.entry(cause.name()).or_default() += 1;
            account.last_trouble = Some(cause.to_string());
        }
        let is_known = matches!(cause, RetryCause::Status(_)) && self.troubles.is_known(sent.id);
        // Of several on their way, only those that left after the last failure tell something new. And one that fails
        // again and again says nothing of the endpoint, as long as it is the only one.
        if (self.failures == 0 || sent.at >= self.failed_at) && !(is_known && self.failures <= 1) {
            self.failures = self.failures.saturating_add(1);
            self.failed_at = now;
            self.hold(now, wanted, cause);
        }
        let is_limit = match cause {
            RetryCause::Connection(_) => return Verdict::Back,
            RetryCause::TooMany => true,
            RetryCause::Status(_) => false,
        };
        self.troubles.retain(|id| spool.index().get(id.window).is_some());
        let attempt = Attempt { id: sent.id, bytes: sent.uncompressed_bytes, is_limit };
        let Some(attempts) = self.troubles.failed(attempt, self.settings.refusals_max) else {
            return Verdict::Mark(State::Poisoned);
        };
        let pause = self.pause(attempts).min(PROFILE_PAUSE_MAX);
        self.troubles.delay(sent.id, now, pause);
        Verdict::Back
    }

    /// Leaves the endpoint alone. One that answers 5xx to a single profile goes on with the others.
    fn hold(&mut self, now: MonotonicNanos, wanted: Option<Duration>, cause: &RetryCause) {
        let holds = match cause {
            RetryCause::Status(_) => self.failures.saturating_sub(1),
            RetryCause::Connection(_) | RetryCause::TooMany => self.failures,
        };
        let time = match wanted {
            // Later than asked, so that not all hosts come at the same moment.
            Some(wanted) => {
                let wanted = wanted.min(self.settings.pause_max);
                wanted + wanted.mul_f64(self.random.f64() / 4.0)
            }
            None if holds == 0 => return,
            None => self.pause(holds),
        };
        self.held_until = self.held_until.max(after(now, time));
    }

    /// Twice as long each time, less up to half of it: many hosts lost the same endpoint at the same moment.
    fn pause(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.settings.pause_min.saturating_mul(1 << doublings).min(self.settings.pause_max);
        longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

impl Departure {
    pub(super) fn index(&self) -> usize {
        usize::try_from(self.id.index).unwrap_or(usize::MAX)
    }
}

fn profile_id(window: WindowId, profile: usize) -> ProfileId {
    ProfileId { window, index: u32::try_from(profile).unwrap_or(u32::MAX) }
}

/// How old a window is since its start, as the endpoint counts it.
fn age(window: &Window, now: MonotonicNanos, wall: WallNanos) -> Duration {
    let by_wall = Duration::from_nanos(wall.0.saturating_sub(window.started.0));
    let since_put = window.put_at.map(|put_at| until(put_at, now).saturating_add(window.duration));
    since_put.map_or(by_wall, |since_put| since_put.min(by_wall))
}
