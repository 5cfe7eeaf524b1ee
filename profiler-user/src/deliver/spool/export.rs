//! Windows of a spool → merged profiles: one of all, or one a service. Streams: one profile of the spool in memory at a time.
//!
//! The series' labels become labels of the samples, as `go tool pprof -tagfocus` takes them; in formats without labels a
//! service is what a process is elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::SpoolError;
use super::format::FormatError;
use super::id::WindowId;
use super::read::{SpoolReader, is_in};
use super::state::State;
use crate::aggregate::merge::{Keep, Merger, Span};
use crate::aggregate::profile::{Process, Profile, SampledEvent};
use crate::attribute::labels::Labels;
use crate::deliver::file::pprof::{self, Reader};
use crate::deliver::file::{Format, OutputError, PprofError, Target, read_pprof, write_by};
use crate::deliver::finished::SeriesProfile;
use crate::host::WallNanos;

/// Distinct samples of all profiles that are made; some 100 bytes each.
const SAMPLES_MAX: usize = 4_000_000;

/// Which profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of windows that ended after it.
    pub since: Option<WallNanos>,
    /// Of windows that began before it.
    pub until: Option<WallNanos>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// In any of these states with any endpoint; empty for all.
    pub states: Vec<State>,
}

impl Selection {
    /// Whether a window of this time is selected.
    pub fn has_time(&self, started: WallNanos, duration: Duration) -> bool {
        let duration = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let ended = WallNanos(started.0.saturating_add(duration));
        self.since.is_none_or(|since| ended > since) && self.until.is_none_or(|until| started < until)
    }

    /// Whether a series is selected.
    pub fn has_labels(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(name, value)| labels.get(name) == value)
    }
}

/// A profile that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Its window.
    #[error("{window}: {error}")]
    Window {
        /// Which one.
        window: WindowId,
        /// Why.
        error: FormatError,
    },
    /// The profile itself.
    #[error("{window}, profile {index}: {error}")]
    Profile {
        /// Its window.
        window: WindowId,
        /// Which of its profiles.
        index: usize,
        /// Why.
        error: PprofError,
    },
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// More than fits into one export.
    #[error("more than {SAMPLES_MAX} distinct samples are selected; take less time, or fewer series")]
    TooMuch,
}

/// A merged profile.
#[derive(Debug)]
pub struct Exported {
    /// The service, if there is one profile each; empty for all.
    pub service: String,
    /// The profile; a process of it is a series.
    pub profile: Profile,
    /// The labels of each of its processes.
    pub series: Vec<Labels>,
    /// Windows that it is made of.
    pub windows: usize,
}

/// Everything that was selected.
#[derive(Debug, Default)]
pub struct Export {
    /// The profiles, by service.
    pub profiles: Vec<Exported>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Merges what is selected.
///
/// # Errors
///
/// If the folder cannot be read, or too much is selected. Damaged windows are no error: the rest is exported.
pub fn export(reader: &SpoolReader, selection: &Selection, by_service: bool) -> Result<Export, ExportError> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut export = Export::default();
    for (window, bytes) in reader.list()?.windows {
        let head = match reader.head(window, bytes) {
            Ok(Some(head)) => head,
            Ok(None) => continue,
            Err(error) => {
                export.unreadable.push(Unreadable::Window { window, error });
                continue;
            }
        };
        if !selection.has_time(head.started, head.duration) {
            continue;
        }
        for index in (0..head.records.len()).filter(|index| is_in(&head, *index, &selection.states)) {
            let profile = match reader.profile(window, &head, index) {
                Ok(Some(profile)) => profile,
                Ok(None) => continue,
                Err(error) => {
                    export.unreadable.push(Unreadable::Window { window, error });
                    continue;
                }
            };
            if !selection.has_labels(&profile.labels) {
                continue;
            }
            let service = if by_service { profile.labels.get("service_name") } else { "" };
            let group = groups.entry(service.to_owned()).or_insert_with(|| Group::new(by_service));
            match group.add(&head.host, profile) {
                Ok(()) => drop(group.windows.insert((head.started, head.duration, window))),
                Err(error) => export.unreadable.push(Unreadable::Profile { window, index, error }),
            }
        }
        if groups.values().map(|group| group.merger.len()).sum::<usize>() > SAMPLES_MAX {
            return Err(ExportError::TooMuch);
        }
    }
    let groups = groups.into_iter().filter(|(_, group)| !group.windows.is_empty());
    export.profiles = groups.map(|(service, group)| group.finish(service)).collect();
    Ok(export)
}

