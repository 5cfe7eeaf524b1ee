//! A series and its profile → what the database takes: pprof with CPU time alone, split where it would be too large.

use std::io;

use super::file::pprof::{self, Reader};
use super::finished::SeriesProfile;
use super::push::limits::{DEFAULT_PROFILE_BYTES_MAX, PROFILE_DISTANCE_MIN, SAMPLES_MAX};
use crate::aggregate::merge::{Keep, Merger, Span};
use crate::aggregate::profile::{Profile, Sample};
use crate::attribute::labels::Labels;

/// How large one profile may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    /// Before compression. The database takes 4 MiB, but nothing beyond the tenant's burst of 2 MB ever passes.
    pub profile_bytes_max: u32,
    /// The database refuses a profile with more.
    pub samples_max: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { profile_bytes_max: DEFAULT_PROFILE_BYTES_MAX, samples_max: SAMPLES_MAX }
    }
}

/// A profile's pprof for people with tools: every value, thread and process.
pub fn encode_for_tools(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pprof::write(profile, Reader::Tools, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a series, in as many profiles as the limits ask for, each a moment after the one before. A sample that is too
/// large by itself stays as it is: the database will say so.
pub fn encode_for_database(
    labels: &Labels,
    profile: &Profile,
    limits: SizeLimits,
) -> io::Result<Vec<SeriesProfile>> {
    let started_nanos = profile.started_nanos;
    let distance = u64::try_from(PROFILE_DISTANCE_MIN.as_nanos()).unwrap_or(u64::MAX);
    let mut profiles = Vec::new();
    let mut waiting = vec![profile.clone()];
    while let Some(mut profile) = waiting.pop() {
        let before = u64::try_from(profiles.len()).unwrap_or(u64::MAX);
        profile.started_nanos = started_nanos.saturating_add(before.saturating_mul(distance));
        let is_long = profile.samples.len() > limits.samples_max;
        let encoded = if is_long { None } else { Some(encode(labels, &profile)?) };
        let fits = |encoded: &SeriesProfile| encoded.uncompressed_bytes <= limits.profile_bytes_max;
        match encoded {
            Some(encoded) if fits(&encoded) || profile.samples.len() < 2 => profiles.push(encoded),
            _ => waiting.extend(halves(&profile)),
        }
    }
    Ok(profiles)
}

fn encode(labels: &Labels, profile: &Profile) -> io::Result<SeriesProfile> {
    let mut pprof_gz = Vec::new();
    let plain_bytes = pprof::write(profile, Reader::Database, &mut pprof_gz)?;
    let sum = |value: fn(&Sample) -> u64| profile.samples.iter().map(value).fold(0, u64::saturating_add);
    Ok(SeriesProfile {
        labels: labels.clone(),
        pprof_gz,
        uncompressed_bytes: u32::try_from(plain_bytes).unwrap_or(u32::MAX),
        samples: sum(|sample| sample.count),
        cpu_nanos: sum(|sample| sample.weight),
    })
}

/// Every second sample each, so that both are about as large; each with what its own samples need.
fn halves(profile: &Profile) -> [Profile; 2] {
    let mut halves = [Merger::new(Keep::Threads), Merger::new(Keep::Threads)];
    for (position, sample) in profile.samples.iter().enumerate() {
        halves[position % 2].add(profile, sample);
    }
    let span = || Span {
        host: profile.host.clone(),
        started_nanos: profile.started_nanos,
        duration: profile.duration,
        event: profile.event,
    };
    halves.map(|half| half.finish(span()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::file::fixture;

    fn labels() -> Labels {
        [("service_name", "shop")].into_iter().collect()
    }

    #[test]
    fn a_small_profile_is_one() {
        let profile = fixture::nasty();
        let encoded = encode_for_database(&labels(), &profile, SizeLimits::default()).unwrap();
        let [encoded] = encoded.as_slice() else { panic!() };
        assert_eq!(encoded.samples, profile.samples.iter().map(|sample| sample.count).sum::<u64>());
        assert_eq!(encoded.cpu_nanos, profile.samples.iter().map(|sample| sample.weight).sum::<u64>());
        assert!(encoded.uncompressed_bytes > 500 && encoded.pprof_gz.starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn what_is_too_large_is_split_without_loss() {
        let profile =
            fixture::big(&fixture::Size { samples: 9_000, stacks: 3_000, depth: 20, functions: 500 });
        let limits = SizeLimits { profile_bytes_max: 60_000, samples_max: 700 };
        let encoded = encode_for_database(&labels(), &profile, limits).unwrap();
        assert!(encoded.len() > 4, "{}", encoded.len());
        assert!(encoded.iter().all(|part| part.uncompressed_bytes <= 60_000));
        let all: u64 = profile.samples.iter().map(|sample| sample.count).sum();
        assert_eq!(encoded.iter().map(|part| part.samples).sum::<u64>(), all);
    }

    #[test]
    fn one_sample_that_is_too_large_is_left_to_the_database() {
        let limits = SizeLimits { profile_bytes_max: 1, samples_max: 1 };
        let profile = fixture::nasty();
        let encoded = encode_for_database(&labels(), &profile, limits).unwrap();
        assert_eq!(encoded.len(), profile.samples.len());
    }
}
