//! The thread that keeps the rights to make maps and to open perf events: fixed questions in, descriptors out.
//!
//! ```text
//!   session ─ Broker (Rights) ── Question ──▶ thread "broker": Role::Broker, Here ── answer ──▶ session
//! ```
//!
//! It reads no memory and no file of anybody's, so what it could be talked into is what a [`Question`] says. Ends when the
//! last [`Broker`] is gone, and the programs in the kernel with it.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::thread::{self, ThreadError};
use crate::capture::rights::{Here, Rights};
use crate::collect::sideband::{CpuRing, SideBandError};
use crate::privileges::{Kernel, Role};
use crate::sample::{Hertz, RowBlockMap, SampleError, TickSource, Ticks};

/// What may be asked. Each asker waits for its answer, so there are never more questions than threads.
enum Question {
    Attach(TickSource, Hertz, SyncSender<Result<usize, SampleError>>),
    FollowCpus(TickSource, Hertz, BTreeSet<u32>, SyncSender<Result<Vec<u32>, SampleError>>),
    Detach(SyncSender<()>),
    Cpus(SyncSender<BTreeSet<u32>>),
    RowBlock(SyncSender<Result<RowBlockMap, SampleError>>),
    SideBand(u32, SyncSender<Result<Option<CpuRing>, SideBandError>>),
}

/// Asks the thread.
pub(super) struct Broker {
    questions: Mutex<SyncSender<Question>>,
}

impl Broker {
    /// Starts the thread, which from then on has the programs, and no other rights than it needs for them.
    pub(super) fn start(ticks: Ticks, kernel: Kernel) -> Result<Arc<dyn Rights>, ThreadError> {
        let (questions, asked) = sync_channel(1);
        let work = move |()| answer(&asked, &Here::new(ticks));
        thread::start("broker", Role::Broker, kernel, || Ok(()), work)?;
        Ok(Arc::new(Self { questions: Mutex::new(questions) }))
    }

    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Question) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.send(question(reply)).ok()?;
        answer.recv().ok()
    }
}

fn answer(asked: &Receiver<Question>, here: &Here) {
    for question in asked {
        // An asker that does not wait any more has ended; so will the channel.
        let _heard = match question {
            Question::Attach(source, rate, reply) => reply.send(here.attach(source, rate)).is_ok(),
            Question::FollowCpus(source, rate, unseen, reply) => {
                reply.send(here.follow_cpus(source, rate, unseen)).is_ok()
            }
            Question::Detach(reply) => {
                here.detach();
                reply.send(()).is_ok()
            }
            Question::Cpus(reply) => reply.send(here.cpus()).is_ok(),
            Question::RowBlock(reply) => reply.send(here.row_block()).is_ok(),
            Question::SideBand(cpu, reply) => reply.send(here.side_band(cpu)).is_ok(),
        };
    }
}

impl Rights for Broker {
    fn attach(&self, source: TickSource, rate: Hertz) -> Result<usize, SampleError> {
        self.ask(|reply| Question::Attach(source, rate, reply)).unwrap_or(Err(SampleError::NoBroker))
    }

    fn follow_cpus(
        &self,
        source: TickSource,
        rate: Hertz,
        unseen: BTreeSet<u32>,
    ) -> Result<Vec<u32>, SampleError> {
        self.ask(|reply| Question::FollowCpus(source, rate, unseen, reply))
            .unwrap_or(Err(SampleError::NoBroker))
    }

    fn detach(&self) {
        let _gone = self.ask(Question::Detach);
    }

    fn cpus(&self) -> BTreeSet<u32> {
        self.ask(Question::Cpus).unwrap_or_default()
    }

    fn row_block(&self) -> Result<RowBlockMap, SampleError> {
        self.ask(Question::RowBlock).unwrap_or(Err(SampleError::NoBroker))
    }

    fn side_band(&self, cpu: u32) -> Result<Option<CpuRing>, SideBandError> {
        self.ask(|reply| Question::SideBand(cpu, reply)).unwrap_or(Ok(None))
    }
}
