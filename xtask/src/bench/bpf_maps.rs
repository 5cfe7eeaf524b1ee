//! A process with BPF maps → what flamekeeper has counted in them, and the bytes that they take.

use super::bpf::{descriptors, number};
use anyhow::{Context, Result};
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Map, MapData, MapInfo, MapType, PerCpuArray};
use procfs::process::Process;
use profiler_common::outcome::Outcome;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// The kernel half's counters, one for each outcome.
pub(super) struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    /// Of a flamekeeper that has loaded its programs.
    pub(super) fn of(process: &Process) -> Result<Self> {
        for id in map_ids(process)?.into_keys() {
            if MapInfo::from_id(id)?.name_as_str() == Some("COUNTERS") {
                let map = Map::from_map_data(MapData::from_id(id)?)?;
                return Ok(Self(PerCpuArray::try_from(map)?));
            }
        }
        anyhow::bail!("process {} has no map of counters", process.pid)
    }

    /// The sum over all CPUs.
    pub(super) fn get(&self, outcome: Outcome) -> Result<u64> {
        let by_cpu = self.0.get(&u32::from(outcome.number()), 0);
        Ok(by_cpu.with_context(|| format!("read the counter of {}", outcome.label()))?.iter().sum())
    }
}

/// Memory of maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MapBytes {
    pub(super) all: u64,
    /// Of them, in maps that others point to: blocks of unwind rows.
    pub(super) inner: u64,
}

impl MapBytes {
    /// Of all that the process holds, and of those that only they hold.
    pub(super) fn of(process: &Process) -> Result<Self> {
        let held = map_ids(process)?;
        let mut inner = BTreeMap::new();
        for &id in held.keys() {
            if matches!(MapInfo::from_id(id)?.map_type()?, MapType::ArrayOfMaps) {
                inner.extend(inner_maps(id)?);
            }
        }
        Ok(Self::sum(&held, &inner))
    }

    /// Both by the maps' ids: what is held in two ways counts once.
    fn sum(held: &BTreeMap<u32, u64>, inner: &BTreeMap<u32, u64>) -> Self {
        let outer: u64 = held.iter().filter(|(id, _)| !inner.contains_key(id)).map(|(_, bytes)| bytes).sum();
        let inner = inner.values().sum();
        Self { all: outer + inner, inner }
    }
}

/// The maps that a process has descriptors of, by their ids, with their bytes.
fn map_ids(process: &Process) -> Result<BTreeMap<u32, u64>> {
    Ok(descriptors(process, "bpf-map")?.iter().filter_map(|fdinfo| id_and_bytes(fdinfo)).collect())
}

fn id_and_bytes(fdinfo: &str) -> Option<(u32, u64)> {
    Some((u32::try_from(number(fdinfo, "map_id:")?).ok()?, number(fdinfo, "memlock:")?))
}

/// The same of the maps that a map of maps points to.
fn inner_maps(outer: u32) -> Result<BTreeMap<u32, u64>> {
    let map = Map::from_map_data(MapData::from_id(outer)?)?;
    let outer: ArrayOfMaps<MapData, MapData> = ArrayOfMaps::try_from(map)?;
    let mut found = BTreeMap::new();
    for slot in 0..outer.len() {
        let Ok(inner) = outer.get(&slot, 0) else { continue }; // an empty slot
        let info = format!("/proc/self/fdinfo/{}", inner.fd().as_fd().as_raw_fd());
        found.extend(id_and_bytes(&fs::read_to_string(&info).with_context(|| format!("read {info}"))?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_is_held_twice_counts_once() {
        let held = BTreeMap::from([(7, 100), (8, 4096)]);
        let inner = BTreeMap::from([(8, 4096), (9, 4096)]);
        assert_eq!(MapBytes::sum(&held, &inner), MapBytes { all: 8292, inner: 8192 });
    }

    #[test]
    fn id_and_bytes_are_read() {
        let fdinfo = "pos:\t0\nmap_type:\t2\nmax_entries:\t16\nmemlock:\t131408\nmap_id:\t52\nfrozen:\t0\n";
        assert_eq!(id_and_bytes(fdinfo), Some((52, 131_408)));
    }
}
