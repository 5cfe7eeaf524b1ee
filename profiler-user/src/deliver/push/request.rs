//! One profile → the body of one push.
//!
//! ```text
//!   PushRequest.series: labels, RawSample: ID, raw_profile: ┐
//!   └────────── a gzip member of its own ───────────────────┘└─ the profile's gzip member, as it is
//! ```
//!
//! A gzip stream is a row of members, and unpacks to all of them one after the other (RFC 1952, 2.2). So labels are
//! packed, which saves 20 to 50 bytes of each request, and the profile is not packed a second time. The order of fields
//! within a message is free, so the profile can come last.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use prost::{Message, encode_length_delimiter, length_delimiter_len};

use super::proto::{KEY_OF_RAW_PROFILE, KEY_OF_SAMPLE, KEY_OF_SERIES, LabelPair, SampleId, SeriesLabels};
use crate::deliver::finished::SeriesProfile;

/// The database's name for CPU time; with the types in the profile it is
/// `process_cpu:cpu:nanoseconds:cpu:nanoseconds`.
const PROFILE_NAME: &str = "process_cpu";

/// Seed of profile ids, drawn at random: they are nobody else's.
const ID_NAMESPACE: [u8; 16] = 0x9f1c_55f0_7a0e_4d5f_8b1e_3c2d_64a9_0b77_u128.to_be_bytes();

/// A body, and how it is packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestBody {
    pub(super) bytes: Vec<u8>,
    /// Whether the whole is gzip; else it is the bare message.
    pub(super) is_gzip: bool,
}

/// The body of a push of this profile.
pub(super) fn body_of(profile: &SeriesProfile) -> RequestBody {
    if let Some(unpacked_bytes) = unpacked_bytes(profile)
        && let Ok(mut bytes) = gzip(&head(profile, unpacked_bytes))
    {
        bytes.extend_from_slice(&profile.pprof_gz);
        return RequestBody { bytes, is_gzip: true };
    }
    // The server unpacks a profile itself as well.
    let mut bytes = head(profile, profile.pprof_gz.len());
    bytes.extend_from_slice(&profile.pprof_gz);
    RequestBody { bytes, is_gzip: false }
}

/// How long the profile is once it is unpacked, if it is one gzip member whose end says the same: the length
/// stands before it in the message, and a wrong one would spoil the request.
fn unpacked_bytes(profile: &SeriesProfile) -> Option<usize> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    let is_gzip = profile.pprof_gz.starts_with(&MAGIC);
    let said_at_its_end = profile.pprof_gz.last_chunk().map(|end| u32::from_le_bytes(*end));
    let is_told_alike = said_at_its_end == Some(profile.uncompressed_bytes);
    usize::try_from(profile.uncompressed_bytes).ok().filter(|_| is_gzip && is_told_alike)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Some 300 bytes: the best level costs microseconds.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len()), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// All of the message before the profile's bytes, of which there will be as many as this.
fn head(profile: &SeriesProfile, raw_profile_bytes: usize) -> Vec<u8> {
    let labels = labels_of(profile).encode_to_vec();
    let id = SampleId { id: id_of(profile) }.encode_to_vec();
    let sample_bytes = id.len() + 1 + length_delimiter_len(raw_profile_bytes) + raw_profile_bytes;
    let series_bytes = labels.len() + 1 + length_delimiter_len(sample_bytes) + sample_bytes;
    let mut head = Vec::with_capacity(labels.len() + id.len() + 32);
    put_key(&mut head, KEY_OF_SERIES, series_bytes);
    head.extend_from_slice(&labels);
    put_key(&mut head, KEY_OF_SAMPLE, sample_bytes);
    head.extend_from_slice(&id);
    put_key(&mut head, KEY_OF_RAW_PROFILE, raw_profile_bytes);
    head
}

fn put_key(into: &mut Vec<u8>, key: u8, length: usize) {
    into.push(key);
    // Fails for want of room alone, which a vector makes.
    encode_length_delimiter(length, into).unwrap_or_default();
}

fn labels_of(profile: &SeriesProfile) -> SeriesLabels {
    let name = ("__name__", PROFILE_NAME);
    let others = profile.labels.iter().filter(|(name, _)| *name != "__name__");
    let pair = |(name, value): (&str, &str)| LabelPair { name: name.to_owned(), value: value.to_owned() };
    SeriesLabels { labels: std::iter::once(name).chain(others).map(pair).collect() }
}

