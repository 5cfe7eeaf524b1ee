//! `/targets.json` → rows. Unknown fields of newer daemons do not matter.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What the daemon knows.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) taken_at_unix_ms: u64,
    pub(super) left_out: u64,
    pub(super) targets: Vec<Row>,
}

/// A process.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) pid: u32,
    pub(super) executable: String,
    pub(super) service: String,
    pub(super) rule: String,
    pub(super) language: String,
    pub(super) dropped: Option<String>,
    pub(super) samples: u64,
    pub(super) complete_permille: Option<u16>,
    pub(super) labels: BTreeMap<String, String>,
}

pub(super) fn read(json: &[u8]) -> Result<Document, serde_json::Error> {
    serde_json::from_slice(json)
}
