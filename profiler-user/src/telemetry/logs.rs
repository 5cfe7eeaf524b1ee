//! Events of `tracing` → lines on stderr, in logfmt or JSON: levels, what is counted, and where they go.
//!
//! Sets nothing global: whoever owns the process does, with what it gets here.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

use super::lines::{Appendix, Lines};
use super::sink::{self, Flush, Sink};
use super::throttle::Throttle;
use crate::host::Clock;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// An object.
    Json,
}

/// How to log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Down to this level.
    pub level: Level,
    /// How a line is written.
    pub format: LogFormat,
    /// Whether the stream is systemd's journal, which has times of its own and reads levels.
    pub is_journal: bool,
}

/// What runs while there is a log. Dropped, it waits a moment for the last lines.
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    tally: Arc<Tally>,
    _flush: Flush,
}

/// Counts of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines by level.
    pub written: Vec<(&'static str, u64)>,
    /// Lines that were left out: too many of their kind, or the stream did not take them.
    pub swallowed: u64,
}

/// Counts while logging.
#[derive(Debug, Default)]
pub(super) struct Tally {
    written: [AtomicU64; LEVELS.len()],
    swallowed: AtomicU64,
}

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

impl Tally {
    pub(super) fn write(&self, level: Level) {
        let slot = LEVELS.iter().zip(&self.written).find(|((of, _), _)| *of == level);
        if let Some((_, count)) = slot {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn swallow(&self) {
        self.swallowed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a stream is systemd's journal: `JOURNAL_STREAM` tells the device and inode of the one that it connected
/// (systemd.exec(5)). A stream that was redirected since is another.
pub fn is_journal(journal_stream: Option<&OsStr>, stream: impl AsFd) -> bool {
    let Some((device, inode)) = journal_stream.and_then(OsStr::to_str).and_then(|text| text.split_once(':'))
    else {
        return false;
    };
    rustix::fs::fstat(stream)
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// What takes events, and the control over it. Starts a thread that writes; `begin` is what it does first.
pub fn start(
    options: LogOptions,
    clock: Clock,
    stream: impl Write + Send + 'static,
    begin: impl FnOnce() + Send + 'static,
) -> io::Result<(Dispatch, Log)> {
    let tally = Arc::new(Tally::default());
    let (sink, flush) = sink::start(stream, Arc::clone(&tally), begin)?;
    let (filter, handle) = reload::Layer::new(targets(options.level));
    let lines = lines(options, clock, sink, Arc::clone(&tally));
    let dispatch = Dispatch::new(Registry::default().with(filter).with(lines));
    Ok((dispatch, Log { filter: handle, tally, _flush: flush }))
}

impl Log {
    /// Changes the level.
    pub fn set_level(&self, level: Level) {
        // Fails only once nobody logs any more.
        let _nobody = self.filter.reload(targets(level));
    }

    /// Lines so far.
    pub fn counts(&self) -> LogCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let written = LEVELS.iter().zip(&self.tally.written);
        LogCounts {
            written: written.map(|((_, name), count)| (*name, read(count))).collect(),
            swallowed: read(&self.tally.swallowed),
        }
    }
}

/// The Kubernetes client's own words for what fails. We say the same, once for each outage.
const TOLD_BY_US: &str = "kube_client";

/// Ours at the level asked for; of the libraries only warnings, unless everything is asked for.
fn targets(level: Level) -> Targets {
    let is_all = level == Level::TRACE;
    let theirs = if is_all { level } else { level.min(Level::WARN) };
    let own = LevelFilter::from_level(level);
    Targets::new()
        .with_target(TOLD_BY_US, if is_all { own } else { LevelFilter::OFF })
        .with_default(LevelFilter::from_level(theirs))
        .with_target(env!("CARGO_CRATE_NAME"), own)
        .with_target("flamekeeper", own)
}

fn lines<S>(
    options: LogOptions,
    clock: Clock,
    sink: Sink,
    tally: Arc<Tally>,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let LogOptions { format, is_journal, .. } = options;
    let wrapping = Wrapping { is_journal, throttle: Throttle::default(), tally, clock };
    match format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_timestamp(!is_journal)
            .with_target(false)
            .with_span_name(false)
            .with_span_path(false)
            .layer()
            .map_event_format(|inner| wrapping.around(inner, Appendix::Logfmt))
            .with_writer(sink)
            .boxed(),
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_target(false)
                .with_writer(sink);
            if is_journal {
                let layer = layer.without_time();
                layer.map_event_format(|inner| wrapping.around(inner, Appendix::Json)).boxed()
            } else {
                layer.map_event_format(|inner| wrapping.around(inner, Appendix::Json)).boxed()
            }
        }
    }
}

/// What every format is wrapped in.
struct Wrapping {
    is_journal: bool,
    throttle: Throttle,
    tally: Arc<Tally>,
    clock: Clock,
}

impl Wrapping {
    fn around<F>(self, inner: F, appendix: Appendix) -> Lines<F> {
        let Self { is_journal, throttle, tally, clock } = self;
        Lines { inner, appendix, is_journal, throttle, tally, clock }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Mutex;

    use expect_test::{Expect, expect};
    use tracing::dispatcher::with_default;
    use tracing::{debug, error, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(options: LogOptions, events: impl FnOnce(&Log)) -> (String, LogCounts) {
        let memory = Memory::default();
        let (dispatch, log) = start(options, Clock::host(), memory.clone(), || {}).unwrap();
        with_default(&dispatch, || events(&log));
        let counts = log.counts();
        drop(log);
        let bytes = memory.0.lock().unwrap().clone();
        (String::from_utf8(bytes).unwrap(), counts)
    }

    /// Without times, which differ.
    fn options(format: LogFormat, level: Level) -> LogOptions {
        LogOptions { level, format, is_journal: true }
    }

    fn check(format: LogFormat, expected: &Expect) {
        let (text, _) = logged(options(format, Level::INFO), |_| {
            let error = io::Error::other("no space left");
            error!(path = "/var/lib/x", %error, "the spool cannot be written");
            warn!(executable = "a\u{1b}[2J\u{85}\u{202e}b\nlevel=error", "a name of a stranger");
            info!(samples = 12_u64, share = 0.5, is_first = true, "window finished");
            debug!("not asked for");
        });
        expected.assert_eq(&text);
    }

    #[test]
    fn lines_are_logfmt() {
        check(
            LogFormat::Logfmt,
            &expect![[r#"
            <3>level=error message="the spool cannot be written" path=/var/lib/x error="no space left"
            <4>level=warn message="a name of a stranger" executable="a\u{1b}[2J\u{85}\u{202e}b\nlevel=error"
            <6>level=info message="window finished" samples=12 share=0.5 is_first=true
        "#]],
        );
    }

    #[test]
    fn or_json() {
        check(
            LogFormat::Json,
            &expect![[r#"
            <3>{"level":"ERROR","message":"the spool cannot be written","path":"/var/lib/x","error":"no space left"}
            <4>{"level":"WARN","message":"a name of a stranger","executable":"a\u001b[2J��b\nlevel=error"}
            <6>{"level":"INFO","message":"window finished","samples":12,"share":0.5,"is_first":true}
        "#]],
        );
    }

    #[test]
    fn times_are_told_where_nobody_else_does() {
        let with_times = |format| {
            let options = LogOptions { is_journal: false, ..options(format, Level::INFO) };
            logged(options, |_| info!("x")).0
        };
        assert!(with_times(LogFormat::Logfmt).starts_with("ts=2"));
        assert!(with_times(LogFormat::Json).starts_with("{\"timestamp\":\"2"));
    }

    #[test]
    fn a_call_site_cannot_flood_and_causes_have_their_own_line() {
        let (text, counts) = logged(options(LogFormat::Logfmt, Level::DEBUG), |_| {
            for _ in 0..100 {
                warn!("again");
            }
            for cause in ["timeout", "tls", "timeout"] {
                warn!(cause, endpoint = "db", "not pushed");
            }
            for _ in 0..10 {
                debug!("detail");
            }
        });
        assert_eq!(text.matches("message=again").count(), 5);
        assert_eq!(text.matches("cause=timeout").count(), 1);
        assert_eq!(text.matches("cause=tls").count(), 1);
        assert_eq!(text.matches("message=detail").count(), 10);
        assert_eq!(counts.swallowed, 96);
        assert_eq!(counts.written, [("error", 0), ("warn", 7), ("info", 0), ("debug", 10), ("trace", 0)]);
    }

    #[test]
    fn the_level_can_be_changed() {
        let (text, _) = logged(options(LogFormat::Logfmt, Level::WARN), |log| {
            info!("before");
            log.set_level(Level::INFO);
            info!("after");
            info!(target: "hyper", "of a library");
            warn!(target: "hyper", "trouble of a library");
            error!(target: "kube_client::client::builder", "what we tell ourselves");
        });
        assert_eq!(text, "<6>level=info message=after\n<4>level=warn message=\"trouble of a library\"\n");
    }

    #[test]
    fn a_stream_that_is_stuck_holds_up_nobody() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _released = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::sync_channel(0);
        let options = options(LogFormat::Logfmt, Level::DEBUG);
        let (dispatch, log) = start(options, Clock::host(), Stuck(stuck), || {}).unwrap();
        with_default(&dispatch, || {
            for _ in 0..1_000 {
                debug!("x");
            }
        });
        // All but what the queue holds and the line that is being written, if it came to that.
        let swallowed = log.counts().swallowed;
        assert!((487..=488).contains(&swallowed), "{swallowed}");
        drop(release);
    }

    #[test]
    fn the_journal_is_known_by_its_socket() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let text = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(Some(OsStr::new(&text)), &file));
        assert!(!is_journal(Some(OsStr::new("8:1")), &file));
        assert!(!is_journal(Some(OsStr::new("nonsense")), &file));
        assert!(!is_journal(None, &file));
    }
}
