//! Bytes as a window's file of the spool, as they are and with the checksums that they should have → what it says of itself,
//! and its profiles.

use profiler_user::deliver::finished::{FinishedWindow, SeriesProfile};
use profiler_user::deliver::spool::format::{
    self, Encoded, FormatError, Head, MAGIC, ReadAt, VERSION, fits, read_head, read_profile, read_profile_at,
};
use profiler_user::deliver::spool::state::State;

/// Where the layout has them.
const CRC_AT: usize = 12;
const FILE_BYTES_AT: usize = 48;
const HEAD_BYTES: usize = 128;
const RECORD_BYTES: usize = 40;
const RECORD_CRC_AT: usize = 20;

pub(crate) fn run(bytes: &[u8]) {
    check(bytes);
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    check(&sealed);
}

fn check(bytes: &[u8]) {
    let size = u64::try_from(bytes.len()).expect("64 KiB at most");
    let head = match read_head(&bytes, size) {
        Ok(head) => head,
        Err(error) => return assert!(!matches!(error, FormatError::Io(_)), "memory can be read"),
    };
    assert_eq!(head.file_bytes, size);
    let held: u64 = head.records.iter().map(|record| u64::from(record.pprof_bytes)).sum();
    assert!(held <= size);
    let mut whole = Vec::new();
    for (index, record) in head.records.iter().enumerate() {
        let profile = read_profile(&bytes, size, record);
        let again = read_profile_at(&bytes, size, head.records_at, index);
        assert_eq!(again.ok(), profile.as_ref().ok().cloned(), "found by its number or by its record");
        whole.extend(profile);
    }
    check_states(&head);
    write_again(&head, whole);
}

/// Each profile has a state with each endpoint, and in a file none is being sent.
fn check_states(head: &Head) {
    for (endpoint, _) in head.places.0.iter().flatten() {
        let states = head.states_with(*endpoint).expect("an endpoint of the file");
        assert_eq!(states.len(), head.records.len());
        assert!(states.iter().all(|state| *state != State::Sending));
    }
}

/// What could be read is written and read again.
fn write_again(head: &Head, profiles: Vec<SeriesProfile>) {
    if profiles.len() != head.records.len() || !profiles.iter().all(fits) {
        return;
    }
    let window = FinishedWindow { started: head.started, duration: head.duration, profiles };
    let encoded = Encoded::new(head.id, &head.host, &window, &[], |_, _| State::Waiting);
    let bytes = encoded.parts().concat();
    let size = encoded.bytes();
    let again = read_head(&bytes.as_slice(), size).expect("what was written just now");
    assert_eq!((again.id, again.started, again.duration), (head.id, head.started, head.duration));
    for (record, profile) in again.records.iter().zip(&window.profiles) {
        assert_eq!(&read_profile(&bytes.as_slice(), size, record).expect("what was written"), profile);
    }
}

/// Makes magic, version, size and checksums right, where the numbers say that they are.
fn seal(bytes: &mut [u8]) {
    if bytes.len() < HEAD_BYTES {
        return;
    }
    put(bytes, 0, &MAGIC);
    put(bytes, 8, &VERSION.to_le_bytes());
    put(bytes, FILE_BYTES_AT, &u64::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
    let (profiles, host) = (number(bytes, 56, 4), number(bytes, 60, 4));
    let host_at = usize::try_from(format::states_at(0, 0)).unwrap_or(0) + 8 * profiles.min(bytes.len());
    let records_at = host_at.saturating_add(host);
    let end = records_at.saturating_add(RECORD_BYTES.saturating_mul(profiles));
    if end > bytes.len() {
        return;
    }
    for at in (records_at..end).step_by(RECORD_BYTES) {
        let (start, labels) = (number(bytes, at, 8), number(bytes, at + 8, 4));
        let content = start..start.saturating_add(labels).saturating_add(number(bytes, at + 12, 4));
        let numbers =
            [bytes.get(at..at + RECORD_CRC_AT), bytes.get(at + RECORD_CRC_AT + 4..at + RECORD_BYTES)];
        let crc = crc(numbers.into_iter().chain([bytes.get(content)]));
        put(bytes, at + RECORD_CRC_AT, &crc.to_le_bytes());
    }
    let parts = [bytes.get(..CRC_AT), bytes.get(CRC_AT + 4..HEAD_BYTES), bytes.get(host_at..end)];
    let crc = crc(parts.into_iter());
    put(bytes, CRC_AT, &crc.to_le_bytes());
}

fn crc<'a>(parts: impl Iterator<Item = Option<&'a [u8]>>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.flatten().for_each(|part| crc.update(part));
    crc.finalize()
}

fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    let mut buffer = [0; 8];
    let start = u64::try_from(at).unwrap_or(u64::MAX);
    let count = (&bytes).read_at(start, &mut buffer[..width]).unwrap_or(0);
    if count < width { usize::MAX } else { usize::try_from(u64::from_le_bytes(buffer)).unwrap_or(usize::MAX) }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes.iter_mut().skip(at).zip(what).for_each(|(to, from)| *to = *from);
}
