//! What a capture left → names, profile, files.

use std::path::PathBuf;

use super::account;
use super::config::Config;
use super::stranger::shortened;
use crate::aggregate::build;
use crate::aggregate::completeness::Completeness;
use crate::aggregate::profile::Profile;
use crate::capture::segment::Segment;
use crate::collect::loss::Counts;
use crate::deliver::file::{OutputPlan, OutputReport, write_all};
use crate::host::Host;
use crate::symbolize::names::Namer;

/// What a capture leaves to be named and written.
pub(super) struct Recording {
    pub segment: Segment,
    pub counts: Counts,
    /// Files whose unwind information cannot be used, and why.
    pub unusable: Vec<(PathBuf, String)>,
}

/// A capture that is written.
pub(super) struct Finished {
    pub profile: Profile,
    pub completeness: Completeness,
    pub counts: Counts,
    pub reports: Vec<OutputReport>,
}

impl Finished {
    pub(super) fn failed_outputs(&self) -> usize {
        self.reports.iter().filter(|report| report.result.is_err()).count()
    }
}

/// Names what was sampled, builds the profile and writes all outputs.
pub(super) fn finish(recording: Recording, config: &Config, host: &Host, plan: &OutputPlan) -> Finished {
    let Recording { segment, mut counts, unusable } = recording;
    let named = Namer::of_one_window(&host.proc).name(
        segment.window.places(),
        &segment.sampled,
        host.clock.monotonic(),
    );
    counts.merge(&named.counts);
    let Segment { window, sampled, event, started, duration } = segment;
    let capture = build::Capture { host: host.name.as_str().into(), started, duration, event };
    let built = build::build(&window, &sampled, &named.by_place, &capture, &host.clock);
    let mut profile = built.profile;
    profile.comments = comments(&built.completeness, &counts, config);
    profile.comments.extend(unusable_files(&unusable));
    let reports = write_all(&profile, plan);
    Finished { profile, completeness: built.completeness, counts, reports }
}

/// More are only counted.
const UNUSABLE_TOLD_MAX: usize = 10;

/// Files without usable unwind information, by name and reason.
fn unusable_files(unusable: &[(PathBuf, String)]) -> Vec<String> {
    let line = |(path, why): &(PathBuf, String)| {
        format!("  unwind information of {}: {why}", shortened(&path.to_string_lossy()))
    };
    unusable.iter().take(UNUSABLE_TOLD_MAX).map(line).collect()
}

/// What a reader of the file should know about the capture.
fn comments(completeness: &Completeness, counts: &Counts, config: &Config) -> Vec<String> {
    let mut comments = vec![format!(
        "flamekeeper {}, {} samples a second on each CPU",
        env!("CARGO_PKG_VERSION"),
        config.session.rate.get()
    )];
    comments.extend(account::in_full(completeness, config.session.unwind));
    comments.extend(counts.losses().map(|(cause, count)| format!("{count} {}", cause.words())));
    comments
}
