//! Endpoints that are down, slow, full, wrong or dead: what arrives, when, and where every sample is in the end.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::disk::FakeDisk;
use super::endpoint::{
    Answer, Attempt, FakeEndpoint, again, outside, refuse, server_error, too_many, unreachable,
};
use super::*;
use crate::deliver::push::{RefusalCause, RetryCause};
use crate::deliver::spool::account::{DropReason, EndpointAccount, Tally};
use crate::deliver::spool::id::{ProfileId, WindowId};

/// A spool with replays that run.
struct Rig {
    disk: FakeDisk,
    clock: Arc<TestClock>,
    spool: Spool,
    stop: watch::Sender<bool>,
    replays: Vec<JoinHandle<()>>,
}

impl Rig {
    fn new(endpoints: &[(&str, &FakeEndpoint)]) -> Self {
        Self::with(FakeDisk::new(), TestClock::new(), endpoints, ReplaySettings::default())
    }

    fn with(
        disk: FakeDisk,
        clock: Arc<TestClock>,
        endpoints: &[(&str, &FakeEndpoint)],
        settings: ReplaySettings,
    ) -> Self {
        let all = endpoints.iter().map(|(name, _)| endpoint(name)).collect();
        let spool = open(&disk, &clock, all);
        let stop = watch::Sender::new(false);
        let replay = |(name, sender): &(&str, &FakeEndpoint)| {
            let (key, random) = (EndpointKey::new(name, ""), fastrand::Rng::with_seed(7));
            tokio::spawn(Replay::new(&spool, key, (*sender).clone(), settings, random).run(stop.subscribe()))
        };
        let replays = endpoints.iter().map(replay).collect();
        Self { disk, clock, spool, stop, replays }
    }

