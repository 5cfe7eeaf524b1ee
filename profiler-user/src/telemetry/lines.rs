//! An event → a line of the log: throttled, formatted by a library, without anything that a stranger's name could do to a
//! terminal, and under systemd with its level as journald reads it.

use std::fmt;
use std::sync::Arc;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs::Tally;
use super::throttle::Throttle;
use crate::deliver::serve::is_misleading;
use crate::host::Clock;

/// How the number of swallowed lines is put into a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Appendix {
    /// ` swallowed=3` at the end.
    Logfmt,
    /// `,"swallowed":3` before the closing brace.
    Json,
}

/// Formats lines by another format, throttled and harmless.
pub(super) struct Lines<F> {
    pub(super) inner: F,
    pub(super) appendix: Appendix,
    pub(super) is_journal: bool,
    pub(super) throttle: Throttle,
    pub(super) tally: Arc<Tally>,
    pub(super) clock: Clock,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(swallowed) = self.throttle.admit(event, self.clock.monotonic()) else {
            self.tally.swallow();
            return Ok(());
        };
        let level = *event.metadata().level();
        self.tally.write(level);
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        if self.is_journal {
            write!(writer, "<{}>", syslog_severity(level))?;
        }
        let mut line = harmless(line.trim_end_matches('\n'));
        if swallowed > 0 {
            self.appendix.add(&mut line, swallowed);
        }
        line.push('\n');
        writer.write_str(&line)
    }
}

impl Appendix {
    fn add(self, line: &mut String, swallowed: u64) {
        match self {
            Self::Logfmt => line.push_str(&format!(" swallowed={swallowed}")),
            Self::Json => {
                let closing = line.pop();
                line.push_str(&format!(",\"swallowed\":{swallowed}"));
                line.extend(closing);
            }
        }
    }
}

fn harmless(line: &str) -> String {
    line.chars().map(|c| if is_misleading(c) { '\u{fffd}' } else { c }).collect()
}

/// Severities of syslog(3), which journald takes from a line's beginning (sd-daemon(3)).
fn syslog_severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_swallowed_is_told_in_both_formats() {
        let with = |appendix: Appendix, line: &str| {
            let mut line = line.to_owned();
            appendix.add(&mut line, 3);
            line
        };
        assert_eq!(with(Appendix::Logfmt, "level=warn message=x"), "level=warn message=x swallowed=3");
        assert_eq!(with(Appendix::Json, r#"{"level":"WARN"}"#), r#"{"level":"WARN","swallowed":3}"#);
    }
}
