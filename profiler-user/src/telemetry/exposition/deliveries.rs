//! Metrics of the way from the spool to the databases. For each endpoint holds, at any moment and to the sample:
//!
//! ```text
//!   spool_samples_taken = push_samples + spool_samples (all states) + spool_dropped_samples + push_refused_samples
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::{m, nanos, seconds, seconds_since_1970};
use crate::deliver::push::{RefusalCause, RetryCause};
use crate::deliver::spool::account::{DropReason, EndpointAccount, Tally};
use crate::host::WallNanos;
use crate::telemetry::account::Account;
use crate::telemetry::sheet::{Metric, Sheet};

/// All of them.
pub(super) fn write(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    spool(sheet, account)?;
    pushes(sheet, account)?;
    attempts(sheet, account)
}

fn spool(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let of = &account.spool;
    let parts =
        || [("waiting", of.waiting), ("aside", of.aside)].map(|(name, part)| ([("state", name)], part));
    sheet.gauges(
        m(
            "spool_windows",
            "Windows on disk: waiting to be sent, or set aside because the server does not take them.",
        ),
        parts().map(|(state, part)| (state, part.windows)),
    )?;
    sheet.gauges(
        m("spool_bytes", "Size of the windows on disk."),
        parts().map(|(state, part)| (state, part.bytes)),
    )?;
    sheet.gauge(m("spool_max_bytes", "What the spool may take."), account.spool_bytes_max)?;
    let age = |started: WallNanos| nanos(account.read_at.0.saturating_sub(started.0));
    sheet.gauges(
        m("spool_oldest_age_seconds", "Age of the oldest window on disk; absent if there is none."),
        parts().into_iter().filter_map(|(state, part)| Some((state, age(part.oldest?)))),
    )?;
    sheet.gauge(
        m("spool_writable", "1 if the last write into the spool went well."),
        u64::from(of.trouble.is_none()),
    )?;
    sheet.gauge(
        m("spool_unwritten_windows", "Windows that could not be written yet: memory alone has them."),
        of.unwritten.windows,
    )?;
    sheet.counter(
        m("spool_half_written_files", "Windows that a kill left half-written on disk: removed at the start."),
        of.strays.half_written.saturating_add(of.strays.damaged),
    )
}

