//! The wall clock is set while windows are cut, spooled and sent: every sample arrives or is set aside, once, whatever the clock
//! says. Everything but sampling itself and the network is the daemon's own; the database goes by the true time.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use profiler_common::frame::Frame;
use prost::Message;
use tokio::sync::watch;

use super::boundaries::WindowClock;
use super::windows::Windows;
use crate::aggregate::profile::SampledEvent;
use crate::aggregate::window::Window;
use crate::attribute::budget::LabelBudget;
use crate::attribute::labels::Labels;
use crate::attribute::rules::HostLabels;
use crate::capture::segment::Segment;
use crate::collect::decode::RawStack;
use crate::collect::stacks::DefinedStacks;
use crate::collect::{RawSample, StackHash};
use crate::deliver::finished::SeriesProfile;
use crate::deliver::push::{PushOutcome, RefusalCause};
use crate::deliver::series::SizeLimits;
use crate::deliver::spool::account::EndpointAccount;
use crate::deliver::spool::id::ProfileId;
use crate::deliver::spool::state::{Endpoint, EndpointKey};
use crate::deliver::spool::{Disk, Folder, Replay, ReplaySettings, Sender, Spool, SpoolClock, SpoolSettings};
use crate::host::{Clock, Host, MonotonicNanos, ProcFs, SysFs, WallNanos};
use crate::process::table::ProcessTable;
use crate::symbolize::names::Namer;

const SECOND: u64 = 1_000_000_000;
const HOUR: i64 = 3600;
const WINDOW: Duration = Duration::from_secs(15);
/// A sample's weight.
const PERIOD: u64 = SECOND / 19;
/// When the test begins, in truth: on no boundary.
const START: u64 = 1_700_000_004 * SECOND;

/// Follows tokio's time, which the test pauses; the host's wall clock can be set, the truth cannot.
struct Clocks {
    start: tokio::time::Instant,
    error_seconds: AtomicI64,
}

impl Clocks {
    fn truth(&self) -> u64 {
        START + u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn set(&self, error_seconds: i64) {
        self.error_seconds.store(error_seconds, Ordering::Relaxed);
    }
}

impl SpoolClock for Clocks {
    fn wall(&self) -> WallNanos {
        let error = self.error_seconds.load(Ordering::Relaxed) * 1_000_000_000;
        WallNanos(self.truth().checked_add_signed(error).unwrap())
    }

    fn monotonic(&self) -> MonotonicNanos {
        MonotonicNanos(self.truth() - START + 77 * SECOND)
    }
}

/// The times of a pprof: profile.proto.
#[derive(Clone, PartialEq, Message)]
struct PprofTimes {
    #[prost(int64, tag = "9")]
    time_nanos: i64,
}

/// Takes what began within the last hour, or within the next ten minutes, as Pyroscope does.
#[derive(Clone)]
struct Database {
    clocks: Arc<Clocks>,
    /// Times and samples of what it took.
    taken: Arc<Mutex<BTreeMap<ProfileId, u64>>>,
}

impl Sender for Database {
    async fn send(&self, profile: &SeriesProfile, id: ProfileId) -> PushOutcome {
        let mut plain = Vec::new();
        GzDecoder::new(&*profile.pprof_gz).read_to_end(&mut plain).unwrap();
        let time = u64::try_from(PprofTimes::decode(&*plain).unwrap().time_nanos).unwrap();
        let now = self.clocks.truth();
        if time < now - 3600 * SECOND || time > now + 600 * SECOND {
            let message = "outside of the window".to_owned();
            return PushOutcome::Refused { cause: RefusalCause::OutsideWindow, message };
        }
        let again = self.taken.lock().unwrap().insert(id, profile.samples);
        assert_eq!(again, None, "{id} was sent again");
        PushOutcome::Delivered
    }
}

/// A segment with so many samples of one process.
fn segment(samples: u64, started: MonotonicNanos) -> Segment {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = ProcessTable::new(ProcFs::at(folder.path()), 16);
    let mut stacks = DefinedStacks::with_frames(16);
    stacks.define(RawStack { hash: StackHash(1), frames: [Frame::unbacked(0x1000, false)].into() });
    let mut window = Window::new(false);
    for _ in 0..samples {
        let sample = RawSample { kernel_stack: Some(StackHash(1)), weight: PERIOD, ..RawSample::fixture(10) };
        let owner = processes.owner(&sample);
        window.take(&sample, owner, None, &mut stacks, &mut processes, |_| panic!("it is defined"));
    }
    let sampled = processes.take_sampled(window.places(), std::iter::empty());
    let event = SampledEvent::CpuClock { period_nanos: PERIOD };
    Segment { window, sampled, event, started, duration: Duration::from_secs(1) }
}

/// The daemon between sampling and the network.
struct Rig {
    clocks: Arc<Clocks>,
    cut: WindowClock,
    windows: Windows,
    spool: Spool,
    database: Database,
    /// Start and length of each window, and its samples.
    ended: Vec<(u64, u64, u64)>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let clocks =
            Arc::new(Clocks { start: tokio::time::Instant::now(), error_seconds: AtomicI64::new(0) });
        let folder = tempfile::tempdir().unwrap();
        let proc = ProcFs::at(folder.path());
        let host =
            Host { proc, sys: SysFs::at(folder.path()), clock: Clock::host(), name: "host".to_owned() };
        let budget = LabelBudget::new(10, &HostLabels::default());
        let namer = Namer::of_one_window(&host.proc);
        let endpoint = Endpoint {
            key: EndpointKey::new("a", ""),
            name: "a".to_owned(),
            takes_back: Some(Duration::from_secs(3570)),
        };
        let disk: Arc<dyn Disk> = Arc::new(Folder::new(&folder.path().join("spool")));
        let (settings, clock) = (SpoolSettings::default(), Arc::clone(&clocks) as Arc<dyn SpoolClock>);
        Self {
            cut: WindowClock::new(WINDOW, clocks.wall(), clocks.monotonic()),
            windows: Windows::new(host, namer, SizeLimits::default(), budget),
            spool: Spool::open(settings, vec![endpoint], disk, clock, "host", 1).unwrap(),
            database: Database { clocks: Arc::clone(&clocks), taken: Arc::default() },
            clocks,
            ended: Vec::new(),
            _folder: folder,
        }
    }

