//! A finished window → the bytes of its file, in pieces, so that its profiles need not be copied.

use super::{
    ENDPOINTS_MAX, HEAD_BYTES, HOST_BYTES_MAX, LABELS_BYTES_MAX, MAGIC, PPROF_BYTES_MAX, Places,
    RECORD_BYTES, Record, STATES_AT, VERSION, as_u32, as_u64, encode_numbers, head_crc, record_crc,
};
use crate::attribute::labels::Labels;
use crate::deliver::finished::{FinishedWindow, SeriesProfile};
use crate::deliver::spool::id::WindowId;
use crate::deliver::spool::state::{Endpoint, State};

/// Whether a profile is within the bounds of the format.
pub fn fits(profile: &SeriesProfile) -> bool {
    let labels: usize = profile.labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    profile.pprof_gz.len() <= PPROF_BYTES_MAX && labels + 4 <= LABELS_BYTES_MAX
}

/// A window as bytes: pieces, so that the profiles need not be copied.
#[derive(Debug)]
pub struct Encoded<'a> {
    front: Vec<u8>,
    profiles: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> Encoded<'a> {
    /// Of a window whose profiles all [`fits`], and are [`PROFILES_MAX`] at most. The endpoints take the first places.
    pub fn new(
        id: WindowId,
        host: &str,
        window: &'a FinishedWindow,
        endpoints: &[Endpoint],
        state: impl Fn(usize, usize) -> State,
    ) -> Self {
        let host = &host[..host.floor_char_boundary(HOST_BYTES_MAX)];
        let count = window.profiles.len();
        let states_bytes = ENDPOINTS_MAX * count;
        let front_bytes = STATES_AT + states_bytes + host.len() + RECORD_BYTES * count;
        let mut end = as_u64(front_bytes);
        let mut records = Vec::with_capacity(RECORD_BYTES * count);
        let mut profiles = Vec::with_capacity(count);
        for profile in &window.profiles {
            let labels = encode_labels(&profile.labels);
            records.extend(encode_record(end, profile, &labels));
            end += as_u64(labels.len() + profile.pprof_gz.len());
            profiles.push((labels, profile.pprof_gz.as_slice()));
        }
        let mut front = Vec::with_capacity(front_bytes);
        front.extend(MAGIC);
        front.extend(VERSION.to_le_bytes());
        front.extend([0; 4]); // the checksum
        let duration = u64::try_from(window.duration.as_nanos()).unwrap_or(u64::MAX);
        for number in [id.sequence, id.run, window.started.0, duration, end] {
            front.extend(number.to_le_bytes());
        }
        front.extend(as_u32(count).to_le_bytes());
        front.extend(as_u32(host.len()).to_le_bytes());
        front.resize(HEAD_BYTES, 0);
        let crc = head_crc(&front, host.as_bytes(), &records);
        front.iter_mut().skip(12).zip(crc.to_le_bytes()).for_each(|(to, from)| *to = from);
        front.extend(endpoints.iter().take(ENDPOINTS_MAX).flat_map(Places::encode_one));
        front.resize(STATES_AT, 0);
        let places = 0..ENDPOINTS_MAX.min(endpoints.len());
        front.extend(
            places
                .flat_map(|place| (0..count).map(move |profile| (place, profile)))
                .map(|(place, profile)| state(place, profile).byte()),
        );
        front.resize(STATES_AT + states_bytes, 0);
        front.extend(host.as_bytes());
        front.extend(records);
        Self { front, profiles }
    }

    /// The pieces, one after the other.
    pub fn parts(&self) -> Vec<&[u8]> {
        let profiles = self.profiles.iter().flat_map(|(labels, pprof)| [labels.as_slice(), pprof]);
        std::iter::once(self.front.as_slice()).chain(profiles).collect()
    }

    /// Size of the file.
    pub fn bytes(&self) -> u64 {
        self.parts().iter().map(|part| as_u64(part.len())).sum()
    }
}

fn encode_record(start: u64, profile: &SeriesProfile, labels: &[u8]) -> Vec<u8> {
    let record = Record {
        start,
        labels_bytes: as_u32(labels.len()),
        pprof_bytes: as_u32(profile.pprof_gz.len()),
        uncompressed_bytes: profile.uncompressed_bytes,
        crc: 0,
        samples: profile.samples,
        cpu_nanos: profile.cpu_nanos,
    };
    let mut bytes = encode_numbers(&record);
    let crc = record_crc(&bytes, labels, &profile.pprof_gz);
    bytes.splice(20..20, crc.to_le_bytes());
    bytes
}

pub(super) fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut bytes = as_u32(labels.len()).to_le_bytes().to_vec();
    for (name, value) in labels.iter() {
        bytes.extend(as_u32(name.len()).to_le_bytes());
        bytes.extend(as_u32(value.len()).to_le_bytes());
        bytes.extend(name.bytes().chain(value.bytes()));
    }
    bytes
}
