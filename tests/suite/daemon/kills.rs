//! The agent killed at random moments, again and again, over one spool: every window that was finished is on disk, what was on disk
//! arrives, and twice comes only what was under way when a kill or a lost answer came.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    ReceivedProfile, RunningCapture, Signal, machine_or_skip, repeated, tool_or_skip, wait_for,
};
use profiler_user::deliver::finished::SeriesProfile;
use profiler_user::deliver::spool::id::WindowId;
use profiler_user::deliver::spool::read::SpoolReader;
use serde_json::json;

use super::faults::{Bench, clears_up};

/// Unless `FLAMEKEEPER_TEST_KILLS` says otherwise.
const KILLS: u32 = 200;
/// Unless `FLAMEKEEPER_TEST_SEED` says otherwise.
const SEED: u64 = 7;
/// Longer than a start takes on a quiet machine: all of it is hit, and the first windows.
const LATEST_MILLIS: u64 = 900;
/// A window.
const WINDOW_MILLIS: u64 = 200;
/// Of one kill: four profiles are on their way at a time, and as many are being marked.
const UNDER_WAY_MAX: usize = 8;
/// What a profile is known by on both sides: check sum and length of its bytes, and its series.
type Key = (u32, u64, BTreeMap<String, String>);

/// The upper bits of a linear congruential generator by Knuth.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below_millis: u64) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % (below_millis * 1000))
    }
}

fn variable(name: &str) -> Result<Option<u64>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    Ok(Some(value.to_string_lossy().parse().with_context(|| format!("{name} is no number"))?))
}

/// Profiles in the spool, each of which the device has, and the windows that they are of.
fn spooled(folder: &Path) -> Result<Vec<(WindowId, SeriesProfile)>> {
    let mut profiles = Vec::new();
    if !folder.is_dir() {
        return Ok(profiles); // killed before it was made
    }
    let reader = SpoolReader::open(folder)?;
    for (id, bytes) in reader.list()?.windows {
        let head = reader.head(id, bytes)?.context("nobody removes it")?;
        for index in 0..head.records.len() {
            profiles.push((id, reader.profile(id, &head, index)?.context("nobody removes it")?));
        }
    }
    Ok(profiles)
}

fn files(folder: &Path) -> Result<usize> {
    Ok(if folder.is_dir() { SpoolReader::open(folder)?.list()?.windows.len() } else { 0 })
}

/// The end of a gzip file says check sum and length of what is in it (RFC 1952).
fn key_of(profile: &SeriesProfile) -> Result<Key> {
    let end: [u8; 8] = *profile.pprof_gz.last_chunk().context("no gzip")?;
    let crc32 = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    let mut labels: BTreeMap<String, String> =
        profile.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.insert("__name__".to_owned(), "process_cpu".to_owned());
    Ok((crc32, u64::from(profile.uncompressed_bytes), labels))
}

fn key_received(profile: &ReceivedProfile) -> Key {
    (profile.crc32, profile.unpacked_bytes, profile.labels.clone())
}

/// Waits until the peer is done with all that the killed one has sent.
fn settles(bench: &Bench) -> Result<usize> {
    let address = bench.peer.url()?.strip_prefix("http://").context("no http")?;
    // Behind all that connected before: when this is answered they are known, and counted until they are done. A peer
    // that is shut has none.
    if let Ok(mut probe) = TcpStream::connect(address) {
        write!(probe, "GET / HTTP/1.0\r\n\r\n")?;
        probe.read_to_end(&mut Vec::new())?;
    }
    wait_for("an end of all connections", || Ok(bench.peer.counts()?.open == 0))?;
    Ok(bench.peer.counts()?.received)
}

/// A run with a peer that is well, or loses an answer, killed at any moment.
fn kill_at_any_moment(bench: &Bench, moment: Duration) -> Result<()> {
    let to = ["--push-url", bench.peer.url()?, "--http-listen", "127.0.0.1:0"];
    let running = bench.capture()?.args(to).start()?;
    std::thread::sleep(moment);
    kill(running)
}

