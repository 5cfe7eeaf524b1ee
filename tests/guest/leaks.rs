//! Loads and unloads, again and again: no program, map or link may stay, and no memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_tests::{BpfCensus, Capture};

use crate::captures::machine;
use crate::outcome::Outcome;

/// Rounds before the first look at memory: caches of the kernel fill by then.
const WARM_UP: u32 = 4;

/// What a round may cost in memory: per-CPU caches move by some pages, the smallest map of ours is larger.
const KIB_A_ROUND: u64 = 64;

/// By which memory moves whatever is done: the kernel's caches grow in the first rounds by up to 7 MiB.
const KIB_OF_CACHES: u64 = 8 << 10;

/// `GUEST_ROUNDS` rounds (10 unless told) of a capture of a quarter of a second, in two halves. The kernel keeps some memory
/// for itself now and then; what is lost in both halves is a leak.
pub(crate) fn rounds_leave_nothing() -> Result<Outcome> {
    let machine = machine()?;
    let wanted = std::env::var("GUEST_ROUNDS").unwrap_or_else(|_| "10".to_owned());
    let rounds: u32 = wanted.parse().with_context(|| format!("GUEST_ROUNDS={wanted}"))?;
    let before = BpfCensus::take()?;
    let round = || -> Result<()> {
        let capture = Capture::record(&machine)?.args(["-d", "250ms"]).output("p.folded");
        capture.run()?.expect_code(0)?;
        Ok(())
    };
    for _ in 0..WARM_UP {
        round()?;
    }
    let left = || -> Result<()> {
        // A census opens what it finds, and on 5.10 a program array stayed that was opened right after its last user was gone. Most
        // likely while the kernel was about to clear it (prog_array_map_clear in kernel/bpf/arraymap.c); not looked into further.
        std::thread::sleep(BEFORE_A_CENSUS);
        BpfCensus::take()?.since(&before).are_gone()
    };
    let half = rounds.div_ceil(2);
    let most = KIB_OF_CACHES + KIB_A_ROUND * u64::from(half);
    left()?;
    let mut free = settled(u64::MAX, LOOKS_BEFORE)?;
    let mut lost = Vec::new();
    for _ in 0..2 {
        for number in 0..half {
            round().with_context(|| format!("round {number}"))?;
        }
        left()?;
        let now = settled(free.saturating_sub(most), LOOKS_AFTER)?;
        lost.push(free.saturating_sub(now));
        free = now;
    }
    let least = lost.iter().copied().min().unwrap_or_default();
    ensure!(
        least <= most,
        "{lost:?} KiB of memory are gone after {half} rounds and as many again, {most} may be"
    );
    Ok(Outcome::said(format!("{half} rounds and as many again: no program, map or link left, {lost:?} KiB")))
}

/// For what the kernel does when a program's last user is gone.
const BEFORE_A_CENSUS: Duration = Duration::from_secs(3);

/// Looks at memory, five a second.
const LOOKS_BEFORE: u32 = 10;
const LOOKS_AFTER: u32 = 50;

/// What is available as soon as it is `enough`, or the most of so many looks: maps are freed when no CPU can look at them any more,
/// later than their numbers.
fn settled(enough: u64, looks: u32) -> Result<u64> {
    let mut most = 0;
    for _ in 0..looks {
        most = most.max(available_kib()?);
        if most >= enough {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(most)
}

fn available_kib() -> Result<u64> {
    // Pages of files count as available or not by how lately they were used.
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop caches")?;
    let text = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")).context("no MemAvailable")?;
    number.parse().with_context(|| format!("MemAvailable: {number}"))
}