/// A UUID made of labels and contents (RFC 9562, version 3): the same whenever and wherever the profile is sent
/// again, so that a server can tell. Those of today do not look.
pub(super) fn id_of(profile: &SeriesProfile) -> String {
    let mut hash = Md5::new_with_prefix(ID_NAMESPACE);
    for text in profile.labels.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(text);
        // No text has this byte: labels cannot be shifted against each other.
        hash.update([0xff]);
    }
    hash.update(&profile.pprof_gz);
    let hash = u128::from_be_bytes(hash.finalize().into());
    let version = 0xf << 76;
    let variant = 0b11 << 62;
    let id = hash & !version & !variant | 3 << 76 | 0b10 << 62;
    let hex = format!("{id:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| hex.get(part).unwrap_or_default().to_owned()).join("-")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;

    use super::super::proto::whole::PushRequest;
    use super::*;
    use crate::attribute::labels::Labels;

    fn profile(pprof: &[u8]) -> SeriesProfile {
        let labels: Labels =
            [("service_name", "shop"), ("pod", "shop-1"), ("__name__", "wrong")].into_iter().collect();
        SeriesProfile {
            labels,
            pprof_gz: gzip(pprof).expect("into memory"),
            uncompressed_bytes: u32::try_from(pprof.len()).expect("small"),
            samples: 1,
            cpu_nanos: 1,
        }
    }

    fn decode(body: &RequestBody) -> PushRequest {
        let mut message = Vec::new();
        if body.is_gzip {
            MultiGzDecoder::new(&*body.bytes).read_to_end(&mut message).expect("gzip");
        } else {
            message.clone_from(&body.bytes);
        }
        PushRequest::decode(&*message).expect("a push")
    }

    fn check(body: &RequestBody, raw_profile: &[u8], id: &str) {
        let request = decode(body);
        assert_eq!(request.series.len(), 1);
        let labels: Vec<_> =
            request.series[0].labels.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())).collect();
        assert_eq!(labels, [("__name__", "process_cpu"), ("pod", "shop-1"), ("service_name", "shop")]);
        assert_eq!(request.series[0].samples.len(), 1);
        assert_eq!(request.series[0].samples[0].raw_profile, raw_profile);
        assert_eq!(request.series[0].samples[0].id, id);
    }

    #[test]
    fn the_profile_is_packed_once() {
        for length in [0_usize, 1, 100, 200_000] {
            let pprof: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).expect("small")).collect();
            let profile = profile(&pprof);
            let body = body_of(&profile);
            assert!(body.is_gzip && body.bytes.ends_with(&profile.pprof_gz));
            check(&body, &pprof, &id_of(&profile));
        }
    }

    #[test]
    fn a_length_that_is_not_sure_goes_without_packing() {
        let whole = profile(b"profile");
        let wrong = SeriesProfile { uncompressed_bytes: 8, ..whole.clone() };
        let other = SeriesProfile { pprof_gz: b"no gzip".to_vec(), ..whole.clone() };
        let short = SeriesProfile { pprof_gz: vec![0x1f], ..whole };
        for profile in [wrong, other, short] {
            let body = body_of(&profile);
            assert!(!body.is_gzip);
            check(&body, &profile.pprof_gz, &id_of(&profile));
        }
    }

    #[test]
    fn an_id_is_a_uuid_of_the_contents() {
        let one = profile(b"one");
        assert_eq!(id_of(&one), id_of(&one.clone()));
        let parts: Vec<usize> = id_of(&one).split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        let id = id_of(&one);
        assert_eq!(&id[14..15], "3", "version: {id}");
        assert!("89ab".contains(&id[19..20]), "variant: {id}");
        let mut other_labels = one.clone();
        other_labels.labels.set("pod", "shop-2");
        let mut shifted = one.clone();
        shifted.labels =
            [("service_name", "shopp"), ("od", "shop-1"), ("__name__", "wrong")].into_iter().collect();
        let ids = [&one, &profile(b"two"), &other_labels, &shifted].map(id_of);
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 4, "{ids:?}");
    }
}
