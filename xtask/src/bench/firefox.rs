//! A profile in the Firefox Profiler's format → when its first sample was taken, when sampling ended, how many
//! samples there are. Reads only that, so that the bench itself stays small.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// The times of a capture, since 1970.
#[derive(Debug, PartialEq)]
pub(super) struct Times {
    pub(super) first_sample: Duration,
    /// Threads that live on are marked as idle until then.
    pub(super) end: Duration,
    pub(super) samples: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    meta: Meta,
    threads: Vec<Thread>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    /// Milliseconds since 1970.
    start_time: f64,
}

#[derive(Deserialize)]
struct Thread {
    samples: Samples,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Samples {
    /// `None` where nothing ran.
    stack: Vec<Option<u64>>,
    weight: Vec<u64>,
    /// Milliseconds, the first since the start of the profile.
    time_deltas: Vec<f64>,
}

/// Reads a file.
pub(super) fn times(file: &Path) -> Result<Times> {
    let open = File::open(file).with_context(|| format!("open {}", file.display()))?;
    let profile: Profile =
        serde_json::from_reader(BufReader::new(open)).with_context(|| format!("read {}", file.display()))?;
    of(&profile).with_context(|| format!("{} has no samples", file.display()))
}

fn of(profile: &Profile) -> Option<Times> {
    let (mut first_millis, mut end_millis, mut samples) = (f64::INFINITY, 0.0_f64, 0);
    for Thread { samples: of_thread } in &profile.threads {
        let mut at_millis = 0.0;
        for (stack, (weight, delta)) in
            of_thread.stack.iter().zip(of_thread.weight.iter().zip(&of_thread.time_deltas))
        {
            at_millis += delta;
            end_millis = end_millis.max(at_millis);
            if stack.is_some() {
                first_millis = first_millis.min(at_millis);
                samples += weight;
            }
        }
    }
    let since_1970 =
        |millis: f64| Duration::try_from_secs_f64((profile.meta.start_time + millis) / 1000.0).ok();
    Some(Times { first_sample: since_1970(first_millis)?, end: since_1970(end_millis)?, samples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_samples_count_for_the_end_only() {
        let text = r#"{"meta": {"startTime": 5000, "more": 1}, "libs": [], "threads": [
            {"samples": {"stack": [null, 3, null], "weight": [0, 2, 0], "timeDeltas": [0, 250, 750]}},
            {"samples": {"stack": [1], "weight": [1], "timeDeltas": [125]}}]}"#;
        let times = of(&serde_json::from_str(text).unwrap()).unwrap();
        let millis = Duration::from_millis;
        assert_eq!(times, Times { first_sample: millis(5125), end: millis(6000), samples: 3 });
    }

    #[test]
    fn a_profile_without_samples_has_no_times() {
        let text = r#"{"meta": {"startTime": 5000}, "threads": []}"#;
        assert_eq!(of(&serde_json::from_str(text).unwrap()), None);
    }
}
