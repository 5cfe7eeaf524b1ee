//! What a capture left → names, profile, files.

use super::account;
use super::config::Config;
use super::session::Recording;
use super::stranger::shortened;
use crate::aggregate::completeness::Completeness;
use crate::aggregate::profile::Profile;
use crate::aggregate::{Capture, build};
use crate::collect::loss::Counts;
use crate::deliver::file::{OutputPlan, OutputReport, write_all};
use crate::host::Host;
use crate::process::FileId;
use crate::process::files::FileTable;
use crate::symbolize::names::name_places;

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
    let Recording { processes, window, mut counts, event, started, duration, unusable } = recording;
    let named = name_places(window.places(), &processes, host);
    counts.merge(&named.counts);
    let capture = Capture { host: host.name.as_str().into(), started, duration, event };
    let built = build(&window, &processes, &named.by_place, &capture, &host.clock);
    let mut profile = built.profile;
    profile.comments = comments(&built.completeness, &counts, config);
    profile.comments.extend(unusable_files(&unusable, processes.files()));
    let reports = write_all(&profile, plan);
    Finished { profile, completeness: built.completeness, counts, reports }
}

/// More are only counted.
const UNUSABLE_TOLD_MAX: usize = 10;

/// Files without usable unwind information, by name and reason.
fn unusable_files(unusable: &[(FileId, String)], files: &FileTable) -> Vec<String> {
    let told = unusable.iter().take(UNUSABLE_TOLD_MAX);
    let line = |(id, why): &(FileId, String)| {
        let path = &files.get(*id)?.path;
        Some(format!("  unwind information of {}: {why}", shortened(&path.to_string_lossy())))
    };
    told.filter_map(line).collect()
}

/// What a reader of the file should know about the capture.
fn comments(completeness: &Completeness, counts: &Counts, config: &Config) -> Vec<String> {
    let mut comments = vec![format!(
        "flamekeeper {}, {} samples a second on each CPU",
        env!("CARGO_PKG_VERSION"),
        config.rate.get()
    )];
    comments.extend(account::in_full(completeness, config.unwind));
    comments.extend(counts.losses().map(|(cause, count)| format!("{count} {}", cause.words())));
    comments
}
