//! A pprof profile as the daemon would send it, made of numbers: for tests of what becomes of profiles afterwards.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::pprof::message;

/// One tick at 19 Hz, nanoseconds.
pub const PERIOD: i64 = 52_631_578;

/// A profile to be made. Two functions call each other along each stack; all stacks are distinct.
#[derive(Clone, Copy, Debug)]
pub struct MadePprof {
    /// Start, nanoseconds since 1970.
    pub time_nanos: i64,
    /// Length, nanoseconds.
    pub duration_nanos: i64,
    /// Distinct stacks, of one tick each.
    pub stacks: usize,
    /// Bytes of each function's name. There are as many functions as stacks.
    pub name_bytes: usize,
}

/// A made profile, packed.
#[derive(Clone, Debug)]
pub struct PackedPprof {
    /// gzip.
    pub gz: Vec<u8>,
    /// Bytes before packing.
    pub unpacked_bytes: usize,
    /// Sum of its values.
    pub cpu_nanos: i64,
}

impl MadePprof {
    /// Ten stacks, 15 s that ended now.
    #[expect(clippy::disallowed_methods, reason = "a server judges a profile by the machine's clock")]
    pub fn recent() -> Result<Self> {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let duration_nanos = 15_000_000_000;
        Ok(Self { time_nanos: now - duration_nanos, duration_nanos, stacks: 10, name_bytes: 20 })
    }

    /// Encodes it.
    pub fn pack(&self) -> Result<PackedPprof> {
        let unpacked = self.message()?.encode_to_vec();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&unpacked)?;
        let cpu_nanos = PERIOD * i64::try_from(self.stacks)?;
        Ok(PackedPprof { gz: encoder.finish()?, unpacked_bytes: unpacked.len(), cpu_nanos })
    }

    fn message(&self) -> Result<message::Profile> {
        let mut strings: Vec<String> =
            ["", "cpu", "nanoseconds", "/usr/bin/made", "0123456789abcdef", "made.c"]
                .map(String::from)
                .to_vec();
        let cpu = message::ValueType { r#type: 1, unit: 2 };
        let mapping = message::Mapping {
            id: 1,
            memory_start: 0x40_0000,
            memory_limit: 0x4000_0000,
            filename: 3,
            build_id: 4,
        };
        let mut profile = message::Profile {
            sample_type: vec![cpu],
            mapping: vec![mapping],
            time_nanos: self.time_nanos,
            duration_nanos: self.duration_nanos,
            period_type: Some(cpu),
            period: PERIOD,
            ..message::Profile::default()
        };
        for n in 1..=self.stacks {
            let id = u64::try_from(n)?;
            // Cheap randomness: names that do not pack to nothing.
            let name = format!("f{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let name = name.chars().cycle().take(self.name_bytes.max(17)).collect();
            let index = i64::try_from(strings.len()).context("too many strings")?;
            strings.push(name);
            profile.function.push(message::Function {
                id,
                name: index,
                system_name: index,
                filename: 5,
                start_line: i64::try_from(n)?,
            });
            let line = message::Line { function_id: id, line: i64::try_from(n + 1)? };
            let address = 0x40_0000 + 16 * id;
            profile.location.push(message::Location { id, mapping_id: 1, address, line: vec![line] });
            profile.sample.push(message::Sample {
                location_id: vec![id, 1],
                value: vec![PERIOD],
                label: vec![],
            });
        }
        profile.string_table = strings;
        Ok(profile)
    }
}
