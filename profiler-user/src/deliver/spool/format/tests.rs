//! Windows as bytes and back; damages of every kind.

use super::encode::encode_labels;
use super::*;
use crate::deliver::finished::FinishedWindow;

fn window(profiles: usize) -> FinishedWindow {
    let profile = |index: usize| SeriesProfile {
        labels: [("service_name", format!("shop-{index}")), ("node", "n1".to_owned())].into_iter().collect(),
        pprof_gz: vec![u8::try_from(index % 251).unwrap_or(0); 10 + index % 7],
        uncompressed_bytes: 1000 + as_u32(index),
        samples: 19 * as_u64(index),
        cpu_nanos: 1_000_000_000 + as_u64(index),
    };
    FinishedWindow {
        started: WallNanos(1_700_000_000_123_456_789),
        duration: Duration::from_millis(14_990),
        profiles: (0..profiles).map(profile).collect(),
    }
}

fn endpoints() -> Vec<Endpoint> {
    let endpoint =
        |url: &str| Endpoint { key: EndpointKey::new(url, ""), name: url.to_owned(), takes_back: None };
    vec![endpoint("http://a"), endpoint("https://b.example/a-name-that-is-longer-than-the-placeé-for-names")]
}

const ID: WindowId = WindowId { sequence: 7, run: 0xfeed };

fn encoded(window: &FinishedWindow) -> Vec<u8> {
    let state = |slot, profile| if slot == 1 && profile == 2 { State::Poisoned } else { State::Waiting };
    Encoded::new(ID, "host-1", window, &endpoints(), state).parts().concat()
}

fn read(bytes: &[u8]) -> Result<(Head, Vec<SeriesProfile>), FormatError> {
    let head = read_head(&bytes, as_u64(bytes.len()))?;
    let profile = |record| read_profile(&bytes, head.file_bytes, record);
    let profiles = head.records.iter().map(profile).collect::<Result<_, _>>()?;
    Ok((head, profiles))
}

#[test]
fn a_window_is_read_back() {
    for count in [0, 1, 3, 60, 1000] {
        let window = window(count);
        let bytes = encoded(&window);
        let (head, profiles) = read(&bytes).expect("what was written");
        assert_eq!(profiles, window.profiles, "{count}");
        assert_eq!((head.id, head.started, head.duration), (ID, window.started, window.duration));
        assert_eq!((head.host.as_str(), head.file_bytes), ("host-1", as_u64(bytes.len())));
        let [a, b] = endpoints().try_into().expect("two");
        let name = "https://b.example/a-name-that-is-longer-than-the-place";
        let names: Vec<_> = head.places.0.iter().flatten().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["http://a", name]);
        assert_eq!(head.state_with(EndpointKey::new("http://c", ""), 0), None);
        for profile in 0..count {
            let expected = if profile == 2 { State::Poisoned } else { State::Waiting };
            assert_eq!(head.state_with(b.key, profile), Some(expected));
            assert_eq!(head.state_with(a.key, profile), Some(State::Waiting));
            let at = RecordsAt::new(count, "host-1");
            let read = read_profile_at(&bytes.as_slice(), head.file_bytes, at, profile);
            assert_eq!(read.expect("one of them"), window.profiles[profile]);
        }
    }
}

#[test]
fn states_are_written_in_place() {
    let window = window(5);
    let mut bytes = encoded(&window);
    let at = usize::try_from(states_at(1, 5)).expect("small");
    bytes[at + 4] = State::Delivered.byte();
    let third = Endpoint { key: EndpointKey::new("c", "t"), name: "c".to_owned(), takes_back: None };
    let place = usize::try_from(place_at(2)).expect("small");
    bytes[place..place + 64].copy_from_slice(&Places::encode_one(&third));
    let (head, profiles) = read(&bytes).expect("still whole");
    assert_eq!(profiles, window.profiles);
    assert_eq!(
        [2, 3, 4].map(|profile| head.state(1, profile)),
        [State::Poisoned, State::Waiting, State::Delivered]
    );
    assert_eq!(head.places.0[2], Some((third.key, "c".to_owned())));
}

#[test]
fn every_cut_and_every_changed_byte_is_noticed() {
    let window = window(3);
    let bytes = encoded(&window);
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).expect_err("a part");
        assert!(matches!(error, FormatError::Short { .. }), "{length}: {error}");
    }
    let free = PLACES_AT..STATES_AT + ENDPOINTS_MAX * 3;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        match read(&damaged) {
            Ok((head, profiles)) => {
                assert!(free.contains(&at), "{at}");
                assert_eq!((head.id, profiles), (ID, window.profiles.clone()));
            }
            Err(_) => assert!(!free.contains(&at), "{at}"),
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(read(&longer), Err(FormatError::Short { .. })));
}

#[test]
fn what_is_not_ours_is_told_apart() {
    let bytes = encoded(&window(1));
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        read(&bytes).expect_err("another file").to_string()
    };
    assert_eq!(with(0, b'x'), "is no window of a spool");
    assert_eq!(with(8, 2), "has format 2, this program knows 1");
    // A number that would be a lot of memory.
    assert_eq!(with(59, 0xff), "is damaged: number of profiles");
    assert_eq!(read(&[0; 5000]).expect_err("zeros").to_string(), "is not whole: 5000 bytes");
}

#[test]
fn labels_have_a_bound_and_are_checked() {
    let mut profile = window(1).profiles.remove(0);
    assert!(fits(&profile));
    profile.labels.set("long", "x".repeat(LABELS_BYTES_MAX));
    assert!(!fits(&profile));
    let labels: Labels = [("a", "1"), ("b", "é")].into_iter().collect();
    let bytes = encode_labels(&labels);
    assert_eq!(decode_labels(&bytes), Some(labels));
    for length in 0..bytes.len() {
        assert_eq!(decode_labels(&bytes[..length]), None);
    }
    assert_eq!(decode_labels(&[&bytes[..], &[0]].concat()), None);
    assert_eq!(decode_labels(&[0xff; 40]), None);
}