/// A run with a peer that is shut, killed when there are windows, however long a start takes here. All that it had
/// finished is on disk, and no window is missing between others.
fn kill_over_windows(bench: &Bench, moment: Duration) -> Result<()> {
    let before = files(&bench.spool())?;
    bench.peer.shut()?;
    let daemon = bench.daemon(&[])?;
    wait_for("windows on disk", || Ok(files(&bench.spool())? >= before + 2))?;
    std::thread::sleep(moment);
    let finished = daemon.metric("flamekeeper_profile_samples_total")?;
    kill(daemon.running)?;
    let all = spooled(&bench.spool())?;
    let run = all.last().context("no window")?.0.run;
    let (mut samples, mut sequences) = (0, BTreeSet::new());
    for (id, profile) in all.iter().filter(|(id, _)| id.run == run) {
        sequences.insert(id.sequence);
        samples += profile.samples;
    }
    let span = sequences.last().zip(sequences.first()).map_or(0, |(last, first)| last - first + 1);
    ensure!(u64::try_from(sequences.len())? == span, "a window is missing: {sequences:?}");
    let samples = u32::try_from(samples).map(f64::from)?;
    ensure!(
        finished > 0.0 && samples >= finished,
        "{finished} samples were in windows, {samples} are on disk"
    );
    Ok(())
}

fn kill(running: RunningCapture) -> Result<()> {
    running.signal(Signal::KILL)?;
    let captured = running.finish()?;
    ensure!(captured.signal == Some(9), "it had ended: {:?}\n{}", captured.code, captured.stderr);
    Ok(())
}

/// One run, killed. Gives how many profiles the peer had when nothing of that run was on its way any more.
fn run_and_kill(bench: &Bench, number: u32, moments: &mut Moments) -> Result<usize> {
    match number % 4 {
        0 => kill_over_windows(bench, moments.next(2 * WINDOW_MILLIS))?,
        1 => {
            bench.peer.fail(json!({ "kind": "reset", "store": true, "count": 1 }))?;
            kill_at_any_moment(bench, moments.next(LATEST_MILLIS))?
        }
        _ => kill_at_any_moment(bench, moments.next(LATEST_MILLIS))?,
    }
    bench.peer.heal()?;
    let received = settles(bench)?;
    bench.peer.open()?;
    Ok(received)
}

/// Duplicates only where an answer was lost or a kill came between, and no more than can be under way. `kills` are
/// the profiles that the peer had at each. Gives how many there are.
fn ensure_repeats_are_excused(received: &[ReceivedProfile], kills: &[usize]) -> Result<usize> {
    let mut by_kill = vec![0; kills.len()];
    let again = repeated(received, |before, after| {
        let kill = kills.iter().position(|&kill| before.index < kill && kill <= after.index);
        kill.and_then(|kill| by_kill.get_mut(kill)).map(|count| *count += 1).is_some()
    })?;
    ensure!(by_kill.iter().all(|&count| count <= UNDER_WAY_MAX), "too many came again: {by_kill:?}");
    Ok(again.len())
}

#[test]
fn kills_at_random_moments_lose_the_window_in_progress_and_no_other() -> Result<()> {
    tool_or_skip!("go");
    let bench = Bench::new(machine_or_skip!())?;
    let seed = variable("FLAMEKEEPER_TEST_SEED")?.unwrap_or(SEED);
    let count = variable("FLAMEKEEPER_TEST_KILLS")?.map_or(Ok(KILLS), u32::try_from)?;
    let what = |number: u32| format!("kill {number} of {count}, FLAMEKEEPER_TEST_SEED={seed}");
    let mut moments = Moments(seed);
    let (mut kills, mut on_disk) = (Vec::new(), BTreeSet::new());
    for number in 0..count {
        kills.push(run_and_kill(&bench, number, &mut moments).with_context(|| what(number))?);
        for (_, profile) in spooled(&bench.spool()).with_context(|| what(number))? {
            on_disk.insert(key_of(&profile)?);
        }
    }
    let last = bench.daemon(&[])?;
    bench.delivers(&last)?;
    clears_up(&last)?;
    let words = last.end()?;
    ensure!(words.windows_waiting == 0 && words.endpoint.dropped == 0, "{words:?}");
    let left: Vec<_> = std::fs::read_dir(bench.spool())?.collect::<Result<Vec<_>, _>>()?;
    ensure!(left.is_empty(), "half written or forgotten: {left:?}");

    let state = bench.peer.state()?;
    ensure!(state.refused.is_empty(), "{:?}", state.refused);
    let arrived: BTreeSet<Key> = state.received.iter().map(key_received).collect();
    let missing: Vec<&Key> = on_disk.difference(&arrived).collect();
    ensure!(missing.is_empty(), "on disk, and never arrived: {missing:?}; {}", what(count));
    let again = ensure_repeats_are_excused(&state.received, &kills).with_context(|| what(count))?;
    let met = on_disk.len();
    eprintln!("{count} kills: {met} profiles met on disk, {} arrived, {again} of them again", arrived.len());
    // Else it has shown nothing.
    ensure!(met >= usize::try_from(count / 4)? && arrived.len() > met, "{met} of {}", arrived.len());
    Ok(())
}
