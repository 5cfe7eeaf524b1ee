//! What became of pushes → log lines: once a minute at most for each cause, and one when an endpoint is well again.
//!
//! Counting is not its business: a line that is left out is no loss.

use tracing::{info, warn};

use super::outcome::PushOutcome;
use crate::deliver::log_limit::LogLimit;
use crate::host::MonotonicNanos;

/// The log of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct PushLog {
    limit: LogLimit<&'static str>,
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    attempts: u64,
    /// Whether a line told of it: what nobody was told of needs no end.
    is_told: bool,
}

impl PushLog {
    /// Says what is to be said of this outcome.
    pub fn record(&mut self, endpoint: &str, outcome: &PushOutcome, now: MonotonicNanos) {
        match outcome {
            PushOutcome::Delivered => {
                if let Some(Failing { attempts, is_told: true }) = self.failing.take() {
                    info!(endpoint, attempts, "push: delivered again");
                }
            }
            PushOutcome::Retry { cause, message, .. } => {
                let failing = self.failing.get_or_insert(Failing { attempts: 0, is_told: false });
                failing.attempts = failing.attempts.saturating_add(1);
                let cause = cause.as_str();
                if let Some(left_out) = self.limit.admit(&cause, now) {
                    failing.is_told = true;
                    warn!(
                        endpoint,
                        cause,
                        error = message.as_str(),
                        left_out,
                        "push: failed, will be tried again"
                    );
                }
            }
            PushOutcome::Refused { cause, message } => {
                let cause = cause.as_str();
                if let Some(left_out) = self.limit.admit(&cause, now) {
                    warn!(endpoint, cause, error = message.as_str(), left_out, "push: refused for good");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use expect_test::expect;

    use super::super::outcome::{RefusalCause, RetryCause};
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(outcomes: impl Fn(&mut dyn FnMut(u64, PushOutcome))) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .finish();
        let mut log = PushLog::default();
        tracing::subscriber::with_default(subscriber, || {
            outcomes(&mut |second, outcome| {
                log.record("main", &outcome, MonotonicNanos(second * 1_000_000_000));
            });
        });
        let bytes = lines.0.lock().expect("one thread").clone();
        // The level is padded.
        String::from_utf8(bytes).expect("text").lines().map(|line| format!("{}\n", line.trim())).collect()
    }

    #[test]
    fn a_cause_is_said_once_a_minute_and_recovery_once() {
        let retry = |cause| PushOutcome::Retry { after: None, cause, message: "refused".to_owned() };
        let refused = |cause| PushOutcome::Refused { cause, message: "400: too old".to_owned() };
        let text = logged(|record| {
            record(0, PushOutcome::Delivered);
            for second in 1..130 {
                record(second, retry(RetryCause::Unreachable));
            }
            record(130, retry(RetryCause::ServerError));
            record(131, PushOutcome::Delivered);
            record(132, PushOutcome::Delivered);
            record(133, refused(RefusalCause::OutsideWindow));
            record(134, refused(RefusalCause::OutsideWindow));
            // Not told, so its end is not told either.
            record(135, retry(RetryCause::ServerError));
            record(136, PushOutcome::Delivered);
        });
        expect![[r#"
            WARN push: failed, will be tried again endpoint="main" cause="unreachable" error="refused" left_out=0
            WARN push: failed, will be tried again endpoint="main" cause="unreachable" error="refused" left_out=59
            WARN push: failed, will be tried again endpoint="main" cause="unreachable" error="refused" left_out=59
            WARN push: failed, will be tried again endpoint="main" cause="server_error" error="refused" left_out=0
            INFO push: delivered again endpoint="main" attempts=130
            WARN push: refused for good endpoint="main" cause="outside_window" error="400: too old" left_out=0
        "#]]
        .assert_eq(&text);
    }
}
