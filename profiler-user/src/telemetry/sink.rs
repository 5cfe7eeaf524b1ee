//! Lines → a stream, by a thread of their own: whoever logs never waits for a terminal, a pipe or a journal that is stuck.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::logs::Tally;

/// Lines that wait for the stream; further ones are lost, and counted.
const LINES_MAX: usize = 512;
/// What is left at the end may take so long to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes lines, and never blocks.
#[derive(Clone)]
pub(super) struct Sink {
    lines: SyncSender<Vec<u8>>,
    tally: Arc<Tally>,
}

/// Waits for the last lines when it is dropped.
#[derive(Debug)]
pub(super) struct Flush {
    lines: SyncSender<Vec<u8>>,
    done: Mutex<Receiver<()>>,
}

/// Starts the thread. `begin` is what it does first.
pub(super) fn start(
    mut stream: impl Write + Send + 'static,
    tally: Arc<Tally>,
    begin: impl FnOnce() + Send + 'static,
) -> io::Result<(Sink, Flush)> {
    let (lines, waiting) = sync_channel::<Vec<u8>>(LINES_MAX);
    let (finish, done) = sync_channel(1);
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        begin();
        // An empty line is the last one: senders live as long as the process.
        for line in waiting.iter().take_while(|line| !line.is_empty()) {
            // Nobody to tell that nobody can be told.
            let _unheard = stream.write_all(&line).and_then(|()| stream.flush());
        }
        let _nobody_waits = finish.send(());
    })?;
    Ok((Sink { lines: lines.clone(), tally }, Flush { lines, done: Mutex::new(done) }))
}

impl Drop for Flush {
    fn drop(&mut self) {
        // A full queue is not waited for: its stream is stuck.
        if self.lines.try_send(Vec::new()).is_ok() {
            let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _late = done.recv_timeout(LAST_WORDS);
        }
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !line.is_empty() {
            match self.lines.try_send(line.to_vec()) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.tally.swallow(),
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