/// A profile in the making.
struct Group {
    by_service: bool,
    merger: Merger,
    /// Numbers of series, from 1.
    series: BTreeMap<Labels, u32>,
    windows: BTreeSet<(WallNanos, Duration, WindowId)>,
    hosts: BTreeSet<String>,
    period_nanos: u64,
}

impl Group {
    fn new(by_service: bool) -> Self {
        Self {
            by_service,
            merger: Merger::new(Keep::Threads),
            series: BTreeMap::new(),
            windows: BTreeSet::new(),
            hosts: BTreeSet::new(),
            period_nanos: 0,
        }
    }

    fn add(&mut self, host: &str, profile: SeriesProfile) -> Result<(), PprofError> {
        let next = u32::try_from(self.series.len()).unwrap_or(u32::MAX).saturating_add(1);
        let number = self.series.get(&profile.labels).copied().unwrap_or(next);
        let process = self.process(number, &profile.labels);
        let read = read_pprof(&profile.pprof_gz, profile.uncompressed_bytes, host.into(), process)?;
        self.series.insert(profile.labels, number);
        self.hosts.insert(host.to_owned());
        if let SampledEvent::CpuClock { period_nanos } = read.event {
            self.period_nanos = self.period_nanos.max(period_nanos);
        }
        self.merger.begin();
        read.samples.iter().for_each(|sample| self.merger.add(&read, sample));
        Ok(())
    }

    /// What stands for a series where there are processes.
    fn process(&self, number: u32, labels: &Labels) -> Process {
        let (service, executable) = (labels.get("service_name"), labels.get("process_executable_name"));
        let name = if (self.by_service && !executable.is_empty()) || service.is_empty() {
            executable
        } else {
            service
        };
        let name = if name.is_empty() { "unknown_service" } else { name };
        Process { pid: number, executable_name: name.into(), started_nanos: 0, ended_nanos: None }
    }

    fn finish(self, service: String) -> Exported {
        let started = self.windows.first().map_or(WallNanos(0), |(started, _, _)| *started);
        let duration = self.windows.iter().fold(Duration::ZERO, |sum, (_, one, _)| sum.saturating_add(*one));
        let host = self.hosts.into_iter().collect::<Vec<_>>().join(" ");
        let span = Span {
            host: Arc::from(host.as_str()),
            started_nanos: started.0,
            duration,
            event: SampledEvent::CpuClock { period_nanos: self.period_nanos },
        };
        let mut profile = self.merger.finish(span);
        profile.comments.push(format!("{} windows of the spool of {host}", self.windows.len()));
        let by_number: BTreeMap<u32, Labels> =
            self.series.into_iter().map(|(labels, number)| (number, labels)).collect();
        let labels = |process: &Process| by_number.get(&process.pid).cloned().unwrap_or_default();
        let series = profile.processes.iter().map(labels).collect();
        Exported { service, profile, series, windows: self.windows.len() }
    }
}

impl Exported {
    /// Writes it. Gives the bytes written.
    ///
    /// # Errors
    ///
    /// If that fails, or the format is one with a time axis.
    pub fn write(&self, target: &Target) -> Result<u64, OutputError> {
        write_by(target, |out| match target.format {
            Format::Pprof => {
                pprof::write(&self.profile, Reader::Series(&self.series), out)?;
                Ok(())
            }
            other => other.encode(&self.profile, out),
        })
    }

    /// Samples in it.
    pub fn samples(&self) -> u64 {
        self.profile.samples.iter().map(|sample| sample.count).fold(0, u64::saturating_add)
    }

    /// CPU time in it.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(
            self.profile.samples.iter().map(|sample| sample.weight).fold(0, u64::saturating_add),
        )
    }
}
