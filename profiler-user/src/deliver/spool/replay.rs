//! One endpoint's side of the spool: takes what the schedule says, has it sent, and marks what came of it.
//!
//! One task an endpoint, so a dead one holds nobody but itself. What touches the disk runs on the blocking pool.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::format::FormatError;
use super::schedule::{Departure, LOOK_EVERY, Next, Schedule, Verdict};
use super::sender::Sender;
use super::spooling::{Chore, Loaded, Spool};
use super::state::{EndpointKey, State};
use crate::deliver::push::{PushOutcome, RetryCause};

/// How an endpoint is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaySettings {
    /// Uncompressed bytes of backlog a second. The database takes 4 MB/s of all hosts of a tenant.
    pub backlog_bytes_per_second: u64,
    /// Profiles that are on their way at a time.
    pub concurrency: usize,
    /// Answers that invite to try again, while others pass, after which a profile is set aside.
    pub refusals_max: u32,
    /// How long an answer is waited for: longer than the sender itself waits.
    pub answer_within: Duration,
    /// How long sending goes on after the stop.
    pub drain_within: Duration,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            backlog_bytes_per_second: 1_000_000,
            concurrency: 4,
            refusals_max: 10,
            answer_within: Duration::from_secs(60),
            drain_within: Duration::from_secs(5),
        }
    }
}

/// Feeds one endpoint from the spool.
pub struct Replay<S> {
    spool: Spool,
    key: EndpointKey,
    sender: Arc<S>,
    settings: ReplaySettings,
    schedule: Schedule,
}

/// What came back.
enum Landed {
    /// An answer.
    Answer(Ticket, PushOutcome),
    /// It could not be read.
    Unread(Ticket, FormatError),
    /// A chore is done.
    Done,
}

/// A profile on its way. Whatever happens to its sending, it waits again unless it was marked.
struct Ticket {
    spool: Spool,
    key: EndpointKey,
    departure: Departure,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.spool.give_back(self.departure.id.window, self.key, self.departure.index());
    }
}

/// Things under way.
#[derive(Default)]
struct UnderWay {
    all: FuturesUnordered<BoxFuture<'static, Landed>>,
    sending: usize,
}

impl<S: Sender> Replay<S> {
    /// Of an endpoint that the spool knows. `random` spreads pauses.
    pub fn new(
        spool: &Spool,
        key: EndpointKey,
        sender: S,
        settings: ReplaySettings,
        random: fastrand::Rng,
    ) -> Self {
        let schedule = Schedule::new(key, settings, spool, random);
        Self { spool: spool.clone(), key, sender: Arc::new(sender), settings, schedule }
    }

    /// Sends until `stop` says true (or its sender is gone), and then what can go without waiting, for
    /// [`ReplaySettings::drain_within`] at most. Ends too when the endpoint is configured no more.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut news = self.spool.news();
        let mut under_way = UnderWay::default();
        let is_stopped = async move { stop.wait_for(|is_stopped| *is_stopped).await.is_err() };
        tokio::pin!(is_stopped);
        let mut draining = false;
        let deadline = tokio::time::sleep(self.settings.drain_within);
        tokio::pin!(deadline);
        loop {
            let Some(wait) = self.start(&mut under_way) else { return };
            if draining && under_way.all.is_empty() {
                return;
            }
            tokio::select! {
                Some(landed) = under_way.all.next() => self.land(&mut under_way, landed),
                Ok(()) = news.changed() => {}
                () = tokio::time::sleep(wait) => {}
                _ = &mut is_stopped, if !draining => {
                    draining = true;
                    deadline.as_mut().set(tokio::time::sleep(self.settings.drain_within));
                }
                () = &mut deadline, if draining => break,
            }
        }
        let sending = u64::try_from(under_way.sending).unwrap_or(0);
        if let Some(account) = self.spool.index().account_of(self.key) {
            account.unanswered += sending;
        }
    }

    /// Starts what can be started; how long to wait then, or `None` if the endpoint is gone.
    fn start(&mut self, under_way: &mut UnderWay) -> Option<Duration> {
        loop {
            // Chores wait for the disk only; if that hangs, or there are thousands, they shall not pile up.
            if under_way.all.len() >= self.settings.concurrency.saturating_mul(2).max(2) {
                return Some(LOOK_EVERY);
            }
            match self.schedule.next(&self.spool, under_way.sending) {
                Next::Send(departure) => {
                    let (spool, key) = (self.spool.clone(), self.key);
                    let ticket = Ticket { spool, key, departure };
                    let within = self.settings.answer_within;
                    under_way.all.push(send(ticket, Arc::clone(&self.sender), within).boxed());
                    under_way.sending += 1;
                }
                Next::SetAside(window, profiles) => {
                    let chore = self.spool.mark(window, self.key, &profiles, State::TooOld);
                    self.carry_out(under_way, chore);
                }
                Next::Wait(time) => return Some(time),
                Next::Gone => return None,
            }
        }
    }

    fn land(&mut self, under_way: &mut UnderWay, landed: Landed) {
        let (ticket, verdict) = match landed {
            Landed::Done => return,
            Landed::Answer(ticket, outcome) => {
                let verdict = self.schedule.landed(&self.spool, &ticket.departure, &outcome);
                (ticket, verdict)
            }
            Landed::Unread(ticket, error) => {
                let verdict = match error {
                    FormatError::Io(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        self.schedule.unread(&self.spool, &ticket.departure)
                    }
                    _ => Verdict::Mark(State::Damaged),
                };
                (ticket, verdict)
            }
        };
        under_way.sending = under_way.sending.saturating_sub(1);
        if let Verdict::Mark(state) = verdict {
            let Departure { id, .. } = ticket.departure;
            let chore = self.spool.mark(id.window, self.key, &[ticket.departure.index()], state);
            self.carry_out(under_way, chore);
        }
    }

    fn carry_out(&self, under_way: &mut UnderWay, chore: Option<Chore>) {
        let Some(chore) = chore else { return };
        let spool = self.spool.clone();
        let done = spawn_blocking(move || spool.carry_out(&chore));
        under_way.all.push(done.map(|_| Landed::Done).boxed());
    }
}

async fn send<S: Sender>(ticket: Ticket, sender: Arc<S>, within: Duration) -> Landed {
    let id = ticket.departure.id;
    let loaded = match load(&ticket).await {
        Ok(loaded) => loaded,
        Err(error) => return Landed::Unread(ticket, error),
    };
    let Some(profile) = loaded.profile() else {
        return Landed::Unread(ticket, FormatError::Bounds { what: "number of profiles" });
    };
    let sent = tokio::time::timeout(within, sender.send(profile, id)).await;
    let outcome = sent.unwrap_or_else(|_| PushOutcome::Retry {
        after: None,
        cause: RetryCause::Timeout,
        message: "no answer in time".to_owned(),
    });
    Landed::Answer(ticket, outcome)
}

async fn load(ticket: &Ticket) -> Result<Loaded, FormatError> {
    let (id, profile) = (ticket.departure.id.window, ticket.departure.index());
    if let Some(loaded) = ticket.spool.at_hand(id, profile) {
        return Ok(loaded);
    }
    let spool = ticket.spool.clone();
    let loaded = spawn_blocking(move || spool.load(id, profile)).await;
    loaded.unwrap_or_else(|error| Err(FormatError::Io(std::io::Error::other(error))))
}
