//! Names for a stripped program from its twin that was not: `file+0x…` as linked → the function that `nm` says is there.
//!
//! Stripping moves no code, so the twin's symbols are the known answer.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::stacks::Stacks;

/// Functions of a program by address, as linked.
pub struct TwinNames {
    /// First address, address behind the last, name; ascending.
    functions: Vec<(u64, u64, String)>,
}

impl TwinNames {
    /// Of a program with symbols.
    pub fn of(path: &Path) -> Result<Self> {
        let output = Command::new("nm")
            .args(["--numeric-sort", "--print-size", "--defined-only", "--demangle"])
            .arg(path)
            .output()
            .context("run nm")?;
        ensure!(output.status.success(), "nm: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let mut functions: Vec<_> = text.lines().filter_map(function).collect();
        // `_start` and other assembly have no size: up to the next.
        let starts: Vec<u64> = functions.iter().map(|(start, _, _)| *start).collect();
        for (start, end, _) in functions.iter_mut().filter(|(start, end, _)| start == end) {
            let next = starts.partition_point(|other| *other <= *start);
            *end = starts.get(next).copied().unwrap_or(*start + 1);
        }
        ensure!(!functions.is_empty(), "{} has no symbols", path.display());
        Ok(Self { functions })
    }

    fn name(&self, address: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|(start, _, _)| *start <= address);
        let candidates = self.functions.get(..behind)?.iter().rev().take(8);
        candidates.filter(|(_, end, _)| address < *end).map(|(_, _, name)| name.as_str()).next()
    }

    /// The stacks with the names that the file's own frames would have had.
    pub fn restore(&self, stacks: Stacks) -> Stacks {
        let mut stacks = stacks;
        for stack in &mut stacks.0 {
            let prefix = format!("{}+0x", stack.process);
            for frame in &mut stack.frames {
                let address = frame.strip_prefix(&prefix).and_then(|hex| u64::from_str_radix(hex, 16).ok());
                if let Some(name) = address.and_then(|address| self.name(address)) {
                    *frame = name.to_owned();
                }
            }
        }
        stacks
    }
}

/// `address size type name`, or without the size.
fn function(line: &str) -> Option<(u64, u64, String)> {
    let (address, rest) = line.split_once(' ')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let (first, others) = rest.split_once(' ')?;
    let (size, kind, name) = match u64::from_str_radix(first, 16) {
        Ok(size) if first.len() > 1 => {
            let (kind, name) = others.split_once(' ')?;
            (size, kind, name)
        }
        _ => (0, first, others),
    };
    matches!(kind, "t" | "T" | "w" | "W" | "i").then(|| (address, address + size, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nm_with_and_without_a_size() {
        assert_eq!(
            function("0000000000401650 0000000000000022 T main"),
            Some((0x401650, 0x401672, "main".to_owned()))
        );
        assert_eq!(function("0000000000401600 T _start"), Some((0x401600, 0x401600, "_start".to_owned())));
        assert_eq!(function("0000000000401600 D data"), None);
        assert_eq!(function("0000000000401600 0000000000000008 D data"), None);
    }

    #[test]
    fn frames_of_the_stripped_file_get_their_names() {
        let names = TwinNames { functions: vec![(0x10, 0x20, "one".into()), (0x20, 0x30, "two".into())] };
        let stacks = Stacks::from_folded("p;p+0x1f;p+0x20;q+0x20;p+0x30 1\n").unwrap();
        assert_eq!(names.restore(stacks).0[0].frames, ["one", "two", "q+0x20", "p+0x30"]);
    }
}
