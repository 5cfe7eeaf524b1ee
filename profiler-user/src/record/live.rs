//! What is told while a capture runs: one line that redraws itself on a terminal, plain lines elsewhere.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::config::Config;
use crate::capture::Progress;

/// Writes a line to the console. That nobody can read it must not end a capture.
pub(super) fn say(console: &mut impl Write, text: &str) {
    let _unheard = writeln!(console, "{text}");
}

/// Between two plain lines when stderr is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Between two pictures of the line on a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

/// The line.
pub(super) struct Live {
    bar: Option<ProgressBar>,
    duration: Option<Duration>,
    next: Duration,
}

impl Live {
    pub(super) fn start(config: &Config) -> Self {
        let bar = config.stderr_is_terminal.then(|| {
            let (length, template) = match config.duration {
                Some(duration) => (millis(duration), "{bar:24.yellow} {msg}"),
                None => (0, "{spinner:.yellow} {msg}"),
            };
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(4));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        let next = if bar.is_some() { Duration::ZERO } else { PLAIN_INTERVAL };
        Self { bar, duration: config.duration, next }
    }

    /// Whether it is time for new figures: counting them is a system call, which not every round needs.
    pub(super) fn is_due(&self, elapsed: Duration) -> bool {
        elapsed >= self.next
    }

    /// Redraws the line, or writes one.
    pub(super) fn update(&mut self, progress: Progress, console: &mut impl Write) {
        let line = line(progress, self.duration);
        match &self.bar {
            Some(bar) => {
                bar.set_position(millis(progress.elapsed));
                bar.set_message(line);
                bar.tick();
                self.next = progress.elapsed + REDRAW_INTERVAL;
            }
            None => {
                say(console, &line);
                self.next = progress.elapsed + PLAIN_INTERVAL;
            }
        }
    }

    /// Clears the line.
    pub(super) fn stop(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: Progress, duration: Option<Duration>) -> String {
    let Progress { elapsed, samples, lost, processes } = progress;
    let time = match duration {
        Some(duration) => format!("{} s left", duration.saturating_sub(elapsed).as_secs_f64().ceil()),
        None => format!("{} s, Ctrl-C to end", elapsed.as_secs()),
    };
    format!("{samples} samples, {lost} lost, {processes} processes, {time}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_left() {
        let progress =
            Progress { elapsed: Duration::from_millis(2_300), samples: 451, lost: 0, processes: 37 };
        assert_eq!(
            line(progress, Some(Duration::from_secs(10))),
            "451 samples, 0 lost, 37 processes, 8 s left"
        );
        assert_eq!(line(progress, None), "451 samples, 0 lost, 37 processes, 2 s, Ctrl-C to end");
    }
}