    fn sample(&mut self, samples: u64) {
        let labels: Arc<Labels> = Arc::new([("service_name", "shop")].into_iter().collect());
        self.windows.segment(segment(samples, self.clocks.monotonic()), &[labels]);
    }

    /// Windows, each with two segments; the clock is set between both of the first.
    async fn windows(&mut self, count: u64, error_seconds: i64) {
        for number in 0..count {
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.sample(10 + number);
            self.clocks.set(error_seconds);
            self.sample(5);
            let left = self.cut.ends().0 - self.clocks.monotonic().0;
            tokio::time::sleep(Duration::from_nanos(left)).await;
            let (wall, now) = (self.clocks.wall(), self.clocks.monotonic());
            assert!(self.cut.is_over(now));
            let times = self.cut.next(wall, now);
            let window = self.windows.end(times).unwrap().expect("there are samples");
            let samples = window.profiles.iter().map(|profile| profile.samples).sum();
            self.ended.push((times.started.0, u64::try_from(times.duration.as_nanos()).unwrap(), samples));
            self.spool.put(window);
        }
    }

    /// The end of the last window is the beginning of the one in progress.
    fn ended_at(&self) -> MonotonicNanos {
        let mut next = self.cut.clone();
        let now = self.clocks.monotonic();
        MonotonicNanos(now.0 - u64::try_from(next.next(self.clocks.wall(), now).duration.as_nanos()).unwrap())
    }

    fn account(&self) -> EndpointAccount {
        self.spool.status().endpoints[0].1.clone()
    }

    async fn until_nothing_waits(&self) {
        while self.account().waiting.profiles > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn steps_of_an_hour_lose_no_sample_and_double_none() {
    let mut rig = Rig::new();
    let replay = Replay::new(
        &rig.spool,
        EndpointKey::new("a", ""),
        rig.database.clone(),
        ReplaySettings::default(),
        fastrand::Rng::with_seed(3),
    );
    let (stop, stopped) = watch::channel(false);
    let replay = tokio::spawn(replay.run(stopped));
    let began = rig.clocks.monotonic();

    // Right, an hour fast, right again, an hour slow, right again.
    for (count, error_seconds) in [(4, 0), (6, HOUR), (6, 0), (6, -HOUR), (6, 0)] {
        rig.windows(count, error_seconds).await;
    }
    rig.until_nothing_waits().await;

    let sampled: u64 =
        [4, 6, 6, 6, 6].iter().map(|&count| (0..count).map(|number| 15 + number).sum::<u64>()).sum();
    let in_windows: u64 = rig.ended.iter().map(|(_, _, samples)| samples).sum();
    assert_eq!(in_windows, sampled);
    assert_eq!(rig.windows.counts().samples, sampled);
    assert_eq!(rig.windows.counts().cpu_nanos, sampled * PERIOD);
    let lengths: u64 = rig.ended.iter().map(|(_, length, _)| length).sum();
    assert_eq!(lengths, rig.ended_at().0 - began.0, "no moment is in no window, or in two");
    let longest = rig.ended.iter().map(|(_, length, _)| *length).max().unwrap();
    assert!(longest <= 15 * SECOND * 11 / 10, "{longest}");

    let account = rig.account();
    assert_eq!(account.came(), account.went());
    assert_eq!(account.came().samples, sampled);
    assert_eq!(account.delivered.samples, rig.database.taken.lock().unwrap().values().sum::<u64>());
    // What an hour too early or too late says of itself the database does not take: it is set aside. All else arrives.
    let wrong: u64 = rig.ended.iter().skip(4).take(6).map(|(_, _, samples)| samples).sum();
    let early: u64 = rig.ended.iter().skip(16).take(6).map(|(_, _, samples)| samples).sum();
    assert_eq!((account.too_old.samples, account.dropped.len()), (wrong + early, 0));
    stop.send_replace(true);
    replay.await.unwrap();
}
