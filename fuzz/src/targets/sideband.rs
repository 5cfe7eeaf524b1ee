//! Bytes as records of the kernel's side-band → process events, and a process's mappings by them.
//!
//! Records as the ring has them: type 4 bytes, misc 2, size with this header 2, body.

use profiler_common::address::RuntimeAddr;
use profiler_user::collect::process_event::{FileHint, ProcessChange, decode};
use profiler_user::process::mappings::{Mapping, Mappings};

use super::maps;

/// `TASK_COMM_LEN` less its NUL is 15; our decoder promises no such thing of hostile bytes, but no more than there are.
const HEADER_BYTES: usize = 8;

pub(crate) fn run(bytes: &[u8]) {
    let mut mappings = Mappings::default();
    let mut rest = bytes;
    while let Some((&[k0, k1, k2, k3, m0, m1, s0, s1], behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let size = usize::from(u16::from_ne_bytes([s0, s1])).saturating_sub(HEADER_BYTES).min(behind.len());
        let (body, next) = behind.split_at(size);
        rest = next;
        let kind = u32::from_ne_bytes([k0, k1, k2, k3]);
        let Some(event) = decode(kind, u16::from_ne_bytes([m0, m1]), body) else { continue };
        apply(event.change, body.len(), &mut mappings);
    }
    maps::check(&mappings);
}

fn apply(change: ProcessChange, body_bytes: usize, mappings: &mut Mappings) {
    match change {
        ProcessChange::Map { start, len, offset, path, hint, .. } => {
            assert!(path.len() < body_bytes && !path.as_encoded_bytes().contains(&0));
            assert!(!matches!(&hint, FileHint::BuildId(id) if id.len() > 20));
            let end = RuntimeAddr(start.0.saturating_add(len));
            maps::insert(mappings, Mapping::new(start, end, offset, path, hint));
        }
        // Bytes that are no UTF-8 become three each.
        ProcessChange::Exec { name, .. } | ProcessChange::Rename { name, .. } => {
            assert!(name.len() <= body_bytes * 3 && !name.contains('\0'));
        }
        ProcessChange::Fork { .. }
        | ProcessChange::ThreadStart { .. }
        | ProcessChange::ThreadExit { .. }
        | ProcessChange::Lost(_) => {}
    }
}
