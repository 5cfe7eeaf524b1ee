//! Where every sample is: what the daemon says at its end, and what the database has, compared to the sample and the nanosecond.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::capture::Captured;
use crate::pyroscope::{Pyroscope, ReceivedProfile};

/// What the daemon says at its end, in samples if nothing else is said.
#[derive(Clone, Copy, Debug)]
pub struct LastWords {
    /// Taken by the kernel half.
    pub sampled: u64,
    /// Of processes that are not wanted.
    pub left_out: u64,
    /// Since naming was behind.
    pub lost: u64,
    /// In finished windows.
    pub in_windows: u64,
    /// CPU time in finished windows, nanoseconds.
    pub cpu_nanos: u64,
    /// Windows that wait.
    pub windows_waiting: u64,
    /// What came of them.
    pub endpoint: EndpointWords,
}

/// What the daemon says of its one endpoint, in samples.
#[derive(Clone, Copy, Debug)]
pub struct EndpointWords {
    /// Left by earlier runs.
    pub found: u64,
    /// Taken by the database.
    pub delivered: u64,
    /// In the spool, to be sent.
    pub waiting: u64,
    /// In the spool, older than the database takes.
    pub too_old: u64,
    /// In the spool, refused too often.
    pub set_aside: u64,
    /// Gone.
    pub dropped: u64,
}

impl LastWords {
    /// Reads them.
    pub fn of(captured: &Captured) -> Result<Self> {
        let last_line = |word: &str| -> Result<String> {
            let line = captured.lines_with(word).last().map(|line| (*line).to_owned());
            line.with_context(|| captured.stderr.clone())
        };
        let (whole, endpoint) = (last_line("message=ended")?, last_line("message=samples")?);
        Ok(Self {
            sampled: number(&whole, "sampled")?,
            left_out: number(&whole, "left_out")?,
            lost: number(&whole, "lost")?,
            in_windows: number(&whole, "in_windows")?,
            cpu_nanos: number(&whole, "cpu_nanos")?,
            windows_waiting: number(&whole, "waiting")?,
            endpoint: EndpointWords {
                found: number(&endpoint, "found")?,
                delivered: number(&endpoint, "delivered")?,
                waiting: number(&endpoint, "waiting")?,
                too_old: number(&endpoint, "too_old")?,
                set_aside: number(&endpoint, "set_aside")?,
                dropped: number(&endpoint, "dropped")?,
            },
        })
    }

    /// Every sample that was taken is at one place, and no other is.
    pub fn ensure_balance(&self) -> Result<()> {
        ensure!(self.in_windows > 0, "nothing was sampled: {self:?}");
        ensure!(self.sampled == self.left_out + self.lost + self.in_windows, "{self:?}");
        let EndpointWords { found, delivered, waiting, too_old, set_aside, dropped } = self.endpoint;
        ensure!(found + self.in_windows == delivered + waiting + too_old + set_aside + dropped, "{self:?}");
        Ok(())
    }

    /// What a sample weighs, where the rate never changed.
    pub fn period_nanos(&self) -> Result<u64> {
        let period = self.cpu_nanos / self.in_windows;
        ensure!(period * self.in_windows == self.cpu_nanos, "not all weigh the same: {self:?}");
        Ok(period)
    }

    /// What was delivered is what the peer has, to the nanosecond. For one that nothing else was pushed to.
    pub fn ensure_delivered(&self, peer: &Pyroscope) -> Result<()> {
        let (arrived, delivered) = (delivered(peer)?, self.endpoint.delivered * self.period_nanos()?);
        ensure!(arrived == delivered, "{arrived} ns arrived of {delivered}: {self:?}");
        Ok(())
    }
}

fn number(line: &str, key: &str) -> Result<u64> {
    let word = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    Ok(word.with_context(|| format!("{key}: {line}"))?.parse()?)
}

/// CPU time that the peer has, in nanoseconds: the sum of all profiles, each once.
pub fn delivered(peer: &Pyroscope) -> Result<u64> {
    let received = peer.state()?.received;
    let nanos =
        received.iter().filter(|profile| profile.duplicate_of.is_none()).map(|profile| profile.cpu_nanos);
    Ok(u64::try_from(nanos.sum::<i64>())?)
}

/// All that reached a window has arrived, to the nanosecond, and nothing else.
pub fn ensure_all_arrived(words: &LastWords, peer: &Pyroscope) -> Result<()> {
    let arrived = delivered(peer)?;
    ensure!(words.windows_waiting == 0 && words.endpoint.delivered == words.in_windows, "{words:?}");
    ensure!(arrived == words.cpu_nanos, "{arrived} ns arrived of {} in windows", words.cpu_nanos);
    Ok(())
}

/// Profiles that came again, by their ids; an error with all of those that had been answered before.
pub fn repeated(
    received: &[ReceivedProfile],
    mut is_excused: impl FnMut(&ReceivedProfile, &ReceivedProfile) -> bool,
) -> Result<BTreeSet<String>> {
    let mut last: BTreeMap<&str, &ReceivedProfile> = BTreeMap::new();
    let (mut again, mut wrongly) = (BTreeSet::new(), Vec::new());
    for profile in received {
        let Some(before) = last.insert(&profile.id, profile) else { continue };
        again.insert(profile.id.clone());
        if !before.answer_lost && !is_excused(before, profile) {
            let (labels, time) = (&profile.labels, profile.time_nanos);
            wrongly
                .push(format!("{} as {} and {}: {time} {labels:?}", profile.id, before.index, profile.index));
        }
    }
    ensure!(wrongly.is_empty(), "came again although the answer was whole:\n{}", wrongly.join("\n"));
    Ok(again)
}
