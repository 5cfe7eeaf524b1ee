//! What arrives, and what the database refuses: the reasons that the client tells apart, and the constants that the
//! product stays below.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Result, ensure};
use flate2::read::GzDecoder;
use profiler_tests::{MadePprof, PERIOD, Pyroscope, tool_or_skip};
use profiler_user::attribute::labels::Labels;
use profiler_user::attribute::limits::{self, LABELS_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use profiler_user::deliver::finished::SeriesProfile;
use profiler_user::deliver::push::limits::{DEFAULT_PROFILE_BYTES_MAX, PROFILE_DISTANCE_MIN, SAMPLES_MAX};
use serde_json::json;

use super::{Pusher, message, series, summary};

#[test]
fn a_profile_arrives_as_it_was() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let made = MadePprof { stacks: 400, ..MadePprof::recent()? };
    let profile = series(&made)?;
    ensure!(summary(&pusher.push(&profile)) == "delivered");
    let state = peer.state()?;
    let received = &state.received[0];
    let mut expected: BTreeMap<String, String> =
        profile.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    expected.insert("__name__".to_owned(), "process_cpu".to_owned());
    ensure!(received.labels == expected, "{:?}", received.labels);
    ensure!(received.sample_types == ["cpu/nanoseconds"] && received.period_type == "cpu/nanoseconds");
    ensure!((received.period, received.cpu_nanos) == (PERIOD, 400 * PERIOD));
    ensure!((received.time_nanos, received.duration_nanos) == (made.time_nanos, made.duration_nanos));
    ensure!(
        received.build_ids == ["0123456789abcdef"] && received.samples == 400 && received.functions == 400
    );
    ensure!((received.sample_labels, received.depth) == (0, 2));
    ensure!(received.unpacked_bytes == u64::from(profile.uncompressed_bytes));
    let mut unpacked = Vec::new();
    GzDecoder::new(&*profile.pprof_gz).read_to_end(&mut unpacked)?;
    ensure!(peer.profile(0)? == unpacked, "the profile's bytes have changed");
    let header = |name: &str| received.headers.get(name).map_or("", String::as_str);
    ensure!(header("Content-Type") == "application/proto" && header("Content-Encoding") == "gzip");
    ensure!(header("Connect-Protocol-Version") == "1" && header("Connect-Timeout-Ms") == "9000");
    Ok(())
}

#[test]
fn times_outside_the_window_have_their_reason() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let recent = MadePprof::recent()?;
    let minute = 60_000_000_000;
    let table = [
        (-59 * minute, "delivered"),
        (-61 * minute, "refused outside_window"),
        (9 * minute, "delivered"),
        (11 * minute, "refused outside_window"),
    ];
    for (ahead, expected) in table {
        let outcome = pusher.push(&series(&MadePprof { time_nanos: recent.time_nanos + ahead, ..recent })?);
        ensure!(summary(&outcome) == expected, "{ahead}: {outcome:?}");
    }
    // The server's clock counts, not ours.
    peer.set(json!({ "clock_offset_seconds": 7200 }))?;
    ensure!(pusher.outcome()? == "refused outside_window");
    Ok(())
}

#[test]
fn what_is_too_large_has_its_reason() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let recent = MadePprof::recent()?;
    let outcome_of = |stacks, name_bytes| {
        let outcome = pusher.push(&series(&MadePprof { stacks, name_bytes, ..recent })?);
        anyhow::Ok(format!("{} {}", summary(&outcome), message(&outcome).contains("limit")))
    };
    ensure!(outcome_of(SAMPLES_MAX, 17)? == "delivered false");
    ensure!(outcome_of(SAMPLES_MAX + 1, 17)? == "refused too_large true");
    ensure!(outcome_of(1_000, 5_000)? == "refused too_large true");
    Ok(())
}

#[test]
fn the_size_that_we_aim_for_passes_the_burst() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    // No refill: what passes, passes by the burst alone.
    peer.set(json!({ "is_rate_limited": true, "rate_bytes": 0 }))?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let large = MadePprof { stacks: 1_500, name_bytes: 980, ..MadePprof::recent()? };
    let profile = series(&large)?;
    let size = profile.uncompressed_bytes;
    let split_at = DEFAULT_PROFILE_BYTES_MAX;
    ensure!(size <= split_at && size > split_at * 95 / 100, "{size}");
    ensure!(summary(&pusher.push(&profile)) == "delivered");
    ensure!(summary(&pusher.push(&profile)) == "retry too_many_requests");
    Ok(())
}

#[test]
fn labels_are_refused_unless_they_are_made_to_fit() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let recent = series(&MadePprof::recent()?)?;
    let with = |more: Vec<(String, String)>| {
        let mut profile = recent.clone();
        more.into_iter().for_each(|(name, value)| profile.labels.set(name, value));
        profile
    };
    // The database's 30, with __name__ and service_name and what the front end has.
    let many = (0..LABELS_MAX).map(|n| (format!("label_{n:02}"), "value".to_owned())).collect();
    let long_name = vec![("n".repeat(NAME_BYTES_MAX + 1), "value".to_owned())];
    let long_value = vec![("name".to_owned(), "é".repeat(VALUE_BYTES_MAX / 2 + 1))];
    for more in [many, long_name, long_value] {
        let mut profile = with(more);
        let outcome = pusher.push(&profile);
        ensure!(summary(&outcome) == "refused labels", "{outcome:?}");
        ensure!(limits::keep(&mut profile.labels));
        let outcome = pusher.push(&profile);
        ensure!(summary(&outcome) == "delivered", "{outcome:?}");
    }
    // None at all are the server's unknown_service.
    let bare = SeriesProfile { labels: Labels::default(), ..recent };
    ensure!(summary(&pusher.push(&bare)) == "delivered");
    let state = peer.state()?;
    ensure!(state.received.last().is_some_and(|last| last.labels["service_name"] == "unknown_service"));
    ensure!(state.refused.len() == 3 && state.received.len() == 4);
    Ok(())
}

#[test]
fn bytes_that_are_no_profile_look_like_trouble_of_the_server() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    // As the real one does. This is why retries after answers must end.
    let garbage = SeriesProfile { pprof_gz: b"\x0a\xffno pprof".to_vec(), ..series(&MadePprof::recent()?)? };
    let outcome = pusher.push(&garbage);
    ensure!(summary(&outcome) == "retry server_error", "{outcome:?}");
    Ok(())
}

#[test]
fn parts_of_a_window_do_not_hide_each_other() -> Result<()> {
    tool_or_skip!("go");
    let peer = Pyroscope::start()?;
    let pusher = Pusher::new(peer.url()?, "")?;
    let recent = MadePprof::recent()?;
    let recent = MadePprof { time_nanos: recent.time_nanos / 1_000_000 * 1_000_000, ..recent };
    let distance = i64::try_from(PROFILE_DISTANCE_MIN.as_nanos())?;
    for (part, ahead) in [0, distance, 2 * distance, distance + 1].into_iter().enumerate() {
        let time_nanos = recent.time_nanos + ahead;
        let made = MadePprof { time_nanos, stacks: 10 + part, ..recent };
        ensure!(summary(&pusher.push(&series(&made)?)) == "delivered");
    }
    let hidden: Vec<_> = peer.state()?.received.iter().map(|profile| profile.hidden_by).collect();
    ensure!(hidden == [None, None, None, Some(1)], "{hidden:?}");
    Ok(())
}
