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

use super::account::Held;
use super::id::{ProfileId, WindowId};
use super::pace::Pace;
use super::spooling::Spool;
use super::state::{EndpointKey, State};
use super::trouble::{Attempt, Tells, Troubles};
use super::window::Window;
use super::{ReplaySettings, until};
use crate::deliver::push::backoff::Backoff;
use crate::deliver::push::{PushOutcome, RefusalCause, RetryCause};
use crate::host::{MonotonicNanos, WallNanos};

/// The longest that nobody looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(60);

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
    /// Nothing goes before it is ready.
    backoff: Backoff,
    /// Failures since the endpoint answered; of several at a time one counts.
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
            backoff: Backoff::default(),
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
        now < self.backoff.ready_at()
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
            return Next::Wait(until(now, self.backoff.ready_at()).min(LOOK_EVERY));
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
            PushOutcome::Refused { cause, .. } => {
                self.answered(spool);
                self.refused(spool, sent, *cause)
            }
            PushOutcome::Retry { after, cause, .. } => self.failed(spool, sent, *after, *cause),
        };
        if let Verdict::Mark(_) = verdict {
            self.troubles.forget(sent.id);
        }
        self.account(spool, sent, outcome);
        verdict
    }

    fn account(&self, spool: &Spool, sent: &Departure, outcome: &PushOutcome) {
        let (now, wall) = (spool.clock().monotonic(), spool.clock().wall());
        let mut index = spool.index();
        let what = index.note(sent.id.window, sent.index()).map(|note| note.tally()).unwrap_or_default();
        let Some(account) = index.account_of(self.key) else { return };
        account.sent_bytes = account.sent_bytes.saturating_add(what.bytes);
        account.sending = account.sending.saturating_add(until(sent.at, now));
        let until = self.backoff.ready_at();
        account.held = account.held.filter(|_| now < until);
        match outcome {
            PushOutcome::Delivered => account.last_success = Some(wall),
            PushOutcome::Refused { cause, message } => {
                account.last_trouble = Some(message.clone());
                // What is outside the window stays in the spool: it is not dropped.
                if *cause != RefusalCause::OutsideWindow {
                    *account.refused.entry(*cause).or_default() += what;
                }
            }
            PushOutcome::Retry { cause, message, .. } => {
                account.last_trouble = Some(message.clone());
                *account.retries.entry(*cause).or_default() += 1;
                account.unanswered += u64::from(!cause.is_answer() && cause.may_be_stored());
                if now < until {
                    account.held = Some(Held { cause: *cause, until });
                }
            }
        }
    }

    /// Its file could not be read for a reason that may pass.
    pub(super) fn unread(&mut self, spool: &Spool, sent: &Departure) -> Verdict {
        // Nothing has to pass for this to count: the endpoint has no part in it.
        self.troubles.passed(0);
        if self.trouble(spool, sent, Tells::Something) {
            Verdict::Mark(State::Damaged)
        } else {
            Verdict::Back
        }
    }

    fn trouble(&mut self, spool: &Spool, sent: &Departure, tells: Tells) -> bool {
        self.troubles.retain(|id| spool.index().get(id.window).is_some());
        let attempt = Attempt { id: sent.id, bytes: sent.uncompressed_bytes, tells };
        let now = spool.clock().monotonic();
        self.troubles.failed(attempt, self.settings.refusals_max, now, &mut self.random)
    }

    fn answered(&mut self, spool: &Spool) {
        if self.failures > 0 {
            // What came while it was away.
            self.backlog_to = spool.index().newest();
        }
        self.failures = 0;
        self.backoff.succeeded();
    }

    fn refused(&mut self, spool: &Spool, sent: &Departure, cause: RefusalCause) -> Verdict {
        if cause != RefusalCause::OutsideWindow {
            return Verdict::Mark(State::Refused);
        }
        let started = spool.index().get(sent.id.window).map(|window| window.started);
        if started.is_some_and(|started| started > spool.clock().wall()) {
            self.refuses_future = true;
            return Verdict::Back;
        }
        Verdict::Mark(State::TooOld)
    }

    fn failed(
        &mut self,
        spool: &Spool,
        sent: &Departure,
        wanted: Option<Duration>,
        cause: RetryCause,
    ) -> Verdict {
        let tells = match cause {
            RetryCause::TooManyRequests => Tells::IfLargest,
            cause if cause.is_answer() => Tells::Something,
            _ => Tells::Nothing,
        };
        // One that fails again and again says nothing of the endpoint, as long as it is the only one.
        let is_known = tells != Tells::IfLargest && self.troubles.is_known(sent.id) && self.failures <= 1;
        // Of several on their way, only those that left after the last failure tell something new.
        if (self.failures == 0 || sent.at >= self.failed_at) && !is_known {
            self.failures = self.failures.saturating_add(1);
            self.failed_at = spool.clock().monotonic();
            // An endpoint that does not like a single profile goes on with the others.
            if tells != Tells::Something || self.failures > 1 || wanted.is_some() {
                self.backoff.failed(self.failed_at, wanted, &mut self.random);
            }
        }
        if self.trouble(spool, sent, tells) { Verdict::Mark(State::Poisoned) } else { Verdict::Back }
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
