//! An endpoint that answers by a script and remembers what it stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::disk::FakeDisk;
use crate::deliver::finished::SeriesProfile;
use crate::deliver::push::{PushOutcome, RefusalCause, RetryCause};
use crate::deliver::spool::Sender;
use crate::deliver::spool::id::ProfileId;

/// What the endpoint does with a profile.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Stores it and says so.
    Store,
    /// Stores it, but the answer is lost.
    StoreAndLose,
    /// Does not store it.
    Fail(PushOutcome),
    /// Never answers.
    Hang,
}

pub(super) fn again(cause: RetryCause) -> Answer {
    Answer::Fail(PushOutcome::Retry { after: None, cause, message: cause.to_string() })
}

pub(super) fn unreachable() -> Answer {
    again(RetryCause::Unreachable)
}

pub(super) fn server_error() -> Answer {
    again(RetryCause::ServerError)
}

pub(super) fn too_many(seconds: Option<u64>) -> Answer {
    let (after, message) = (seconds.map(Duration::from_secs), "limit".to_owned());
    Answer::Fail(PushOutcome::Retry { after, cause: RetryCause::TooManyRequests, message })
}

pub(super) fn refuse(cause: RefusalCause) -> Answer {
    Answer::Fail(PushOutcome::Refused { cause, message: format!("no: {cause}") })
}

pub(super) fn outside() -> Answer {
    refuse(RefusalCause::OutsideWindow)
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) id: ProfileId,
    pub(super) at: Duration,
    pub(super) is_stored: bool,
    pub(super) is_lost: bool,
    pub(super) samples: u64,
}

type Script = dyn FnMut(ProfileId, &SeriesProfile) -> Answer + Send;

/// Clones are the same endpoint.
#[derive(Clone)]
pub(super) struct FakeEndpoint {
    script: Arc<Mutex<Box<Script>>>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
    start: tokio::time::Instant,
    /// If there is one, each attempt is a step before and a step after it stores.
    disk: Option<FakeDisk>,
}

impl FakeEndpoint {
    pub(super) fn new(script: impl FnMut(ProfileId, &SeriesProfile) -> Answer + Send + 'static) -> Self {
        let script: Box<Script> = Box::new(script);
        Self {
            script: Arc::new(Mutex::new(script)),
            attempts: Arc::default(),
            start: tokio::time::Instant::now(),
            disk: None,
        }
    }

    /// The same endpoint, as a run of the program sees it that dies with that disk.
    pub(super) fn with_disk(&self, disk: &FakeDisk) -> Self {
        Self { disk: Some(disk.clone()), ..self.clone() }
    }

    pub(super) fn answer(&self, script: impl FnMut(ProfileId, &SeriesProfile) -> Answer + Send + 'static) {
        *self.script.lock().expect("no script panics") = Box::new(script);
    }

    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("no script panics").clone()
    }

    /// What it stored, in order.
    pub(super) fn stored(&self) -> Vec<Attempt> {
        self.attempts().into_iter().filter(|attempt| attempt.is_stored).collect()
    }

    /// How often it stored each.
    pub(super) fn times(&self) -> BTreeMap<ProfileId, usize> {
        let mut times = BTreeMap::new();
        self.stored().into_iter().for_each(|attempt| *times.entry(attempt.id).or_insert(0) += 1);
        times
    }

    /// How often it stored each without being heard.
    pub(super) fn lost(&self) -> BTreeMap<ProfileId, usize> {
        let mut times = BTreeMap::new();
        let lost = self.stored().into_iter().filter(|attempt| attempt.is_lost);
        lost.for_each(|attempt| *times.entry(attempt.id).or_insert(0) += 1);
        times
    }

    pub(super) fn stored_samples(&self) -> u64 {
        self.stored().iter().map(|attempt| attempt.samples).sum()
    }
}

impl Sender for FakeEndpoint {
    async fn send(&self, profile: &SeriesProfile, id: ProfileId) -> PushOutcome {
        let is_alive = || self.disk.as_ref().is_none_or(FakeDisk::step);
        // So that others may come in between.
        tokio::time::sleep(Duration::from_millis(10)).await;
        if !is_alive() {
            std::future::pending::<()>().await;
        }
        let answer = (self.script.lock().expect("no script panics"))(id, profile);
        let is_stored = matches!(answer, Answer::Store | Answer::StoreAndLose);
        let is_lost = matches!(answer, Answer::StoreAndLose);
        let attempt = Attempt { id, at: self.start.elapsed(), is_stored, is_lost, samples: profile.samples };
        self.attempts.lock().expect("no script panics").push(attempt);
        if !is_alive() {
            std::future::pending::<()>().await;
        }
        match answer {
            Answer::Store => PushOutcome::Delivered,
            Answer::StoreAndLose => {
                PushOutcome::Retry { after: None, cause: RetryCause::Broken, message: "reset".to_owned() }
            }
            Answer::Fail(outcome) => outcome,
            Answer::Hang => std::future::pending().await,
        }
    }
}
