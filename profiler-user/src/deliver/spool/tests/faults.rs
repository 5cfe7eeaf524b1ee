//! A disk that is full, read-only, deleted, or full of other things; bounds; and an exact account of all of it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::disk::FakeDisk;
use super::*;
use crate::deliver::spool::account::{DropReason, EndpointAccount, StrayFiles, Tally};
use crate::deliver::spool::id::WindowId;
use crate::deliver::spool::state::State;

struct Rig {
    disk: FakeDisk,
    clock: Arc<TestClock>,
    spool: Spool,
}

const KEY: fn() -> EndpointKey = || EndpointKey::new("a", "");

impl Rig {
    fn new(settings: SpoolSettings) -> Self {
        let (disk, clock) = (FakeDisk::new(), TestClock::new());
        let spool = open(&disk, &clock, settings);
        Self { disk, clock, spool }
    }

    /// The program again, after a kill.
    fn again(self, settings: SpoolSettings) -> Self {
        let (disk, clock) = (self.disk.next_life(None), self.clock);
        let spool = open(&disk, &clock, settings);
        Self { disk, clock, spool }
    }

    fn put(&self, profiles: u64) -> Put {
        let put = self.spool.put(window(&self.clock, profiles));
        check_balance(&self.spool.status());
        put
    }

    fn account(&self) -> EndpointAccount {
        self.spool.status().endpoints.remove(0).1
    }

    fn mark(&self, id: WindowId, profile: usize, state: State) {
        let chore = self.spool.mark(id, KEY(), &[profile], state);
        chore.iter().for_each(|chore| self.spool.carry_out(chore));
        check_balance(&self.spool.status());
    }

    fn ids(&self) -> Vec<u64> {
        self.spool.index().ids().map(|id| id.sequence).collect()
    }
}

fn open(disk: &FakeDisk, clock: &Arc<TestClock>, settings: SpoolSettings) -> Spool {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Spool::open(settings, vec![endpoint("a")], disk, Arc::<TestClock>::clone(clock), "host", 1)
        .expect("a spool")
}

fn id(put: Put) -> WindowId {
    match put {
        Put::Written(id) | Put::InMemory(id) => id,
        Put::Nothing => panic!("nothing was put"),
    }
}

fn tally(windows: u64, profiles: u64) -> Tally {
    Tally {
        profiles: windows * profiles,
        samples: windows * samples(profiles),
        bytes: windows * profiles * 1000,
    }
}

fn dropped(reason: DropReason, what: Tally) -> BTreeMap<DropReason, Tally> {
    BTreeMap::from([(reason, what)])
}

