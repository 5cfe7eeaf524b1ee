//! Kills and power cuts at every step: between any two touches of the disk, in the middle of a write, before and after an
//! endpoint has stored something.
//!
//! A case is several lives of the program over one disk and two endpoints. Each life puts windows and replays them until it
//! is killed; a last one runs in peace. Then: every window whose put came back is with both endpoints, unless the bounds
//! of the spool had it; what came twice is what was under way at a kill or a lost answer; nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::disk::FakeDisk;
use super::endpoint::{Answer, FakeEndpoint, server_error, unreachable};
use super::*;
use crate::deliver::spool::id::{ProfileId, WindowId};

const PROFILES: u64 = 3;
const NAMES: [&str; 2] = ["a", "b"];

/// What a life was told.
#[derive(Default)]
struct Told {
    /// Windows that were written, by what put said.
    written: BTreeSet<WindowId>,
    /// Windows that it was putting, or had in memory only, when it was killed.
    unwritten: usize,
}

/// How kills go on in a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Kill,
    PowerCut,
}

fn endpoints(seed: u64) -> [FakeEndpoint; 2] {
    NAMES.map(|name| {
        let mut random = fastrand::Rng::with_seed(seed ^ u64::from(name.as_bytes()[0]));
        FakeEndpoint::new(move |_, _| match random.u8(..100) {
            0..4 => Answer::StoreAndLose,
            4..8 => unreachable(),
            8..12 => server_error(),
            _ => Answer::Store,
        })
    })
}

/// Puts windows and replays until it is killed, or for as many windows as there are.
async fn live(
    disk: &FakeDisk,
    clock: &Arc<TestClock>,
    peers: &[FakeEndpoint; 2],
    windows: u64,
    seed: u64,
) -> Told {
    let all = NAMES.map(endpoint).to_vec();
    let own: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = Spool::open(SpoolSettings::default(), all, own, Arc::<TestClock>::clone(clock), "host", seed)
        .expect("a spool");
    let stop = watch::Sender::new(false);
    let replays = NAMES.iter().zip(peers).map(|(name, peer)| {
        let (key, random) = (EndpointKey::new(name, ""), fastrand::Rng::with_seed(seed));
        let settings = ReplaySettings { concurrency: 2, ..ReplaySettings::default() };
        tokio::spawn(Replay::new(&spool, key, peer.with_disk(disk), settings, random).run(stop.subscribe()))
    });
    let replays: Vec<_> = replays.collect();
    let mut told = Told::default();
    let put = async {
        for _ in 0..windows {
            let put = spool.put(window(clock, PROFILES));
            check_balance(&spool.status());
            match put {
                Put::Written(id) if disk.is_alive() => drop(told.written.insert(id)),
                // It came back, but to nobody: the file may be there or not.
                _ => told.unwritten += 1,
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        while spool.status().windows > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = put => {}
        () = disk.died() => {}
    }
    replays.iter().for_each(|replay| replay.abort());
    for replay in replays {
        let _aborted = replay.await;
    }
    told
}

/// One case; how often something was received more than once.
async fn case(seed: u64, end: End) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut disk, clock, peers) = (FakeDisk::new(), TestClock::new(), endpoints(seed));
    let mut written = BTreeSet::new();
    let mut unwritten = 0;
    // What may come again: the last that were stored before a kill, and those whose answers were lost.
    let mut may_repeat: [BTreeMap<ProfileId, usize>; 2] = Default::default();
    for life in 0..6 {
        let stored_before = peers.each_ref().map(|peer| peer.stored().len());
        disk = disk.next_life(Some(random.u64(2..150)));
        let told = live(&disk, &clock, &peers, random.u64(1..12), seed * 10 + life).await;
        written.extend(told.written);
        unwritten += told.unwritten;
        for ((peer, before), may) in peers.iter().zip(stored_before).zip(&mut may_repeat) {
            // Two on their way, two chores: two seconds' worth of time does not pass in between.
            let of_this_life = peer.stored().split_off(before);
            let last = of_this_life.iter().rev().take(4);
            last.for_each(|stored| *may.entry(stored.id).or_default() += 1);
        }
        assert!(unwritten <= usize::try_from(life).expect("small") + 1, "a kill loses one window at most");
        if end == End::PowerCut {
            disk.cut_power(|| random.bool());
        }
    }
    disk = disk.next_life(None);
    let told = live(&disk, &clock, &peers, 2, seed * 10 + 9).await;
    written.extend(told.written);
    assert_eq!(told.unwritten, 0);
    assert_eq!(disk.names(), [""; 0], "nothing is left behind");

    let mut repeated = 0;
    for (peer, may_repeat) in peers.iter().zip(may_repeat) {
        let times = peer.times();
        for window in &written {
            for index in 0..u32::try_from(PROFILES).expect("small") {
                let id = ProfileId { window: *window, index };
                assert!(times.contains_key(&id), "{id} was written, and never arrived");
            }
        }
        let lost_answers = peer.lost();
        for (id, times) in times.into_iter().filter(|(_, times)| *times > 1) {
            repeated += times - 1;
            let reasons =
                may_repeat.get(&id).copied().unwrap_or(0) + lost_answers.get(&id).copied().unwrap_or(0);
            // After a power cut marks may be gone that the device was not told to keep.
            assert!(
                end == End::PowerCut || times - 1 <= reasons,
                "{id} came {times} times, {reasons} reasons"
            );
        }
    }
    repeated
}

fn run(cases: std::ops::Range<u64>, end: End) -> usize {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    cases.map(|seed| runtime().block_on(case(seed, end))).sum()
}

/// `FLAMEKEEPER_KILL_CASES` says how many; six kills each.
fn cases() -> u64 {
    std::env::var("FLAMEKEEPER_KILL_CASES").map_or(60, |cases| cases.parse().expect("a number"))
}

#[test]
fn a_kill_loses_the_window_in_progress_and_repeats_what_was_under_way() {
    let repeated = run(0..cases(), End::Kill);
    assert!(repeated > 0, "kills that hit nothing prove nothing");
}

#[test]
fn a_power_cut_loses_no_window_that_was_written() {
    run(1000..1000 + cases(), End::PowerCut);
}

/// One life is put to an end at each of its steps in turn.
#[test]
fn every_single_step_can_be_the_last() {
    let mut step = 1;
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("one");
        let is_done = runtime.block_on(async {
            let (clock, peers) = (TestClock::new(), NAMES.map(|_| FakeEndpoint::new(|_, _| Answer::Store)));
            let disk = FakeDisk::new().next_life(Some(step));
            let told = live(&disk, &clock, &peers, 2, 1).await;
            let was_killed = !disk.is_alive();
            let disk = disk.next_life(None);
            live(&disk, &clock, &peers, 0, 2).await;
            assert_eq!(disk.names(), [""; 0], "step {step}");
            for peer in &peers {
                let times = peer.times();
                let arrived = |window: &WindowId| times.keys().filter(|id| id.window == *window).count();
                assert!(told.written.iter().all(|window| arrived(window) == 3), "step {step}: {times:?}");
                let twice = times.values().map(|times| times - 1).sum::<usize>();
                assert!(twice <= 4, "step {step}: {times:?}");
            }
            !was_killed
        });
        if is_done {
            break;
        }
        step += 1;
    }
    assert!(step > 60, "{step} steps");
}