    /// A window every 15 s.
    async fn put(&self, windows: u64, profiles: u64) {
        for _ in 0..windows {
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert!(matches!(self.spool.put(window(&self.clock, profiles)), Put::Written(_)));
            check_balance(&self.spool.status());
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&SpoolStatus) -> bool) {
        for _ in 0..100_000 {
            let status = self.spool.status();
            check_balance(&status);
            if is_so(&status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("never {what}: {:#?}", self.spool.status());
    }

    async fn until_empty(&self) {
        self.until("empty", |status| status.windows == 0).await;
    }

    fn account(&self, name: &str) -> EndpointAccount {
        account(&self.spool, name)
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for replay in self.replays {
            replay.await.expect("no replay panics");
        }
        check_balance(&self.spool.status());
    }
}

fn open(disk: &FakeDisk, clock: &Arc<TestClock>, endpoints: Vec<Endpoint>) -> Spool {
    let settings = SpoolSettings::default();
    let run = fastrand::u64(..);
    let (disk, clock) = (Arc::new(disk.clone()), Arc::<TestClock>::clone(clock));
    Spool::open(settings, endpoints, disk, clock, "host", run).expect("a spool")
}

fn starts(spool: &Spool) -> Vec<(WindowId, u64)> {
    let index = spool.index();
    index.ids().filter_map(|id| Some((id, index.get(id)?.started.0))).collect()
}

fn account(spool: &Spool, name: &str) -> EndpointAccount {
    let mut endpoints = spool.status().endpoints.into_iter();
    endpoints.find(|(endpoint, _)| endpoint.name == name).expect("an endpoint of the spool").1
}

fn tally(windows: u64, profiles: u64) -> Tally {
    Tally {
        profiles: windows * profiles,
        samples: windows * samples(profiles),
        bytes: windows * profiles * 1000,
    }
}

fn once_each(endpoint: &FakeEndpoint) {
    let times = endpoint.times();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn windows_arrive_as_they_come_and_leave_nothing_behind() {
    let peer = FakeEndpoint::new(|_, _| Answer::Store);
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(4, 3).await;
    rig.until_empty().await;
    let account = rig.account("a");
    assert_eq!((account.delivered, account.came()), (tally(4, 3), tally(4, 3)));
    assert_eq!(rig.spool.status().account.done, 4);
    assert_eq!(rig.disk.names(), [""; 0]);
    assert_eq!(peer.stored_samples(), 4 * samples(3));
    once_each(&peer);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_down_the_backlog_goes_oldest_first_between_the_new_ones() {
    let peer = FakeEndpoint::new(|_, _| unreachable());
    // 12,000 bytes a window: the backlog takes 40 × 12,000 / 4,000 = 120 s.
    let settings = ReplaySettings { backlog_bytes_per_second: 4_000, ..ReplaySettings::default() };
    let rig = Rig::with(FakeDisk::new(), TestClock::new(), &[("a", &peer)], settings);
    rig.put(40, 3).await;
    assert_eq!(rig.account("a").waiting, tally(40, 3));
    assert_eq!(rig.account("a").held.expect("it is down").cause, RetryCause::Unreachable);
    let tried_while_down = peer.attempts().len();
    assert!((5..60).contains(&tried_while_down), "{tried_while_down}");
    peer.answer(|_, _| Answer::Store);
    rig.put(30, 3).await;
    rig.until_empty().await;
    assert_eq!(rig.account("a").delivered, tally(70, 3));
    assert_eq!((rig.account("a").held, rig.account("a").unanswered), (None, 0));
    once_each(&peer);
    let order: Vec<u64> = peer.stored().iter().map(|stored| stored.id.window.sequence).collect();
    // What came until it was noticed that the endpoint is back is old too.
    let backlog = peer.stored()[0].at.as_secs() / 15;
    assert!((40..=61).contains(&backlog), "{backlog}"); // the longest pause is 300 s
    let (old, new): (Vec<u64>, Vec<u64>) = order.iter().partition(|sequence| **sequence <= backlog);
    assert!(old.is_sorted() && new.is_sorted(), "{order:?}");
    let last_old = order.iter().rposition(|sequence| *sequence <= backlog).expect("some");
    let between = order[..last_old].iter().filter(|sequence| **sequence > backlog).count();
    assert!(between >= 3 * 3, "new ones are not kept waiting: {order:?}");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_holds_nobody_else() {
    let (dead, alive) = (FakeEndpoint::new(|_, _| Answer::Hang), FakeEndpoint::new(|_, _| Answer::Store));
    let rig = Rig::new(&[("dead", &dead), ("alive", &alive)]);
    rig.put(10, 2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.account("alive").delivered, tally(10, 2));
    assert_eq!(rig.account("dead").waiting, tally(10, 2));
    assert_eq!(rig.spool.status().windows, 10);
    dead.answer(|_, _| Answer::Store);
    rig.until_empty().await;
    assert_eq!(rig.account("dead").delivered, tally(10, 2));
    once_each(&alive);
    once_each(&dead);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_is_waited_out_and_nothing_is_given_up() {
    let mut random = fastrand::Rng::with_seed(3);
    let peer =
        FakeEndpoint::new(move |_, _| if random.f32() < 0.9 { too_many(Some(20)) } else { Answer::Store });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(60, 4).await;
    // Whoever was told to wait 20 s waits, but for those that were on their way.
    let attempts = peer.attempts();
    for pair in attempts.windows(2) {
        let [first, second] = pair else { unreachable!() };
        let pause = second.at - first.at;
        let is_at_once = pause <= Duration::from_millis(20);
        assert!(first.is_stored || is_at_once || pause >= Duration::from_secs(20), "{pair:?}");
    }
    let storm = attempts.len();
    assert!(storm < 200, "{storm} attempts in 15 min");
    peer.answer(|_, _| Answer::Store);
    rig.until_empty().await;
    let account = rig.account("a");
    assert_eq!(account.delivered, tally(60, 4));
    assert_eq!(account.became_poisoned, Tally::default());
    assert!(account.retries[&RetryCause::TooManyRequests] > 20);
    once_each(&peer);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_ten_times_while_others_pass_is_set_aside() {
    let poison = |id: ProfileId| id.window.sequence == 2 && id.index == 1;
    let peer = FakeEndpoint::new(move |id, _| if poison(id) { server_error() } else { Answer::Store });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(60, 3).await;
    rig.until("sent", |status| status.endpoints[0].1.waiting.profiles == 0).await;
    let tries: Vec<_> = peer.attempts().into_iter().filter(|attempt| poison(attempt.id)).collect();
    // Those without another in between do not count.
    assert!((10..20).contains(&tries.len()), "{}", tries.len());
    assert!(tries[9].at - tries[0].at > Duration::from_secs(60), "{tries:?}");
    // And it holds nobody.
    for put in 3..60 {
        let arrived: Vec<_> = peer
            .stored()
            .iter()
            .filter(|stored| stored.id.window.sequence == put)
            .map(|stored| stored.at)
            .collect();
        assert_eq!(arrived.len(), 3);
        let by = Duration::from_secs(15 * put + 2);
        assert!(arrived.iter().all(|at| *at < by), "window {put} arrived at {arrived:?}");
    }
    let account = rig.account("a");
    assert_eq!(account.poisoned, Tally::one(101, 1000));
    assert_eq!((account.waiting, account.dropped), (Tally::default(), BTreeMap::new()));
    assert_eq!(account.delivered.profiles, 60 * 3 - 1);
    // It stays in the spool, also over a restart, and is not sent again.
    assert_eq!(rig.disk.names().len(), 1);
    let (disk, clock) = (rig.disk.next_life(None), Arc::clone(&rig.clock));
    rig.stop().await;
    let rig = Rig::with(disk, clock, &[("a", &peer)], ReplaySettings::default());
    rig.put(1, 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.account("a").poisoned, Tally::one(101, 1000));
    assert_eq!(peer.attempts().into_iter().filter(|attempt| poison(attempt.id)).count(), tries.len());
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_a_tenant_does_not_hold_the_rest() {
    let is_large = |id: ProfileId| id.window.sequence == 1 && id.index == 0;
    let peer = FakeEndpoint::new(move |id, _| if is_large(id) { too_many(None) } else { Answer::Store });
    let rig = Rig::new(&[("a", &peer)]);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let mut first = window(&rig.clock, 3);
    first.profiles[0].uncompressed_bytes = 3_000_000;
    rig.spool.put(first);
    rig.put(60, 3).await;
    rig.until("sent", |status| status.endpoints[0].1.waiting.profiles == 0).await;
    assert_eq!(rig.account("a").poisoned, Tally::one(100, 1000));
    assert_eq!(rig.account("a").delivered.profiles, 61 * 3 - 1);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_never_answered_does_not_hold_the_rest() {
    let is_mute = |id: ProfileId| id.window.sequence == 2 && id.index == 0;
    let peer =
        FakeEndpoint::new(move |id, _| if is_mute(id) { again(RetryCause::Timeout) } else { Answer::Store });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(120, 2).await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    let account = rig.account("a");
    assert_eq!((account.delivered.profiles, account.waiting), (239, Tally::one(100, 1000)));
    let tries = account.unanswered;
    assert!((20..90).contains(&tries), "{tries} attempts in half an hour");
    for put in 3..=120 {
        let late = Duration::from_secs(15 * put + 5);
        let arrived = |stored: &&Attempt| stored.id.window.sequence == put && stored.at < late;
        assert_eq!(peer.stored().iter().filter(arrived).count(), 2, "window {put}");
    }
    // It is not given up for that, but when it is too old.
    rig.put(130, 1).await;
    rig.until("too old", |status| status.endpoints[0].1.too_old == Tally::one(100, 1000)).await;
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_with_answers_gives_nothing_up() {
    let peer = FakeEndpoint::new(|_, _| server_error());
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(120, 2).await;
    let tries = peer.attempts().len();
    assert!(tries < 60, "{tries} attempts in half an hour");
    peer.answer(|_, _| Answer::Store);
    rig.until_empty().await;
    assert_eq!(rig.account("a").delivered, tally(120, 2));
    once_each(&peer);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_dropped_by_its_status() {
    let peer = FakeEndpoint::new(|id, _| match id.index {
        0 => refuse(RefusalCause::Labels),
        1 => refuse(RefusalCause::TooLarge),
        _ => Answer::Store,
    });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(5, 4).await;
    rig.until_empty().await;
    let account = rig.account("a");
    let one = |samples: u64| Tally { profiles: 5, samples: 5 * samples, bytes: 5000 };
    let refused = BTreeMap::from([(RefusalCause::Labels, one(100)), (RefusalCause::TooLarge, one(101))]);
    assert_eq!(account.refused, refused);
    assert_eq!(
        account.dropped,
        BTreeMap::from([(DropReason::Refused, [one(100), one(101)].into_iter().sum())])
    );
    assert_eq!(account.last_trouble.as_deref(), Some("no: too_large"));
    assert_eq!(account.delivered.profiles, 10);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_set_aside_and_stays() {
    let peer = FakeEndpoint::new(|_, _| unreachable());
    let rig = Rig::new(&[("a", &peer)]);
    // Two hours down; an hour less half a minute is taken.
    rig.put(480, 1).await;
    let kept = (3570 - 15) / 15 + 1;
    rig.until("set aside", |status| status.endpoints[0].1.too_old.profiles == 480 - kept).await;
    peer.answer(|_, _| Answer::Store);
    rig.until("sent", |status| status.endpoints[0].1.waiting.profiles == 0).await;
    let account = rig.account("a");
    let lost_by_pause = account.too_old.profiles - (480 - kept);
    assert!(lost_by_pause <= 300 / 15, "{lost_by_pause}"); // the longest pause
    assert_eq!(account.delivered.profiles + account.too_old.profiles, 480);
    assert_eq!(rig.spool.status().windows, account.too_old.profiles);
    assert_eq!(rig.disk.names().len() as u64, account.too_old.profiles);
    // Nothing too old was ever sent.
    let oldest = peer.stored().iter().map(|stored| stored.id.window.sequence).min().expect("some");
    assert_eq!(oldest, account.too_old.profiles + 1);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_endpoint_calls_too_old_is_set_aside() {
    let peer = FakeEndpoint::new(|id, _| if id.window.sequence == 1 { outside() } else { Answer::Store });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(3, 2).await;
    rig.until("sent", |status| status.endpoints[0].1.waiting.profiles == 0).await;
    let account = rig.account("a");
    assert_eq!((account.too_old, account.delivered), (tally(1, 2), tally(2, 2)));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_makes_nothing_old() {
    let peer = FakeEndpoint::new(|_, _| unreachable());
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(20, 2).await;
    rig.clock.step_seconds(2 * 3600);
    rig.put(4, 2).await;
    peer.answer(|_, _| Answer::Store);
    rig.until_empty().await;
    assert_eq!(rig.account("a").delivered, tally(24, 2));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_lies_in_the_future_after_a_step_back_waits_until_it_is_taken() {
    let clock = TestClock::new();
    let server = Arc::clone(&clock); // its time is that of our host
    let started: Arc<std::sync::Mutex<BTreeMap<WindowId, u64>>> = Arc::default();
    let peer = FakeEndpoint::new(|_, _| unreachable());
    let rig = Rig::with(FakeDisk::new(), clock, &[("a", &peer)], ReplaySettings::default());
    rig.put(8, 2).await;
    started.lock().expect("no panic").extend(starts(&rig.spool));
    rig.clock.step_seconds(-3600);
    peer.answer(move |id, _| {
        let started = started.lock().expect("no panic").get(&id.window).copied();
        let limit = server.wall().0 + 600_000_000_000; // ten minutes ahead, as the database has it
        if started.is_some_and(|started| started > limit) { outside() } else { Answer::Store }
    });
    rig.put(8, 2).await;
    rig.until("the new ones sent", |status| status.endpoints[0].1.delivered == tally(8, 2)).await;
    assert_eq!(rig.account("a").waiting, tally(8, 2));
    rig.put(240, 1).await; // an hour
    rig.until_empty().await;
    let account = rig.account("a");
    assert_eq!(account.delivered.profiles, 8 * 2 + 8 * 2 + 240);
    assert_eq!(account.became_too_old, Tally::default());
    assert!(peer.attempts().len() < 8 * 2 + 8 * 2 + 240 + 40, "{}", peer.attempts().len());
    once_each(&peer);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_the_only_reason_for_sending_twice() {
    let mut lost = BTreeSet::from([(2, 0), (3, 1)]);
    let peer = FakeEndpoint::new(move |id, _| {
        if lost.remove(&(id.window.sequence, id.index)) { Answer::StoreAndLose } else { Answer::Store }
    });
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(5, 2).await;
    rig.until_empty().await;
    let twice: Vec<_> = peer.times().into_iter().filter(|(_, times)| *times != 1).collect();
    let twice: Vec<_> = twice.iter().map(|(id, times)| (id.window.sequence, id.index, *times)).collect();
    assert_eq!(twice, [(2, 0, 2), (3, 1, 2)]);
    assert_eq!(rig.account("a").delivered, tally(5, 2));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_replay_goes_on_where_it_was() {
    let peer = FakeEndpoint::new(|_, _| unreachable());
    let settings = ReplaySettings { backlog_bytes_per_second: 4_000, ..ReplaySettings::default() };
    let rig = Rig::with(FakeDisk::new(), TestClock::new(), &[("a", &peer)], settings);
    rig.put(30, 3).await;
    peer.answer(|_, _| Answer::Store);
    rig.until("half of it sent", |status| status.endpoints[0].1.delivered.profiles >= 45).await;
    let first = rig.account("a").delivered;
    assert!(first.profiles < 60, "{first:?}");
    let (disk, clock) = (rig.disk.clone(), Arc::clone(&rig.clock));
    rig.stop().await;
    let first = peer.stored().len() as u64;
    let rig = Rig::with(disk.next_life(None), clock, &[("a", &peer)], settings);
    assert_eq!(rig.account("a").found.profiles, 90 - first);
    rig.until_empty().await;
    assert_eq!(rig.account("a").delivered.profiles, 90 - first);
    assert_eq!(peer.stored_samples(), 30 * samples(3));
    once_each(&peer);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_gets_what_it_takes_and_an_old_one_keeps_its_marks() {
    let (a, b) = (FakeEndpoint::new(|_, _| unreachable()), FakeEndpoint::new(|_, _| Answer::Store));
    let rig = Rig::new(&[("a", &a), ("b", &b)]);
    rig.put(480, 1).await;
    assert_eq!(rig.account("b").delivered.profiles, 479);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (disk, clock) = (rig.disk.clone(), Arc::clone(&rig.clock));
    rig.stop().await;
    let c = FakeEndpoint::new(|_, _| Answer::Store);
    let rig = Rig::with(disk.next_life(None), clock, &[("c", &c), ("b", &b)], ReplaySettings::default());
    let found = rig.account("c").found.profiles;
    assert!((236..=238).contains(&found), "{found}");
    assert_eq!(rig.account("b").found, Tally::default());
    rig.until("sent", |status| status.endpoints.iter().all(|(_, account)| account.waiting.profiles == 0))
        .await;
    assert_eq!(
        (rig.account("c").delivered.profiles, rig.account("c").became_too_old),
        (found, Tally::default())
    );
    assert_eq!(b.stored().len(), 480);
    // What `a` never got is nobody's business now that it is gone.
    rig.put(1, 1).await;
    rig.until_empty().await;
    once_each(&c);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_what_can_go_and_waits_no_longer_than_it_may() {
    let peer = FakeEndpoint::new(|_, _| Answer::Store);
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(3, 50).await;
    // Just put: nothing of it has gone yet.
    rig.spool.put(window(&rig.clock, 50));
    let (spool, begun) = (rig.spool.clone(), rig.clock.elapsed());
    let clock = Arc::clone(&rig.clock);
    rig.stop().await;
    assert_eq!(account(&spool, "a").delivered, tally(4, 50));
    assert!(clock.elapsed() - begun < 1_000_000_000);

    let peer = FakeEndpoint::new(|_, _| Answer::Hang);
    let rig = Rig::new(&[("a", &peer)]);
    rig.put(1, 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (spool, clock, begun) = (rig.spool.clone(), Arc::clone(&rig.clock), rig.clock.elapsed());
    rig.stop().await;
    let took = Duration::from_nanos(clock.elapsed() - begun);
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    let account = account(&spool, "a");
    assert_eq!((account.waiting, account.unanswered), (tally(1, 3), 3));
}