/// Two profiles are a file of one block.
fn of_blocks(blocks: u64) -> SpoolSettings {
    SpoolSettings { max_bytes: blocks * 4096, ..SpoolSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn the_oldest_make_room_and_are_counted() {
    let rig = Rig::new(of_blocks(3));
    (0..5).for_each(|_| assert!(matches!(rig.put(2), Put::Written(_))));
    assert_eq!(rig.ids(), [3, 4, 5]);
    assert_eq!(rig.disk.names().len(), 3);
    let status = rig.spool.status();
    assert_eq!((status.windows, status.bytes, status.account.evicted), (3, 3 * 4096, 2));
    assert_eq!(rig.account().dropped, dropped(DropReason::Evicted, tally(2, 2)));
    assert_eq!(rig.account().waiting, tally(3, 2));
    // A smaller bound after a restart.
    let rig = rig.again(of_blocks(1));
    assert_eq!(rig.ids(), [5]);
    assert_eq!(rig.account().dropped, dropped(DropReason::Evicted, tally(2, 2)));
    check_balance(&rig.spool.status());
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_makes_room_before_what_waits() {
    let rig = Rig::new(of_blocks(3));
    rig.put(2);
    let second = id(rig.put(2));
    rig.put(2);
    (0..2).for_each(|profile| rig.mark(second, profile, State::Poisoned));
    assert_eq!(rig.account().poisoned, tally(1, 2));
    rig.put(2);
    assert_eq!(rig.ids(), [1, 3, 4]);
    assert_eq!(rig.account().dropped, dropped(DropReason::SetAsideEvicted, tally(1, 2)));
    assert_eq!(rig.account().poisoned, Tally::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_being_sent_does_not_make_room() {
    let rig = Rig::new(of_blocks(2));
    let first = id(rig.put(2));
    rig.put(2);
    rig.spool.index().set_state(first, KEY(), 0, State::Sending);
    rig.put(2);
    assert_eq!(rig.ids(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_window_larger_than_the_spool_goes_through_memory() {
    let rig = Rig::new(of_blocks(2));
    assert!(matches!(rig.put(20), Put::InMemory(_)));
    assert!(matches!(rig.put(1), Put::Written(_)));
    assert_eq!((rig.spool.status().windows, rig.spool.status().unwritten.windows), (2, 1));
    let large = WindowId { sequence: 1, run: 1 };
    (0..20).for_each(|profile| rig.mark(large, profile, State::Delivered));
    assert_eq!(rig.account().delivered, tally(1, 20));
    assert_eq!(rig.ids(), [2]);
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_written_the_newest_stay_in_memory() {
    for error in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied, ErrorKind::StorageFull] {
        let rig = Rig::new(SpoolSettings { memory_max_bytes: 10_000, ..SpoolSettings::default() });
        rig.disk.fail_writes(Some(error));
        (0..8).for_each(|_| assert!(matches!(rig.put(2), Put::InMemory(_))));
        let status = rig.spool.status();
        assert_eq!((status.windows, status.unwritten.windows, status.unwritten.bytes), (5, 5, 10_000));
        assert!(status.trouble.is_some());
        assert_eq!((rig.ids(), status.account.lost), (vec![4, 5, 6, 7, 8], 3));
        assert_eq!(rig.account().dropped, dropped(DropReason::NotWritten, tally(3, 2)));
        // One is delivered, one in part; then the disk is back.
        let of = |sequence| WindowId { sequence, run: 1 };
        rig.mark(of(4), 0, State::Delivered);
        rig.mark(of(4), 1, State::Delivered);
        rig.mark(of(5), 1, State::Delivered);
        rig.disk.fail_writes(None);
        assert!(matches!(rig.put(2), Put::Written(_)));
        assert_eq!((rig.ids(), rig.disk.names().len()), (vec![5, 6, 7, 8, 9], 5));
        assert_eq!((rig.spool.status().unwritten.windows, rig.spool.status().trouble), (0, None));
        let rig = rig.again(SpoolSettings::default());
        assert_eq!(rig.account().waiting.profiles, 4 * 2 + 1);
        assert_eq!(rig.spool.index().waiting(of(5), KEY()), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_shared_among_the_newest() {
    let rig = Rig::new(SpoolSettings::default());
    rig.disk.set_room(Some(20_000));
    (0..30).for_each(|_| assert!(matches!(rig.put(2), Put::Written(_))));
    let ids = rig.ids();
    assert!(ids.len() >= 5 && ids.last() == Some(&30) && ids.is_sorted(), "{ids:?}");
    assert_eq!(rig.disk.names().len(), ids.len(), "no half-written file stays");
    assert_eq!(rig.account().dropped, dropped(DropReason::Evicted, tally(30 - ids.len() as u64, 2)));
}

#[tokio::test(start_paused = true)]
async fn the_spool_does_not_grow_while_the_disk_is_short() {
    let rig = Rig::new(SpoolSettings { min_free_bytes: Some(1 << 30), ..SpoolSettings::default() });
    (0..3).for_each(|_| assert!(matches!(rig.put(2), Put::Written(_))));
    rig.disk.set_free_bytes((1 << 30) - 1);
    (0..3).for_each(|_| assert!(matches!(rig.put(2), Put::Written(_))));
    assert_eq!(rig.ids(), [4, 5, 6]);
    assert_eq!(rig.account().dropped, dropped(DropReason::Evicted, tally(3, 2)));
    rig.disk.set_free_bytes(2 << 30);
    rig.put(2);
    assert_eq!(rig.ids().len(), 4);
    // By default 5 % of it, and 512 MiB at most: the disk has 1 TiB.
    let rig = Rig::new(SpoolSettings::default());
    rig.disk.set_free_bytes(600 << 20);
    assert!(matches!(rig.put(2), Put::Written(_)));
    rig.disk.set_free_bytes(500 << 20);
    rig.mark(WindowId { sequence: 1, run: 1 }, 0, State::Delivered);
    rig.mark(WindowId { sequence: 1, run: 1 }, 1, State::Delivered);
    assert!(matches!(rig.put(2), Put::InMemory(_)), "there is nothing of ours to make room");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_folder_is_made_again_and_only_what_it_had_is_lost() {
    let rig = Rig::new(SpoolSettings::default());
    (0..4).for_each(|_| assert!(matches!(rig.put(2), Put::Written(_))));
    rig.disk.delete_folder();
    assert!(matches!(rig.put(2), Put::Written(_)));
    // The newest was still in memory.
    assert_eq!((rig.ids(), rig.disk.names().len()), (vec![4, 5], 2));
    assert_eq!(rig.spool.status().account.lost, 3);
    assert_eq!(rig.account().dropped, dropped(DropReason::Unreadable, tally(3, 2)));
    assert_eq!(rig.account().waiting, tally(2, 2));
    // And when it cannot be made again for a while.
    rig.disk.delete_folder();
    rig.disk.fail_writes(Some(ErrorKind::PermissionDenied));
    (0..3).for_each(|_| assert!(matches!(rig.put(2), Put::InMemory(_))));
    rig.disk.fail_writes(None);
    assert!(matches!(rig.put(2), Put::Written(_)));
    let status = rig.spool.status();
    assert_eq!((status.windows, status.unwritten.windows), (5, 0));
    assert_eq!(rig.ids(), [5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn strangers_stay_and_ruins_go() {
    let rig = Rig::new(SpoolSettings::default());
    let whole = id(rig.put(2)).file_name();
    let bytes = rig.disk.content_of(&whole);
    let named = |sequence: u64| WindowId { sequence, run: 9 };
    rig.disk.plant(&named(2).new_name(), &bytes[..700]);
    rig.disk.plant(&named(3).file_name(), &bytes[..700]);
    let mut damaged = bytes.clone();
    damaged[700] ^= 1;
    rig.disk.plant(&named(4).file_name(), &damaged);
    rig.disk.plant(&named(5).file_name(), &[0; 5000]);
    let mut newer = bytes.clone();
    newer[8] = 2;
    let strangers = [(named(6).file_name(), newer), (named(7).file_name(), bytes.clone())];
    strangers.iter().for_each(|(name, bytes)| rig.disk.plant(name, bytes));
    rig.disk.plant("notes.txt", b"mine");
    let rig = rig.again(SpoolSettings::default());
    let status = rig.spool.status();
    let removed = 700 + 700 + bytes.len() as u64 + 5000;
    assert_eq!(
        status.strays,
        StrayFiles { half_written: 1, damaged: 3, removed_bytes: removed, other_version: 1, foreign: 2 }
    );
    assert_eq!((status.windows, status.account.found, rig.account().found), (1, 1, tally(1, 2)));
    assert_eq!(rig.disk.names(), [&*whole, &strangers[0].0, &strangers[1].0, "notes.txt"]);
    // New names come after all that were there.
    assert_eq!(id(rig.put(1)).sequence, 8);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_removed_is_removed_later() {
    let rig = Rig::new(SpoolSettings::default());
    let first = id(rig.put(2));
    rig.disk.fail_removals(Some(ErrorKind::PermissionDenied));
    (0..2).for_each(|profile| rig.mark(first, profile, State::Delivered));
    assert_eq!((rig.disk.names().len(), rig.spool.status().windows), (1, 1));
    rig.disk.fail_removals(None);
    rig.put(1);
    assert_eq!((rig.disk.names().len(), rig.ids()), (1, vec![2]));
    assert_eq!((rig.account().delivered, rig.spool.status().account.done), (tally(1, 2), 1));
}

#[tokio::test(start_paused = true)]
async fn what_no_file_takes_is_left_out_and_counted() {
    let rig = Rig::new(SpoolSettings::default());
    let mut large = window(&rig.clock, 2);
    large.profiles[1].labels.set("long", "x".repeat(300 << 10));
    assert!(matches!(rig.spool.put(large), Put::Written(_)));
    let mut all_large = window(&rig.clock, 1);
    all_large.profiles[0].labels.set("long", "x".repeat(300 << 10));
    assert_eq!(rig.spool.put(all_large), Put::Nothing);
    assert_eq!(rig.spool.put(window(&rig.clock, 0)), Put::Nothing);
    check_balance(&rig.spool.status());
    let two = [Tally::one(101, 1000), Tally::one(100, 1000)].into_iter().sum();
    assert_eq!(rig.account().dropped, dropped(DropReason::TooLarge, two));
    assert_eq!(rig.account().taken.profiles, 3);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_too_many_is_refused() {
    let endpoints: Vec<_> = (0..9).map(|number| endpoint(&number.to_string())).collect();
    let opened = Spool::open(
        SpoolSettings::default(),
        endpoints,
        Arc::new(FakeDisk::new()),
        TestClock::new(),
        "host",
        1,
    );
    assert!(matches!(opened.err(), Some(SpoolError::TooManyEndpoints { count: 9 })));
}
