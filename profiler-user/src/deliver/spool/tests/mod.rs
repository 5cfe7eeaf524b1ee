//! The spool as a whole: a disk that can be stopped at every step, endpoints that answer by a script, time that is not waited for.

mod disk;
mod endpoint;
mod faults;
mod kills;
mod replay;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::account::SpoolStatus;
use super::state::{Endpoint, EndpointKey};
use super::*;
use crate::deliver::finished::{FinishedWindow, SeriesProfile};

/// When tests begin, by the wall clock.
const START: u64 = 1_700_000_000_000_000_000;
/// Some time after the start of the host.
const MONOTONIC_START: u64 = 5_000_000_000;

/// Follows tokio's time, which tests pause; the wall clock can be set.
#[derive(Debug)]
struct TestClock {
    start: tokio::time::Instant,
    step_nanos: AtomicI64,
}

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: tokio::time::Instant::now(), step_nanos: AtomicI64::new(0) })
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("less than 500 years")
    }

    fn step_seconds(&self, seconds: i64) {
        self.step_nanos.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }
}

impl SpoolClock for TestClock {
    fn wall(&self) -> WallNanos {
        WallNanos((START + self.elapsed()).saturating_add_signed(self.step_nanos.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> MonotonicNanos {
        MonotonicNanos(MONOTONIC_START + self.elapsed())
    }
}

fn endpoint(name: &str) -> Endpoint {
    // An hour, less half a minute.
    let takes_back = Some(Duration::from_secs(3570));
    Endpoint { key: EndpointKey::new(name, ""), name: name.to_owned(), takes_back }
}

/// A window of 15 s that ends now: profiles of 100, 101 … samples.
fn window(clock: &TestClock, profiles: u64) -> FinishedWindow {
    let profile = |index: u64| SeriesProfile {
        labels: [("service_name", format!("service-{index}"))].into_iter().collect(),
        pprof_gz: vec![7; 1000],
        uncompressed_bytes: 4000,
        samples: 100 + index,
        cpu_nanos: 1,
    };
    FinishedWindow {
        started: WallNanos(clock.wall().0 - 15_000_000_000),
        duration: Duration::from_secs(15),
        profiles: (0..profiles).map(profile).collect(),
    }
}

/// Samples of such a window.
fn samples(profiles: u64) -> u64 {
    (0..profiles).map(|index| 100 + index).sum()
}

/// Every sample is at one place.
#[track_caller]
fn check_balance(status: &SpoolStatus) {
    for (endpoint, account) in &status.endpoints {
        assert_eq!(account.came(), account.went(), "{}: {account:#?}", endpoint.name);
    }
    let windows = status.account;
    assert_eq!(
        windows.found + windows.taken,
        status.windows + windows.done + windows.evicted + windows.lost,
        "{status:#?}"
    );
}