/// The endpoints, each with its label.
fn endpoints(account: &Account) -> impl Iterator<Item = ([(&'static str, &str); 1], &EndpointAccount)> {
    account.spool.endpoints.iter().map(|(endpoint, of)| ([("endpoint", endpoint.name.as_str())], of))
}

fn and<'a>(
    [first]: [(&'static str, &'a str); 1],
    second: (&'static str, &'a str),
) -> [(&'static str, &'a str); 2] {
    [first, second]
}

/// What becomes of what is in the spool: each profile is in one of these families, at any moment.
fn pushes(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let all = || endpoints(account);
    sheet.counters(
        m("spool_profiles_taken", "Profiles that came into the spool, those that earlier runs left too."),
        all().map(|(labels, of)| (labels, of.came().profiles)),
    )?;
    sheet.counters(
        m("spool_samples_taken", "Samples in them."),
        all().map(|(labels, of)| (labels, of.came().samples)),
    )?;
    sheet.counters(
        m("push_profiles", "Profiles that the database took."),
        all().map(|(labels, of)| (labels, of.delivered.profiles)),
    )?;
    sheet.counters(
        m("push_samples", "Samples in profiles that the database took."),
        all().map(|(labels, of)| (labels, of.delivered.samples)),
    )?;
    let states = |of: &EndpointAccount| {
        [("waiting", of.waiting), ("too_old", of.too_old), ("too_many_attempts", of.poisoned)]
    };
    let stored = || {
        all().flat_map(|(labels, of)| states(of).map(|(state, tally)| (and(labels, ("state", state)), tally)))
    };
    sheet.gauges(
        m(
            "spool_profiles",
            "Profiles on disk: waiting for the database, or set aside as too old for it or as failed too often.",
        ),
        stored().map(|(labels, tally)| (labels, tally.profiles)),
    )?;
    sheet.gauges(
        m("spool_samples", "Samples in them."),
        stored().map(|(labels, tally)| (labels, tally.samples)),
    )?;
    let dropped = || {
        all().flat_map(|(labels, of)| {
            let reasons = DropReason::ALL.into_iter().filter(|&reason| reason != DropReason::Refused);
            reasons.map(move |reason| (and(labels, ("reason", reason.name())), tally(&of.dropped, reason)))
        })
    };
    lost(
        sheet,
        m(
            "spool_dropped_profiles",
            "Profiles that were thrown away before the database had them, by reason.",
        ),
        m("spool_dropped_samples", "Samples in profiles that were thrown away, by reason."),
        dropped,
    )?;
    let refused = || {
        all().flat_map(|(labels, of)| {
            // What is too old is set aside.
            let causes = RefusalCause::ALL.into_iter().filter(|&cause| cause != RefusalCause::OutsideWindow);
            causes.map(move |cause| (and(labels, ("cause", cause.as_str())), tally(&of.refused, cause)))
        })
    };
    lost(
        sheet,
        m("push_refused_profiles", "Profiles that the database never will take, by cause."),
        m("push_refused_samples", "Samples in profiles that the database never will take, by cause."),
        refused,
    )
}

fn tally<K: Ord>(of: &BTreeMap<K, Tally>, key: K) -> Tally {
    of.get(&key).copied().unwrap_or_default()
}

fn lost<'a, I>(sheet: &mut Sheet<'_>, profiles: Metric, samples: Metric, rows: impl Fn() -> I) -> fmt::Result
where
    I: Iterator<Item = ([(&'static str, &'a str); 2], Tally)>,
{
    sheet.counters(profiles, rows().map(|(labels, lost)| (labels, lost.profiles)))?;
    sheet.counters(samples, rows().map(|(labels, lost)| (labels, lost.samples)))
}

fn attempts(sheet: &mut Sheet<'_>, account: &Account) -> fmt::Result {
    let all = || endpoints(account);
    sheet.counters(
        m("push_bytes", "Compressed bytes of profiles in requests to the database, failed ones too."),
        all().map(|(labels, of)| (labels, of.sent_bytes)),
    )?;
    sheet.counters(
        m("push_seconds", "Time that requests to the database took, failed ones too."),
        all().map(|(labels, of)| (labels, seconds(of.sending))),
    )?;
    sheet.counters(
        m("push_retries", "Attempts that failed and may pass later, by cause."),
        all().flat_map(|(labels, of)| {
            let count = |cause| of.retries.get(&cause).copied().unwrap_or(0);
            RetryCause::ALL.map(|cause| (and(labels, ("cause", cause.as_str())), count(cause)))
        }),
    )?;
    sheet.counters(
        m("push_unanswered", "Requests without an answer: what was in them may be in the database twice."),
        all().map(|(labels, of)| (labels, of.unanswered)),
    )?;
    sheet.gauges(
        m("push_windows_waiting", "Windows on disk that wait for the database."),
        all().map(|(labels, of)| (labels, of.windows_waiting)),
    )?;
    let backoff = |of: &EndpointAccount| {
        of.held.map_or(0.0, |held| nanos(held.until.0.saturating_sub(account.read_at_monotonic.0)))
    };
    sheet.gauges(
        m("push_backoff_seconds", "Time until the next attempt; 0 if nothing holds it back."),
        all().map(|(labels, of)| (labels, backoff(of))),
    )?;
    sheet.gauges(
        m(
            "push_last_success_timestamp_seconds",
            "When the database last took a profile, seconds since 1970.",
        ),
        all().filter_map(|(labels, of)| Some((labels, seconds_since_1970(of.last_success?)))),
    )
}
